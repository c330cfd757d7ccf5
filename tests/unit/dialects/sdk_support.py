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
from openai._types import omit
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.chat import ChatCompletionChunk, ParsedChatCompletion
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
RESPONSE_EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
RESPONSE_ENDS = ("response.completed", "response.incomplete", "response.failed")


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


def response_events(out: bytes) -> list[dict[str, Any]]:
    """The events of a Responses stream as openai-python cuts it: under their types' names, numbered without gaps."""
    found = []
    for one in OpenAIDecoder().iter_bytes(whole(out)):
        content = json.loads(one.data)
        assert one.event == content["type"]
        RESPONSE_EVENT.validate_python(_with_a_known_code(content), strict=True)
        found.append(content)
    assert [content["sequence_number"] for content in found] == list(range(len(found)))
    return found


def _with_a_known_code(content: dict[str, Any]) -> dict[str, Any]:
    """OpenAI itself sends codes of a failed response that are not in its own list, such as insufficient_quota."""
    if content["type"] != "response.failed":
        return content
    response = content["response"]
    return {**content, "response": {**response, "error": {**response["error"], "code": "server_error"}}}


def response_of(out: bytes) -> Response:
    """What openai-python's helper makes of a stream that ends properly: every event fits what came before it.

    Items that are put together from the events alone are those of the last event.
    """
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=omit, text_format=omit)
    ends = []
    for content in response_events(out):
        event = RESPONSE_EVENT.validate_python(content)
        state.handle_event(event)
        if content["type"] in RESPONSE_ENDS:
            ends.append(content["response"])
    (last,) = ends
    assert content["type"] in RESPONSE_ENDS
    assert built(response_events(out)) == last["output"]
    return Response.model_validate(last, strict=True)


def built(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The output items of a stream, by their `output_index`, checked against the pieces that came of each."""
    pieces: dict[tuple[int, str], str] = {}
    done: dict[int, dict[str, Any]] = {}
    for event in events:
        index, kind = event.get("output_index"), event["type"]
        if index is None:
            continue
        assert index not in done, kind
        if kind.endswith(".delta"):
            place = (index, f"{kind}{event.get('content_index', 0)}".replace(".delta", ".done"))
            pieces[place] = pieces.get(place, "") + event["delta"]
        elif kind == "response.output_item.done":
            done[index] = event["item"]
        elif (index, f"{kind}{event.get('content_index', 0)}") in pieces:
            said = next(event[key] for key in ("text", "refusal", "arguments") if key in event)
            assert said == pieces[index, f"{kind}{event.get('content_index', 0)}"]
    return [done[index] for index in sorted(done)]
