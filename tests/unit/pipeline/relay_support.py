"""What the tests of the relay share: a tokenizer of words, frames as a provider writes them, a client's view."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rillgate.budget.guard import Guard
from rillgate.dialects.chat_completions import ChatCompletionsEncoder
from rillgate.domain.delta import Delta
from rillgate.domain.ports import Encoder, Encoding, Frame, FrameReader, Report, StreamDecoder
from rillgate.pipeline.relay import NO_REPORT, Relay
from rillgate.providers.openai import OpenAIProvider
from rillgate.wire.sse import SseReader

PROVIDER = OpenAIProvider("lab", own_host=False)
REQUEST_CUT: Report = {"stop": "budget", "scope": "request"}
DONE = b"data: [DONE]\n\n"


class Words:
    """An encoding in which every word, with the spaces before it, is one token."""

    name = "words"

    def count(self, text: str) -> int:
        """Number of words."""
        return len(self.pieces(text))

    def pieces(self, text: str) -> list[str]:
        """The words, the spaces before each with it."""
        return re.findall(r"\s*\S+|\s+$", text)


ESTIMATED = {"estimated": True}
BUDGET = {"stop": "budget", "scope": "request", "estimated": True}
EXTRA: dict[str, Any] = {"x_lab": {"b": [1.0, None], "a": "ä\u2028😀\\"}, "service_tier": "default"}
WORDS: Encoding = Words()


def make_relay(
    *,
    cap: int = 1000,
    exact: bool = True,
    encoding: Callable[[], Encoding | None] = lambda: WORDS,
    choices: int = 1,
    include_usage: bool = False,
    cut_notice: str = "",
    cut_report: Report = REQUEST_CUT,
    length_report: Report = NO_REPORT,
    same_dialect: bool = True,
    encoder: Encoder | None = None,
    reader: FrameReader | None = None,
    decoder: StreamDecoder | None = None,
    on_content: Callable[[], None] = lambda: None,
) -> Relay:
    """A relay between an OpenAI-compatible provider "lab" and a Chat Completions client, with a prompt of 5 tokens."""
    return Relay(
        provider="lab",
        reader=reader or PROVIDER.reader(),
        decoder=decoder or PROVIDER.decoder(),
        encoder=encoder or ChatCompletionsEncoder("req1", "asked-model", 1_700_000_000),
        same_dialect=same_dialect,
        guard=Guard(cap, encoding, exact=exact),
        choices=choices,
        include_usage=include_usage,
        prompt_tokens=5,
        cut_notice=cut_notice,
        cut_report=lambda: cut_report,
        length_report=length_report,
        on_content=on_content,
    )


def frame(payload: object) -> bytes:
    """One frame with this JSON, or with these bytes as they are."""
    return b"data: " + (payload if isinstance(payload, bytes) else msgspec.json.encode(payload)) + b"\n\n"


def envelope(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A chunk as the provider writes it."""
    head = {"id": "chatcmpl-lab", "object": "chat.completion.chunk", "created": 1_795_000_000, "model": "lab-model"}
    return {**head, "choices": choices, **more}


def delta(fields: dict[str, Any], finish: str | None = None, choice: int = 0, **more: Any) -> bytes:
    """A frame with one choice; `more` stands beside its choices."""
    return frame(envelope([{"index": choice, "delta": fields, "finish_reason": finish}], **more))


def role(choice: int = 0) -> bytes:
    """The first frame of a choice."""
    return delta({"role": "assistant", "content": ""}, choice=choice)


def text(content: str, choice: int = 0, **more: Any) -> bytes:
    """A frame with text."""
    return delta({"content": content}, choice=choice, **more)


def finish(reason: str = "stop", choice: int = 0, **more: Any) -> bytes:
    """The frame that finishes a choice."""
    return delta({}, reason, choice=choice, **more)


def usage_numbers(input_tokens: int = 9, output_tokens: int = 4) -> dict[str, int]:
    """Usage as the provider writes it."""
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


def usage(input_tokens: int = 9, output_tokens: int = 4) -> bytes:
    """The frame with usage and no choices."""
    return frame(envelope([], usage=usage_numbers(input_tokens, output_tokens)))


def failure(detail: object) -> bytes:
    """An error inside the stream."""
    return frame({"error": detail})


def answer_of(*frames: bytes) -> bytes:
    """A stream of these frames with [DONE] at its end."""
    return b"".join(frames) + DONE


def run(relay: Relay, chunks: Iterable[bytes]) -> bytes:
    """Everything that the client gets for these chunks and the end of the body, fed as the pump feeds them."""
    out = b""
    for chunk in chunks:
        out += relay.feed(chunk)
        if relay.end is not None:
            return out
    return out + relay.feed_eof()


@dataclass
class Seen:
    """What a client has seen, choice by choice.

    Attributes:
        text: content, reasoning, refusals and tool arguments are kept apart by kind.
        chunks: every JSON chunk, in order.
        done: whether [DONE] was the last frame.
    """

    chunks: list[dict[str, Any]] = field(default_factory=list)
    text: dict[int, str] = field(default_factory=dict)
    finish: dict[int, list[str]] = field(default_factory=dict)
    reports: list[dict[str, Any]] = field(default_factory=list)
    usage: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    done: bool = False


def seen(out: bytes) -> Seen:
    """A client's view of a stream. Nothing may follow an error or [DONE], and no frame may be broken."""
    reader = SseReader()
    frames = reader.feed(out)
    assert reader.feed_eof() == []
    result = Seen()
    for one in frames:
        assert result.error is None, "a frame after an error"
        assert not result.done, "a frame after [DONE]"
        if one.data == b"[DONE]":
            result.done = True
            continue
        chunk = msgspec.json.decode(one.data)
        if "error" in chunk:
            result.error = chunk["error"]
            continue
        result.chunks.append(chunk)
        assert chunk["object"] == "chat.completion.chunk"
        if "rillgate" in chunk:
            result.reports.append(chunk["rillgate"])
        if chunk.get("usage"):
            result.usage.append(chunk["usage"])
        for choice in chunk["choices"]:
            index = choice["index"]
            result.text[index] = result.text.get(index, "") + (choice["delta"].get("content") or "")
            if choice.get("finish_reason"):
                result.finish.setdefault(index, []).append(choice["finish_reason"])
    return result


def with_usage_null(raw: bytes) -> bytes:
    """As OpenAI writes its frames once usage is asked for."""
    return raw.replace(b"}]}\n", b'}],"usage":null}\n')


class Scripted:
    """A decoder of some other provider: each frame means the next of these."""

    def __init__(self, frames: list[list[Delta]]) -> None:
        self._frames = iter(frames)

    def decode(self, frame: Frame) -> list[Delta] | None:
        """The next ones; once they are used up, nothing."""
        return next(self._frames, None)
