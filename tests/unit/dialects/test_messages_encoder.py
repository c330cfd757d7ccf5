"""What goes over the wire to a Messages client, byte by byte where it matters."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.dialects.messages import Messages
from rillgate.dialects.messages_encoder import MessagesEncoder
from rillgate.domain.delta import (
    ANTHROPIC_ORIGIN,
    Delta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
)
from rillgate.domain.errors import (
    AuthError,
    BudgetError,
    CapacityError,
    ClientError,
    RillgateError,
    UpstreamError,
    UpstreamTimeout,
)
from rillgate.domain.ports import Frame
from rillgate.domain.request import AnswerHead
from rillgate.domain.usage import Usage
from rillgate.wire.sse import SseReader
from tests.unit.dialects.sdk_support import message_events, message_of

USAGE = Usage(9, 4)
REPORT = {"stop": "budget"}


def encoder() -> MessagesEncoder:
    """Of a request "req_1"."""
    return MessagesEncoder("req_1", "m")


def event(kind: str, **fields: Any) -> bytes:
    """A frame as Anthropic writes it."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **fields}))


def frames_of(*parts: bytes) -> list[Frame]:
    """The provider's frames."""
    return SseReader().feed(b"".join(parts))


def began(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def grew(index: int, **delta: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def over(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def text(index: int, said: str) -> dict[str, Any]:
    return grew(index, type="text_delta", text=said)


def arguments(index: int, said: str) -> dict[str, Any]:
    return grew(index, type="input_json_delta", partial_json=said)


TEXT = {"type": "text", "text": ""}
THINKING = {"type": "thinking", "thinking": "", "signature": ""}
START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    },
}


def tool(name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"t{name}", "name": name, "input": {}}


def ending(reason: str, stop: str | None = None, **more: Any) -> list[dict[str, Any]]:
    """What the end of a message is, with USAGE."""
    usage = {"input_tokens": 9, "output_tokens": 4}
    delta = {"stop_reason": reason, "stop_sequence": stop}
    return [{"type": "message_delta", "delta": delta, **more, "usage": usage}, {"type": "message_stop"}]


def streamed(*deltas: Delta) -> list[dict[str, Any]]:
    """The events of a stream of these deltas, one by one, without its start."""
    writer = encoder()
    out = b"".join(writer.encode((delta,), {}) for delta in deltas) + writer.usage(USAGE) + writer.end()
    start, *rest = message_events(out)
    assert start == START
    message_of(out)
    return rest


@pytest.mark.parametrize(
    ("deltas", "events"),
    [
        pytest.param([FinishDelta(0, "stop")], ending("end_turn"), id="empty"),
        pytest.param(
            [TextDelta(0, ""), TextDelta(0, "a"), TextDelta(0, "b"), FinishDelta(0, "length")],
            [began(0, TEXT), text(0, "a"), text(0, "b"), over(0), *ending("max_tokens")],
            id="text",
        ),
        pytest.param(
            [TextDelta(0, "a"), FinishDelta(0, "stop", "END")],
            [began(0, TEXT), text(0, "a"), over(0), *ending("stop_sequence", "END")],
            id="stop sequence",
        ),
        pytest.param(
            [
                ReasoningDelta(0, "hm"),
                SignatureDelta(0, "s", ANTHROPIC_ORIGIN),
                OpaqueReasoningDelta(0, "xyz", ANTHROPIC_ORIGIN),
                TextDelta(0, "a"),
                FinishDelta(0, "stop"),
            ],
            [
                *(began(0, THINKING), grew(0, type="thinking_delta", thinking="hm")),
                *(grew(0, type="signature_delta", signature="s"), over(0)),
                *(began(1, {"type": "redacted_thinking", "data": "xyz"}), over(1)),
                *(began(2, TEXT), text(2, "a"), over(2), *ending("end_turn")),
            ],
            id="reasoning with its proof before its stop",
        ),
        pytest.param(
            [
                ReasoningDelta(0, "hm"),
                SignatureDelta(0, "s", "google-gemini-v1"),
                OpaqueReasoningDelta(0, "xyz", "xai-responses-v1"),
                TextDelta(0, "a"),
                FinishDelta(0, "content_filter"),
            ],
            [
                *(began(0, THINKING), grew(0, type="thinking_delta", thinking="hm"), over(0)),
                *(began(1, TEXT), text(1, "a"), over(1), *ending("refusal")),
            ],
            id="another family's proof would come back to the wrong one",
        ),
        pytest.param(
            [
                ToolDelta(0, 0, "tf", "f", '{"a":'),
                ToolDelta(0, 1, "tg", "g", "{"),
                ToolDelta(0, 0, None, None, "1}"),
                ToolDelta(0, 1, None, None, "}"),
                FinishDelta(0, "tool_calls"),
            ],
            [
                *(began(0, tool("f")), arguments(0, '{"a":'), arguments(0, "1}"), over(0)),
                *(began(1, tool("g")), arguments(1, "{"), arguments(1, "}"), over(1), *ending("tool_use")),
            ],
            id="interleaved calls one after the other",
        ),
        pytest.param(
            [
                ToolDelta(0, 0, "tf", "f", ""),
                TextDelta(0, "a"),
                ToolDelta(0, 1, "tg", "g", "{}"),
                FinishDelta(0, "stop"),
            ],
            [
                *(began(0, tool("f")), over(0), began(1, TEXT), text(1, "a"), over(1)),
                *(began(2, tool("g")), arguments(2, "{}"), over(2), *ending("tool_use")),
            ],
            id="a call without arguments, ended by a plain stop",
        ),
        pytest.param(
            [TextDelta(0, "a"), TextDelta(1, "b"), FinishDelta(1, "length"), FinishDelta(0, "stop")],
            [began(0, TEXT), text(0, "a"), over(0), *ending("end_turn")],
            id="one choice alone",
        ),
    ],
)
def test_encode_writes_blocks_one_after_the_other(deltas: list[Delta], events: list[dict[str, Any]]) -> None:
    """Gapless, never overlapping, nothing empty; the end comes when the usage is there."""
    assert streamed(*deltas) == events


def test_encode_text_after_text_is_the_same_event_with_other_text() -> None:
    """Byte for byte what a reader of JSON would write, in the block that is open and in none that is over."""
    writer = encoder()
    writer.encode((TextDelta(0, "a"),), {})
    for said in ("b", 'c "\\\n', "grüße \u2028 👋"):
        assert writer.encode((TextDelta(0, said),), {}) == event(
            "content_block_delta", index=0, delta={"type": "text_delta", "text": said}
        )
    assert writer.encode((TextDelta(1, "of another choice"),), {}) == b""
    assert writer.encode((TextDelta(0, ""),), {}) == b""
    assert message_events(writer.encode((ToolDelta(0, 0, "tf", "f", "{"),), {})) == [
        over(0),
        began(1, tool("f")),
        arguments(1, "{"),
    ]
    assert writer.encode((TextDelta(0, "waits"),), {}) == b""
    assert writer.encode((TextDelta(0, " too"),), {}) == b""
    out = message_events(writer.encode((ToolDelta(0, 0, None, None, "}"),), {}))
    assert out == [arguments(1, "}"), over(1), began(2, TEXT), text(2, "waits"), text(2, " too")]
    assert message_events(writer.encode((TextDelta(0, "d"),), {})) == [text(2, "d")]
    assert message_events(writer.encode((TextDelta(0, "e"),), {})) == [text(2, "e")]


def test_encode_writes_calls_while_they_come() -> None:
    """A second call begins as soon as the first one's arguments are whole, not at the end of the message."""
    writer = encoder()
    writer.encode((ToolDelta(0, 0, "tf", "f", '{"a":{}}'),), {})
    out = writer.encode((ToolDelta(0, 1, "tg", "g", '{"b'),), {})
    assert message_events(out) == [over(0), began(1, tool("g")), arguments(1, '{"b')]
    assert message_events(writer.encode((ToolDelta(0, 1, None, None, '":1}'),), {})) == [arguments(1, '":1}')]


def test_encode_closes_signed_reasoning_at_once() -> None:
    """The signature is the last of its block: a client need not wait for what the model says next."""
    writer = encoder()
    writer.encode((ReasoningDelta(0, "hm"),), {})
    out = writer.encode((SignatureDelta(0, "s", ANTHROPIC_ORIGIN),), {})
    assert message_events(out) == [grew(0, type="signature_delta", signature="s"), over(0)]


def test_encode_finish_waits_for_usage_and_keeps_the_report() -> None:
    """`message_delta` must carry the counts, and says there what Rillgate has to say."""
    writer = encoder()
    writer.encode((TextDelta(0, "a"),), {})
    assert writer.encode((FinishDelta(0, "length"),), REPORT) == b""
    out = message_events(writer.usage(USAGE) + writer.end())
    assert out == [over(0), *ending("max_tokens", rillgate=REPORT)]


def test_heartbeat_is_a_ping() -> None:
    """As Anthropic's own."""
    assert encoder().heartbeat() == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert encoder().open() == b""


@pytest.mark.parametrize("notice", ["", " [cut]"])
def test_cut_closes_what_is_open(notice: str) -> None:
    """A cut in the middle of a call: its block ends as the model's own would at its cap; the notice is text."""
    writer = encoder()
    writer.encode((ToolDelta(0, 0, "tf", "f", '{"a'),), {})
    out = writer.cut(0, notice, REPORT) + writer.usage(USAGE) + writer.end()
    said = [began(1, TEXT), text(1, notice), over(1)] if notice else []
    assert message_events(out) == [over(0), *said, *ending("max_tokens", rillgate=REPORT)]


def test_cut_before_anything_came_is_a_message() -> None:
    """Even then."""
    writer = encoder()
    assert message_events(writer.cut(0, "", {}) + writer.usage(USAGE) + writer.end()) == [START, *ending("max_tokens")]


def test_error_leaves_the_block_open() -> None:
    """A block that is closed says that it is whole, and half a tool call would be run."""
    writer = encoder()
    writer.encode((ToolDelta(0, 0, "tf", "f", '{"a'),), {})
    out = writer.error(UpstreamError("it broke"))
    assert message_events(out) == [
        {
            "type": "error",
            "error": {"type": "api_error", "message": "it broke", "details": {"error_code": "upstream_error"}},
            "request_id": "req_1",
        }
    ]


# Frames of the same dialect

PROVIDERS_START = event("message_start", message={"id": "msg_lab", "usage": {"input_tokens": 3, "output_tokens": 1}})
PROVIDERS_TEXT = [
    event("content_block_start", index=0, content_block=TEXT),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"}),
]
PROVIDERS_END = [
    event("content_block_stop", index=0),
    event("message_delta", delta={"stop_reason": "pause_turn"}, usage={"output_tokens": 2}, new={"x": 1}),
    event("message_stop"),
]


def test_forward_is_byte_for_byte() -> None:
    """Whatever Anthropic adds is passed on; the terminal event comes from `end`, and nothing comes twice."""
    stream = [
        PROVIDERS_START,
        event("ping"),
        *PROVIDERS_TEXT,
        event("content_block_delta", index=0, delta={"type": "citations_delta", "citation": {"n": 1}}),
        event("a_new_event", what=1),
        *PROVIDERS_END,
    ]
    writer = encoder()
    out = b"".join(writer.forward(frame) for frame in frames_of(*stream))
    assert out + writer.usage(USAGE) + writer.end() == b"".join(stream)


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        (b'event:ping\r\ndata:{"type":"ping"}\r\n\r\n', None),
        (b'data: {"type":"ping"}\nevent: ping\n\n', None),
        (b'id: 5\nevent: ping\ndata: {"type":"ping"}\n\n', b'event: ping\ndata: {"type":"ping"}\n\n'),
        (b'data: {"type":"ping"}\n\n', b'event: ping\ndata: {"type":"ping"}\n\n'),
        (b'event: ping\ndata: {"type":\ndata: "ping"}\n\n', b'event: ping\ndata: {"type":\ndata: "ping"}\n\n'),
        (b'data: {"type":"a\\nb"}\n\n', b'event: message\ndata: {"type":"a\\nb"}\n\n'),
    ],
)
def test_forward_writes_event_and_data_alone(raw: bytes, written: bytes | None) -> None:
    """Other spellings of the two lines are kept; ids are not ours, and a frame without an event gets its own."""
    (frame,) = SseReader().feed(raw)
    assert encoder().forward(frame) == (raw if written is None else written)


