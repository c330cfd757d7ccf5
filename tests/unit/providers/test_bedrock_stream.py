"""What Bedrock's events and answers mean, fed whole, byte by byte and with something behind them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.delta import (
    ANTHROPIC_ORIGIN,
    Delta,
    EndDelta,
    ErrorDelta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.ends import End
from rillgate.domain.errors import UpstreamError
from rillgate.domain.usage import Usage
from rillgate.providers.bedrock import BedrockProvider
from tests.fakes import script_bedrock as sent
from tests.fakes.eventstream import error, event, exception
from tests.unit.pipeline.relay_support import make_relay, run, seen

PROVIDER = BedrockProvider("aws")
USAGE = UsageDelta(Usage(9, 4))
FIELDS = [
    *("output", "message", "content", "text", "toolUse", "toolUseId", "name", "input", "type", "reasoningContent"),
    *("reasoningText", "signature", "redactedContent", "citationsContent", "stopReason", "usage", "inputTokens"),
    *("contentBlockIndex", "start", "delta", "additionalModelResponseFields", "stop_sequence", "originalStatusCode"),
    *("__type", "Message"),
]
EVENTS = [
    *("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"),
    *("validationException", "modelStreamErrorException", "somethingNew"),
]
END = [FinishDelta(0, "stop"), USAGE, EndDelta()]


def decoded(*chunks: bytes) -> list[Delta]:
    """All deltas of a stream; frames that mean nothing to us are passed over."""
    reader, decoder = PROVIDER.reader(), PROVIDER.decoder()
    frames = [frame for chunk in chunks for frame in reader.feed(chunk)]
    return [delta for frame in [*frames, *reader.feed_eof()] for delta in decoder.decode(frame) or []]


def meaning(stream: bytes) -> list[Delta]:
    """The deltas of a stream, which are the same however it is cut."""
    found = decoded(stream)
    for again in (decoded(*(stream[at : at + 1] for at in range(len(stream)))), decoded(stream + sent.text("x")[:-1])):
        assert [_shown(delta) for delta in again] == [_shown(delta) for delta in found]
    return found


def _shown(delta: Delta) -> Any:
    return vars(delta.error) if isinstance(delta, ErrorDelta) else delta


def whole(*events: bytes, reason: str = "end_turn") -> bytes:
    return b"".join([sent.start(), *events, sent.stop(reason), sent.metadata()])


def test_bedrock_text_is_text_finish_usage_and_end() -> None:
    """Text needs no event that begins its block; the end comes with the token counts, after the finish."""
    stream = sent.stream_of(["Hel", "lo", "", "\u2028ß😀"])
    assert meaning(stream) == [TextDelta(0, "Hel"), TextDelta(0, "lo"), TextDelta(0, "\u2028ß😀"), *END]


def test_bedrock_empty_completion_is_complete() -> None:
    """A model may say nothing."""
    assert meaning(whole()) == END


def test_bedrock_call_gets_the_first_index_whatever_its_block_is() -> None:
    """Blocks count texts too."""
    stream = whole(
        sent.text("Let me look."),
        sent.end_block(),
        sent.begin_tool("tooluse_1", "weather", 1),
        sent.arguments("", 1),
        sent.arguments('{"city":', 1),
        sent.arguments(' "Paris"}', 1),
        sent.end_block(1),
        reason="tool_use",
    )
    assert meaning(stream) == [
        TextDelta(0, "Let me look."),
        ToolDelta(0, 0, "tooluse_1", "weather", ""),
        ToolDelta(0, 0, None, None, '{"city":'),
        ToolDelta(0, 0, None, None, ' "Paris"}'),
        FinishDelta(0, "tool_calls"),
        USAGE,
        EndDelta(),
    ]


def test_bedrock_parallel_calls_interleaved_keep_their_own_indexes() -> None:
    """Fragments are told apart by their block."""
    stream = whole(
        sent.begin_tool("a", "f", 3),
        sent.begin_tool("b", "g", 7),
        sent.arguments('{"x"', 7),
        sent.arguments('{"y"', 3),
        sent.arguments(":1}", 7),
        sent.arguments(":2}", 3),
        sent.end_block(3),
        sent.end_block(7),
        reason="tool_use",
    )
    calls = [delta for delta in meaning(stream) if isinstance(delta, ToolDelta)]
    assert [(call.index, call.call_id, call.name) for call in calls[:2]] == [(0, "a", "f"), (1, "b", "g")]
    for index, expected in ((0, '{"y":2}'), (1, '{"x":1}')):
        assert "".join(call.arguments for call in calls if call.index == index) == expected


@pytest.mark.parametrize("closed", [True, False])
def test_bedrock_call_without_arguments_has_empty_ones(closed: bool) -> None:
    """No fragment comes for such a call, and some models leave out the end of its block."""
    block = [sent.end_block(2)] if closed else []
    stream = whole(sent.begin_tool("a", "now", 2), *block, reason="tool_use")
    assert meaning(stream)[:2] == [ToolDelta(0, 0, "a", "now", ""), ToolDelta(0, 0, None, None, "{}")]
    assert len([delta for delta in meaning(stream) if isinstance(delta, ToolDelta)]) == 2


def test_bedrock_calls_that_end_like_a_text_finish_as_calls() -> None:
    """Some models say end_turn for them; a cap stays a cap."""
    calling = [sent.begin_tool("a", "f", 0), sent.arguments("{}", 0), sent.end_block(0)]
    assert FinishDelta(0, "tool_calls") in meaning(whole(*calling))
    assert FinishDelta(0, "length") in meaning(whole(*calling, reason="max_tokens"))


def test_bedrock_call_that_the_service_answers_itself_is_none_of_ours() -> None:
    """Neither its beginning nor its arguments are shown, and it takes no index."""
    stream = whole(
        sent.begin_tool("s", "nova_grounding", 0, type="server_tool_use"),
        sent.arguments('{"q":1}', 0),
        sent.end_block(0),
        event("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolResult": {"toolUseId": "s"}}}),
        sent.delta({"toolResult": [{"text": "found"}]}, 1),
        sent.delta({"citation": {"title": "t"}}, 2),
        sent.begin_tool("a", "f", 3),
        sent.end_block(3),
        reason="tool_use",
    )
    calls = [delta for delta in meaning(stream) if isinstance(delta, ToolDelta)]
    assert calls == [ToolDelta(0, 0, "a", "f", ""), ToolDelta(0, 0, None, None, "{}")]


def test_bedrock_reasoning_comes_with_its_signature_and_what_is_redacted() -> None:
    """In the order of the stream; the family that can read them stands beside them."""
    stream = whole(
        sent.reasoning({"text": "hm"}),
        sent.reasoning({"signature": "c2ln"}),
        sent.end_block(),
        sent.reasoning({"redactedContent": "b3BhcXVl"}, 1),
        sent.end_block(1),
        sent.text("So.", 2),
    )
    assert meaning(stream)[:4] == [
        ReasoningDelta(0, "hm"),
        SignatureDelta(0, "c2ln", ANTHROPIC_ORIGIN),
        OpaqueReasoningDelta(0, "b3BhcXVl", ANTHROPIC_ORIGIN),
        TextDelta(0, "So."),
    ]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_bedrock_stop_reason_is_said_in_openai_words(reason: str, expected: str) -> None:
    """In streams and in whole answers; one that is new is a plain stop."""
    assert FinishDelta(0, expected) in meaning(sent.stream_of(["Hi"], reason))
    assert FinishDelta(0, expected) in PROVIDER.decode_answer(msgspec.json.encode(sent.answer_of(reason=reason)))


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_bedrock_answer_that_was_given_up_is_an_error(reason: str) -> None:
    """It is not whole, whatever has come of it."""
    failure = meaning(sent.start() + sent.text("{") + sent.stop(reason))[-1]
    assert isinstance(failure, ErrorDelta)
    assert (failure.error.status, failure.error.code) == (502, "upstream_error")
    assert reason in failure.error.message
    with pytest.raises(UpstreamError, match=reason):
        PROVIDER.decode_answer(msgspec.json.encode(sent.answer_of(reason=reason)))


def test_bedrock_stop_sequence_that_was_met_is_named() -> None:
    """Where the model's own field says which."""
    more: dict[str, Any] = {"additionalModelResponseFields": {"stop_sequence": "END"}}
    assert FinishDelta(0, "stop", "END") in meaning(sent.start() + sent.stop("stop_sequence", **more))
    answer = msgspec.json.encode(sent.answer_of(reason="stop_sequence", **more))
    assert FinishDelta(0, "stop", "END") in PROVIDER.decode_answer(answer)
    odd: Any
    for odd in ({"stop_sequence": None}, [], "END", None):
        assert FinishDelta(0, "stop") in meaning(sent.stop("stop_sequence", additionalModelResponseFields=odd))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}, Usage(9, 4)),
        (sent.usage(9, 4, cacheReadInputTokens=0, cacheWriteInputTokens=0), Usage(9, 4, 0, 0)),
        (sent.usage(9, 4, cacheReadInputTokens=100, cacheWriteInputTokens=20), Usage(129, 4, 100, 20)),
        (sent.usage(9, 4, cacheReadInputTokens=100), Usage(109, 4, 100, None)),
        ({"outputTokens": 4}, Usage(None, 4)),
        ({"inputTokens": None, "outputTokens": -1, "cacheReadInputTokens": "7"}, Usage()),
        ({}, Usage()),
    ],
)
def test_bedrock_usage_counts_the_cached_prompt_in_and_leaves_unknown_unknown(
    counts: dict[str, int], expected: Usage
) -> None:
    """Bedrock's input is what the cache had no part in; what is not said is not zero."""
    assert UsageDelta(expected) in meaning(sent.start() + sent.stop() + sent.metadata(counts))
    answer = msgspec.json.encode({**sent.answer_of({"text": "Hi"}), "usage": counts})
    assert UsageDelta(expected) in PROVIDER.decode_answer(answer)


