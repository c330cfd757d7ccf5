"""The official SDKs' own parsers and accumulators, fed with what an encoder wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from anthropic._models import construct_type_unchecked
from anthropic._streaming import SSEDecoder as AnthropicDecoder
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, ParsedMessage, RawMessageStreamEvent
from openai._streaming import SSEDecoder as OpenAIDecoder
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk, ParsedChatCompletion
from pydantic import TypeAdapter

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)


def whole(out: bytes) -> Iterator[bytes]:
    """Bytes as a response gives them."""
    yield out


def message_events(out: bytes) -> list[dict[str, Any]]:
    """The events of a Messages stream as anthropic-python cuts it; each under the name of its type."""
    found = []
    for one in AnthropicDecoder().iter_bytes(whole(out)):
        content = json.loads(one.data)
        assert one.event == content["type"]
        found.append(content)
    return found


def message_of(out: bytes) -> Message:
    """What anthropic-python's helper builds of a stream; every event is checked against the SDK's own types."""
    snapshot: ParsedMessage[None] | None = None
    buffers: dict[int, bytes] = {}
    for content in message_events(out):
        if content["type"] == "ping":
            continue
        EVENT.validate_python(content)
        event: Any = construct_type_unchecked(type_=RawMessageStreamEvent, value=content)  # type: ignore[arg-type]
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    return snapshot


def chunks_of(out: bytes) -> list[ChatCompletionChunk]:
    """The chunks of a Chat Completions stream as openai-python cuts it, each checked against the SDK's type."""
    data = [one.data for one in OpenAIDecoder().iter_bytes(whole(out))]
    assert data[-1] == "[DONE]"
    return [ChatCompletionChunk.model_validate_json(one, strict=True) for one in data[:-1]]


def completion_of(out: bytes) -> ParsedChatCompletion[None]:
    """What openai-python's helper builds of a stream."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks_of(out):
        state.handle_chunk(chunk)
    return state.current_completion_snapshot  # type: ignore[return-value]
