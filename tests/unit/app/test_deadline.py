"""The time of a request, where the platform has a deadline of its own."""

from __future__ import annotations

from typing import Any

import pytest

from rillgate.app.deadline import EXTENSION, MARGIN_S, time_left
from rillgate.domain.errors import CapacityError

NOW_S = 1_795_000_000.0


def scope(left_s: float) -> dict[str, Any]:
    """Of a request that the platform begins to break off in so many seconds."""
    return {"extensions": {EXTENSION: {"deadline_s": NOW_S + left_s}}}


@pytest.mark.parametrize("there", [{}, {"extensions": {}}, {"extensions": {"other": {}}}])
def test_time_left_without_a_deadline_is_what_is_configured(there: dict[str, Any]) -> None:
    """In a container nothing changes."""
    assert time_left(900, there, NOW_S) == 900
    assert time_left(0, there, NOW_S) == 0


@pytest.mark.parametrize(
    ("total_s", "left_s", "expected"),
    [(900, 30, 30 - MARGIN_S), (10, 30, 10), (0, 30, 30 - MARGIN_S), (900, MARGIN_S + 0.5, 0.5)],
)
def test_time_left_is_the_lesser_with_room_for_the_end(total_s: float, left_s: float, expected: float) -> None:
    """The last event goes out and the hold is settled before the platform acts; 0 for no end means the platform's."""
    assert time_left(total_s, scope(left_s), NOW_S) == pytest.approx(expected)


@pytest.mark.parametrize("left_s", [MARGIN_S, 0.0, -5.0])
def test_time_left_of_nothing_is_refused_before_anything_is_held(left_s: float) -> None:
    """A request that could only be broken off does not begin: 503, and it may be sent again."""
    with pytest.raises(CapacityError) as refused:
        time_left(900, scope(left_s), NOW_S)
    assert refused.value.status == 503
