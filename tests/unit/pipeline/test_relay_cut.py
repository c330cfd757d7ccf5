"""Where a stream passes its limit, ours or a budget's: what is cut, what is said, and what the other choices get."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.app.encodings import load_encoding
from rillgate.domain.delta import (
    ErrorDelta,
    FinishDelta,
    TextDelta,
    UsageDelta,
)
from rillgate.domain.ends import End
from rillgate.domain.errors import StreamEnded, UpstreamError
from rillgate.domain.usage import Usage
from rillgate.wire.sse import SseReader
from tests.unit.pipeline.relay_support import (
    BUDGET,
    DONE,
    ESTIMATED,
    Scripted,
    answer_of,
    delta,
    envelope,
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
