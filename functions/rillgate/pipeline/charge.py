"""What a request is charged, from what became of it. Pure.

What the provider reports is the truth and is charged as it is, even above the hold. Our own count is an estimate and
is charged at most up to the hold: a limit that was held is not passed by our error. A request that never left, or that
was refused, costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from rillgate.budget.holds import hold_amounts
from rillgate.domain.limits import NOTHING, Amounts
from rillgate.domain.price import Price
from rillgate.domain.spending import Grant
from rillgate.domain.usage import Usage


class Outcome(msgspec.Struct, frozen=True):
    """What became of a request upstream.

    Attributes:
        reached: it was sent, and not answered with an error status.
        usage: of the answer, the provider's or ours; None where nothing of one came.
        reported: what the provider has said of it so far, perhaps of a part; None for nothing.
        finished: the provider's own end came, so it makes and bills no more.
    """

    reached: bool
    usage: Usage | None
    reported: Usage | None
    finished: bool


def completed(theirs: Usage | None, ours: Usage) -> Usage:
    """The provider's numbers with ours where it gave none for all of the answer, marked as an estimate."""
    if theirs is None:
        return ours
    return replace(
        theirs,
        input_tokens=ours.input_tokens if theirs.input_tokens is None else theirs.input_tokens,
        output_tokens=max(ours.output_tokens or 0, theirs.output_tokens or 0),
        estimated=True,
    )


def usage_of(outcome: Outcome, prompt_tokens: int) -> Usage | None:
    """What is charged for: the answer's usage, at least the prompt once a provider has it; None for nothing."""
    if not outcome.reached:
        return None
    return outcome.usage or Usage(input_tokens=prompt_tokens, output_tokens=0, estimated=True)


def amounts_of(
    usage: Usage | None,
    outcome: Outcome,
    grant: Grant,
    *,
    bills_after_cancel: bool,
    price: Price | None,
    price_of: Callable[[Usage], Price | None],
) -> Amounts:
    """Tokens, nano-dollars and requests to settle; nothing at all where nothing is charged.

    Args:
        price: the upstream's, at its dearest, for our own count.
        price_of: the price of a usage as the provider counted it.
    """
    if usage is None:
        return NOTHING
    if not usage.estimated:
        return _amounts(usage, price_of(usage))
    held = hold_amounts(grant.ask, grant.output_tokens)
    ours = held if bills_after_cancel and not outcome.finished else _amounts(usage, price)
    told = _amounts(outcome.reported or Usage(), price)
    return Amounts(
        tokens=max(min(ours.tokens, held.tokens), told.tokens),
        cost_nanos=max(min(ours.cost_nanos, held.cost_nanos), told.cost_nanos),
        requests=1,
    )


def with_failed(charged: Amounts, failed: Sequence[Amounts], grant: Grant) -> Amounts:
    """What is charged when earlier attempts may have cost something too: what they took is our estimate, so it is
    charged as far as the hold goes, which covers all of them; and it is one request whatever it took.
    """
    if all(amounts == NOTHING for amounts in failed):
        return charged
    held = hold_amounts(grant.ask, grant.output_tokens)
    tokens = charged.tokens + sum(amounts.tokens for amounts in failed)
    cost_nanos = charged.cost_nanos + sum(amounts.cost_nanos for amounts in failed)
    return Amounts(
        tokens=max(min(tokens, held.tokens), charged.tokens),
        cost_nanos=max(min(cost_nanos, held.cost_nanos), charged.cost_nanos),
        requests=1,
    )


def _amounts(usage: Usage, price: Price | None) -> Amounts:
    tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    return Amounts(tokens, 0 if price is None else price.cost_nanos(usage), 1)