def test_bedrock_end_needs_both_of_the_last_events_in_whatever_order() -> None:
    """One alone is no end."""
    assert meaning(sent.start() + sent.metadata() + sent.stop()) == [USAGE, FinishDelta(0, "stop"), EndDelta()]
    assert EndDelta() not in meaning(sent.start() + sent.text("Hi") + sent.metadata())
    assert EndDelta() not in meaning(sent.start() + sent.text("Hi") + sent.stop())
    assert meaning(sent.stop() + event("metadata", {"metrics": {}}))[-1] == EndDelta()


@pytest.mark.parametrize(
    ("kind", "payload", "status", "code", "retryable"),
    [
        ("throttlingException", {"message": "slow down"}, 429, "rate_limit_exceeded", True),
        ("serviceUnavailableException", {"message": "later"}, 503, "upstream_overloaded", True),
        ("internalServerException", {"message": "oops"}, 502, "upstream_error", True),
        ("validationException", {"message": "bad"}, 400, "invalid_request", False),
        (
            "validationException",
            {"message": "Input is too long for requested model."},
            400,
            "context_length_exceeded",
            False,
        ),
        ("modelStreamErrorException", {"message": "m", "originalStatusCode": 500}, 502, "upstream_error", True),
        ("modelStreamErrorException", {"message": "m", "originalStatusCode": 400}, 502, "upstream_error", False),
        ("somethingNewException", {"message": "m"}, 502, "upstream_error", True),
    ],
)
def test_bedrock_exception_in_the_stream_is_an_error_of_its_class(
    kind: str, payload: dict[str, Any], status: int, code: str, retryable: bool
) -> None:
    """First of all as well as in the middle; what came before it stays."""
    for before in ([], [TextDelta(0, "Hel")]):
        stream = sent.start() + b"".join(sent.text(delta.text) for delta in before)
        *others, failure = meaning(stream + exception(kind, payload))
        assert others == before
        assert isinstance(failure, ErrorDelta)
        said = failure.error
        assert (said.status, said.code, said.retryable, said.message) == (status, code, retryable, payload["message"])


