"""Every stream of the corpus: what its frames mean and what a client gets, however the bytes are cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rillgate.dialects.chat_completions import ChatCompletions, parse
from rillgate.dialects.messages import Messages
from rillgate.dialects.responses import Responses
from rillgate.dialects.ui_stream import UiStream
from rillgate.domain.delta import Delta, ErrorDelta
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Dialect, Provider
from rillgate.providers.anthropic import AnthropicProvider
from rillgate.providers.azure import AzureProvider
from rillgate.providers.bedrock import BedrockProvider
from rillgate.providers.gemini import GeminiProvider
from rillgate.providers.ollama import OllamaProvider
from rillgate.providers.openai import OpenAIProvider
from rillgate.providers.openai_responses import OpenAIResponsesProvider
from rillgate.wire.sse import SseReader
from tests.unit.pipeline.relay_support import make_relay, run

HERE = Path(__file__).parent
PROVIDERS: Mapping[str, Provider] = {
    "openai": OpenAIProvider("lab", own_host=False),
    "anthropic": AnthropicProvider("lab"),
    "ollama": OllamaProvider("lab"),
    "bedrock": BedrockProvider("lab"),
    "gemini": GeminiProvider("lab"),
    "azure": AzureProvider("lab"),
    "openai_responses": OpenAIResponsesProvider("lab"),
}
DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect for dialect in (ChatCompletions(), Messages(), Responses(), UiStream())
}
RESPONSE_ENDS = ("response.completed", "response.incomplete", "response.failed")
CASES = sorted(f"{path.parent.name}/{path.name}" for name in PROVIDERS for path in (HERE / name).iterdir())
DELIVERIES = sorted(
    (case, path.name.split(".")[1]) for case in CASES for path in (HERE / case).iterdir() if "client." in path.name
)


def provider_of(case: str) -> Provider:
    """Whose stream it is."""
    return PROVIDERS[case.partition("/")[0]]


def upstream(case: str) -> bytes:
    """The stream."""
    (path,) = (HERE / case).glob("upstream.*")
    return path.read_bytes()


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


def meaning(provider: Provider, chunks: list[bytes]) -> list[Any]:
    """What each frame of a stream says, that comes in these chunks and ends."""
    reader, decoder = provider.reader(), provider.decoder()
    found: list[Any] = []
    for frame in [*(frame for chunk in chunks for frame in reader.feed(chunk)), *reader.feed_eof()]:
        try:
            deltas = decoder.decode(frame)
        except UpstreamError as error:
            found.append({"raises": error_fields(error)})
        else:
            found.append(None if deltas is None else [described(delta) for delta in deltas])
    return found


def delivered(case: str, dialect_name: str, chunks: list[bytes]) -> bytes:
    """What the client of a case gets for these bytes."""
    provider, dialect = provider_of(case), DIALECTS[dialect_name]
    request = parse((HERE / case / "request.json").read_bytes())
    relay = make_relay(
        choices=request.choices,
        include_usage=request.include_usage or dialect_name != "chat_completions",
        same_dialect=provider.dialect == dialect_name,
        encoder=dialect.encoder("req1", "asked-model", 1_700_000_000),
        reader=provider.reader(),
        decoder=provider.decoder(),
    )
    return run(relay, chunks)


def single_bytes(stream: bytes) -> list[bytes]:
    """The stream in chunks of one byte."""
    return [stream[at : at + 1] for at in range(len(stream))]


@pytest.mark.parametrize("case", CASES)
def test_corpus_frames_mean_what_is_written_beside_them(case: str) -> None:
    """Frame by frame, in order; whole, byte by byte, and whatever stands behind their end."""
    written = known(msgspec.json.decode((HERE / case / "deltas.json").read_bytes()))
    stream = upstream(case)
    assert known(meaning(provider_of(case), [stream])) == written
    assert known(meaning(provider_of(case), single_bytes(stream))) == written
    if stream.endswith(b"\n\n"):
        behind = meaning(provider_of(case), [stream + b"\n: behind\n"])
        assert known(behind)[: len(written)] == written


@pytest.mark.parametrize(("case", "dialect"), DELIVERIES)
def test_corpus_client_gets_the_bytes_that_are_written_beside_them(case: str, dialect: str) -> None:
    """Whole and byte by byte, and it ends with its dialect's terminal event or with an error, once."""
    stream, expected = upstream(case), (HERE / case / f"client.{dialect}.sse").read_bytes()
    assert delivered(case, dialect, [stream]) == expected
    byte_by_byte = delivered(case, dialect, single_bytes(stream))
    assert byte_by_byte == (expected.replace(b"\r\n", b"\n") if b"\r\n" in stream else expected)
    assert [is_end(frame.data, dialect) for frame in SseReader().feed(expected)][-1]
    assert sum(is_end(frame.data, dialect) for frame in SseReader().feed(expected)) == 1


def is_end(data: bytes, dialect: str) -> bool:
    """Whether a frame ends a stream of this dialect. In Responses an error is told before the end."""
    if data == b"[DONE]":
        return True
    said = json.loads(data)  # half a surrogate pair is passed on, too
    if dialect == "responses":
        return said.get("type") in RESPONSE_ENDS
    return "error" in said or said.get("type") in ("message_stop", "error")


@pytest.mark.parametrize("case", [case for case in CASES if (HERE / case / "upstream_request.json").exists()])
def test_corpus_provider_gets_the_request_that_is_written_beside_it(case: str) -> None:
    """The client's request, for the model "m" under a cap of 1,000, in the provider's own words."""
    request = parse((HERE / case / "request.json").read_bytes())
    written = msgspec.json.decode((HERE / case / "upstream_request.json").read_bytes())
    assert msgspec.json.decode(provider_of(case).build(request, "m", 1000).body) == written


@pytest.mark.parametrize("case", CASES)
def test_corpus_case_is_complete(case: str) -> None:
    """A folder without one of its files would prove less than it seems to."""
    files = {path.name for path in (HERE / case).iterdir()}
    stream = {"ollama": "upstream.ndjson", "bedrock": "upstream.bin"}.get(case.partition("/")[0], "upstream.sse")
    clients = {f"client.{dialect}.sse" for dialect in DIALECTS}
    assert files - {"upstream_request.json"} == {"request.json", stream, "deltas.json", *clients}
