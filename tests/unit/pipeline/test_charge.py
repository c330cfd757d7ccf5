"""What a request is charged: the provider's word as it is, ours within the hold, nothing for what was never made."""

from __future__ import annotations

import pytest

from rillgate.domain.limits import NOTHING, Amounts
from rillgate.domain.price import Price
from rillgate.domain.spending import Ask, Grant
from rillgate.domain.usage import Usage
from rillgate.pipeline.charge import Outcome, amounts_of, completed, usage_of, with_failed

PRICE = Price(input=1_000_000, output=2_000_000)  # one and two nano-dollars a token
HELD = Amounts(110, 210, 1)  # 10 in, 2 × 50 out


def grant(price: Price | None = PRICE) -> Grant:
    """A hold of 10 tokens in and 2 × 50 out."""
    return Grant(Ask("h", ("global",), 10, 500, 2, price, 60), 50, 0, 60)


def charge(outcome: Outcome, *, price: Price | None = PRICE, bills_after_cancel: bool = False) -> Amounts:
    """What is settled for a prompt that we took for 8 tokens."""
    return amounts_of(
        usage_of(outcome, 8),
        outcome,
        grant(price),
        bills_after_cancel=bills_after_cancel,
        price=price,
        price_of=lambda usage: price,
    )


def test_charge_of_what_was_never_sent_or_was_refused_is_nothing() -> None:
    """Not even a request."""
    assert charge(Outcome(False, None, None, False)) == NOTHING
    assert charge(Outcome(False, None, None, False), bills_after_cancel=True) == NOTHING


@pytest.mark.parametrize("bills", [True, False])
def test_charge_of_reported_usage_is_as_reported_even_above_the_hold(bills: bool) -> None:
    """It is the truth, whatever the provider would bill after a cancel."""
    usage = Usage(1000, 2000)
    assert charge(Outcome(True, usage, usage, True), bills_after_cancel=bills) == Amounts(3000, 5000, 1)


def test_charge_of_our_count_is_at_most_the_hold() -> None:
    """Tokens and cost each for itself."""
    assert charge(Outcome(True, Usage(10, 90, estimated=True), None, True)) == Amounts(100, 190, 1)
    assert charge(Outcome(True, Usage(10, 900, estimated=True), None, True)) == HELD


def test_charge_of_a_request_without_any_answer_is_its_prompt() -> None:
    """Sent, and nothing came: the estimate of the prompt."""
    outcome = Outcome(True, None, None, False)
    assert charge(outcome) == Amounts(8, 8, 1)
    assert usage_of(outcome, 8) == Usage(8, 0, estimated=True)


def test_charge_of_a_provider_that_bills_on_is_the_whole_hold_unless_it_finished() -> None:
    """What it makes after our cut nobody counts; what ended by itself was counted."""
    ours = Usage(10, 5, estimated=True)
    assert charge(Outcome(True, ours, None, False), bills_after_cancel=True) == HELD
    assert charge(Outcome(True, None, None, False), bills_after_cancel=True) == HELD
    assert charge(Outcome(True, ours, None, True), bills_after_cancel=True) == Amounts(15, 20, 1)


def test_charge_is_never_less_than_what_the_provider_has_said_so_far() -> None:
    """A stream that broke off after usage in its middle: that much is no estimate of ours."""
    told = Usage(300, 40)
    outcome = Outcome(True, completed(told, Usage(8, 60, estimated=True)), told, False)
    assert outcome.usage == Usage(300, 60, estimated=True)
    assert charge(outcome) == Amounts(340, 380, 1)
    assert charge(outcome, bills_after_cancel=True) == Amounts(340, 380, 1)


def test_charge_without_a_price_is_tokens_alone() -> None:
    """And the record says that it was not priced."""
    assert charge(Outcome(True, Usage(1, 2), Usage(1, 2), True), price=None) == Amounts(3, 0, 1)


def test_completed_usage_takes_ours_where_theirs_is_missing() -> None:
    """Marked as an estimate."""
    ours = Usage(8, 5, estimated=True)
    assert completed(None, ours) == ours
    assert completed(Usage(None, 9), ours) == Usage(8, 9, estimated=True)


def test_charge_of_reported_usage_is_by_the_price_of_its_own_tier() -> None:
    """Held at the dearest that may apply, charged by what the provider counted."""
    usage = Usage(1000, 2000)
    outcome = Outcome(True, usage, usage, True)
    cheap = Price(input=500_000, output=500_000)
    amounts = amounts_of(usage, outcome, grant(), bills_after_cancel=False, price=PRICE, price_of=lambda usage: cheap)
    assert amounts == Amounts(3000, 1500, 1)


def test_charge_of_failed_attempts_goes_as_far_as_the_hold() -> None:
    """They are our estimate; what the answering provider reported is charged whatever the hold is."""
    answered = Amounts(60, 100, 1)
    assert with_failed(answered, [], grant()) == answered
    assert with_failed(answered, [NOTHING, NOTHING], grant()) == answered
    assert with_failed(answered, [Amounts(8, 8, 1)], grant()) == Amounts(68, 108, 1)
    assert with_failed(answered, [Amounts(8, 8, 1)] * 9, grant()) == Amounts(110, 172, 1)
    assert with_failed(Amounts(200, 300, 1), [Amounts(8, 8, 1)], grant()) == Amounts(200, 300, 1)
    assert with_failed(NOTHING, [Amounts(8, 8, 1)], grant()) == Amounts(8, 8, 1)
