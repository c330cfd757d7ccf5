"""What goes over the wire to `useChat`, chunk by chunk where it matters."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.dialects.ui_stream import UiStream
from rillgate.dialects.ui_stream_encoder import UiStreamEncoder
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
from rillgate.domain.errors import BudgetError, RillgateError, StreamEnded, UpstreamError
from rillgate.domain.request import AnswerHead
from rillgate.domain.usage import Usage
from rillgate.wire.sse import SseReader
from tests.unit.dialects.ui_support import chunks_of, message_of

USAGE = Usage(9, 4)
REPORT = {"stop": "budget"}
START = [
    {"type": "start", "messageId": "msg_1", "messageMetadata": {"requestId": "req_1", "model": "m"}},
    {"type": "start-step"},
]


def encoder() -> UiStreamEncoder:
    """Of a request "req_1"."""
    return UiStreamEncoder("req_1", "m", "msg_1")


def streamed(*deltas: Delta) -> list[dict[str, Any]]:
    """The chunks of a stream of these deltas, one by one, without those that every stream has."""
    writer = encoder()
    out = b"".join(writer.encode((delta,), {}) for delta in deltas) + writer.usage(USAGE) + writer.end()
    message_of(out)
    chunks = chunks_of(out)
    assert chunks[:2] == START
    assert [chunk["type"] for chunk in chunks[-3:]] == ["finish-step", "finish", "[DONE]"]
    return chunks[2:-3]


def piece(kind: str, number: int, **more: Any) -> dict[str, Any]:
    """A chunk of a part."""
    return {"type": kind, "id": f"{kind.partition('-')[0]}-{number}", **more}


def tool(kind: str, call_id: str, name: str, **more: Any) -> dict[str, Any]:
    """A chunk of a call."""
    return {"type": f"tool-input-{kind}", "toolCallId": call_id, "toolName": name, **more}


def grew(call_id: str, text: str) -> dict[str, Any]:
    """More of a call's arguments."""
    return {"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": text}


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        pytest.param([FinishDelta(0, "stop")], [], id="empty"),
        pytest.param(
            [TextDelta(0, ""), TextDelta(0, "a"), TextDelta(1, "other"), TextDelta(0, "b"), FinishDelta(0, "stop")],
            [
                piece("text-start", 0),
                piece("text-delta", 0, delta="a"),
                piece("text-delta", 0, delta="b"),
                piece("text-end", 0),
            ],
            id="text of one choice",
        ),
        pytest.param(
            [
                *(ReasoningDelta(0, "hm"), SignatureDelta(0, "s", ANTHROPIC_ORIGIN)),
                *(OpaqueReasoningDelta(0, "x", ANTHROPIC_ORIGIN), TextDelta(0, "a"), FinishDelta(0, "stop")),
            ],
            [
                *(piece("reasoning-start", 0), piece("reasoning-delta", 0, delta="hm")),
                piece(
                    "reasoning-end", 0, providerMetadata={"rillgate": {"signature": "s", "format": ANTHROPIC_ORIGIN}}
                ),
                piece("reasoning-start", 1),
                piece("reasoning-end", 1, providerMetadata={"rillgate": {"data": "x", "format": ANTHROPIC_ORIGIN}}),
                *(piece("text-start", 2), piece("text-delta", 2, delta="a"), piece("text-end", 2)),
            ],
            id="reasoning ends with its proof",
        ),
        pytest.param(
            [
                *(ToolDelta(0, 1, "t1", "f", '{"a":'), ToolDelta(0, 1, None, None, "1}")),
                *(ToolDelta(0, 2, "t2", "g", ""), TextDelta(0, "a"), FinishDelta(0, "tool_calls")),
            ],
            [
                *(
                    tool("start", "t1", "f"),
                    grew("t1", '{"a":'),
                    grew("t1", "1}"),
                    tool("available", "t1", "f", input={"a": 1}),
                ),
                *(
                    tool("start", "t2", "g"),
                    piece("text-start", 0),
                    piece("text-delta", 0, delta="a"),
                    piece("text-end", 0),
                ),
                tool("available", "t2", "g", input={}),
            ],
            id="a call is over when its arguments are, and one without any has an empty object",
        ),
        pytest.param(
            [
                *(ToolDelta(0, 1, "t1", "f", "{"), ToolDelta(0, 2, "t2", "g", "{")),
                *(ToolDelta(0, 1, None, None, "}"), ToolDelta(0, 2, None, None, "}"), FinishDelta(0, "tool_calls")),
            ],
            [
                *(tool("start", "t1", "f"), grew("t1", "{"), tool("start", "t2", "g"), grew("t2", "{")),
                *(grew("t1", "}"), grew("t2", "}")),
                *(tool("available", "t1", "f", input={}), tool("available", "t2", "g", input={})),
            ],
            id="calls that come at once stand open beside each other",
        ),
        pytest.param(
            [ToolDelta(0, 1, "t1", "f", "{a}"), FinishDelta(0, "tool_calls")],
            [
                *(tool("start", "t1", "f"), grew("t1", "{a}")),
                tool("error", "t1", "f", input="{a}", errorText="The model's arguments are not JSON."),
            ],
            id="arguments that are no JSON are an error of the call",
        ),
        pytest.param(
            [ToolDelta(0, 1, "t1", "f", '{"a":1}'), ToolDelta(0, 2, "t2", "g", '{"a'), FinishDelta(0, "length")],
            [
                *(tool("start", "t1", "f"), grew("t1", '{"a":1}'), tool("available", "t1", "f", input={"a": 1})),
                *(tool("start", "t2", "g"), grew("t2", '{"a')),
            ],
            id="a call that is cut short is run by nobody",
        ),
    ],
)
def test_chunks_of_these_deltas_are(deltas: list[Delta], expected: list[dict[str, Any]]) -> None:
    """Each part has its beginning, its pieces and its end."""
    assert streamed(*deltas) == expected


