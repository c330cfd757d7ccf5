"""Budgets as items."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.limits import UNLIMITED, Budget, Limit, Meter, Window
from rillgate.ledger.budgets import budget_item, read_budget

LIMITS = st.lists(
    st.builds(Limit, st.sampled_from(Meter), st.sampled_from(Window), st.integers(1, 10**18)),
    unique_by=lambda limit: (limit.meter, limit.window),
).map(tuple)


@given(
    st.builds(
        Budget,
        version=st.integers(0, 10**6),
        limits=LIMITS,
        streams_max=st.none() | st.integers(1, 1000),
        blocked=st.none() | st.text(),
        warn_percents=st.lists(st.integers(1, 100)).map(tuple),
    )
)
def test_budget_item_read_back_gives_the_same_budget(budget: Budget) -> None:
    """Nothing of a budget is lost in its item, which holds whole numbers and text only."""
    item = budget_item(budget)
    assert read_budget(item) == budget
    assert all(type(value) in (int, str) for value in item.values())


def test_budget_item_of_a_budget_is_readable_in_a_console() -> None:
    """An operator who looks at the table sees the limits as they were written."""
    budget = Budget(3, (Limit(Meter.TOKENS, Window.DAY, 100_000),), 4, "unpaid", (50, 80))
    assert budget_item(budget) == {
        "v": 3,
        "limits": '["tokens/day=100000"]',
        "streams": 4,
        "warn": "[50,80]",
        "blocked": "unpaid",
    }


def test_read_budget_of_an_empty_item_is_unlimited() -> None:
    """A scope that was never given limits has none."""
    assert read_budget({}) == UNLIMITED


@pytest.mark.parametrize(
    "item", [{"limits": '["tokens/week=5"]'}, {"limits": "{}"}, {"limits": "[1]"}, {"warn": '["a"]'}, {"v": "3"}]
)
def test_read_budget_of_what_it_does_not_understand_refuses(item: dict[str, int | str]) -> None:
    """A limit that cannot be read is never taken for no limit."""
    with pytest.raises(ValueError, match=r"limit|holds"):
        read_budget(item)
