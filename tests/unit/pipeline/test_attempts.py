"""Who is asked next, and when."""

from __future__ import annotations

import pytest

from rillgate.domain.errors import CapacityError, ClientError, RillgateError, UpstreamError, UpstreamTimeout
from rillgate.domain.request import Target
from rillgate.pipeline.attempts import Attempts, fails_over
from rillgate.pipeline.call import Upstream
from rillgate.pipeline.cooldown import Cooldowns
from rillgate.providers.openai import OpenAIProvider
from rillgate.telemetry.metrics import Metrics
from tests.fakes.clock import FakeClock
from tests.unit.pipeline.call_support import Nowhere

DOWN = UpstreamError("down")
BUSY = UpstreamError("busy", status=429, retry_after_s=3)
NO_MONEY = UpstreamError("no money", status=429, retryable=False)
WRONG = UpstreamError("your request is wrong", status=400, retryable=False)
CANNOT = ClientError("provider 'b' does not support 'n'")


def upstream(name: str) -> Upstream:
    """Model "m" of a provider."""
    return Upstream(Target(name, "m"), OpenAIProvider(name, own_host=False), Nowhere())


def attempts(
    *names: str,
    retries: int = 0,
    cooldowns: Cooldowns | None = None,
    jitter: float = 1.0,
    clock: FakeClock | None = None,
    metrics: Metrics | None = None,
) -> Attempts:
    """Attempts over providers of these names."""
    return Attempts(
        [upstream(name) for name in names],
        retries=retries,
        cooldowns=cooldowns or Cooldowns(),
        clock=clock or FakeClock(),
        jitter=lambda: jitter,
        request_id="req_1",
        metrics=metrics or Metrics(),
    )


def run(subject: Attempts, *errors: RillgateError) -> list[str | float | None]:
    """Fail with these, one after the other: who was asked, and how long was waited for the next."""
    told: list[str | float | None] = []
    for error in errors:
        asked = subject.begin()
        told.append(asked.target.provider)
        expected = subject.may_follow(error)
        wait_s = subject.after(asked, error)
        assert expected or wait_s is None
        told.append(wait_s)
        if wait_s is None:
            break
    return told


def test_attempts_of_one_upstream_without_retries_are_one() -> None:
    """A name without a route."""
    assert run(attempts("a"), DOWN) == ["a", None]


def test_attempts_go_over_the_route_without_waiting() -> None:
    """In its order."""
    subject = attempts("a", "b", "c")
    assert run(subject, DOWN, BUSY, DOWN) == ["a", 0, "b", 0, "c", None]
    assert subject.number == 3


@pytest.mark.parametrize("error", [WRONG, UpstreamError("none", status=404), UpstreamError("big", status=413)])
def test_attempts_end_with_what_the_client_did_wrong(error: UpstreamError) -> None:
    """It is wrong everywhere."""
    assert run(attempts("a", "b", retries=3), error) == ["a", None]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_attempts_follow_what_may_go_better_elsewhere(status: int) -> None:
    """Busy, broken, or out of money."""
    assert fails_over(UpstreamError("x", status=status))
    assert run(attempts("a", "b"), UpstreamError("x", status=status, retryable=False)) == ["a", 0]
    assert fails_over(CapacityError("no connection is free"))
    assert fails_over(UpstreamTimeout("silent"))


def test_attempts_begin_again_after_a_wait_that_doubles_and_is_spread() -> None:
    """Half of it is chance."""
    assert run(attempts("a", retries=3), *[DOWN] * 4) == ["a", 0.5, "a", 1, "a", 2, "a", None]
    assert run(attempts("a", retries=1, jitter=0.0), DOWN, DOWN) == ["a", 0.25, "a", None]
    assert run(attempts("a", retries=5, jitter=1.0), *[DOWN] * 6)[-3] == 8


def test_attempts_of_a_second_round_leave_out_what_will_not_pass() -> None:
    """Money does not come back within a second."""
    assert run(attempts("a", "b", retries=1), NO_MONEY, DOWN, DOWN) == ["a", 0, "b", 0.5, "b", None]
    assert run(attempts("a", retries=1), NO_MONEY) == ["a", None]


