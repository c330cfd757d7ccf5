"""The relay: what a client gets for what a provider sends, however it is cut into pieces, and how the stream ends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rillgate.app.encodings import load_encoding
from rillgate.domain.delta import (
    Delta,
    EndDelta,
    ErrorDelta,
    FinishDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.ends import End
from rillgate.domain.errors import StreamEnded, UpstreamError, UpstreamTruncated
from rillgate.domain.ports import Frame
from rillgate.domain.usage import Usage
from rillgate.pipeline.relay import Relay
from rillgate.wire.sse import FRAME_BYTES_MAX, SseReader
from tests.unit.pipeline.relay_support import (
    DONE,
    PROVIDER,
    WORDS,
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
    usage_numbers,
)

ESTIMATED = {"estimated": True}
BUDGET = {"stop": "budget", "scope": "request", "estimated": True}


def cut_at(stream: bytes, places: Sequence[int]) -> list[bytes]:
    """The stream cut at these places, taken modulo its length."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def with_usage_null(raw: bytes) -> bytes:
    """As OpenAI writes its frames once usage is asked for."""
    return raw.replace(b"}]}\n", b'}],"usage":null}\n')


# Byte for byte


EXTRA: dict[str, Any] = {"x_lab": {"b": [1.0, None], "a": "ä\u2028😀\\"}, "service_tier": "default"}
PLAIN = answer_of(
    frame(envelope([], prompt_filter_results=[{"prompt_index": 0}])),
    with_usage_null(role()),
    delta({"reasoning_content": "let me see"}, **EXTRA),
    delta({"content": "Hällo\u2028 "}, **EXTRA),
    text("wörld 😀"),
    delta({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"q":"\u0085"}'}}]}),
    delta({}, None, obfuscation="x9"),
    finish("tool_calls", **EXTRA),
)
WITH_USAGE = PLAIN.removesuffix(DONE) + usage() + DONE


places = st.lists(st.integers(0, len(WITH_USAGE) + 40), max_size=30)


@given(places=places, include_usage=st.booleans())
def test_relay_frames_pass_byte_for_byte_for_any_split(places: list[int], include_usage: bool) -> None:
    """Unknown fields, raw U+2028, split characters: the client reads the provider's own bytes."""
    stream = WITH_USAGE if include_usage else PLAIN
    relay = make_relay(include_usage=include_usage)
    assert run(relay, cut_at(stream, places)) == stream
    assert (relay.end, relay.error) == (End.FINISHED, None)
    assert (relay.frames, relay.content_frames, relay.skipped_frames) == (9 + include_usage, 4, 0)


@given(places=places)
@example(places=[PLAIN.index(b"\n\n") + 3])
def test_relay_crlf_frames_pass_byte_for_byte_unless_a_blank_line_is_split(places: list[int]) -> None:
    """A frame is given out at the CR of its blank line: where the LF comes with the next bytes, the frame is written
    with LF. Nothing else differs."""
    stream = PLAIN.replace(b"\n", b"\r\n")
    out = run(make_relay(), cut_at(stream, places))
    assert out.replace(b"\r\n", b"\n") == PLAIN
    if not any(stream[: place % (len(stream) + 1)].endswith(b"\r\n\r") for place in places):
        assert out == stream.removesuffix(DONE.replace(b"\n", b"\r\n")) + DONE


def test_relay_gives_each_frame_as_soon_as_it_is_whole() -> None:
    """Nothing waits for what comes after it, the finish chunk of a client that asked for usage excepted."""
    relay = make_relay()
    frames = [role(), text("a"), text(" b"), finish()]
    for one in frames:
        assert relay.feed(one[:-1]) == b""
        assert relay.feed(one[-1:]) == one
    assert relay.end is None
    assert relay.feed(DONE) == DONE


def test_relay_comments_and_skipped_frames_do_not_reach_the_client() -> None:
    """Comments of the provider are its own heartbeats; what is no chunk is skipped and counted."""
    relay = make_relay()
    noise = (
        b": OPENROUTER PROCESSING\n\n" + b"data: null\n\n" + b'event: ping\ndata: {"type":"ping"}\n\n' + b"data: 7\n\n"
    )
    assert run(relay, [noise + text("a") + noise + finish() + noise + DONE]) == text("a") + finish() + DONE
    assert (relay.frames, relay.skipped_frames) == (3, 9)


def test_relay_terminal_event_is_always_our_own() -> None:
    """openai-node takes exactly [DONE]; a provider's padding stays behind."""
    assert run(make_relay(), [text("a") + finish() + b"data: [DONE]  \n\n"]).endswith(b"}\n\ndata: [DONE]\n\n")


def test_relay_bytes_after_the_terminal_event_are_not_read() -> None:
    """Nothing follows [DONE]."""
    assert run(make_relay(), [answer_of(text("a"), finish()) + text("more") + failure("x")]) == answer_of(
        text("a"), finish()
    )


def test_relay_counts_frames_with_content_once_each() -> None:
    """Role, finish, usage and empty frames are no content; a frame with two kinds of it is one."""
    calls: list[None] = []
    relay = make_relay(on_content=lambda: calls.append(None))
    run(
        relay,
        [
            role() + delta({"content": ""}) + text("a") + delta({"reasoning": "b", "content": "c"}),
            delta({"refusal": "d"}) + delta({"content": "e"}, "stop") + usage() + DONE,
        ],
    )
    assert len(calls) == relay.content_frames == 4


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


# The cut


@pytest.mark.parametrize("cap", [1, 2, 7, 100])
@pytest.mark.parametrize("include_usage", [True, False])
def test_relay_runaway_is_cut_exactly_at_the_cap(cap: int, include_usage: bool) -> None:
    """Cap tokens are delivered and never one more; the end is that of a model that met its limit."""
    relay = make_relay(cap=cap, include_usage=include_usage)
    fed = 0
    out = relay.feed(role())
    while relay.end is None:
        out += relay.feed(text(" a"))
        fed += 1
    answer = seen(out)
    assert fed == cap + 1
    assert answer.text == {0: " a" * cap}
    assert answer.finish == {0: ["length"]}
    assert answer.reports == [BUDGET]
    assert answer.usage == ([usage_numbers(5, cap)] if include_usage else [])
    assert answer.done
    assert relay.end is End.BUDGET
    assert relay.usage() == Usage(5, cap, estimated=True)
    assert answer.chunks[-1 - include_usage]["id"] == "chatcmpl-lab"


def test_relay_obedient_provider_is_not_cut() -> None:
    """Exactly the cap, then its own finish: nothing of ours is in the stream."""
    relay = make_relay(cap=7)
    stream = answer_of(role(), *[text(" a")] * 7, finish("length"))
    assert run(relay, [stream]) == stream
    assert relay.end is End.FINISHED


def test_relay_estimate_cuts_past_twice_the_cap_only() -> None:
    """With another model's encoding an obedient provider is never cut by our error."""
    relay = make_relay(cap=7, exact=False)
    answer = seen(run(relay, [role(), *[text(" a")] * 20]))
    assert answer.text == {0: " a" * 14}
    assert relay.end is End.BUDGET


def test_relay_cut_is_exact_in_the_models_own_tokens() -> None:
    """The same with the tokenizer of production: 7 tokens of o200k."""
    encoding = load_encoding("o200k_base")
    relay = make_relay(cap=7, encoding=lambda: encoding)
    answer = seen(run(relay, [text(piece) for piece in ["The", " qu", "ick", " brown", " fox", " jumps"] * 3]))
    assert 0 < encoding.count(answer.text[0]) <= 7
    assert relay.end is End.BUDGET
    assert answer.finish == {0: ["length"]}


def test_relay_cut_notice_goes_first() -> None:
    """The text of the notice, then the finish chunk; it is no token of the model's."""
    relay = make_relay(cap=2, cut_notice=" [cut]", include_usage=True)
    answer = seen(run(relay, [text("a") + text(" b") + text(" c")]))
    assert answer.text == {0: "a b [cut]"}
    assert answer.usage == [usage_numbers(5, 2)]
    assert [bool(chunk.get("rillgate")) for chunk in answer.chunks] == [False, False, False, True, False]


@pytest.mark.parametrize(
    "fields",
    [
        {"content": " a b"},
        {"reasoning_content": " a b"},
        {"reasoning": " a b"},
        {"refusal": " a b"},
        {"tool_calls": [{"index": 0, "function": {"arguments": " a b"}}]},
        {"tool_calls": [{"index": 0, "function": {"name": " a", "arguments": " b"}}]},
        {"function_call": {"arguments": " a b"}},
        {"content": [{"type": "text", "text": " a"}, {"type": "thinking", "thinking": " b"}]},
        {"content": " a", "reasoning": " b"},
        {"audio": {"transcript": " a b"}},
    ],
)
def test_relay_output_of_every_kind_counts(fields: dict[str, Any]) -> None:
    """Reasoning, refusals and tool arguments are paid for like text."""
    relay = make_relay(cap=6)
    out = run(relay, [delta(fields)] * 10)
    assert out.count(b'"lab-model"') == 3 + 1
    assert relay.end is End.BUDGET
    assert relay.usage().output_tokens == 6


def test_relay_nothing_that_follows_a_cut_is_delivered() -> None:
    """Not the rest of the chunk of bytes in which it happened either."""
    out = run(make_relay(cap=1), [text("a") + text(" b") + text(" c") + finish() + usage() + DONE])
    assert seen(out).text == {0: "a"}
    assert out.count(b"[DONE]") == 1


def test_relay_cut_frame_with_its_own_finish_is_cut_once() -> None:
    """The frame that passes the limit is dropped with everything that it says."""
    relay = make_relay(cap=1, include_usage=True)
    answer = seen(run(relay, [text("a") + delta({"content": " b c"}, "stop", usage=usage_numbers(9, 3)) + DONE]))
    assert (answer.text, answer.finish) == ({0: "a"}, {0: ["length"]})
    assert answer.usage == [usage_numbers(9, 3)]
    assert relay.end is End.BUDGET


def test_relay_cut_with_usage_on_every_chunk_still_ends_with_usage() -> None:
    """The client that asked gets it last, where openai-python looks for it."""
    relay = make_relay(cap=2, include_usage=True)
    frames = [text(" a", usage=usage_numbers(9, number)) for number in range(1, 5)]
    answer = seen(run(relay, frames))
    assert answer.text == {0: " a a"}
    assert answer.chunks[-1]["choices"] == []
    assert answer.chunks[-1]["usage"]["completion_tokens"] >= 2


def test_relay_error_in_the_frame_that_is_cut_is_not_said_after_the_end() -> None:
    """The first end wins."""
    relay = make_relay(cap=1, decoder=Scripted([[TextDelta(0, "a b"), ErrorDelta(UpstreamError("late"))]]))
    answer = seen(run(relay, [text("a")]))
    assert (answer.done, answer.error, relay.end) == (True, None, End.BUDGET)


# Several choices


def test_relay_choice_that_is_cut_ends_while_the_other_goes_on() -> None:
    """Frames of the cut choice are dropped, those of the other are untouched; the end comes with the last of them."""
    relay = make_relay(cap=2, choices=2)
    out = b""
    for one in [role(0), role(1), text("a"), text("x", 1), text(" b"), text(" c")]:
        out += relay.feed(one)
    assert seen(out).finish == {0: ["length"]}
    assert relay.end is None
    assert relay.feed(text(" d")) == b""
    assert relay.feed(finish("stop")) == b""
    assert relay.feed(text(" y", 1)) == text(" y", 1)
    out += relay.feed(finish("stop", 1) + usage() + DONE)
    answer = seen(out)
    assert answer.finish == {0: ["length"], 1: ["stop"]}
    assert answer.text == {0: "a b", 1: "x"}
    assert answer.usage == []
    assert answer.done
    assert relay.end is End.BUDGET


def test_relay_both_choices_are_cut_each_at_the_cap() -> None:
    """Each has the whole cap for itself."""
    relay = make_relay(cap=3, choices=2, include_usage=True)
    answer = seen(run(relay, [text(" a", number % 2) for number in range(20)]))
    assert answer.text == {0: " a" * 3, 1: " a" * 3}
    assert answer.finish == {0: ["length"], 1: ["length"]}
    assert answer.usage == [usage_numbers(5, 6)]
    assert relay.end is End.BUDGET


def test_relay_frame_with_a_cut_choice_and_another_keeps_the_other() -> None:
    """Some servers put all choices into each frame; its unknown fields survive."""
    relay = make_relay(cap=1, choices=2)
    both = [{"index": 0, "delta": {"content": " a"}}, {"index": 1, "delta": {"content": ""}}]
    out = relay.feed(frame(envelope(both)) * 2)
    out += relay.feed(frame(envelope([both[0], {"index": 1, "delta": {"content": " x"}, "y": 1}], z=2)))
    last = msgspec.json.decode(SseReader().feed(out)[-1].data)
    assert last == envelope([{"index": 1, "delta": {"content": " x"}, "y": 1}], z=2)
    assert b'"finish_reason":"length"' in out


def test_relay_usage_asked_waits_for_all_choices() -> None:
    """The mark of the estimate is in the finish chunk of the last choice."""
    relay = make_relay(choices=2, include_usage=True)
    frames = [text("a"), text("x", 1), finish(), text(" y", 1), finish("stop", 1)]
    out = b"".join(relay.feed(one) for one in frames)
    assert out == b"".join(frames[:-1])
    answer = seen(relay.feed(DONE))
    assert (answer.finish, answer.reports) == ({1: ["stop"]}, [ESTIMATED])
    assert answer.usage == [usage_numbers(5, 3)]


def test_relay_usage_asked_of_a_server_that_knows_no_n_is_marked_too() -> None:
    """Two choices asked, one given: its finish chunk may be the last, so it waits for what comes next."""
    relay = make_relay(choices=2, include_usage=True)
    answer = seen(run(relay, [text("a") + finish() + DONE]))
    assert (answer.finish, answer.reports, answer.done) == ({0: ["stop"]}, [ESTIMATED], True)
    assert relay.end is End.FINISHED


def test_relay_one_of_two_choices_finished_is_not_the_whole_answer() -> None:
    """Without [DONE] nobody knows whether the other would have come."""
    relay = make_relay(choices=2)
    assert seen(run(relay, [text("a") + finish()])).error is not None
    assert relay.end is End.TRUNCATED


def test_relay_choice_that_nobody_asked_for_belongs_to_the_answer() -> None:
    """One asked, two begun: a stream that breaks while the second runs is not whole."""
    relay = make_relay(choices=1)
    assert seen(run(relay, [text("a") + text("x", 1) + finish()])).error is not None
    assert relay.end is End.TRUNCATED


def test_relay_end_of_the_provider_after_a_cut_is_the_end_of_a_cut_stream() -> None:
    """One choice cut, the other never finished, then [DONE]: the books say that the budget ended something."""
    relay = make_relay(cap=1, choices=2)
    assert seen(run(relay, [text("a b") + text("x", 1) + DONE])).done
    assert relay.end is End.BUDGET


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


# Whole answers


ANSWER: list[Delta] = [
    ReasoningDelta(0, "hm"),
    TextDelta(0, "one two"),
    ToolDelta(0, 0, "c", "f", "{}"),
    FinishDelta(0, "tool_calls"),
    UsageDelta(Usage(9, 4)),
]


@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("same_dialect", [True, False])
def test_relay_whole_answer_becomes_a_proper_stream(include_usage: bool, same_dialect: bool) -> None:
    """Role once, text, tools, finish, usage only where asked, [DONE]."""
    relay = make_relay(include_usage=include_usage, same_dialect=same_dialect)
    out = relay.feed_answer(ANSWER)
    answer = seen(out)
    assert out.count(b'"role"') == 1
    assert (answer.text, answer.finish) == ({0: "one two"}, {0: ["tool_calls"]})
    assert answer.usage == ([usage_numbers(9, 4)] if include_usage else [])
    assert answer.reports == []
    assert answer.done
    assert relay.end is End.FINISHED
    assert relay.usage() == Usage(9, 4)
    assert relay.frames > 0


def test_relay_whole_answer_without_usage_is_estimated_and_marked() -> None:
    """As for a stream."""
    relay = make_relay(include_usage=True)
    answer = seen(relay.feed_answer([TextDelta(0, "one two"), FinishDelta(0, "stop")]))
    assert (answer.reports, answer.usage) == ([ESTIMATED], [usage_numbers(5, 2)])


def test_relay_whole_answer_without_finish_reason_gets_one() -> None:
    """It is whole, and clients wait for a reason."""
    answer = seen(make_relay(choices=2).feed_answer([TextDelta(0, "a"), TextDelta(1, "b")]))
    assert (answer.finish, answer.done) == ({0: ["stop"], 1: ["stop"]}, True)


@pytest.mark.parametrize("deltas", [[], [UsageDelta(Usage(9, 0))]])
def test_relay_whole_answer_that_says_nothing_is_an_error(deltas: list[Delta]) -> None:
    """Never a proper end with nothing in it."""
    relay = make_relay()
    assert seen(relay.feed_answer(deltas)).error is not None
    assert relay.end is End.UPSTREAM_ERROR


def test_relay_whole_answer_past_the_cap_is_cut() -> None:
    """What passes the cap is not delivered, whole or not; the provider's own usage stays in the books."""
    relay = make_relay(cap=3, choices=2)
    answer = seen(
        relay.feed_answer(
            [TextDelta(0, "a b c d e"), TextDelta(1, "x"), FinishDelta(0, "stop"), FinishDelta(1, "stop")]
        )
    )
    assert answer.finish == {0: ["length"], 1: ["stop"]}
    assert answer.text == {0: "", 1: "x"}
    assert relay.end is End.BUDGET
    relay = make_relay(cap=3)
    seen(relay.feed_answer([TextDelta(0, "a b c d e"), FinishDelta(0, "stop"), UsageDelta(Usage(9, 5))]))
    assert relay.usage() == Usage(9, 5)


def test_relay_whole_answer_of_the_provider_keeps_its_choices_apart() -> None:
    """From the body to the stream."""
    body = {"choices": [{"index": n, "message": {"content": str(n)}, "finish_reason": "stop"} for n in range(2)]}
    answer = seen(make_relay(choices=2).feed_answer(PROVIDER.decode_answer(msgspec.json.encode(body))))
    assert (answer.text, answer.finish, answer.done) == ({0: "0", 1: "1"}, {0: ["stop"], 1: ["stop"]}, True)


# Another dialect


class Scripted:
    """A decoder of some other provider: each frame means the next of these."""

    def __init__(self, frames: list[list[Delta]]) -> None:
        self._frames = iter(frames)

    def decode(self, frame: Frame) -> list[Delta] | None:
        """The next ones; once they are used up, nothing."""
        return next(self._frames, None)


def translated(frames: list[list[Delta]], **more: Any) -> tuple[Relay, bytes]:
    """A relay of another dialect that was fed these frames, and what the client got."""
    relay = make_relay(same_dialect=False, decoder=Scripted(frames), **more)
    return relay, run(relay, [b"data: x\n\n"] * len(frames))


@pytest.mark.parametrize("include_usage", [True, False])
def test_relay_another_dialect_is_written_anew(include_usage: bool) -> None:
    """Deltas become chunks, usage comes last and only where asked, the provider's bytes never appear."""
    relay, out = translated(
        [
            [UsageDelta(Usage(9, 1))],
            [TextDelta(0, "one")],
            [RefusalDelta(0, " no"), TextDelta(0, " two")],
            [],
            [FinishDelta(0, "stop"), UsageDelta(Usage(9, 4))],
            [EndDelta()],
        ],
        include_usage=include_usage,
    )
    answer = seen(out)
    assert (answer.text, answer.finish) == ({0: "one two"}, {0: ["stop"]})
    assert answer.usage == ([usage_numbers(9, 4)] if include_usage else [])
    assert answer.reports == []
    assert answer.done
    assert b"data: x" not in out
    assert out.count(b'"role"') == 1
    assert (relay.end, relay.usage()) == (End.FINISHED, Usage(9, 4))


def test_relay_another_dialect_with_all_in_its_last_frame_loses_nothing() -> None:
    """Text, finish, usage and end may be one line of a provider."""
    _, out = translated([[TextDelta(0, "a"), FinishDelta(0, "stop"), UsageDelta(Usage(9, 1)), EndDelta()]])
    answer = seen(out)
    assert (answer.text, answer.finish, answer.done) == ({0: "a"}, {0: ["stop"]}, True)


def test_relay_another_dialect_without_usage_is_estimated_and_marked() -> None:
    """As in the same dialect."""
    _, out = translated([[TextDelta(0, "one two")], [FinishDelta(0, "stop")], [EndDelta()]], include_usage=True)
    answer = seen(out)
    assert (answer.reports, answer.usage) == ([ESTIMATED], [usage_numbers(5, 2)])


def test_relay_another_dialect_with_early_usage_only_is_estimated() -> None:
    """What Anthropic says at the start of a message is not the usage of a message that never came to its end."""
    relay, _ = translated([[UsageDelta(Usage(9, 1))], [TextDelta(0, "one two three")]])
    assert relay.usage() == Usage(9, 3, estimated=True)


def test_relay_another_dialect_is_cut_at_the_cap() -> None:
    """And one choice of two alone."""
    frames: list[list[Delta]] = [[TextDelta(0, " a"), TextDelta(1, "b" * number)] for number in range(1, 6)]
    frames.append([FinishDelta(0, "stop"), FinishDelta(1, "stop")])
    relay, out = translated(frames, cap=3, choices=2)
    answer = seen(out)
    assert answer.text == {0: " a" * 3, 1: "b" * 15}
    assert answer.finish == {0: ["length"], 1: ["stop"]}
    assert relay.end is End.BUDGET


def test_relay_another_dialect_says_errors_and_truncation_in_the_clients() -> None:
    """In band, without [DONE], after the text that came with it."""
    relay, out = translated([[TextDelta(0, "a")], [TextDelta(0, " b"), ErrorDelta(UpstreamError("it fell over"))]])
    answer = seen(out)
    assert (answer.text, answer.done) == ({0: "a b"}, False)
    assert answer.error is not None
    assert relay.end is End.UPSTREAM_ERROR
    relay, out = translated([[TextDelta(0, "a")]])
    assert seen(out).error is not None
    assert relay.end is End.TRUNCATED


# Any stream at all


PIECES = [
    *(role(), role(1), text("a"), text(" b c"), text(" x", 1), finish(), finish("length", 1), usage(), DONE),
    *(text(" u", usage=usage_numbers()), finish("stop", usage=usage_numbers()), frame(envelope([])), b": c\n\n"),
    *(failure({"message": "m"}), failure("m"), b"data: null\n\n", b"data: {\n\n", b'error: {"message":"m"}\n\n'),
    *(delta({"reasoning": " r"}), delta({"content": ""}, ""), delta({"content": " z"}, "error")),
    frame(envelope([{"index": 0, "delta": {"content": " p"}}, {"index": 1, "delta": {"content": " q"}}])),
    b"data: ",
    b"\r\n",
    b'{"object":"chat.completion.chunk","choices":[]}',
]


@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=14),
    places=st.lists(st.integers(0, 5000), max_size=8),
    cap=st.integers(1, 6),
    choices=st.integers(1, 2),
    include_usage=st.booleans(),
    exact=st.booleans(),
    same_dialect=st.booleans(),
)
@example(
    pieces=[text("a"), text(" b c"), usage()],
    places=[],
    cap=1,
    choices=1,
    include_usage=True,
    exact=True,
    same_dialect=True,
)
def test_relay_any_stream_ends_properly_and_within_its_limit(
    *,
    pieces: list[bytes],
    places: list[int],
    cap: int,
    choices: int,
    include_usage: bool,
    exact: bool,
    same_dialect: bool,
) -> None:
    """Whatever comes, however it is cut: one end, said as [DONE] or as an error, nothing after it, no choice past its
    limit, usage last and only where asked; and the cut into pieces makes no difference."""
    stream = b"".join(pieces)
    relay = make_relay(cap=cap, choices=choices, include_usage=include_usage, exact=exact, same_dialect=same_dialect)
    out = run(relay, cut_at(stream, places))
    answer = seen(out)  # asserts that nothing follows the end
    assert answer.done is (relay.end in (End.FINISHED, End.BUDGET))
    assert (answer.error is not None) is (relay.end in (End.UPSTREAM_ERROR, End.TRUNCATED))
    assert (relay.error is not None) is (answer.error is not None)
    for content in answer.text.values():
        assert WORDS.count(content) <= cap * (1 if exact else 2)
    if include_usage and answer.done:
        assert answer.chunks[-1].get("usage")
    if not include_usage:
        assert answer.usage == []
    again = make_relay(cap=cap, choices=choices, include_usage=include_usage, exact=exact, same_dialect=same_dialect)
    assert run(again, [stream]) == out


