"""What providers stream: every frame reader of `wire`, every provider's decoder, and the relay behind them.

Readers and providers are found, not listed: a new one is fuzzed as soon as it is there, with the streams of
`tests/corpus/<kind>` as seeds.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, cast

import msgspec

import rillgate.wire
from rillgate.app.backends import _BY_KIND, provider_of
from rillgate.app.embedders import embedder_of
from rillgate.app.settings.types import ProviderSettings
from rillgate.dialects.embeddings import Embeddings
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Dialect, Frame, FrameReader, Provider
from rillgate.domain.request import AnswerHead
from rillgate.domain.usage import Usage
from rillgate.wire.sse import SseReader
from tests.corpus.test_corpus import described
from tests.fuzz.target import DIALECTS, Finding, Outcome, Shape, Target, refused
from tests.unit.pipeline.relay_support import make_relay

CORPUS = Path(__file__).parents[1] / "corpus"
SMALL_BYTES = 300  # a bound that inputs do pass
HEAD = AnswerHead("req_1", "m", 1_795_000_000)


def stream_targets() -> Iterator[Target]:
    """Frame readers, and for each kind of provider its streams, its relay and its whole answers."""
    for module, cls in readers():
        name = module.rpartition(".")[2]
        shape: Shape = "messages" if name == "eventstream" else "lines"
        seeds = partial(_streams, _suffix(name))
        for suffix, make in (("", cls), ("_bounded", partial(cls, SMALL_BYTES))):
            yield Target(f"{name}{suffix}", frozenset({module}), seeds, partial(_read, make), shape, cut=True)
    for kind, provider in providers().items():
        covers = frozenset({type(provider).__module__})
        seeds = partial(_streams, kind=kind)
        shape = "messages" if list((CORPUS / kind).glob("*/upstream.bin")) else "lines"
        yield Target(f"provider_{kind}", covers, seeds, partial(_decode, provider), shape, cut=True)
        for dialect in DIALECTS:
            run = partial(_relay, provider, dialect)
            yield Target(f"relay_{kind}_{dialect.name}", covers, seeds, run, shape, cut=True)
        yield Target(f"answers_{kind}", covers, _answers, partial(_answer, provider))
    for kind, embedder in embedders().items():
        covers = frozenset({type(embedder).__module__})
        yield Target(f"embeddings_{kind}", covers, _answers, partial(_vectors, embedder))


def readers() -> list[tuple[str, Callable[..., FrameReader]]]:
    """Every class of `wire` that is fed: its module and itself."""
    found: list[tuple[str, Callable[..., FrameReader]]] = []
    for name in modules_of(rillgate.wire):
        for _, cls in inspect.getmembers(import_module(name), inspect.isclass):
            if cls.__module__ == name and hasattr(cls, "feed_eof"):
                found.append((name, cast(Any, cls)))
    return found


def modules_of(package: Any) -> list[str]:
    """Names of the modules in a package."""
    return sorted(f"{package.__name__}.{found.name}" for found in iter_modules(package.__path__))


def providers() -> dict[str, Provider]:
    """One provider of each kind that there is, by its kind; of kinds that share a class, the last."""
    found: dict[type, tuple[str, Provider]] = {}
    for kind in _BY_KIND:
        provider = provider_of("lab", ProviderSettings(kind, base_url="http://127.0.0.1:1", region="eu-central-1"))
        found[type(provider)] = (kind, provider)
    return dict(found.values())


def embedders() -> dict[str, Provider]:
    """What makes embeddings, by the kind of its provider."""
    found = {kind: embedder_of("lab", ProviderSettings(kind, base_url="http://127.0.0.1:1")) for kind in _BY_KIND}
    return {kind: embedder for kind, embedder in found.items() if embedder is not None}


def _suffix(reader: str) -> str:
    return {"ndjson": "ndjson", "eventstream": "bin"}.get(reader, "sse")


def _streams(suffix: str = "*", kind: str = "*") -> Iterable[bytes]:
    paths = sorted(CORPUS.glob(f"{kind}/*/upstream.{suffix}"))
    return [path.read_bytes() for path in paths] or [b"data: {}\n\n"]


def _said(frame: Frame, *, bytes_too: bool) -> Outcome:
    # The LF of a CR LF that was cut comes too late to be part of `raw`, and such a frame is not plain.
    return (frame.event, frame.data, frame.raw, frame.plain) if bytes_too else (frame.event, frame.data)


def _read(make: Callable[[], FrameReader], pieces: Sequence[bytes]) -> Outcome:
    reader = make()
    said = partial(_said, bytes_too=not any(b"\r" in piece for piece in pieces))
    found: list[Outcome] = []
    try:
        for piece in pieces:
            found += map(said, reader.feed(piece))
        found += map(said, reader.feed_eof())
    except UpstreamError as error:
        found.append(refused(error))
        _still_refuses(reader)
    return found


def _still_refuses(reader: FrameReader) -> None:
    for again in (partial(reader.feed, b"data: x\n\n"), reader.feed_eof):
        try:
            again()
        except UpstreamError:
            continue
        raise Finding("a reader that has failed goes on")


def _decode(provider: Provider, pieces: Sequence[bytes]) -> Outcome:
    reader, decoder = provider.reader(), provider.decoder()
    found: list[Outcome] = []

    def take(frames: Sequence[Frame]) -> None:
        for frame in frames:
            deltas = decoder.decode(frame)
            if deltas is not None:
                found.append([described(delta) for delta in deltas])

    try:
        for piece in pieces:
            take(reader.feed(piece))
        take(reader.feed_eof())
    except UpstreamError as error:
        found.append(refused(error))
    return found


def _relay(provider: Provider, dialect: Dialect, pieces: Sequence[bytes]) -> Outcome:
    """What a client gets, which ends once and properly, whatever its provider sends."""
    relay = make_relay(
        include_usage=dialect.name == "messages",
        same_dialect=provider.dialect == dialect.name,
        encoder=dialect.encoder("req1", "asked-model", 1_700_000_000),
        reader=provider.reader(),
        decoder=provider.decoder(),
    )
    parts = []
    for piece in pieces:
        parts.append(relay.feed(piece))
        if relay.end is not None:
            break
    else:
        parts.append(relay.feed_eof())
    if relay.end is None:
        raise Finding("the stream has no end")
    out = b"".join(parts)
    frames = [(frame.event, frame.data) for frame in SseReader().feed(out)]
    ends = [_is_end(dialect, data) for _, data in frames]
    if not ends or not ends[-1] or sum(ends) != 1:
        raise Finding(f"a client gets {sum(ends)} ends in {len(frames)} frames: {out[-300:]!r}")
    return relay.end, frames, b"" if any(b"\r" in piece for piece in pieces) else out


def _is_end(dialect: Dialect, data: bytes) -> bool:
    """Whether a client takes a frame for the end, as the official SDKs read it."""
    if data == b"[DONE]":
        return True
    said = json.loads(data.decode("utf-8", "replace"))  # bytes of the same dialect are passed on as they are
    if dialect.name == "messages":
        return said.get("type") in ("message_stop", "error")
    return bool(said.get("error"))


def _answer(provider: Provider, pieces: Sequence[bytes]) -> Outcome:
    """One body, taken for everything that a provider answers without streaming."""
    (body,) = pieces
    found: list[Outcome] = []
    try:
        deltas = provider.decode_answer(body)
        found.append([described(delta) for delta in deltas])
        for dialect in DIALECTS:
            msgspec.json.decode(dialect.encode_answer(HEAD, deltas, Usage(1, 1), {}))
            if provider.dialect == dialect.name:
                dialect.answer(body, Usage(1, 1), {"stop": "budget"})
    except UpstreamError as error:
        found.append(refused(error))
    try:
        found.append(provider.decode_models(body))
    except UpstreamError as error:
        found.append(refused(error))
    return [*found, *(refused(provider.error(status, {}, body)) for status in (400, 429, 500))]


def _vectors(embedder: Provider, pieces: Sequence[bytes]) -> Outcome:
    """One body, taken for embeddings, and written in both forms."""
    (body,) = pieces
    try:
        deltas = embedder.decode_answer(body)
    except UpstreamError as error:
        return refused(error)
    for dialect in (Embeddings("float"), Embeddings("base64")):
        msgspec.json.decode(dialect.encode_answer(HEAD, deltas, Usage(1, 0), {}))
        msgspec.json.decode(dialect.answer(body, Usage(1, 0), {"estimated": True}))
    return [described(delta) for delta in deltas]


def _answers() -> list[bytes]:
    """A body of each kind, for every provider: one that is another's is nonsense that makes sense."""
    return [msgspec.json.encode(answer) for answer in ANSWERS]


