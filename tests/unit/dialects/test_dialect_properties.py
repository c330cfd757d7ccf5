"""For any delta sequence each dialect's bytes are what its official SDK reads, and say the same."""

from __future__ import annotations

import json

import msgspec
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseOutputMessage, ResponseReasoningItem

from rillgate.dialects.chat_completions import ChatCompletions
from rillgate.dialects.messages import Messages
from rillgate.dialects.messages_wire import STOP_REASONS
from rillgate.dialects.responses import Responses
from rillgate.dialects.responses_reasoning import opened
from rillgate.dialects.responses_wire import INCOMPLETE_REASONS
from rillgate.dialects.ui_stream import UiStream
from rillgate.dialects.ui_stream_wire import FINISH_REASONS
from rillgate.domain.delta import ReasoningDelta, RefusalDelta, TextDelta, ToolDelta
from rillgate.domain.kept_reasoning import unseal
from rillgate.domain.ports import Dialect
from rillgate.domain.request import AnswerHead
from rillgate.domain.usage import Usage
from tests.unit.dialects import ui_support
from tests.unit.dialects.delta_support import Sequence, sequences
from tests.unit.dialects.sdk_support import completion_of, message_of, response_of

USAGE = Usage(9, 4, cached_input_tokens=3, cache_write_tokens=1, reasoning_tokens=2)
HEAD = AnswerHead("req_abc", "m", 1_795_000_000)
EXAMPLES = settings(max_examples=100)


def streamed(dialect: Dialect, sequence: Sequence, heartbeats: list[bool]) -> bytes:
    """The stream as the relay has it written, with heartbeats at some of its boundaries."""
    encoder = dialect.encoder("req_abc", "m", 1_795_000_000)
    parts = [encoder.open()]
    for position, delta in enumerate(sequence.deltas):
        if heartbeats[position % len(heartbeats)]:
            parts.append(encoder.heartbeat())
        parts.append(encoder.encode((delta,), {}))
    beat = encoder.heartbeat() if any(heartbeats) else b""
    return b"".join([*parts, beat, encoder.usage(USAGE), beat, encoder.end()])


def check_message(message: Message, sequence: Sequence) -> None:
    """An Anthropic message says what the deltas said."""
    blocks = message.content
    assert "".join(block.text for block in blocks if block.type == "text") == sequence.said
    assert all(block.text for block in blocks if block.type == "text")
    thoughts = [block for block in blocks if block.type == "thinking"]
    assert "".join(block.thinking for block in thoughts) == sequence.text_of(ReasoningDelta)
    assert [block.signature for block in thoughts if block.signature] == sequence.signatures
    kept = [block.data for block in blocks if block.type == "redacted_thinking"]
    assert [(origin, data, call_id) for origin, call_id, data in map(unseal, kept)] == sequence.opaque
    calls = [block for block in blocks if block.type == "tool_use"]
    assert [(block.name, block.input) for block in calls] == [(name, input_) for _, name, input_ in sequence.calls]
    assert all(block.id == call_id or not call_id for block, (call_id, _, _) in zip(calls, sequence.calls, strict=True))
    assert len({block.id for block in calls}) == len(calls)
    assert message.stop_reason == expected_stop(sequence)
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens) == (5, 4)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (3, 1)
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 2


def expected_stop(sequence: Sequence) -> str:
    """A plain stop after calls is "tool_use", after a refusal "refusal"."""
    if sequence.finish == "stop" and sequence.calls:
        return "tool_use"
    if sequence.finish == "stop" and any(isinstance(delta, RefusalDelta) for delta in sequence.deltas):
        return "refusal"
    return STOP_REASONS[sequence.finish]


def check_completion(completion: ChatCompletion, sequence: Sequence) -> None:
    """A completion says what the deltas said."""
    (choice,) = completion.choices
    message = choice.message
    assert (message.content or "") == sequence.text_of(TextDelta)
    assert (message.refusal or "") == sequence.text_of(RefusalDelta)
    extra = message.model_extra or {}
    assert (extra.get("reasoning_content") or "") == sequence.text_of(ReasoningDelta)
    details = extra.get("reasoning_details") or []
    assert [one["signature"] for one in details if "signature" in one] == sequence.signatures
    kept = [(one["format"], one["data"], one.get("id", "")) for one in details if "data" in one]
    assert kept == sequence.opaque
    assert [one["index"] for one in details] == list(range(len(details)))
    calls = [call for call in message.tool_calls or () if call.type == "function"]
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        (name, arguments) for _, name, arguments in sequence.calls
    ]
    assert all(call.id == call_id or not call_id for call, (call_id, _, _) in zip(calls, sequence.calls, strict=True))
    assert choice.finish_reason == sequence.finish
    assert completion.usage is not None
    assert completion.usage.total_tokens == 13


