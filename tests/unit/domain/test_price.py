"""Prices: integers all the way, never a cost above its hold, and what people write kept exactly."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.price import FREE, MILLION, Price, dearest, nanos_per_million
from rillgate.domain.usage import Usage

amounts = st.integers(0, 10**15)
optional_amounts = st.none() | amounts
prices = st.builds(Price, amounts, amounts, optional_amounts, optional_amounts, optional_amounts)
counts = st.none() | st.integers(0, 10**7)
usages = st.builds(Usage, counts, counts, counts, counts, counts)


@given(prices, usages)
def test_cost_of_any_usage_is_an_integer_between_nothing_and_its_hold(price: Price, usage: Usage) -> None:
    """What was held for so many tokens is enough for them, whatever kinds they turn out to be."""
    cost = price.cost_nanos(usage)
    assert type(cost) is int
    assert 0 <= cost <= price.hold_nanos(usage.input_tokens or 0, usage.output_tokens or 0)


@given(prices, usages, st.integers(0, 10**6), st.integers(0, 10**6))
def test_cost_and_hold_with_more_plain_tokens_are_not_lower(
    price: Price, usage: Usage, more_input: int, more_output: int
) -> None:
    """More tokens of the same kinds never cost less, and never hold less."""
    input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    # The parts are kept as they are, so that what is added is plain.
    cached = min(usage.cached_input_tokens or 0, input_tokens)
    written = min(usage.cache_write_tokens or 0, input_tokens - cached)
    reasoning = min(usage.reasoning_tokens or 0, output_tokens)
    before = Usage(input_tokens, output_tokens, cached, written, reasoning)
    after = Usage(input_tokens + more_input, output_tokens + more_output, cached, written, reasoning)
    assert price.cost_nanos(before) <= price.cost_nanos(after)
    hold = price.hold_nanos(input_tokens, output_tokens)
    assert hold <= price.hold_nanos(input_tokens + more_input, output_tokens + more_output)


@given(prices, usages)
def test_cost_is_the_exact_sum_rounded_up(price: Price, usage: Usage) -> None:
    """Nothing is lost by rounding, and less than one nano-dollar is added."""
    input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    cached = min(usage.cached_input_tokens or 0, input_tokens)
    written = min(usage.cache_write_tokens or 0, input_tokens - cached)
    reasoning = min(usage.reasoning_tokens or 0, output_tokens)
    parts = (
        (input_tokens - cached - written, price.input),
        (cached, price.input if price.cached_input is None else price.cached_input),
        (written, price.input if price.cache_write is None else price.cache_write),
        (output_tokens - reasoning, price.output),
        (reasoning, price.output if price.reasoning is None else price.reasoning),
    )
    exact = Fraction(sum(tokens * each for tokens, each in parts), MILLION)
    assert exact <= price.cost_nanos(usage) < exact + 1


def test_cost_of_a_usage_below_zero_is_nothing() -> None:
    """A provider that reports nonsense does not give money back."""
    assert Price(10**9, 10**9).cost_nanos(Usage(-5, -5, -5, -5, -5)) == 0


def test_cost_with_parts_of_each_kind_takes_each_at_its_own_price() -> None:
    """Cached and written tokens are parts of the input, reasoning is a part of the output."""
    price = Price(1_000_000, 10_000_000, cached_input=100_000, cache_write=2_000_000, reasoning=20_000_000)
    assert price.cost_nanos(Usage(100, 50, 30, 20, 10)) == 50 * 1 + 3 + 20 * 2 + 40 * 10 + 10 * 20


def test_cost_with_parts_that_have_no_price_takes_them_as_what_they_are_part_of() -> None:
    """None means the price of the whole; it does not mean free."""
    price = Price(1_000_000, 10_000_000)
    assert price.cost_nanos(Usage(100, 50, 30, 20, 10)) == 100 + 500


@given(st.lists(prices, min_size=1, max_size=5), usages)
def test_dearest_price_of_several_is_nowhere_lower_than_any(several: list[Price], usage: Usage) -> None:
    """Wherever a route ends, the hold and the cost at the dearest price are enough."""
    top = dearest(several)
    tokens = usage.input_tokens or 0, usage.output_tokens or 0
    for price in several:
        assert price.cost_nanos(usage) <= top.cost_nanos(usage)
        assert price.hold_nanos(*tokens) <= top.hold_nanos(*tokens)


def test_dearest_price_of_none_is_refused() -> None:
    """There is no such price, and free would be a dangerous answer."""
    with pytest.raises(ValueError, match="empty"):
        dearest([])


@given(prices, st.integers(-(10**12), 10**15))
def test_tokens_for_an_amount_are_the_most_that_it_surely_buys(price: Price, cost_nanos: int) -> None:
    """So many tokens never hold more than the amount, and one more would."""
    tokens = price.output_tokens_for(cost_nanos)
    assert tokens >= 0
    if max(price.output, price.reasoning or 0) > 0:
        assert price.hold_nanos(0, tokens) <= max(0, cost_nanos)
        assert price.hold_nanos(0, tokens + 1) > cost_nanos


def test_free_price_costs_nothing_and_buys_more_than_any_cap() -> None:
    """The embedded model's."""
    assert FREE.cost_nanos(Usage(10**9, 10**9)) == FREE.hold_nanos(10**9, 10**9) == 0
    assert FREE.output_tokens_for(0) > 10**9


@pytest.mark.parametrize(
    ("usd", "nanos"),
    [
        (0.0375, 37_500_000),
        (0.1, 100_000_000),
        (0.3, 300_000_000),
        (1.1, 1_100_000_000),
        (15, 15_000_000_000),
        (0, 0),
        (1e-9, 1),
        (Decimal("0.075"), 75_000_000),
        (0.000_000_000_5, 0),  # half to even
        (0.000_000_001_5, 2),
        (0.000_000_002_5, 2),
    ],
)
def test_price_in_dollars_becomes_the_integer_that_was_written(usd: float | Decimal, nanos: int) -> None:
    """No binary drift: a tenth of a dollar is exactly a tenth."""
    assert nanos_per_million(usd) == nanos


@given(st.integers(0, 10**12))
def test_price_with_nine_decimals_survives_a_float(nanos: int) -> None:
    """Any price of up to $1,000 that can be told in nano-dollars comes back as itself."""
    assert nanos_per_million(float(Decimal(nanos).scaleb(-9))) == nanos


@pytest.mark.parametrize("usd", [-0.01, float("nan"), float("inf"), 1_000_001, True])
def test_price_that_is_none_is_refused(usd: float) -> None:
    """Below zero, above any sense, or no number."""
    with pytest.raises(ValueError, match="is no price"):
        nanos_per_million(usd)
