"""What a token costs: integers in nano-dollars for a million tokens, so that no price is ever rounded away."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

import msgspec

from rillgate.domain.usage import Usage

MILLION = 1_000_000
NANOS = 1_000_000_000
USD_PER_MILLION_MAX = 1_000_000
"""Dollars per million tokens at most; far above any price there is, and low enough for sums to fit a 64-bit integer."""


class Price(msgspec.Struct, frozen=True):
    """Nano-dollars per million tokens, by kind, none below 0. $0.40 per million tokens is 400_000_000.

    Attributes:
        input, output: of the plain kinds.
        cached_input: of input read from the provider's cache; None: as `input`.
        cache_write: of input written to it; None: as `input`.
        reasoning: of reasoning tokens; None: as `output`.
    """

    input: int
    output: int
    cached_input: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None

    def hold_nanos(self, input_tokens: int, output_tokens: int) -> int:
        """The most that so many tokens can cost, in nano-dollars, rounded up."""
        dearest_input = max(self.input, self.cached_input or 0, self.cache_write or 0)
        dearest_output = max(self.output, self.reasoning or 0)
        return _rounded_up(input_tokens * dearest_input + output_tokens * dearest_output)

    def cost_nanos(self, usage: Usage) -> int:
        """What a usage costs, in nano-dollars, rounded up. Unknown counts are taken as none, as are those below 0.

        Shape: Price(input=400_000_000, output=1_600_000_000) and 1,000 in, 100 out → 560_000 nano-dollars.
        """
        input_tokens, output_tokens = _count(usage.input_tokens), _count(usage.output_tokens)
        cached = min(_count(usage.cached_input_tokens), input_tokens)
        written = min(_count(usage.cache_write_tokens), input_tokens - cached)
        reasoning = min(_count(usage.reasoning_tokens), output_tokens)
        return _rounded_up(
            (input_tokens - cached - written) * self.input
            + cached * (self.input if self.cached_input is None else self.cached_input)
            + written * (self.input if self.cache_write is None else self.cache_write)
            + (output_tokens - reasoning) * self.output
            + reasoning * (self.output if self.reasoning is None else self.reasoning)
        )

    def output_tokens_for(self, cost_nanos: int) -> int:
        """How many output tokens so much money surely buys; 0 where there is none."""
        dearest = max(self.output, self.reasoning or 0)
        return max(0, cost_nanos) * MILLION // dearest if dearest else 2**53


FREE = Price(0, 0)


def dearest(prices: Sequence[Price]) -> Price:
    """A price that is nowhere lower than any of these; for a route that may end at any of its upstreams.

    Raises: ValueError: there are none.
    """
    return Price(
        input=max(price.input for price in prices),
        output=max(price.output for price in prices),
        cached_input=max(price.input if price.cached_input is None else price.cached_input for price in prices),
        cache_write=max(price.input if price.cache_write is None else price.cache_write for price in prices),
        reasoning=max(price.output if price.reasoning is None else price.reasoning for price in prices),
    )


def nanos_per_million(usd: float | Decimal) -> int:
    """A price as people write it, in US dollars per million tokens, as `Price` has it; half a nano-dollar to even.

    Shape:  0.0375 → 37_500_000
    Raises: ValueError: no number, below 0, or above `USD_PER_MILLION_MAX`.
    """
    try:
        exact = Decimal(str(usd))  # by its shortest spelling: what was written, and not what binary makes of it
    except InvalidOperation as error:
        raise ValueError(f"{usd!r} is no price") from error
    if not (exact.is_finite() and 0 <= exact <= USD_PER_MILLION_MAX):
        raise ValueError(f"{usd!r} is no price: it must lie between 0 and {USD_PER_MILLION_MAX}")
    return int((exact * NANOS).to_integral_value(ROUND_HALF_EVEN))


def _count(tokens: int | None) -> int:
    return max(0, tokens or 0)


def _rounded_up(nanos_times_million: int) -> int:
    return -(-nanos_times_million // MILLION)