def check_response(response: Response, sequence: Sequence) -> None:
    """A response says what the deltas said."""
    parts = [part for item in response.output if isinstance(item, ResponseOutputMessage) for part in item.content]
    assert response.output_text == sequence.text_of(TextDelta)
    assert "".join(part.refusal for part in parts if part.type == "refusal") == sequence.text_of(RefusalDelta)
    thoughts = [item for item in response.output if isinstance(item, ResponseReasoningItem)]
    assert "".join(part.text for item in thoughts for part in item.summary) == sequence.text_of(ReasoningDelta)
    kept = [opened(item.encrypted_content) for item in thoughts if item.encrypted_content]
    assert [one["signature"] for one in kept if "signature" in one] == sequence.signatures
    opaque = [(one["format"], one["data"], one.get("id", "")) for one in kept if "data" in one]
    assert opaque == sequence.opaque
    calls = [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]
    assert [(call.name, json.loads(call.arguments or "{}")) for call in calls] == [
        (name, arguments) for _, name, arguments in sequence.calls
    ]
    assert all(call.call_id == given or not given for call, (given, _, _) in zip(calls, sequence.calls, strict=True))
    assert len({call.call_id for call in calls}) == len(calls)
    reason = INCOMPLETE_REASONS.get(sequence.finish)
    assert response.status == ("completed" if reason is None else "incomplete")
    assert (response.incomplete_details and response.incomplete_details.reason) == reason
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (9, 4, 13)
    details = response.usage.input_tokens_details
    assert (details.cached_tokens, details.cache_write_tokens) == (3, 1)
    assert response.usage.output_tokens_details.reasoning_tokens == 2


def check_ui_message(read: ui_support.Read, sequence: Sequence) -> None:
    """A UI message says what the deltas said."""
    assert read.text("text") == sequence.said
    assert read.text("reasoning") == sequence.text_of(ReasoningDelta)
    kept = [part["providerMetadata"]["rillgate"] for part in read.parts if "providerMetadata" in part]
    assert [one["signature"] for one in kept if "signature" in one] == sequence.signatures
    opaque = [(one["format"], one["data"], one.get("id", "")) for one in kept if "data" in one]
    assert opaque == sequence.opaque
    calls = read.calls
    assert [(call["type"], call.get("input", {})) for call in calls] == [
        (f"tool-{name}", arguments) for _, name, arguments in sequence.calls
    ]
    assert {call["state"] for call in calls if call.get("input")} <= {"input-available"}
    assert all(
        call["toolCallId"] == given or not given for call, (given, _, _) in zip(calls, sequence.calls, strict=True)
    )
    assert len({call["toolCallId"] for call in calls}) == len(calls)
    assert read.finish == expected_finish(sequence)
    assert read.metadata["usage"] == {
        "inputTokens": 9,
        "inputTokenDetails": {"cacheReadTokens": 3, "cacheWriteTokens": 1},
        "outputTokens": 4,
        "outputTokenDetails": {"reasoningTokens": 2},
        "totalTokens": 13,
    }
    assert (read.metadata["requestId"], read.metadata["model"]) == ("req_abc", "m")


def expected_finish(sequence: Sequence) -> str:
    """A plain stop after calls is "tool-calls", after a refusal "content-filter"."""
    if sequence.finish == "stop" and sequence.calls:
        return "tool-calls"
    if sequence.finish == "stop" and any(isinstance(delta, RefusalDelta) for delta in sequence.deltas):
        return "content-filter"
    return FINISH_REASONS[sequence.finish]


@EXAMPLES
@given(sequences(), st.lists(st.booleans(), min_size=1, max_size=4))
def test_ui_stream_of_any_deltas_is_read_by_use_chat(sequence: Sequence, beats: list[bool]) -> None:
    """Every chunk fits what came before it and has no field that the protocol does not name."""
    read = ui_support.message_of(streamed(UiStream(), sequence, beats))
    check_ui_message(read, sequence)
    assert read.ends == ["finish", "[DONE]"]


@EXAMPLES
@given(sequences())
def test_whole_ui_message_of_any_deltas_is_what_the_stream_builds(sequence: Sequence) -> None:
    """A whole answer says the same as a stream."""
    message = msgspec.json.decode(UiStream().encode_answer(HEAD, sequence.deltas, USAGE, {}))
    metadata = message["metadata"]
    read = ui_support.Read(message["id"], metadata, message["parts"], metadata["finishReason"])
    check_ui_message(read, sequence)
    assert message["role"] == "assistant"


@EXAMPLES
@given(sequences(), st.data())
def test_ui_stream_that_is_cut_anywhere_ends_as_a_message(sequence: Sequence, data: st.DataObject) -> None:
    """After a cut at any delta the reason is length, the report is metadata, and no half call can be run."""
    encoder = UiStream().encoder("req_abc", "m", 0)
    place = data.draw(st.integers(0, len(sequence.deltas) - 1))
    before = sequence.deltas[:place]
    out = b"".join(encoder.encode((delta,), {}) for delta in before)
    out += encoder.cut(0, " [cut]", {"stop": "budget"}) + encoder.usage(USAGE) + encoder.end()
    read = ui_support.message_of(out)
    said = "".join(delta.text for delta in before if isinstance(delta, TextDelta | RefusalDelta))
    assert read.text("text") == said + " [cut]"
    assert (read.finish, read.metadata["rillgate"], read.ends) == ("length", {"stop": "budget"}, ["finish", "[DONE]"])
    assert len(read.calls) == len([delta for delta in before if isinstance(delta, ToolDelta) and delta.name])
    for call in read.calls:
        assert call["state"] == "input-streaming" or isinstance(call["input"], dict)