@pytest.mark.parametrize("notice", ["", " [cut]"])
def test_cut_of_a_forwarded_stream_ends_the_providers_message(notice: str) -> None:
    """Its open block is closed, ours has the next number, and the reason is max_tokens with the report."""
    writer = encoder()
    for frame in frames_of(PROVIDERS_START, *PROVIDERS_TEXT):
        writer.forward(frame)
    out = writer.cut(0, notice, REPORT)
    (late,) = frames_of(PROVIDERS_TEXT[1])
    out += writer.amend(late, without_usage=False, drop_choices={0}, report={})
    out += writer.usage(USAGE) + writer.end()
    said = [began(1, TEXT), text(1, notice), over(1)] if notice else []
    assert message_events(out) == [over(0), *said, *ending("max_tokens", rillgate=REPORT)]


def test_cut_between_blocks_closes_nothing_twice() -> None:
    """After a block that the provider has closed itself."""
    writer = encoder()
    for frame in frames_of(PROVIDERS_START, *PROVIDERS_TEXT, PROVIDERS_END[0]):
        writer.forward(frame)
    out = writer.cut(0, "", {}) + writer.usage(USAGE) + writer.end()
    assert message_events(out) == ending("max_tokens")


def test_amend_adds_the_report_to_the_end_and_keeps_the_rest() -> None:
    """Unknown fields survive."""
    writer = encoder()
    (frame,) = frames_of(PROVIDERS_END[1])
    out = writer.amend(frame, without_usage=False, drop_choices=(), report=REPORT)
    (written,) = message_events(out)
    assert written == {
        "type": "message_delta",
        "delta": {"stop_reason": "pause_turn"},
        "usage": {"output_tokens": 2},
        "new": {"x": 1},
        "rillgate": REPORT,
    }
    assert writer.usage(USAGE) == b""