def test_bedrock_error_of_the_service_itself_is_an_error() -> None:
    """Such a one stands in headers alone, and one without any words still says what it is."""
    failure = meaning(error("InternalFailure", "It broke."))[-1]
    assert isinstance(failure, ErrorDelta)
    assert (failure.error.status, failure.error.message) == (502, "It broke.")
    silent = meaning(exception("throttlingException", b""))[-1]
    assert isinstance(silent, ErrorDelta)
    assert silent.error.message == "Provider 'aws' ended its stream with an error (throttling)."
    assert silent.error.status == 429


def test_bedrock_refused_credentials_in_a_stream_repeat_nothing() -> None:
    """A token may end in the middle of an answer; its name is nobody's business."""
    failure = meaning(exception("expiredTokenException", {"message": "token FwoG of role X"}))[-1]
    assert isinstance(failure, ErrorDelta)
    assert (failure.error.code, failure.error.retryable) == ("upstream_auth", False)
    assert "FwoG" not in failure.error.message


def test_bedrock_unknown_events_are_skipped() -> None:
    """Counted by the relay, and nothing else: events without a type too."""
    (frame,) = PROVIDER.reader().feed(event("somethingNew", {"a": 1}))
    assert PROVIDER.decoder().decode(frame) is None
    assert meaning(event("somethingNew", {}) + event("", b"") + whole(sent.text("Hi"))) == [TextDelta(0, "Hi"), *END]


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"[]", b'{"delta":', b'{"contentBlockIndex":"0"}', b'{"delta":{"text":1}}']
)
def test_bedrock_event_that_is_not_its_json_is_broken(payload: bytes) -> None:
    """Named by its type and length, never by what it holds."""
    (frame,) = PROVIDER.reader().feed(event("contentBlockDelta", payload))
    with pytest.raises(UpstreamError, match=f"'contentBlockDelta' of {len(payload)} bytes") as raised:
        PROVIDER.decoder().decode(frame)
    assert not raised.value.retryable


