"""What becomes a stream of our own making: whole answers, and frames of another dialect."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

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
from rillgate.domain.errors import UpstreamError
from rillgate.domain.usage import Usage
from rillgate.pipeline.relay import Relay
from tests.unit.pipeline.relay_support import (
    ESTIMATED,
    PROVIDER,
    Scripted,
    make_relay,
    run,
    seen,
    usage_numbers,
)

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
