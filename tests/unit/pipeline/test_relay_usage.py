"""Usage in a relayed stream: passed on, left out, made up, and waited for."""

from __future__ import annotations

import msgspec
import pytest

from rillgate.domain.ends import End
from rillgate.domain.errors import StreamEnded
from rillgate.domain.usage import Usage
from tests.unit.pipeline.relay_support import (
    DONE,
    ESTIMATED,
    EXTRA,
    answer_of,
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
    usage_numbers,
    with_usage_null,
)

# Usage


def test_relay_usage_frame_is_dropped_where_nobody_asked() -> None:
    """It is always asked of the provider; a client that did not ask must not see a chunk without choices."""
    relay = make_relay(include_usage=False)
    assert run(relay, [text("a") + finish() + usage(9, 4) + DONE]) == answer_of(text("a"), finish())
    assert relay.usage() == Usage(9, 4)


def test_relay_usage_frame_is_forwarded_where_asked() -> None:
    """As the provider wrote it, after the finish chunk, before [DONE], with no mark of ours."""
    relay = make_relay(include_usage=True)
    stream = answer_of(role(), text("a"), finish(), usage(9, 4))
    assert run(relay, [stream]) == stream
    assert relay.usage() == Usage(9, 4)


def test_relay_usage_on_other_frames_is_stripped_where_nobody_asked() -> None:
    """Usage on every chunk, or in the finish chunk: taken out, whatever else is there stays."""
    relay = make_relay(include_usage=False)
    frames = [text("a", usage=usage_numbers(9, 1), **EXTRA), finish("stop", usage=usage_numbers(9, 2), **EXTRA)]
    assert run(relay, [answer_of(*frames)]) == answer_of(text("a", **EXTRA), finish("stop", **EXTRA))
    assert relay.usage() == Usage(9, 2)


def test_relay_usage_on_every_frame_is_forwarded_where_asked() -> None:
    """The last one wins; nothing is held, nothing is added."""
    relay = make_relay(include_usage=True)
    frames = [
        text("a", usage=usage_numbers(9, 1)),
        text(" b", usage=usage_numbers(9, 2)),
        finish("stop", usage=usage_numbers(9, 2)),
    ]
    for one in frames:
        assert relay.feed(one) == one
    assert relay.feed(DONE) == DONE
    assert relay.usage() == Usage(9, 2)


def test_relay_usage_never_given_is_counted_and_marked_where_asked() -> None:
    """The finish chunk says that it is an estimate, our usage chunk follows, then [DONE]."""
    relay = make_relay(include_usage=True)
    out = run(relay, [role() + text("one two") + text(" three") + finish("stop", **EXTRA) + DONE])
    answer = seen(out)
    assert out.startswith(role() + text("one two") + text(" three"))
    marked, ours = answer.chunks[-2:]
    assert marked == {**msgspec.json.decode(finish("stop", **EXTRA)[6:]), "rillgate": ESTIMATED}
    assert ours["choices"] == []
    assert ours["usage"] == usage_numbers(5, 3)
    assert ours["id"] == marked["id"]
    assert answer.done
    assert relay.usage() == Usage(5, 3, estimated=True)


def test_relay_usage_never_given_is_not_spoken_of_where_nobody_asked() -> None:
    """The stream is the provider's; only our books have the estimate."""
    relay = make_relay(include_usage=False)
    stream = answer_of(role(), text("one two"), finish())
    assert run(relay, [stream]) == stream
    assert relay.usage() == Usage(5, 2, estimated=True)


def test_relay_usage_null_is_no_usage() -> None:
    """Every chunk has it once usage is asked for; it says nothing."""
    relay = make_relay(include_usage=True)
    answer = seen(run(relay, [with_usage_null(text("a")) + with_usage_null(finish()) + DONE]))
    assert answer.usage == [usage_numbers(5, 1)]


@pytest.mark.parametrize("include_usage", [True, False])
def test_relay_usage_of_a_part_of_the_answer_is_not_the_usage_of_all(include_usage: bool) -> None:
    """Usage on the first chunk alone counts what had come by then; what came after it is counted by us."""
    relay = make_relay(include_usage=include_usage)
    answer = seen(run(relay, [text("one", usage=usage_numbers(9, 1)) + text(" two three") + finish() + DONE]))
    assert relay.usage() == Usage(9, 3, estimated=True)
    assert answer.usage[-1:] == ([usage_numbers(9, 3)] if include_usage else [])
    assert answer.reports == ([ESTIMATED] if include_usage else [])


def test_relay_usage_before_the_finish_chunk_is_said_again_after_it() -> None:
    """openai-python forgets usage at any later chunk, so the last one must carry it. It is no estimate."""
    relay = make_relay(include_usage=True)
    answer = seen(run(relay, [text("one") + usage(9, 4) + finish() + DONE]))
    assert answer.chunks[-1]["usage"] == usage_numbers(9, 4)
    assert answer.chunks[-1]["choices"] == []
    assert answer.reports == []
    assert relay.usage() == Usage(9, 4)


def test_relay_usage_with_a_number_missing_is_completed_by_ours() -> None:
    """Half a usage is better than a zero that nobody said."""
    relay = make_relay(include_usage=True)
    answer = seen(run(relay, [text("one two") + finish(usage={"completion_tokens": 7}) + DONE]))
    assert relay.usage() == Usage(5, 7, estimated=True)
    assert answer.usage[-1] == usage_numbers(5, 7)


