"""What goes over the wire to a Responses client, event by event where it matters."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.dialects.responses import Responses
from rillgate.dialects.responses_encoder import ResponsesEncoder
from rillgate.dialects.responses_wire import head_object
from rillgate.domain.delta import (
    ANTHROPIC_ORIGIN,
    Delta,
    EndDelta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
)
from rillgate.domain.errors import BudgetError, CapacityError, RillgateError, UpstreamError
from rillgate.domain.request import AnswerHead
from rillgate.domain.usage import Usage
from rillgate.wire.sse import SseReader
from tests.unit.dialects.sdk_support import response_events, response_of

USAGE = Usage(9, 4)
REPORT = {"stop": "budget"}
HEAD = head_object("req_1", "m", 1_795_000_000, {})


def encoder() -> ResponsesEncoder:
    """Of a request "req_1"."""
    return ResponsesEncoder("req_1", HEAD)


def streamed(*deltas: Delta) -> list[dict[str, Any]]:
    """The events of a whole stream of these deltas, one by one."""
    writer = encoder()
    out = b"".join(writer.encode((delta,), {}) for delta in deltas) + writer.usage(USAGE) + writer.end()
    response_of(out)
    return response_events(out)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Their types, without what all of them begin with."""
    return [event["type"].removeprefix("response.") for event in events]


ITEM = ("output_item.added", "content_part.added")
ITEM_DONE = ("content_part.done", "output_item.done")


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        pytest.param([FinishDelta(0, "stop")], [], id="empty"),
        pytest.param(
            [TextDelta(0, ""), TextDelta(0, "a"), TextDelta(1, "other"), TextDelta(0, "b"), FinishDelta(0, "stop")],
            [*ITEM, "output_text.delta", "output_text.delta", "output_text.done", *ITEM_DONE],
            id="text of one choice",
        ),
        pytest.param(
            [TextDelta(0, "a"), RefusalDelta(0, "no"), RefusalDelta(0, "!"), FinishDelta(0, "stop")],
            [
                *(*ITEM, "output_text.delta", "output_text.done", "content_part.done"),
                *("content_part.added", "refusal.delta", "refusal.delta", "refusal.done", *ITEM_DONE),
            ],
            id="a refusal is another part of the message",
        ),
        pytest.param(
            [
                *(ReasoningDelta(0, "hm"), SignatureDelta(0, "s", ANTHROPIC_ORIGIN)),
                *(OpaqueReasoningDelta(0, "x", ANTHROPIC_ORIGIN), FinishDelta(0, "stop")),
            ],
            [
                *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
                *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
                *("output_item.added", "output_item.done"),
            ],
            id="reasoning ends with its proof",
        ),
        pytest.param(
            [
                *(TextDelta(0, "a"), ToolDelta(0, 1, "t1", "f", '{"a":'), ToolDelta(0, 1, None, None, "1}")),
                *(ToolDelta(0, 2, "t2", "g", ""), FinishDelta(0, "tool_calls")),
            ],
            [
                *(*ITEM, "output_text.delta", "output_text.done", *ITEM_DONE, "output_item.added"),
                *("function_call_arguments.delta", "function_call_arguments.delta"),
                *("function_call_arguments.done", "output_item.done"),
                *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done"),
                "output_item.done",
            ],
            id="a call is over when its arguments are, and one without any has an empty object",
        ),
        pytest.param(
            [
                *(ToolDelta(0, 1, "t1", "f", "{"), ToolDelta(0, 2, "t2", "g", "{")),
                *(ToolDelta(0, 1, None, None, "}"), ToolDelta(0, 2, None, None, "}"), FinishDelta(0, "tool_calls")),
            ],
            [
                *("output_item.added", "function_call_arguments.delta"),
                *("output_item.added", "function_call_arguments.delta"),
                *("function_call_arguments.delta", "function_call_arguments.delta"),
                *("function_call_arguments.done", "output_item.done") * 2,
            ],
            id="calls that come at once stand open beside each other",
        ),
        pytest.param(
            [TextDelta(0, "a"), EndDelta()],
            [*ITEM, "output_text.delta", "output_text.done", *ITEM_DONE],
            id="no finish",
        ),
    ],
)
def test_events_of_these_deltas_are(deltas: list[Delta], expected: list[str]) -> None:
    """Each item has its beginning, its pieces and its end."""
    events = streamed(*deltas)
    assert kinds(events) == ["created", "in_progress", *expected, "completed"]


def test_text_after_text_is_the_event_that_it_would_be_alone() -> None:
    """The short way writes what the long one does."""
    texts = ["a", 'b"\\', "\u2028", "", "c"]
    short, long = encoder(), encoder()
    written = [short.encode((TextDelta(0, text),), {}) for text in texts]
    plainly = []
    for text in texts:
        long._text_frame = None
        plainly.append(long.encode((TextDelta(0, text),), {}))
    frames = [[msgspec.json.decode(frame.data) for frame in SseReader().feed(out)] for out in written]
    assert frames == [[msgspec.json.decode(frame.data) for frame in SseReader().feed(out)] for out in plainly]
    assert [frame["delta"] for some in frames for frame in some if "delta" in frame] == ["a", 'b"\\', "\u2028", "c"]
    assert response_of(b"".join([*written, short.usage(USAGE), short.end()])).output_text == "".join(texts)


