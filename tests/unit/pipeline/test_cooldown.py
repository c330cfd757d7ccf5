"""Which upstreams are left alone for a while."""

from __future__ import annotations

from rillgate.pipeline.cooldown import COOLDOWN_S, COOLDOWN_S_MAX, FAILURES_MAX, UPSTREAMS_MAX, Cooldowns


def fail(cooldowns: Cooldowns, times: int, now_s: float, retry_after_s: float | None = None) -> list[bool]:
    """Fail so often; whether each of them began a cooldown."""
    return [cooldowns.failed("lab", "m", now_s, retry_after_s) for _ in range(times)]


def test_cooldown_begins_with_the_last_failure_in_a_row() -> None:
    """Fewer are bad luck."""
    cooldowns = Cooldowns()
    assert fail(cooldowns, FAILURES_MAX - 1, 100) == [False] * (FAILURES_MAX - 1)
    assert cooldowns.cooling_s("lab", "m", 100) == 0
    assert fail(cooldowns, 1, 100) == [True]
    assert cooldowns.cooling_s("lab", "m", 110) == COOLDOWN_S - 10
    assert cooldowns.cooling_s("lab", "other", 110) == 0
    assert cooldowns.cooling_s("lab", "m", 100 + COOLDOWN_S) == 0


def test_cooldown_that_is_over_begins_again_with_one_failure() -> None:
    """One try is enough to see that nothing is better; while it lasts it is told once."""
    cooldowns = Cooldowns()
    fail(cooldowns, FAILURES_MAX, 100)
    assert fail(cooldowns, 2, 101) == [False, False]
    assert fail(cooldowns, 1, 200) == [True]


def test_success_forgets_all_failures() -> None:
    """Those in a row count."""
    cooldowns = Cooldowns()
    fail(cooldowns, FAILURES_MAX, 100)
    cooldowns.succeeded("lab", "m")
    assert cooldowns.cooling_s("lab", "m", 100) == 0
    assert fail(cooldowns, FAILURES_MAX - 1, 100) == [False] * (FAILURES_MAX - 1)


def test_cooldown_that_a_provider_asks_for_begins_at_once_and_is_bounded() -> None:
    """It knows best, but not for a day."""
    cooldowns = Cooldowns()
    assert fail(cooldowns, 1, 100, retry_after_s=7) == [True]
    assert cooldowns.cooling_s("lab", "m", 100) == 7
    fail(cooldowns, 1, 100, retry_after_s=86_400)
    assert cooldowns.cooling_s("lab", "m", 100) == COOLDOWN_S_MAX


def test_cooldowns_of_names_without_number_are_bounded() -> None:
    """Clients choose model names."""
    cooldowns = Cooldowns()
    for number in range(UPSTREAMS_MAX + 1):
        cooldowns.failed("lab", f"m{number}", 100, 5)
    assert cooldowns.cooling_s("lab", "m0", 100) == 0
    assert cooldowns.cooling_s("lab", "m1", 100) == 5