# A cap that a budget lowered


LOWERED = {"stop": "budget", "scope": "team:core"}


@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("same_dialect", [True, False])
def test_relay_provider_that_stops_at_a_budgets_cap_is_reported_once(include_usage: bool, same_dialect: bool) -> None:
    """With the frame of its finish reason, in either dialect; the end is the budget's, and the provider's as well."""
    relay = make_relay(include_usage=include_usage, same_dialect=same_dialect, length_report=LOWERED)
    answer = seen(run(relay, [answer_of(role(), text("a"), finish("length"), usage())]))
    assert (answer.reports, answer.finish, answer.done) == ([LOWERED], {0: ["length"]}, True)
    assert next(chunk for chunk in answer.chunks if "rillgate" in chunk)["choices"][0]["finish_reason"] == "length"
    assert answer.usage == ([usage_numbers(9, 4)] if include_usage else [])
    assert (relay.end, relay.upstream_done, relay.usage()) == (End.BUDGET, True, Usage(9, 4))


def test_relay_provider_that_stops_at_a_budgets_cap_without_usage_says_both() -> None:
    """Why it stopped, and that the usage is ours."""
    relay = make_relay(include_usage=True, length_report=LOWERED)
    answer = seen(run(relay, [answer_of(text("a"), finish("length"))]))
    assert answer.reports == [{**LOWERED, **ESTIMATED}]


