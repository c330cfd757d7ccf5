"""Limits as text: what operators may write, and that nothing is lost on the way there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.budget.limit_text import AMOUNT_MAX, amount_text, dollars_text, limit_text, parse_limit, parse_limits
from rillgate.domain.limits import Limit, Meter, Window


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("tokens/day=100000", Limit(Meter.TOKENS, Window.DAY, 100_000)),
        ("tokens/total=1_000_000", Limit(Meter.TOKENS, Window.TOTAL, 1_000_000)),
        (" requests/minute=60 ", Limit(Meter.REQUESTS, Window.MINUTE, 60)),
        ("usd/month=25", Limit(Meter.COST, Window.MONTH, 25_000_000_000)),
        ("usd/month=0.1", Limit(Meter.COST, Window.MONTH, 100_000_000)),
        ("usd/day=0.000000001", Limit(Meter.COST, Window.DAY, 1)),
        ("usd/day=2.5000000000000", Limit(Meter.COST, Window.DAY, 2_500_000_000)),
        ("usd/total=1_000_000.01", Limit(Meter.COST, Window.TOTAL, 1_000_000_010_000_000)),
    ],
)
def test_parse_limit_given_a_limit_reads_it_exactly(text: str, limit: Limit) -> None:
    """Every meter and window is read; dollars become whole nano-dollars."""
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "METER/WINDOW=AMOUNT"),
        ("tokens", "METER/WINDOW=AMOUNT"),
        ("tokens/day", "METER/WINDOW=AMOUNT"),
        ("tokens=5", "METER/WINDOW=AMOUNT"),
        ("token/day=5", "tokens, usd, requests"),
        ("cost/day=5", "tokens, usd, requests"),
        ("tokens/week=5", "minute, day, month, total"),
        ("tokens/day=", "no whole number"),
        ("tokens/day=-5", "no whole number"),
        ("tokens/day=1.5", "no whole number"),
        ("tokens/day=1e6", "no whole number"),
        ("tokens/day=٣", "no whole number"),
        ("tokens/day=0", "allows nothing"),
        ("tokens/day=" + "9" * 5000, "too large"),
        (f"tokens/day={AMOUNT_MAX + 1}", "too large"),
        ("usd/day=nan", "no amount of dollars"),
        ("usd/day=1,5", "no amount of dollars"),
        ("usd/day=.5", "no amount of dollars"),
        ("usd/day=$5", "no amount of dollars"),
        ("usd/day=0.0", "allows nothing"),
        ("usd/day=0.0000000001", "finer than a nano-dollar"),
        ("usd/day=1000000001", "too large"),
        ("usd/day=" + "9" * 5000, "too large"),
    ],
)
def test_parse_limit_given_anything_else_names_the_text_and_the_remedy(text: str, says: str) -> None:
    """What is no limit is refused with a sentence that repeats it and says what to write."""
    with pytest.raises(ValueError, match="limit") as caught:
        parse_limit(text)
    assert repr(text[:50])[:-1] in str(caught.value)
    assert says in str(caught.value)


def test_parse_limits_with_streams_gives_the_limits_and_the_streams() -> None:
    """How many streams may run at once is no meter and comes beside the limits."""
    limits, streams_max = parse_limits(["tokens/day=5", "streams=4", "tokens/month=50"])
    assert limits == (Limit(Meter.TOKENS, Window.DAY, 5), Limit(Meter.TOKENS, Window.MONTH, 50))
    assert streams_max == 4
    assert parse_limits([]) == ((), None)


@pytest.mark.parametrize("texts", [["tokens/day=5", "tokens/day=5"], ["streams=4", "streams=5"], ["streams=0"]])
def test_parse_limits_with_a_second_or_an_empty_one_refuses(texts: list[str]) -> None:
    """Two limits of one meter and window leave it open which was meant; none at all is a block."""
    with pytest.raises(ValueError, match=r"second|allows nothing"):
        parse_limits(texts)


@given(st.builds(Limit, st.sampled_from(Meter), st.sampled_from(Window), st.integers(1, AMOUNT_MAX)))
def test_limit_text_read_back_gives_the_same_limit(limit: Limit) -> None:
    """Nothing is lost between a limit and its text, to the last nano-dollar."""
    assert parse_limit(limit_text(limit)) == limit


@pytest.mark.parametrize(
    ("meter", "amount", "text"),
    [
        (Meter.TOKENS, 100_000, "100,000 tokens"),
        (Meter.REQUESTS, 1, "1 request"),
        (Meter.REQUESTS, 0, "0 requests"),
        (Meter.COST, 25_000_000_000, "$25.00"),
        (Meter.COST, 1_234_567_890_000, "$1,234.56789"),
        (Meter.COST, 1, "$0.000000001"),
        (Meter.COST, -1_500_000_000, "-$1.50"),
    ],
)
def test_amount_text_for_people_is_exact(meter: Meter, amount: int, text: str) -> None:
    """Amounts for people have their unit and are never rounded."""
    assert amount_text(meter, amount) == text


@pytest.mark.parametrize(
    ("nanos", "text"), [(0, "0"), (1, "0.000000001"), (10_000_000_000, "10"), (-2_500_000_000, "-2.5")]
)
def test_dollars_text_of_nano_dollars_is_exact_and_short(nanos: int, text: str) -> None:
    """Only zeros after the point are left out."""
    assert dollars_text(nanos) == text
