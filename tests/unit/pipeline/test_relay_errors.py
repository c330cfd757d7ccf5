"""Streams that break: errors in and out of band, and truncation at every byte."""

from __future__ import annotations

import pytest

from rillgate.domain.ends import End
from rillgate.domain.errors import StreamEnded, UpstreamError, UpstreamTruncated
from rillgate.wire.sse import FRAME_BYTES_MAX
from tests.unit.pipeline.relay_support import (
    DONE,
    answer_of,
    delta,
    envelope,
    failure,
    finish,
    frame,
    make_relay,
    role,
    run,
    seen,
    text,
    usage,
)

# Errors


@pytest.mark.parametrize(
    ("detail", "status", "message"),
    [
        ({"message": "it fell over", "type": "server_error", "code": None}, 502, "it fell over"),
        ({"message": "too fast", "code": 429}, 429, "too fast"),
        ("it fell over", 502, "it fell over"),
    ],
)
def test_relay_error_in_the_stream_is_the_last_word(detail: object, status: int, message: str) -> None:
    """In OpenAI's shape whatever its own was; vLLM's [DONE] behind it is not passed on."""
    relay = make_relay()
    out = run(relay, [role() + text("a") + failure(detail) + DONE])
    answer = seen(out)
    assert out.startswith(role() + text("a"))
    assert answer.error is not None
    assert answer.error["message"] == message
    assert answer.error.keys() == {"message", "type", "param", "code"}
    assert (answer.done, b"[DONE]" in out) == (False, False)
    assert relay.end is End.UPSTREAM_ERROR
    assert isinstance(relay.error, UpstreamError)
    assert relay.error.status == status


@pytest.mark.parametrize(
    "raw",
    [
        b'error: {"code":500,"message":"it fell over"}\n\n',
        b'event: error\ndata: {"message":"it fell over"}\n\n',
        b'[{\n "error": {"message": "it fell over"}\n}]\n',
        frame({"object": "error", "message": "it fell over"}),
        frame(envelope([{"index": 0, "delta": {"content": "x"}, "finish_reason": "error"}], error="it fell over")),
        frame([{"error": {"message": "it fell over"}}]),
    ],
)
def test_relay_error_in_any_shape_reaches_the_client_in_its_own(raw: bytes) -> None:
    """An SDK would see none of these, or fail on them."""
    relay = make_relay()
    answer = seen(run(relay, [text("a") + raw + DONE]))
    assert answer.error is not None
    assert answer.error["message"] == "it fell over"
    assert not answer.done
    assert relay.end is End.UPSTREAM_ERROR


def test_relay_error_about_our_key_says_nothing_of_it() -> None:
    """Also in the client's own dialect the provider's words about our credentials go no further."""
    out = run(make_relay(), [text("a") + failure({"message": "Incorrect API key provided: sk-1", "code": 401})])
    assert b"sk-1" not in out
    assert b"upstream_auth" in out


def test_relay_finish_reason_that_is_a_failure_is_an_error() -> None:
    """DeepSeek's and Mistral's way to give up; the text beside it is delivered."""
    relay = make_relay()
    answer = seen(run(relay, [text("a") + delta({"content": " b"}, "insufficient_system_resource") + DONE]))
    assert (answer.text, answer.finish, answer.done) == ({0: "a b"}, {}, False)
    assert answer.error is not None
    assert relay.end is End.UPSTREAM_ERROR


def test_relay_frames_before_a_broken_one_are_delivered() -> None:
    """Whole frames of the same read are not lost to the broken one behind them."""
    relay = make_relay()
    out = run(relay, [text("a") + text(" b") + b"data: {broken\n\n" + text(" c")])
    assert out.startswith(text("a") + text(" b") + b'data: {"error"')
    assert seen(out).error is not None
    assert relay.end is End.UPSTREAM_ERROR