def test_text_after_text_is_the_chunk_that_it_would_be_alone() -> None:
    """The short way writes what the long one does; what comes between begins anew."""
    texts = ["a", 'b"\\', "\u2028", "", "c"]
    short, long = encoder(), encoder()
    written = b"".join(short.encode((TextDelta(0, text),), {}) for text in texts)
    plainly = b""
    for text in texts:
        long._text_begins = None
        plainly += long.encode((TextDelta(0, text),), {})
    assert written == plainly
    more: list[Delta] = [
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        ReasoningDelta(0, "hm"),
        TextDelta(0, "c"),
        TextDelta(0, "d"),
    ]
    said = [chunk["delta"] for chunk in streamed(*more, FinishDelta(0, "stop")) if "delta" in chunk]
    assert said == ["a", "b", "hm", "c", "d"]


@pytest.mark.parametrize(
    "error", [UpstreamError("it fell over"), BudgetError("no", scope="key:a"), RillgateError("oops")]
)
def test_error_is_shown_and_nothing_follows_it(error: RillgateError) -> None:
    """What was said stays; no part is ended, no call is run, and the message is not said to be whole."""
    writer = encoder()
    out = writer.encode((TextDelta(0, "a"),), {}) + writer.encode((ToolDelta(0, 0, "t", "f", "{}"),), {})
    read = message_of(out + writer.error(error))
    assert (read.error, read.ends) == (error.message, ["error"])
    assert (read.text("text"), read.calls[0]["state"]) == ("a", "input-streaming")


def test_end_that_somebody_asked_for_is_an_abort() -> None:
    """The protocol's own word for it; also where nothing had been said."""
    read = message_of(encoder().heartbeat() + encoder().error(StreamEnded("Cancelled.", code="cancelled")))
    assert (read.ends, read.error, read.message_id) == (["abort"], None, "msg_1")


def test_cut_before_anything_was_said_is_an_empty_message() -> None:
    """Also where there is nothing to notice; another choice is none of ours."""
    writer = encoder()
    assert writer.cut(1, "", REPORT) == b""
    read = message_of(writer.cut(0, "", REPORT) + writer.usage(USAGE) + writer.end())
    assert (read.finish, read.parts, read.metadata["rillgate"]) == ("length", [{"type": "step-start"}], REPORT)


def test_metadata_says_what_is_known() -> None:
    """Usage as AI SDK counts, without numbers that nobody knows; the report beside it, once."""
    writer = encoder()
    out = writer.encode((TextDelta(0, "a"), FinishDelta(0, "length")), REPORT) + writer.usage(Usage(9, None))
    read = message_of(out + writer.end())
    assert read.metadata == {
        "requestId": "req_1",
        "model": "m",
        "usage": {"inputTokens": 9, "inputTokenDetails": {}, "outputTokenDetails": {}},
        "rillgate": REPORT,
    }
    assert (out + writer.end()).count(b"rillgate") == 1
    silent = encoder()
    assert message_of(silent.encode((FinishDelta(0, "stop"),), {}) + silent.end()).metadata == {
        "requestId": "req_1",
        "model": "m",
    }


def test_answer_goes_on_with_the_message_that_has_its_calls() -> None:
    """The page's own id for it, in a stream and whole."""
    dialect = UiStream({"messages": [{"role": "user"}, {"role": "assistant", "id": "theirs"}]})
    writer = dialect.encoder("req_1", "m", 0)
    assert message_of(writer.encode((TextDelta(0, "a"),), {}) + writer.end()).message_id == "theirs"
    body = dialect.encode_answer(
        AnswerHead("req_1", "m", 0), [TextDelta(0, "a"), FinishDelta(0, "stop")], USAGE, REPORT
    )
    message = msgspec.json.decode(body)
    assert (message["id"], message["metadata"]["rillgate"]) == ("theirs", REPORT)
    broken: list[Delta] = [ToolDelta(0, 0, "t", "f", '{"a'), FinishDelta(0, "length")]
    cut = msgspec.json.decode(dialect.encode_answer(AnswerHead("req_1", "m", 0), broken, USAGE, {}))
    assert cut["parts"][1] == {"type": "tool-f", "toolCallId": "t", "state": "input-streaming", "rawInput": '{"a'}
    broken[1] = FinishDelta(0, "tool_calls")
    wrong = msgspec.json.decode(dialect.encode_answer(AnswerHead("req_1", "m", 0), broken, USAGE, {}))
    assert wrong["parts"][1]["state"] == "output-error"
    assert msgspec.json.decode(dialect.encode_answer(AnswerHead("req_1", "m", 0), [], USAGE, {}))["parts"] == [
        {"type": "step-start"}
    ]


def test_frames_of_others_are_none_of_this_dialect() -> None:
    """No provider speaks it, so nothing is ever passed on or amended."""
    (frame,) = SseReader().feed(b"data: {}\n\n")
    assert encoder().forward(frame) == encoder().amend(frame, without_usage=True, drop_choices=(), report={}) == b""
    assert encoder().open() == b""
    assert msgspec.json.decode(UiStream().answer(b'{"x":1}', USAGE, REPORT))["rillgate"] == REPORT