def test_bedrock_half_a_character_is_replaced() -> None:
    """JSON can spell it, UTF-8 cannot say it."""
    stream = whole(event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"a\\ud83d"}}'))
    assert meaning(stream)[0] == TextDelta(0, "a\ufffd")


def relayed(stream: bytes, *, include_usage: bool = True) -> tuple[Any, Any]:
    """The relay and what a Chat Completions client sees of a stream."""
    relay = make_relay(
        reader=PROVIDER.reader(), decoder=PROVIDER.decoder(), same_dialect=False, include_usage=include_usage
    )
    return relay, seen(run(relay, [stream]))


def test_bedrock_stream_cut_off_is_truncated_at_every_byte_before_its_stop() -> None:
    """Never a false [DONE]; once the message has stopped it is whole, and only its usage is missing."""
    stream = sent.stream_of(["Hello", " you"])
    complete = len(stream) - len(sent.metadata())
    for length in range(0, len(stream), 7):
        relay, client = relayed(stream[:length])
        assert (relay.end is End.FINISHED) == client.done == (length >= complete)
        assert (client.error is None) == (length >= complete)
    relay, client = relayed(stream[:complete])
    assert client.finish == {0: ["stop"]}
    assert (client.reports, client.usage[-1]["completion_tokens"]) == ([{"estimated": True}], 2)


def test_bedrock_whole_answer_is_its_blocks_in_order() -> None:
    """As a stream of it would be."""
    answer = sent.answer_of(
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "b3BhcXVl"}},
        {"text": "Hi"},
        {"citationsContent": {"content": [{"text": "cited"}], "citations": []}},
        {"toolUse": {"toolUseId": "a", "name": "f", "input": {"x": [1, "ß"]}}},
        {"toolUse": {"toolUseId": "s", "name": "own", "input": {}, "type": "server_tool_use"}},
        {"toolUse": {"toolUseId": "b", "name": "g", "input": {}}},
        {"somethingNew": {}},
        reason="tool_use",
    )
    assert PROVIDER.decode_answer(msgspec.json.encode(answer)) == [
        ReasoningDelta(0, "hm"),
        SignatureDelta(0, "c2ln", ANTHROPIC_ORIGIN),
        OpaqueReasoningDelta(0, "b3BhcXVl", ANTHROPIC_ORIGIN),
        TextDelta(0, "Hi"),
        TextDelta(0, "cited"),
        ToolDelta(0, 0, "a", "f", '{"x":[1,"ß"]}'),
        ToolDelta(0, 1, "b", "g", "{}"),
        FinishDelta(0, "tool_calls"),
        USAGE,
    ]


@pytest.mark.parametrize(
    "body", [b"", b"null", b"{}", b'{"output":{}}', b'{"output":{"message":1}}', b'{"message":"no"}']
)
def test_bedrock_body_that_is_no_answer_is_an_error(body: bytes) -> None:
    """With status 200 too."""
    with pytest.raises(UpstreamError, match="Provider 'aws' sent an answer"):
        PROVIDER.decode_answer(body)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 600), st.text(max_size=5), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)),
    max_leaves=12,
)


@given(name=st.sampled_from(EVENTS), value=VALUES)
def test_bedrock_event_of_any_json_is_read_or_broken(name: str, value: Any) -> None:
    """No shape of a payload raises anything else."""
    written = exception if name.endswith("Exception") else event
    (frame,) = PROVIDER.reader().feed(written(name, value))
    try:
        deltas = PROVIDER.decoder().decode(frame)
    except UpstreamError:
        return
    assert deltas is None or isinstance(deltas, list)


@given(value=VALUES)
def test_bedrock_answer_of_any_json_is_read_or_refused(value: Any) -> None:
    """Nor does that of an answer, or of an error."""
    body = msgspec.json.encode(value)
    assert isinstance(PROVIDER.error(400, {}, body), UpstreamError)
    try:
        deltas = PROVIDER.decode_answer(body)
    except UpstreamError:
        return
    assert any(isinstance(delta, FinishDelta) for delta in deltas)
