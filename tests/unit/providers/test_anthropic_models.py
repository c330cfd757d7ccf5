"""What Claude models take, by their names as they are really written."""

from __future__ import annotations

import pytest

from rillgate.providers.anthropic_models import Abilities, abilities_of, budget_of

NONE = Abilities("none")
MANUAL = Abilities("manual")
FIRST_ADAPTIVE = Abilities("adaptive", temperature_with_top_p=False)
NEWER = Abilities("adaptive", sampling=False, temperature_with_top_p=False)
SYSTEM = Abilities("adaptive", sampling=False, temperature_with_top_p=False, system_turns=True)
UNFORCED = Abilities("adaptive", sampling=False, temperature_with_top_p=False, forced_tools=False, system_turns=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-2.1", NONE),
        ("claude-instant-1.2", NONE),
        ("claude-3-haiku-20240307", NONE),
        ("claude-3-5-sonnet-latest", NONE),
        ("claude-3-7-sonnet-20250219", MANUAL),
        ("claude-sonnet-4-20250514", MANUAL),
        ("claude-sonnet-4@20250514", MANUAL),
        ("claude-opus-4-1-20250805", Abilities("manual", temperature_with_top_p=False)),
        ("anthropic/claude-haiku-4.5", Abilities("manual", temperature_with_top_p=False)),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Abilities("manual", temperature_with_top_p=False)),
        ("claude-opus-4-6", FIRST_ADAPTIVE),
        ("claude-sonnet-4-6-20260101", FIRST_ADAPTIVE),
        ("claude-opus-4-7", NEWER),
        ("claude-opus-4-8", SYSTEM),
        ("claude-opus-5", SYSTEM),
        ("claude-haiku-5-5", SYSTEM),
        ("claude-opus-5-5", UNFORCED),
        ("Claude-Sonnet-5-5-20261001", UNFORCED),
        ("claude-fable-5", SYSTEM),
        ("claude-mythos-5-1", UNFORCED),
        ("claude-next", Abilities(sampling=False)),
        ("smollm2-135m", Abilities()),
        ("", Abilities()),
    ],
)
def test_abilities_follow_from_the_name(name: str, expected: Abilities) -> None:
    """By version and family; the newest where it cannot be read; another server's model takes sampling too."""
    assert abilities_of(name) == expected


@pytest.mark.parametrize(
    ("cap", "expected"), [(100_000, 8192), (10_000, 7500), (1400, 1050), (1100, 1024), (1025, 1024), (1024, 0), (9, 0)]
)
def test_budget_stays_below_the_cap_and_leaves_room(cap: int, expected: int) -> None:
    """At most three quarters, never less than the API takes, and none where the cap has no room."""
    assert budget_of("medium", cap) == expected


def test_budget_of_no_effort_is_none() -> None:
    """And it grows with the effort."""
    assert budget_of("none", 100_000) == 0
    budgets = [budget_of(effort, 10**6) for effort in ("minimal", "low", "medium", "high", "xhigh")]
    assert budgets == sorted(set(budgets))