@EXAMPLES
@given(sequences(), st.lists(st.booleans(), min_size=1, max_size=4))
def test_responses_stream_of_any_deltas_is_read_by_the_official_helper(sequence: Sequence, beats: list[bool]) -> None:
    """Every event fits what came before it, their numbers have no gaps, and the last one says all of it."""
    check_response(response_of(streamed(Responses(), sequence, beats)), sequence)


@EXAMPLES
@given(sequences(), st.lists(st.booleans(), min_size=1, max_size=4))
def test_messages_stream_of_any_deltas_is_read_by_the_official_helper(sequence: Sequence, beats: list[bool]) -> None:
    """Blocks are gapless and whole, pings stand anywhere, and the message says all that the deltas said."""
    check_message(message_of(streamed(Messages(), sequence, beats)), sequence)


@EXAMPLES
@given(sequences(), st.lists(st.booleans(), min_size=1, max_size=4))
def test_completions_stream_of_any_deltas_is_read_by_the_official_helper(sequence: Sequence, beats: list[bool]) -> None:
    """Ids, names and roles come once, and what the helper builds says all that the deltas said."""
    check_completion(completion_of(streamed(ChatCompletions(), sequence, beats)), sequence)


@EXAMPLES
@given(sequences())
def test_whole_message_of_any_deltas_is_of_the_official_type(sequence: Sequence) -> None:
    """A whole answer says the same as a stream."""
    body = Messages().encode_answer(HEAD, sequence.deltas, USAGE, {})
    check_message(Message.model_validate_json(body), sequence)


@EXAMPLES
@given(sequences())
def test_whole_completion_of_any_deltas_is_of_the_official_type(sequence: Sequence) -> None:
    """A whole answer says the same as a stream."""
    body = ChatCompletions().encode_answer(HEAD, sequence.deltas, USAGE, {})
    check_completion(ChatCompletion.model_validate_json(body, strict=True), sequence)


@EXAMPLES
@given(sequences())
def test_whole_response_of_any_deltas_is_of_the_official_type(sequence: Sequence) -> None:
    """A whole answer says the same as a stream."""
    body = Responses().encode_answer(HEAD, sequence.deltas, USAGE, {})
    check_response(Response.model_validate_json(body, strict=True), sequence)


@EXAMPLES
@given(sequences(), st.data())
def test_responses_stream_that_is_cut_anywhere_ends_as_an_incomplete_response(
    sequence: Sequence, data: st.DataObject
) -> None:
    """After a cut at any delta every item is done, the reason is max_output_tokens, and the report stands beside it."""
    encoder = Responses().encoder("req_abc", "m", 0)
    place = data.draw(st.integers(0, len(sequence.deltas) - 1))
    before = sequence.deltas[:place]
    out = b"".join(encoder.encode((delta,), {}) for delta in before)
    out += encoder.cut(0, " [cut]", {"stop": "budget"}) + encoder.usage(USAGE) + encoder.end()
    response = response_of(out)
    assert response.output_text == "".join(d.text for d in before if isinstance(d, TextDelta)) + " [cut]"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert (response.model_extra or {})["rillgate"] == {"stop": "budget"}
    assert out.count(b'"rillgate"') == 1
    calls = [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]
    assert len(calls) == len([delta for delta in before if isinstance(delta, ToolDelta) and delta.name])
    for call in calls:  # what is said to be whole is whole
        assert call.status == "incomplete" or isinstance(json.loads(call.arguments), dict)


@EXAMPLES
@given(sequences(), st.data())
def test_messages_stream_that_is_cut_anywhere_ends_as_a_message(sequence: Sequence, data: st.DataObject) -> None:
    """After a cut at any delta every block is closed, the reason is max_tokens, and the report stands beside it."""
    encoder = Messages().encoder("req_abc", "m", 0)
    place = data.draw(st.integers(0, len(sequence.deltas) - 1))
    out = b"".join(encoder.encode((delta,), {}) for delta in sequence.deltas[:place])
    out += encoder.cut(0, " [cut]", {"stop": "budget"}) + encoder.usage(USAGE) + encoder.end()
    before = sequence.deltas[:place]
    message = message_of(out)
    said = "".join(delta.text for delta in before if isinstance(delta, TextDelta | RefusalDelta))
    assert "".join(block.text for block in message.content if block.type == "text") == said + " [cut]"
    assert message.stop_reason == "max_tokens"
    calls = [delta for delta in before if isinstance(delta, ToolDelta) and delta.name]
    assert len([block for block in message.content if block.type == "tool_use"]) == len(calls)
    starts, stops = (out.count(b"event: content_block_" + name) for name in (b"start", b"stop"))
    assert starts == stops
    ending = next(frame for frame in out.split(b"\n\n") if frame.startswith(b"event: message_delta"))
    assert msgspec.json.decode(ending.partition(b"data: ")[2])["rillgate"] == {"stop": "budget"}