def test_text_after_reasoning_and_calls_begins_an_item_of_its_own() -> None:
    """Whatever stood open before it."""
    deltas: list[Delta] = [
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        ReasoningDelta(0, "hm"),
        TextDelta(0, "c"),
        TextDelta(0, "d"),
    ]
    output = streamed(*deltas, ToolDelta(0, 0, "t", "f", "{"), TextDelta(0, "e"), FinishDelta(0, "stop"))[-1]
    said = [item.get("content", [{}])[0].get("text") for item in output["response"]["output"]]
    assert said == ["ab", None, "cd", None, "e"]


def test_call_that_is_cut_short_is_not_said_to_be_whole() -> None:
    """Its item is incomplete, and no event gives its arguments as all of them; one that is whole stays so."""
    whole, broken = ToolDelta(0, 0, "t1", "f", '{"a":1}'), ToolDelta(0, 1, "t2", "g", '{"a')
    events = streamed(TextDelta(0, "x"), whole, broken, FinishDelta(0, "length"))
    done = [event["item"]["status"] for event in events if event["type"] == "response.output_item.done"]
    assert done == ["completed", "completed", "incomplete"]
    assert kinds(events).count("function_call_arguments.done") == 1
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_answer_that_is_filtered_says_so() -> None:
    """An incomplete response for that reason."""
    last = streamed(TextDelta(0, "x"), FinishDelta(0, "content_filter"))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "content_filter"}
    assert last["response"]["output"][0]["status"] == "incomplete"


ERROR = UpstreamError("it fell over", code="upstream_truncated")


@pytest.mark.parametrize(
    "error",
    [ERROR, CapacityError("full"), BudgetError("no", scope="key:a", param="x"), RillgateError("oops")],
)
def test_error_is_told_and_then_the_response_has_failed(error: RillgateError) -> None:
    """The last two events; what stood open is incomplete, and no event says that it is done."""
    writer = encoder()
    out = writer.encode((TextDelta(0, "a"),), {}) + writer.encode((ToolDelta(0, 0, "t", "f", "{}"),), {})
    events = response_events(out + writer.error(error))
    told, failed = events[-2:]
    said = {"code": error.code, "message": error.message, "param": error.param}
    assert told == {"type": "error", **said, "error": {"type": error.kind, **said}, "sequence_number": len(events) - 2}
    assert failed["type"] == "response.failed"
    response = failed["response"]
    assert (response["status"], response["error"]["message"]) == ("failed", error.message)
    assert response["error"]["code"] == (error.code or "server_error")
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]
    assert "function_call_arguments.done" not in kinds(events)


def test_error_before_anything_else_is_a_stream_all_the_same() -> None:
    """Where only heartbeats were sent: the helper wants a beginning."""
    events = response_events(encoder().heartbeat() + encoder().error(ERROR))
    assert kinds(events) == ["created", "in_progress", "error", "failed"]
    assert events[-1]["response"]["output"] == []


def test_cut_before_anything_was_said_is_an_empty_incomplete_response() -> None:
    """Also where there is nothing to notice; another choice is none of ours."""
    writer = encoder()
    assert writer.cut(1, "", REPORT) == b""
    response = response_of(writer.cut(0, "", REPORT) + writer.usage(USAGE) + writer.end())
    assert (response.status, response.output, (response.model_extra or {})["rillgate"]) == ("incomplete", [], REPORT)


def test_response_says_again_what_was_asked_for() -> None:
    """As it was, with OpenAI's defaults where nothing was said; nothing is stored, whatever was asked."""
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    asked = {
        "instructions": "Be kind.",
        "max_output_tokens": 9,
        "metadata": {"a": "b"},
        "tools": [tool],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "low"},
        "truncation": "auto",
        "store": True,
        "user": None,
    }
    told = msgspec.json.decode(
        Responses(asked).encode_answer(AnswerHead("req_1", "m", 7), [TextDelta(0, "a")], USAGE, {})
    )
    assert {name: told[name] for name in asked.keys() - {"tools", "text", "reasoning"}} == {
        **{name: asked[name] for name in asked.keys() - {"tools", "text", "reasoning"}},
        "truncation": "disabled",
        "store": False,
    }
    assert told["tools"] == [{**tool, "strict": None}]
    assert told["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert told["reasoning"] == {"effort": "low", "summary": None}
    assert (told["id"], told["created_at"], told["model"], told["previous_response_id"]) == ("resp_1", 7, "m", None)


def test_frames_of_others_are_none_of_this_dialect() -> None:
    """No provider speaks it, so nothing is ever passed on or amended."""
    (frame,) = SseReader().feed(b"data: {}\n\n")
    assert encoder().forward(frame) == encoder().amend(frame, without_usage=True, drop_choices=(), report={}) == b""
    assert encoder().open() == b""
    assert msgspec.json.decode(Responses().answer(b'{"x":1}', USAGE, REPORT))["rillgate"] == REPORT