ANSWERS: list[Any] = [
    {
        "id": "c",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "hi",
                    "reasoning_content": "hm",
                    "refusal": None,
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 1}},
    },
    {
        "id": "m",
        "type": "message",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "text", "text": "hi"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 1},
    },
    {
        "model": "m",
        "message": {
            "role": "assistant",
            "content": "hi",
            "thinking": "hm",
            "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
        },
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 1,
        "eval_count": 2,
    },
    {
        "output": {
            "message": {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
                    {"text": "hi"},
                    {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}},
                ],
            }
        },
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
    },
    {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "hi"}, {"functionCall": {"name": "f", "args": {}}}]},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3},
    },
    {"error": {"message": "no", "type": "invalid_request_error", "code": "context_length_exceeded", "param": None}},
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    {"error": "model 'x' not found"},
    {"message": "slow down", "__type": "ThrottlingException"},
    {"error": {"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "34s"}]}},
    {"object": "list", "data": [{"id": "m", "object": "model"}]},
    {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 1, "total_tokens": 1}},
    {"embeddings": [[0.5, -1e300], [1, 2]], "prompt_eval_count": 3},
    {"embeddings": [{"values": [0.5]}], "usageMetadata": {"promptTokenCount": 3}},
    {"embedding": [0.5], "inputTextTokenCount": 3},
    [{"embeddings": {"float": [[0.5]]}}, {"embeddings": [[1.0]]}],
    {"models": [{"name": "models/m", "model": "m"}], "modelSummaries": [{"modelId": "m"}]},
]