def test_forwarded_end_without_usage_gets_ours() -> None:
    """The SDKs' helpers fail without; a compatible server may not send it."""
    writer = encoder()
    start, frame = frames_of(
        PROVIDERS_START, event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None})
    )
    writer.forward(start)
    assert writer.amend(frame, without_usage=False, drop_choices=(), report={"estimated": True}) == b""
    assert message_events(writer.usage(USAGE) + writer.end()) == ending("end_turn", rillgate={"estimated": True})


# Whole answers and errors


def test_whole_answer_of_the_same_family_is_unchanged_unless_something_is_added() -> None:
    """Byte for byte without an addition; else only the addition."""
    body = b'{"id": "msg_lab", "x": 1, "usage": {"input_tokens": 1}}'
    assert Messages().answer(body, None, {}) == body
    assert msgspec.json.decode(Messages().answer(body, USAGE, REPORT)) == {
        "id": "msg_lab",
        "x": 1,
        "usage": {"input_tokens": 9, "output_tokens": 4},
        "rillgate": REPORT,
    }


def test_whole_answer_of_another_family_is_a_message() -> None:
    """With what the model wrote where it is no JSON of an object."""
    deltas: list[Delta] = [
        ReasoningDelta(0, "hm"),
        TextDelta(0, "a"),
        ToolDelta(0, 0, "tf", "f", '{"a":1}'),
        ToolDelta(0, 1, "tg", "g", '{"a":'),
        ToolDelta(0, 2, "th", "h", ""),
        FinishDelta(0, "length"),
    ]
    body = Messages().encode_answer(AnswerHead("req_1", "m", 0), deltas, USAGE, REPORT)
    assert msgspec.json.decode(body) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "a"},
            {**tool("f"), "input": {"a": 1}},
            {**tool("g"), "input": {"_raw": '{"a":'}},
            tool("h"),
        ],
        "stop_reason": "max_tokens",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 4},
        "rillgate": REPORT,
    }


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ClientError("m", code="invalid_value"), "invalid_request_error"),
        (AuthError("m"), "authentication_error"),
        (AuthError("m", status=403, code="model_not_allowed"), "permission_error"),
        (ClientError("m", status=404, code="model_not_found"), "not_found_error"),
        (ClientError("m", status=413, code="request_too_large"), "request_too_large"),
        (BudgetError("m", scope="global"), "rate_limit_error"),
        (CapacityError("m"), "overloaded_error"),
        (UpstreamTimeout("m"), "timeout_error"),
        (UpstreamError("m"), "api_error"),
        (RillgateError("m", code="internal_error"), "api_error"),
    ],
)
def test_error_body_has_anthropics_type_and_our_code(error: RillgateError, kind: str) -> None:
    """The type follows the status; the code stands where the SDKs look for one."""
    body = msgspec.json.decode(Messages().error_body(error))
    assert body == {"type": "error", "error": {"type": kind, "message": "m", "details": {"error_code": error.code}}}
