"""Scripts in which the fake provider speaks Anthropic's Messages API.

fake.script = message(["Hel", "lo"])    # a stream or a whole message, as the request asks
fake.queue([MessageStart(usage()), *text_block(0, ["Hel"]), Reset()])  # event by event
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tests.fakes.exchange import Exchange, Step


@dataclass(frozen=True)
class Event:
    """One event of a stream, under its own name. `chunks`: of content, counted in `chunks_sent`."""

    type: str
    fields: dict[str, Any]
    chunks: int = 0

    async def run(self, exchange: Exchange) -> None:
        await exchange.frame({"type": self.type, **self.fields}, event=self.type, chunks=self.chunks)


@dataclass(frozen=True)
class MessageStart:
    """The first event, with the model that was asked for."""

    usage: dict[str, Any]

    async def run(self, exchange: Exchange) -> None:
        head = _head(exchange) | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": self.usage}
        await Event("message_start", {"message": head}).run(exchange)


@dataclass(frozen=True)
class ToolUse:
    """A call: `arguments` in the pieces in which they are streamed; none for a call without any."""

    call_id: str
    name: str
    arguments: Sequence[str] = ()


def usage(input_tokens: int = 9, output_tokens: int = 1, **more: int) -> dict[str, Any]:
    """Counts as the API writes them, the cache's with them."""
    return {
        "input_tokens": input_tokens,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "output_tokens": output_tokens,
        **more,
    }


def block_start(index: int, content_block: dict[str, Any]) -> Event:
    """A block opens."""
    return Event("content_block_start", {"index": index, "content_block": content_block})


def block_delta(index: int, kind: str, **fields: Any) -> Event:
    """A fragment of a block: `block_delta(0, "text_delta", text="Hi")`."""
    return Event("content_block_delta", {"index": index, "delta": {"type": kind, **fields}}, chunks=1)


def block_stop(index: int) -> Event:
    """A block is complete."""
    return Event("content_block_stop", {"index": index})


def text_block(index: int, texts: Sequence[str]) -> list[Event]:
    """A whole block of text."""
    pieces = [block_delta(index, "text_delta", text=piece) for piece in texts]
    return [block_start(index, {"type": "text", "text": ""}), *pieces, block_stop(index)]


def thinking_block(index: int, thoughts: Sequence[str], signature: str) -> list[Event]:
    """A whole block of thinking, signed."""
    pieces = [block_delta(index, "thinking_delta", thinking=piece) for piece in thoughts]
    signed = block_delta(index, "signature_delta", signature=signature)
    opened = block_start(index, {"type": "thinking", "thinking": "", "signature": ""})
    return [opened, *pieces, signed, block_stop(index)]


def tool_block(index: int, call: ToolUse) -> list[Event]:
    """A whole call."""
    pieces = [block_delta(index, "input_json_delta", partial_json=piece) for piece in call.arguments]
    opened = block_start(index, {"type": "tool_use", "id": call.call_id, "name": call.name, "input": {}})
    return [opened, *pieces, block_stop(index)]


def message_delta(stop_reason: str, output_tokens: int, **more: Any) -> Event:
    """The finish, with the counts so far."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None, **more}
    return Event("message_delta", {"delta": delta, "usage": {"output_tokens": output_tokens}})


PING = Event("ping", {})
MESSAGE_STOP = Event("message_stop", {})


def error(kind: str = "overloaded_error", said: str = "Overloaded") -> Event:
    """An error inside the stream."""
    return Event("error", {"error": {"type": kind, "message": said}})


def error_body(kind: str, said: str) -> dict[str, Any]:
    """The body of an answer with an error status."""
    return {"type": "error", "error": {"type": kind, "message": said}, "request_id": "req_fake"}


@dataclass(frozen=True)
class Message:
    """The answer to a request, as a stream or as one message, whichever was asked for. See `message`."""

    texts: Sequence[str]
    thoughts: Sequence[str]
    signature: str
    tools: Sequence[ToolUse]
    stop_reason: str
    input_tokens: int
    output_tokens: int

    async def __call__(self, exchange: Exchange) -> None:
        if not exchange.wants_stream:
            await exchange.answer_json(self._whole(exchange))
            return
        for step in self.steps():
            await step.run(exchange)
        await exchange.end_body()

    def steps(self) -> list[Step]:
        """The stream, event by event."""
        blocks: list[Event] = []
        index = 0
        if self.thoughts:
            blocks += thinking_block(index, self.thoughts, self.signature)
            index += 1
        if self.texts:
            blocks += text_block(index, self.texts)
            index += 1
        for offset, call in enumerate(self.tools):
            blocks += tool_block(index + offset, call)
        ending = [message_delta(self.stop_reason, self.output_tokens), MESSAGE_STOP]
        return [MessageStart(usage(self.input_tokens)), PING, *blocks, *ending]

    def _whole(self, exchange: Exchange) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        if self.thoughts:
            content.append({"type": "thinking", "thinking": "".join(self.thoughts), "signature": self.signature})
        if self.texts:
            content.append({"type": "text", "text": "".join(self.texts)})
        for call in self.tools:
            given = msgspec.json.decode("".join(call.arguments) or "{}")
            content.append({"type": "tool_use", "id": call.call_id, "name": call.name, "input": given})
        ending = {"stop_reason": self.stop_reason, "stop_sequence": None}
        return _head(exchange) | ending | {"content": content, "usage": usage(self.input_tokens, self.output_tokens)}


def message(
    texts: Sequence[str] = ("Hello",),
    *,
    thoughts: Sequence[str] = (),
    signature: str = "c2ln",
    tools: Sequence[ToolUse] = (),
    stop_reason: str | None = None,
    input_tokens: int = 9,
    output_tokens: int = 4,
) -> Message:
    """A whole answer: thinking, then text, then calls. Without a stop reason it is the one that fits."""
    reason = stop_reason or ("tool_use" if tools else "end_turn")
    return Message(tuple(texts), tuple(thoughts), signature, tuple(tools), reason, input_tokens, output_tokens)


def _head(exchange: Exchange) -> dict[str, Any]:
    return {"id": f"msg_{exchange.number}", "type": "message", "role": "assistant", "model": exchange.model}
