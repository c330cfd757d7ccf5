"""Inputs that nearly make sense: a seed, changed a little, with the structure that its parser looks for kept or broken.

Everything random comes from the generator that is given: the same one gives the same inputs, on every machine.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any
from zlib import crc32

from tests.fuzz.target import Shape

INPUT_BYTES_MAX = 65_536

WORDS = (
    *(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\0", b" ", b":", b",", b"=", b";", b"%00", b"\t", b"\x7f", b"\xff"),
    *(b"\xe2\x80\xa8", b"\xc2\x85", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf0\x9f", b"\xc0\xaf", b"\x1c", b"\x0b"),
    *(b"data: ", b"data:", b"event: error\n", b"id: 1\n", b"retry: 1\n", b": c\n", b"[DONE]", b"error: {}"),
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u", b"\\ud800", b"null", b"NaN", b"-1", b"1e999", b"0.0", b"true"),
    *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"0\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    *(b"rill_", b"rillt_", b"Bearer ", b"127.0.0.1", b"::ffff:10.0.0.1", b"%eth0", b"[::1]:80", b"env:", b"'''"),
)

NUMBERS = (0, 1, -1, 2**31, 2**53, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, True, False)
TEXTS = (
    "",
    " ",
    "\0",
    "\ud800",
    "\udc00x",
    "é😀",
    "\u2028",
    "x" * 5_000,
    "{",
    "\r\n",
    "a.b[0]",
    "null",
    "-",
    "1" * 5_000,
)
EMPTY: tuple[Any, ...] = (None, [], {}, [[]], [None], {"": None}, [{}])
NAMES = ("", "type", "text", "content", "role", "index", "id", "error", "message", "usage", "name", "\ud800")


def mutated(data: bytes, shape: Shape, others: Sequence[bytes], rng: random.Random) -> bytes:
    """`data`, changed once to four times.

    Args: others: seeds of the same target, to take parts of.
    """
    for _ in range(rng.randint(1, 4)):
        ways = _WAYS[shape]
        data = rng.choice(ways)(data, others, rng)[:INPUT_BYTES_MAX]
    return data


# Anything


def _flip(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    if not data:
        return bytes([rng.randrange(256)])
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _insert(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(WORDS) * rng.choice((1, 1, 1, 2, 200)) + data[at:]


def _cut_out(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    start, end = _range(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    start, end = _range(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 2, 30)) + data[end:]


def _truncate(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    return data[: rng.randint(0, len(data))]


def _splice(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _range(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice((1, 2, 8, 64, 512)))


# Lines


def _lines(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    """Drop, repeat or swap lines, or give them other ends."""
    lines = data.split(b"\n")
    one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[one]
        case 1:
            lines.insert(two, lines[one])
        case 2:
            lines[one], lines[two] = lines[two], lines[one]
        case 3:
            return rng.choice((b"\r", b"\r\n", b"\n\n")).join(lines)
    return b"\n".join(lines)


def _json_in_lines(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change the JSON of one line, `data: ` before it or not."""
    lines = data.split(b"\n")
    found = [number for number, line in enumerate(lines) if b"{" in line]
    if not found:
        return _insert(data, others, rng)
    at = rng.choice(found)
    head, brace, rest = lines[at].partition(b"{")
    lines[at] = head + _json(brace + rest, others, rng)
    return b"\n".join(lines)


# JSON


def _json(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change one value of a JSON document, or add or take away one."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _insert(data, others, rng)
    if rng.random() < 0.01:
        return b'{"a":' * 3_000 + data + b"}" * 3_000
    changed = _changed(value, rng)
    return json.dumps(changed, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def _changed(value: Any, rng: random.Random) -> Any:
    places = list(_places(value))
    if not places:
        return _made_up(rng)
    holder, key = rng.choice(places)
    match rng.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(NAMES)] = holder[key]
        case 1:
            holder.append(holder[key])
        case 2:
            other, other_key = rng.choice(places)
            holder[key] = json.loads(json.dumps(other[other_key]))
        case 3:
            holder[key] = [holder[key]]
        case _:
            holder[key] = _made_up(rng)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (holder, key) within."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        each = waiting.pop()
        inner = (
            list(each.items()) if isinstance(each, dict) else list(enumerate(each)) if isinstance(each, list) else []
        )
        found += [(each, key) for key, _ in inner]
        waiting += [item for _, item in inner]
    return found


def _made_up(rng: random.Random) -> Any:
    made = rng.choice((*NUMBERS, *TEXTS, *EMPTY))
    return json.loads(json.dumps(made))  # a value of its own: what is changed here must not change there


# AWS's event streams


def _messages(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change messages and keep their lengths and checksums true."""
    found = split_messages(data)
    if not found:
        return _flip(data, others, rng)
    at = rng.randrange(len(found))
    headers, payload = found[at]
    match rng.randrange(5):
        case 0:
            del found[at]
        case 1:
            found.insert(rng.randrange(len(found)), found[at])
        case 2:
            found[at] = (_any(headers, others, rng), payload)
        case 3:
            found[at] = (headers, _any(payload, others, rng))
        case 4:
            found[at] = (headers, _json(payload, others, rng))
    return b"".join(joined_message(*message) for message in found)


def _any(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    return rng.choice((_flip, _insert, _cut_out, _repeat))(data, others, rng)


def split_messages(data: bytes) -> list[tuple[bytes, bytes]]:
    """Headers and payload of each whole message."""
    found, at = [], 0
    while len(data) - at >= 16:
        length, headers = int.from_bytes(data[at : at + 4]), int.from_bytes(data[at + 4 : at + 8])
        if length < 16 + headers or at + length > len(data):
            break
        found.append((data[at + 12 : at + 12 + headers], data[at + 12 + headers : at + length - 4]))
        at += length
    return found


def joined_message(headers: bytes, payload: bytes) -> bytes:
    """One message with true lengths and checksums."""
    start = (len(headers) + len(payload) + 16).to_bytes(4) + len(headers).to_bytes(4)
    start += crc32(start).to_bytes(4) + headers + payload
    return start + crc32(start).to_bytes(4)


Way = Callable[[bytes, Sequence[bytes], random.Random], bytes]
_BYTES: tuple[Way, ...] = (_flip, _insert, _cut_out, _repeat, _truncate, _splice)
_WAYS: dict[Shape, tuple[Way, ...]] = {
    "bytes": (*_BYTES, _lines),
    "lines": (*_BYTES, _lines, _lines, _json_in_lines, _json_in_lines, _json_in_lines),
    "json": (*_BYTES, *(_json,) * 14),
    "messages": (*_BYTES, *(_messages,) * 8),
}
