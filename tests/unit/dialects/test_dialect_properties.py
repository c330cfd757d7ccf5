"""For any delta sequence each dialect's bytes are what its official SDK reads, and say the same."""

from __future__ import annotations

import json

import msgspec
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from rillgate.dialects.chat_completions import ChatCompletions
from rillgate.dialects.messages import Messages
from rillgate.dialects.messages_wire import STOP_REASONS
from rillgate.domain.delta import ReasoningDelta, RefusalDelta, TextDelta, ToolDelta
from rillgate.domain.kept_reasoning import unseal
from rillgate.domain.ports import Dialect
from rillgate.domain.request import AnswerHead
from rillgate.domain.usage import Usage
from tests.unit.dialects.delta_support import Sequence, sequences
from tests.unit.dialects.sdk_support import completion_of, message_of

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
