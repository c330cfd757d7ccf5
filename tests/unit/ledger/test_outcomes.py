"""What a refused write means."""

from __future__ import annotations

import pytest

from rillgate.domain.limits import Budget, Limit, Meter, Window
from rillgate.ledger.outcomes import (
    Blocked,
    Busy,
    Done,
    Refusal,
    Short,
    Stale,
    Taken,
    why_not_authorized,
    why_not_extended,
)
from rillgate.ledger.writes import Item

BUDGET = Budget(3, (Limit(Meter.TOKENS, Window.DAY, 100),), streams_max=2)
FULL: Item = {"n": 2, "v": 4, "b": "unpaid", "td20775": 100}


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ({"hA": "mine", **FULL}, Done()),
        ({"hA": "other", **FULL}, Taken("other")),
        ({"hB": "mine", **FULL}, Blocked("unpaid")),
        ({"b": ""}, Blocked("")),
        ({"n": 2, "v": 4}, Stale()),
        ({"n": 2, "v": 3}, Busy()),
        ({"n": 3}, Busy()),
        ({"n": 1, "v": 3}, Short()),
        ({"v": 2}, Short()),
        ({}, Short()),
    ],
)
def test_refused_authorize_is_told_by_the_first_reason_that_counts(item: Item, why: Refusal) -> None:
    """Our own hold outranks everything, then the block, the version, the number of streams; the limits are the rest."""
    assert why_not_authorized(item, BUDGET, "A", "mine") == why


def test_refused_authorize_without_bound_on_streams_is_never_busy() -> None:
    """However many hold, only the limits are left as the reason."""
    assert why_not_authorized({"n": 10**6}, Budget(), "A", "mine") == Short()


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (FULL, None),
        ({}, None),
        ({"hA": "after", **FULL}, Done()),
        ({"hA": "third", **FULL}, Taken("third")),
        ({"hA": "before", **FULL}, Blocked("unpaid")),
        ({"hA": "before", "v": 4}, Stale()),
        ({"hA": "before", "v": 3, "n": 9}, Short()),
    ],
)
def test_refused_extension_is_told_by_the_value_of_the_hold_first(item: Item, why: Refusal | None) -> None:
    """A hold that is gone, that was extended already, or that has an unknown value; then block, version and limits."""
    assert why_not_extended(item, BUDGET, "A", "before", "after") == why