def test_relay_second_finish_chunk_with_usage_is_forwarded() -> None:
    """OpenRouter may send two: the first is held until the second comes, both arrive as they were."""
    relay = make_relay(include_usage=True)
    first, second = finish("stop"), finish("stop", usage=usage_numbers())
    assert relay.feed(text("a") + first) == text("a")
    assert relay.feed(second) == first + second
    assert relay.feed(DONE) == DONE


@pytest.mark.parametrize(
    "frames",
    [
        [text("one"), usage(9, 1), text(" two")],
        [text("one two"), frame(envelope([], usage={"completion_tokens": 2})), finish()],
    ],
)
def test_relay_usage_that_was_not_the_last_word_is_said_once_more(frames: list[bytes]) -> None:
    """Text after it, or a finish chunk after half of it: the last chunk has it whole."""
    relay = make_relay(include_usage=True)
    answer = seen(run(relay, [*frames, DONE]))
    assert answer.chunks[-1]["choices"] == []
    assert answer.chunks[-1]["usage"]["completion_tokens"] == 2
    assert answer.done


@pytest.mark.parametrize("include_usage", [True, False])
def test_relay_usage_of_a_stream_that_was_left_is_what_had_come(include_usage: bool) -> None:
    """However it ends, the books have the delivered tokens."""
    relay = make_relay(include_usage=include_usage)
    relay.feed(role() + text("one two") + text(" three"))
    assert relay.usage() == Usage(5, 3, estimated=True)


# The finish chunk that waits


def test_relay_finish_waits_for_one_frame_only_where_usage_is_asked() -> None:
    """Whatever comes next sets it free, in order."""
    relay = make_relay(include_usage=True)
    annotation = frame(envelope([], x_filter=[]))
    assert relay.feed(text("a") + finish()) == text("a")
    assert relay.feed(annotation) == finish() + annotation
    answer = seen(relay.feed(usage() + DONE))
    assert answer.usage == [usage_numbers()]


def test_relay_held_finish_is_released_before_an_error_in_the_stream() -> None:
    """Nothing that the provider sent is lost, and the error is last."""
    relay = make_relay(include_usage=True)
    out = relay.feed(text("a") + finish()) + relay.feed(failure({"message": "it fell over"}))
    assert out.startswith(text("a") + finish() + b'data: {"error"')
    assert relay.end is End.UPSTREAM_ERROR


def test_relay_held_finish_is_released_before_an_error_of_ours() -> None:
    """The same when the stream is ended from our side."""
    relay = make_relay(include_usage=True)
    relay.feed(text("a") + finish())
    out = relay.fail(End.DEADLINE, StreamEnded("over", code="deadline_exceeded"))
    assert out.startswith(finish() + b'data: {"error"')
    assert (relay.end, seen(out).done) == (End.DEADLINE, False)


def test_relay_held_finish_is_released_at_the_end_of_the_body() -> None:
    """A server that sends neither usage nor [DONE] has said all: estimate and [DONE] are ours."""
    relay = make_relay(include_usage=True)
    relay.feed(text("a") + finish())
    answer = seen(relay.feed_eof())
    assert (answer.finish, answer.reports, answer.usage, answer.done) == (
        {0: ["stop"]},
        [ESTIMATED],
        [usage_numbers(5, 1)],
        True,
    )


def test_relay_held_finish_goes_before_the_text_of_another_choice() -> None:
    """What looked like the last frame was not: the other choice had not begun. Nothing is reordered."""
    relay = make_relay(choices=2, include_usage=True)
    assert relay.feed(text("a") + finish()) == text("a")
    assert relay.feed(text("x", 1)) == finish() + text("x", 1)


def test_relay_held_finish_goes_before_the_cut_of_another_choice() -> None:
    """The same where the other choice is over its limit at once."""
    relay = make_relay(cap=1, choices=2, include_usage=True)
    assert relay.feed(text("a") + finish()) == text("a")
    answer = seen(relay.feed(text("x y", 1)))
    assert list(answer.finish) == [0, 1]
    assert answer.finish == {0: ["stop"], 1: ["length"]}
    assert relay.end is End.BUDGET


def test_relay_held_finish_is_released_without_the_choice_that_was_cut() -> None:
    """A frame that finishes one choice and passes the limit of another says only the former."""
    relay = make_relay(cap=1, choices=3, include_usage=True)
    relay.feed(text("a") + text("b", 1))
    both = [
        {"index": 0, "delta": {}, "finish_reason": "stop"},
        {"index": 1, "delta": {"content": " c"}, "finish_reason": None},
    ]
    out = relay.feed(frame(envelope(both)))
    assert seen(out).finish == {1: ["length"]}
    answer = seen(relay.feed(text("x", 2)))
    assert (answer.finish, answer.text) == ({0: ["stop"]}, {0: "", 2: "x"})


def test_relay_finish_of_one_choice_does_not_wait_while_another_runs() -> None:
    """Only what may be the last frame is held."""
    relay = make_relay(choices=2, include_usage=True)
    relay.feed(text("a") + text("x", 1))
    assert relay.feed(finish()) == finish()
