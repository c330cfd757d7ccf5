"""A fake provider in a process of its own, which says on its standard output what it sees and when.

The model's name chooses the script:

    silent    the request is taken and nothing is ever answered
    paced     a token each 10 ms, for ever
    flood     as much as the socket takes, for ever, in frames of a usual size
    instant   a short answer, all at once
    others    `--script n100-d20`: so many chunks, so many milliseconds after each other, in whichever API is asked

A line for each event: {"event": "arrived" | "closed" | "still", "number": 7, "at": 12.3}, `at` in seconds of
`time.monotonic()`, which all processes of a machine share. "still" says that streams of `flood` have taken nothing
for a while: `streams` of them, after `bytes` in all. Only the first three scripts are told of.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
from tests.fakes import http
from tests.fakes.exchange import Exchange, Script
from tests.fakes.provider import FakeProvider
from tests.fakes.script import chat

from benchmarks.provider_apis import api_of
from rillgate.app.listen import raise_open_files

PACE_S = 0.01
STILL_S = 0.06  # without a byte: then whoever reads has stopped, and is not only busy with others
LOOK_S = 0.02
WORDS = (" river", " strea", " water", " token", " flow ", " gate ", " reply")  # 1.4 tokens of o200k each
BLOCK_FRAMES = 256

_tasks: set[asyncio.Task[None]] = set()


def say(event: str, **fields: Any) -> None:
    """One line."""
    sys.stdout.write(msgspec.json.encode({"event": event, **fields}).decode() + "\n")
    sys.stdout.flush()


def _told(exchange: Exchange) -> None:
    say("arrived", number=exchange.number, at=time.monotonic())
    _start(_tell_closed(exchange))


async def _tell_closed(exchange: Exchange) -> None:
    await exchange.closed.wait()
    say("closed", number=exchange.number, at=exchange.connection.closed_at, how=exchange.connection.how)


def _start(work: Any) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _silent(exchange: Exchange) -> None:
    _told(exchange)
    await exchange.stall()


async def _paced(exchange: Exchange) -> None:
    _told(exchange)
    for word in itertools.cycle(WORDS):
        await exchange.text(word)
        await asyncio.sleep(PACE_S)


async def _flood(exchange: Exchange) -> None:
    _told(exchange)
    await exchange.head()
    block = b"".join(itertools.islice(_framed(exchange), BLOCK_FRAMES))
    while True:
        await exchange.raw(block)


async def counted(exchange: Exchange, chunks: int, pause_s: float) -> None:
    """So many chunks at an even pace; each is a write of its own, as a model's tokens are."""
    api = api_of(exchange.path)
    await api.begin(exchange)
    for piece in itertools.islice(_framed(exchange), chunks):
        await exchange.raw(piece)
        if pause_s:
            await asyncio.sleep(pause_s)
    await api.end(exchange, chunks)


def _framed(exchange: Exchange) -> Iterator[bytes]:
    """Frames with text, each in an HTTP chunk, made once and repeated."""
    frame = api_of(exchange.path).frame
    frames = [http.chunk(frame(exchange, word)) for word in WORDS]
    return itertools.cycle(frames)


async def _watch_floods(fake: FakeProvider) -> None:
    """Say once, after each move, that nothing moves any more."""
    last, since, told = (0, -1), 0.0, True
    while True:
        await asyncio.sleep(LOOK_S)
        floods = [each for each in fake.chats if each.outcome == "running" and each.model == "flood"]
        if not floods:
            continue
        moved, now = (sum(each.bytes_sent for each in floods), floods[-1].number), time.monotonic()
        if moved != last:
            last, since, told = moved, now, False
        elif not told and now - since > STILL_S:
            told = True
            say("still", number=floods[-1].number, at=now, streams=len(floods), bytes=moved[0])


def _at_once(script: Callable[[Exchange], Awaitable[None]]) -> Script:
    """The script on a connection without Nagle's algorithm, as a model's server has it."""

    async def play(exchange: Exchange) -> None:
        sock = exchange.connection.transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await script(exchange)

    return play


def _script(text: str) -> tuple[int, float]:
    """ "n100-d20" → (100, 0.02)."""
    fields = {part[0]: int(part[1:]) for part in text.split("-")}
    return fields.get("n", 100), fields.get("d", 0) / 1000


async def _main(port: int, script: str) -> None:
    raise_open_files()
    chunks, pause_s = _script(script)

    async def others(exchange: Exchange) -> None:
        await counted(exchange, chunks, pause_s)

    async with FakeProvider(port=port) as fake:
        fake.script = _at_once(others)
        instant = chat(["Hello", " world"], per_write=2)
        scripts: dict[str, Callable[[Exchange], Awaitable[None]]]
        scripts = {"silent": _silent, "paced": _paced, "flood": _flood, "instant": instant}
        fake.by_model = {model: _at_once(script) for model, script in scripts.items()}
        _start(_watch_floods(fake))
        say("listening", port=fake.port)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A fake provider for the benchmarks.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--script", default="n100", help="what other models play, such as n100-d20")
    arguments = parser.parse_args()
    try:
        asyncio.run(_main(arguments.port, arguments.script))
    except KeyboardInterrupt:
        pass