def test_relay_frame_past_its_bound_ends_the_stream() -> None:
    """What came before it is delivered."""
    relay = make_relay()
    out = relay.feed(text("a") + b"data: ")
    while relay.end is None:
        out += relay.feed(b"x" * (FRAME_BYTES_MAX // 4))
    assert out.startswith(text("a"))
    assert seen(out).error is not None
    assert relay.end is End.UPSTREAM_ERROR


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [frame(envelope([], prompt_filter_results=[]))],
        [role()],
        [usage()],
        [b"data: null\n\n", b": comment\n\n"],
    ],
)
def test_relay_done_without_any_answer_is_an_error(frames: list[bytes]) -> None:
    """LM Studio ends so when the prompt is too long: never a proper end with nothing in it."""
    relay = make_relay()
    answer = seen(run(relay, [*frames, DONE]))
    assert answer.error is not None
    assert not answer.done
    assert relay.end is End.UPSTREAM_ERROR


def test_relay_empty_completion_is_an_answer() -> None:
    """A model may have nothing to say: role, finish, [DONE]."""
    stream = answer_of(role(), finish())
    relay = make_relay()
    assert run(relay, [stream]) == stream
    assert relay.end is End.FINISHED


def test_relay_fail_from_outside_is_an_error_in_band() -> None:
    """A deadline, a shutdown, a cancel: one error frame, no [DONE]."""
    relay = make_relay()
    relay.feed(text("a"))
    answer = seen(relay.fail(End.SHUTDOWN, StreamEnded("going down", code="shutting_down")))
    assert answer.error is not None
    assert (answer.error["code"], answer.done) == ("shutting_down", False)
    assert relay.end is End.SHUTDOWN


# Truncation


def truncatable(newline: bytes = b"\n") -> bytes:
    """A stream with every kind of frame."""
    frames = [role(), text("one two"), delta({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})]
    return answer_of(*frames, finish(), usage(9, 4)).replace(b"\n", newline)


@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_relay_truncation_at_every_byte_is_an_error_until_the_answer_is_whole(
    newline: bytes, include_usage: bool
) -> None:
    """Before the finish chunk is complete: an error and no [DONE]. After it: a proper end, whatever else is missing."""
    stream = truncatable(newline)
    finished_at = stream.index(b'"finish_reason":"stop"') + len(b'"finish_reason":"stop"}]}')
    for length in range(len(stream)):
        relay = make_relay(include_usage=include_usage)
        out = run(relay, [stream[:length]])
        answer = seen(out)
        whole = length >= finished_at
        assert answer.done is whole, length
        assert (relay.end, relay.error is None) == ((End.FINISHED, True) if whole else (End.TRUNCATED, False)), length
        assert (b"[DONE]" in out) is whole
        if whole:
            assert answer.finish == {0: ["stop"]}
            assert len(answer.usage) == include_usage
        else:
            assert answer.error is not None
            assert answer.error["code"] == "upstream_truncated"


def test_relay_connection_that_breaks_is_a_truncation_too() -> None:
    """The pump says so by `truncated`, without the rest of the body."""
    relay = make_relay()
    relay.feed(text("a") + b"data: {")
    assert seen(relay.truncated()).error is not None
    assert relay.end is End.TRUNCATED
    assert isinstance(relay.error, UpstreamTruncated)
    relay = make_relay()
    relay.feed(text("a") + finish() + b"data: {")
    assert relay.truncated() == DONE
    assert relay.end is End.FINISHED


def test_relay_last_frame_without_its_blank_line_counts() -> None:
    """Some servers leave it out: the frame is written with one."""
    relay = make_relay()
    stream = answer_of(text("a"), finish())
    assert run(relay, [stream.rstrip(b"\n")]) == stream
    relay = make_relay()
    assert run(relay, [(text("a") + finish())[:-1]]) == stream


def test_relay_finish_reason_that_is_empty_does_not_make_a_stream_whole() -> None:
    """Servers that send "" until they mean it: a truncation stays one."""
    relay = make_relay()
    assert seen(run(relay, [delta({"content": "a"}, "")])).error is not None
    assert relay.end is End.TRUNCATED


def test_relay_body_that_is_over_at_once_is_a_truncation() -> None:
    """No byte at all."""
    relay = make_relay()
    assert seen(relay.feed_eof()).error is not None
    assert relay.end is End.TRUNCATED