def test_relay_finish_of_another_kind_is_no_budgets() -> None:
    """An answer that ends by itself below a lowered cap has finished; byte for byte, as ever."""
    relay = make_relay(length_report=LOWERED)
    stream = answer_of(role(), text("a"), finish("stop"))
    assert run(relay, [stream]) == stream
    assert relay.end is End.FINISHED


def test_relay_choices_that_stop_at_a_budgets_cap_are_told_apart() -> None:
    """One of two: its frame alone carries the report."""
    relay = make_relay(choices=2, length_report=LOWERED)
    stream = answer_of(text("a"), text("b", 1), finish("stop"), finish("length", 1))
    answer = seen(run(relay, [stream]))
    assert answer.finish == {0: ["stop"], 1: ["length"]}
    (reported,) = [chunk for chunk in answer.chunks if "rillgate" in chunk]
    assert reported["choices"][0]["index"] == 1
    assert relay.end is End.BUDGET


def test_relay_whole_answer_that_stops_at_a_budgets_cap_is_reported() -> None:
    """As for a stream."""
    relay = make_relay(length_report=LOWERED)
    answer = seen(relay.feed_answer([TextDelta(0, "a"), FinishDelta(0, "length"), UsageDelta(Usage(9, 1))]))
    assert (answer.reports, relay.end) == ([LOWERED], End.BUDGET)


def test_relay_stopped_after_a_budgets_cap_was_met_is_whole() -> None:
    """Only the terminal event was missing when our deadline came."""
    relay = make_relay(length_report=LOWERED)
    out = relay.feed(text("a") + finish("length"))
    out += relay.stop(End.DEADLINE, StreamEnded("too late"))
    assert seen(out).done
    assert (relay.end, relay.upstream_done, relay.error) == (End.BUDGET, False, None)


def test_relay_cut_of_a_lowered_cap_says_whose_limit_it_was() -> None:
    """Scope and reset, and that the count is ours."""
    report = {**LOWERED, "reset": "2026-11-22T00:00:00Z"}
    relay = make_relay(cap=2, cut_report=report, length_report=report)
    answer = seen(run(relay, [answer_of(*[text(" a")] * 5)]))
    assert answer.reports == [{**report, **ESTIMATED}]
    assert (relay.end, relay.upstream_done, relay.reported) == (End.BUDGET, False, None)
