"""Every stream of the corpus: what its frames mean and what a client gets, however the bytes are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from rillgate.dialects.chat_completions import parse
from rillgate.domain.delta import Delta, ErrorDelta
from rillgate.domain.errors import UpstreamError
from tests.unit.pipeline.relay_support import PROVIDER, make_relay, run

FOLDER = Path(__file__).parent / "openai"
CASES = sorted(path.name for path in FOLDER.iterdir())


def described(delta: Delta) -> dict[str, Any]:
    """A delta as the corpus writes it."""
    name = type(delta).__name__
    if isinstance(delta, ErrorDelta):
        return {name: error_fields(delta.error)}
    return {name: msgspec.to_builtins(delta)}


def known(value: Any) -> Any:
    """Without fields that are null: a field that is new need not be written into every case."""
    if isinstance(value, dict):
        return {key: known(each) for key, each in value.items() if each is not None}
    return [known(each) for each in value] if isinstance(value, list) else value


def error_fields(error: UpstreamError) -> dict[str, Any]:
    """An error as the corpus writes it."""
    return {"status": error.status, "type": error.kind, "code": error.code, "message": error.message}


def meaning(stream: bytes) -> list[Any]:
    """What each frame of a stream says."""
    reader, decoder = PROVIDER.reader(), PROVIDER.decoder()
    found: list[Any] = []
    for frame in [*reader.feed(stream), *reader.feed_eof()]:
        try:
            deltas = decoder.decode(frame)
        except UpstreamError as error:
            found.append({"raises": error_fields(error)})
        else:
            found.append(None if deltas is None else [described(delta) for delta in deltas])
    return found


def delivered(case: Path, chunks: list[bytes]) -> bytes:
    """What the client of a case gets for these bytes."""
    request = parse((case / "request.json").read_bytes())
    relay = make_relay(choices=request.choices, include_usage=request.include_usage)
    return run(relay, chunks)


@pytest.mark.parametrize("name", CASES)
def test_corpus_frames_mean_what_is_written_beside_them(name: str) -> None:
    """Frame by frame, in order."""
    case = FOLDER / name
    written = msgspec.json.decode((case / "deltas.json").read_bytes())
    assert known(meaning((case / "upstream.sse").read_bytes())) == known(written)


@pytest.mark.parametrize("name", CASES)
def test_corpus_client_gets_the_bytes_that_are_written_beside_them(name: str) -> None:
    """Whole and byte by byte, and it ends with [DONE] or with an error, once."""
    case = FOLDER / name
    stream, expected = (case / "upstream.sse").read_bytes(), (case / "client.sse").read_bytes()
    assert delivered(case, [stream]) == expected
    byte_by_byte = delivered(case, [stream[at : at + 1] for at in range(len(stream))])
    assert byte_by_byte == (expected.replace(b"\r\n", b"\n") if b"\r\n" in stream else expected)
    *frames, last = PROVIDER.reader().feed(expected)
    assert last.data == b"[DONE]" or last.data.startswith(b'{"error":{"message":')
    assert not any(frame.data.startswith((b"[DONE]", b'{"error"')) for frame in frames)


@pytest.mark.parametrize("name", CASES)
def test_corpus_case_is_complete(name: str) -> None:
    """A folder without one of its files would prove less than it seems to."""
    files = {path.name for path in (FOLDER / name).iterdir()}
    assert files == {"request.json", "upstream.sse", "deltas.json", "client.sse"}