def test_attempts_wait_as_long_as_a_provider_asks_for() -> None:
    """Not longer than a client has patience for: then it is told itself."""
    assert run(attempts("a", "b", retries=1), BUSY, DOWN) == ["a", 0, "b", 3]
    long = UpstreamError("busy", status=429, retry_after_s=30)
    assert run(attempts("a", retries=1), long) == ["a", None]


def test_attempts_pass_over_what_cools_down_while_another_is_left() -> None:
    """Where all cool down, the one that is ready soonest is asked first."""
    clock, cooldowns = FakeClock(), Cooldowns()
    cooldowns.failed("a", "m", clock.now(), 20)
    assert run(attempts("a", "b", cooldowns=cooldowns, clock=clock), DOWN) == ["b", None]
    cooldowns.failed("b", "m", clock.now(), 10)
    assert run(attempts("a", "b", cooldowns=cooldowns, clock=clock), DOWN, DOWN) == ["b", 0, "a", None]
    clock.advance(20)
    assert run(attempts("a", "b", cooldowns=cooldowns, clock=clock), DOWN) == ["a", None]


def test_attempts_remember_failures_of_a_provider_s_own_alone() -> None:
    """What it cannot do, and what the client did wrong, is no failure of its."""
    clock, cooldowns = FakeClock(), Cooldowns()
    for error in (WRONG, CANNOT, WRONG, CANNOT):
        run(attempts("a", cooldowns=cooldowns, clock=clock), error)
    assert cooldowns.cooling_s("a", "m", clock.now()) == 0
    for _ in range(3):
        run(attempts("a", cooldowns=cooldowns, clock=clock), DOWN)
    assert cooldowns.cooling_s("a", "m", clock.now()) > 0
    subject = attempts("a", cooldowns=cooldowns, clock=clock)
    subject.succeeded(subject.begin())
    assert cooldowns.cooling_s("a", "m", clock.now()) == 0


def test_attempts_go_on_where_a_provider_cannot_do_what_is_asked() -> None:
    """Another one may; the client is told of one that was asked, where one was."""
    subject = attempts("a", "b", "c")
    assert run(subject, DOWN, CANNOT, CANNOT) == ["a", 0, "b", 0, "c", None]
    assert subject.last_word(CANNOT) is DOWN
    assert attempts("b").last_word(CANNOT) is CANNOT


def test_last_word_after_retries_asks_the_client_for_none() -> None:
    """Or one request becomes nine; a provider's own word on it stands."""
    error = UpstreamError("down")
    subject = attempts("a", retries=1)
    run(subject, error, error)
    assert subject.last_word(error).should_retry is False
    fresh = UpstreamError("down")
    assert attempts("a").last_word(fresh).should_retry is None
    busy = UpstreamError("busy", status=429, retry_after_s=3)
    subject = attempts("a", retries=1)
    run(subject, busy, busy)
    assert subject.last_word(busy).should_retry is None


def counts(metrics: Metrics) -> dict[str, float | None]:
    """Failovers, retries and cooldowns of the providers."""
    kinds = ("failovers", "retries", "cooldowns")
    found = {
        f"{kind} {provider}": metrics.registry.get_sample_value(f"llm_{kind}_total", {"provider": provider})
        for kind in kinds
        for provider in ("a", "b")
    }
    return {name: value for name, value in found.items() if value}


def test_attempts_count_failovers_by_who_failed_and_retries_by_who_is_asked_again() -> None:
    """The last failure, which nothing follows, is neither."""
    metrics = Metrics()
    run(attempts("a", "b", retries=1, metrics=metrics), *[UpstreamError("down", status=503)] * 4)
    assert counts(metrics) == {"failovers a": 2, "retries a": 1}


def test_attempts_count_cooldowns_once_for_each_time() -> None:
    """Whoever is left alone already is not left alone again."""
    metrics, cooldowns = Metrics(), Cooldowns()
    for _ in range(2):
        run(attempts("a", metrics=metrics, cooldowns=cooldowns), UpstreamError("busy", status=429, retry_after_s=30))
    assert counts(metrics) == {"cooldowns a": 1}
