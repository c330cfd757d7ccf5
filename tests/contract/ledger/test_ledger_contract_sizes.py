"""How much a `Ledger` holds, on every store: whole caps and shares, tokens and money, and what is held later."""

from __future__ import annotations

import pytest

from rillgate.domain.limits import Amounts, Window
from rillgate.domain.price import FREE
from tests.contract.ledger.ledgers import ledger_desk, refusal, told
from tests.unit.ledger.ledger_support import (
    EXPIRY_S,
    PRICE,
    Desk,
    amounts,
    without_zeros,
)

pytestmark = pytest.mark.anyio

desk = ledger_desk


# Sizes ----------------------------------------------------------------------------------------------------------------


async def test_full_cap_is_held_while_three_times_as_much_is_left(desk: Desk) -> None:
    """Of 9,000 tokens holds of 1,100 are whole as long as 4,400 are left before them; the next is a share."""
    await desk.set_budget(desk.key, "tokens/day=9000")
    grants = [await desk.hold() for _ in range(5)]
    assert [grant.output_tokens for grant in grants] == [1_000] * 5  # 9,000, 7,900, 6,800, 5,700 and 4,600 are left
    sixth = await desk.hold()  # 3,500 are left among five and itself: (3,500 - 100) / 6 = 566
    assert (sixth.output_tokens, sixth.lowered_by) == (566, desk.key)
    assert sixth.lowered_until_s == 20_776 * 86_400
    assert (await desk.held(desk.key))[sixth.ask.hold_id].tokens == 666


async def test_share_is_at_least_512_and_no_more_than_is_left(desk: Desk) -> None:
    """Down to the least useful rest; what is less than 64 tokens is refused, and nothing is left behind."""
    await desk.set_budget(desk.key, "tokens/day=4400")
    caps = [(await desk.hold()).output_tokens for _ in range(6)]
    # 4,400 left: all. 3,300 among two: 1,600, at most 1,000. 2,200 among three: 700. 1,400 and 788 among more: 512.
    assert caps == [1_000, 1_000, 700, 512, 512, 76]
    before = await desk.item(desk.key)
    await refusal(desk)
    assert await desk.item(desk.key) == before


@pytest.mark.parametrize(("left", "cap"), [(164, 64), (163, None), (100, None)])
async def test_rest_of_less_than_64_tokens_is_refused(desk: Desk, left: int, cap: int | None) -> None:
    """64 tokens of output are worth a call, 63 are not."""
    await desk.set_budget(desk.key, "tokens/day=5000")
    grant = await desk.hold(output_tokens=64)
    await desk.settle(grant, 5_000 - 100 - left)
    if cap is None:
        assert (await refusal(desk)).status == 429
    else:
        assert (await desk.hold()).output_tokens == cap


async def test_request_for_less_than_64_tokens_needs_no_more(desk: Desk) -> None:
    """Who asks for 16 tokens is admitted where 16 are left, and refused where 15 are."""
    await desk.set_budget(desk.key, "tokens/day=232")
    assert (await desk.hold(output_tokens=16)).output_tokens == 16
    assert (await desk.hold(output_tokens=16)).output_tokens == 16
    await desk.set_budget(desk.team, "tokens/day=231")
    assert (await desk.hold(desk.team, output_tokens=16)).output_tokens == 16
    assert (await refusal(desk, desk.team, output_tokens=16)).scope == desk.team


async def test_limit_narrower_than_four_holds_is_asked_for_alone(desk: Desk) -> None:
    """The first has the whole window to itself; the second shares what is left with it."""
    await desk.set_budget(desk.key, "tokens/day=2500")
    first = await desk.hold()
    second = await desk.hold()
    assert (first.output_tokens, first.lowered_by) == (1_000, None)
    assert (second.output_tokens, second.lowered_by) == (650, desk.key)  # (1,400 - 100) / 2
    await desk.settle(first, 0)
    await desk.settle(second, 0)
    assert (await desk.hold()).output_tokens == 1_000


async def test_cap_above_a_whole_window_is_lowered_to_it(desk: Desk) -> None:
    """A wish for more than the limit ever allows is lowered, and who lowered it is said."""
    await desk.set_budget(desk.key, "tokens/total=900")
    grant = await desk.hold(output_tokens=16_384)
    assert (grant.output_tokens, grant.lowered_by, grant.lowered_until_s) == (800, desk.key, None)
    assert await desk.spent(desk.key, Window.TOTAL) == amounts(100, 800)


async def test_request_larger_than_a_whole_window_is_refused_without_a_write(desk: Desk) -> None:
    """The prompt and 64 tokens do not fit: no wait helps."""
    await desk.set_budget(desk.key, "tokens/day=163")
    error = await refusal(desk)
    assert told(error) == (429, "tokens", "rate_limit_exceeded", None, False)
    assert "164 tokens" in error.message
    assert await desk.counters(desk.key) == {}


async def test_choices_are_held_all_together(desk: Desk) -> None:
    """The prompt once and each choice's cap; a share is divided among the choices."""
    await desk.set_budget(desk.key, "tokens/day=20000")
    whole = await desk.hold(choices=3)
    assert (whole.output_tokens, await desk.spent(desk.key, Window.DAY)) == (1_000, amounts(100, 3_000))
    await desk.settle(whole, 11_900)  # 8,000 are left
    first = await desk.hold(choices=3)  # less than plenty, alone: (8,000 - 100) / 1
    second = await desk.hold(choices=3)  # (4,900 - 100) / 2 / 3
    assert (first.output_tokens, second.output_tokens) == (1_000, 800)
    assert (await desk.held(desk.key))[second.ask.hold_id].tokens == 100 + 3 * 800


async def test_many_choices_are_admitted_as_long_as_64_tokens_each_are_left(desk: Desk) -> None:
    """A fair share is never so fair that it is of no use to anybody."""
    await desk.set_budget(desk.key, "tokens/day=4000")
    assert (await desk.hold()).output_tokens == 1_000
    assert (await desk.hold()).output_tokens == 1_000
    grant = await desk.hold(choices=16)  # 1,800 left among two and itself would be 35 each
    assert grant.output_tokens == 64


# Money ----------------------------------------------------------------------------------------------------------------


async def test_hold_is_priced_and_held_to_the_money_limit(desk: Desk) -> None:
    """Dollars are held as tokens are: whole while there is plenty, then by what the money buys."""
    cost = PRICE.hold_nanos(100, 1_000)
    assert cost == 410_000
    await desk.set_budget(desk.key, "usd/month=0.00164")  # four of them
    assert (await desk.hold()).output_tokens == 1_000
    second = await desk.hold()  # 1,230,000 left: 10,000 for the prompt, 1,220,000 buy 3,050, of which half
    assert second.output_tokens == 1_000
    third = await desk.hold()  # 820,000 left: 810,000 buy 2,025, of which a third
    assert (third.output_tokens, third.lowered_by) == (675, desk.key)
    assert (await desk.held(desk.key))[third.ask.hold_id].cost_nanos == PRICE.hold_nanos(100, 675)
    fourth = await desk.hold()  # 540,000 left: 530,000 buy 1,325
    assert fourth.output_tokens == 512
    assert (await desk.spent(desk.key, Window.MONTH)).cost_nanos <= 1_640_000


async def test_money_that_is_spent_refuses_in_dollars(desk: Desk) -> None:
    """The message speaks of money, and the header says what is left."""
    await desk.set_budget(desk.key, "usd/month=0.00041")
    await desk.settle(await desk.hold(), 990)
    error = await refusal(desk)
    assert told(error) == (429, "insufficient_quota", "insufficient_quota", None, False)
    assert "$0.000406 of $0.00041" in error.message
    assert error.headers["x-rillgate-remaining-usd"] == "0.000004"


async def test_request_without_price_is_refused_under_a_money_limit(desk: Desk) -> None:
    """Its cost cannot be held, so it is not admitted; why stands in the message. Elsewhere it passes."""
    await desk.set_budget(desk.team, "usd/month=1")
    error = await refusal(desk, desk.key, desk.team, price=None, price_problem="model 'x' has no price")
    assert told(error) == (400, "invalid_request_error", "price_unknown", None, False)
    assert (error.scope, "model 'x' has no price" in error.message) == (desk.team, True)
    assert await desk.counters(desk.key) == {}
    grant = await desk.hold(desk.key, price=None)
    assert grant.holds[desk.key].held == Amounts(1_100, 0, 1)


async def test_request_without_price_passes_where_the_operator_lets_it(desk: Desk) -> None:
    """With no problem named it is admitted, at no cost, and lowered by no money limit, whatever the other limits do."""
    await desk.set_budget(desk.key, "usd/month=1", "tokens/day=2400")
    first = await desk.hold(price=None, price_problem="")
    second = await desk.hold(price=None, price_problem="")
    assert (first.output_tokens, second.output_tokens) == (1_000, 600)  # by the tokens: (1,300 - 100) / 2
    assert (await desk.spent(desk.key, Window.MONTH)).cost_nanos == 0


async def test_free_model_passes_a_money_limit_that_is_used_up(desk: Desk) -> None:
    """What costs nothing needs no money."""
    await desk.set_budget(desk.key, "usd/month=0.00041")
    await desk.settle(await desk.hold(), 5_000)
    assert (await desk.hold(price=FREE)).output_tokens == 1_000


# Extensions -----------------------------------------------------------------------------------------------------------


async def test_extension_holds_more_in_every_scope(desk: Desk) -> None:
    """Output and its price for each choice, in all scopes; what is settled is what was taken."""
    await desk.set_budget(desk.team, "usd/month=1")
    grant = await desk.hold(desk.key, desk.team, choices=2, strict=False)
    assert await desk.ledger.extend(grant, 300)
    assert grant.output_tokens == 1_300
    for scope in (desk.key, desk.team):
        assert await desk.spent(scope, Window.DAY) == amounts(100, 2_600)
        assert (await desk.held(scope))[grant.ask.hold_id].amounts == amounts(100, 2_600) == grant.holds[scope].held
    assert await desk.ledger.extend(grant, 200)
    await desk.settle(grant, 2_900)
    for scope in (desk.key, desk.team):
        assert await desk.spent(scope, Window.TOTAL) == amounts(100, 2_900)
        assert await desk.held(scope) == {}


async def test_extension_denied_by_one_scope_is_rolled_back_in_the_others(desk: Desk) -> None:
    """All or nothing: the cap stays, no scope holds more, and the stream is settled as ever."""
    await desk.set_budget(desk.user, "tokens/day=90000")
    await desk.set_budget(desk.team, "tokens/day=1500")
    grant = await desk.hold(desk.key, desk.user, desk.team, strict=False, output_tokens=600)
    assert grant.output_tokens == 600
    assert not await desk.ledger.extend(grant, 900)
    assert (grant.output_tokens, grant.lowered_by, grant.lowered_until_s) == (600, desk.team, 20_776 * 86_400)
    for scope in (desk.key, desk.user, desk.team):
        assert await desk.spent(scope, Window.DAY) == amounts(100, 600)
        assert (await desk.held(scope))[grant.ask.hold_id].amounts == amounts(100, 600)
    assert await desk.ledger.extend(grant, 800)
    await desk.settle(grant, 1_400)
    for scope in (desk.key, desk.user, desk.team):
        assert without_zeros(await desk.counters(scope))["tT"] == 1_500
        assert await desk.held(scope) == {}


async def test_extension_in_blocked_scope_is_denied(desk: Desk) -> None:
    """A stream goes on to the end of what it holds, and no further."""
    grant = await desk.hold(strict=False)
    await desk.set_budget(desk.key, blocked="unpaid")
    assert not await desk.ledger.extend(grant, 10)
    assert (grant.lowered_by, grant.lowered_until_s) == (desk.key, None)
    await desk.settle(grant, 7)
    assert await desk.spent(desk.key, Window.TOTAL) == amounts(100, 7)


async def test_extension_of_captured_hold_is_denied(desk: Desk) -> None:
    """Its owner was too late: nothing is held any more."""
    await desk.set_budget(desk.key, streams_max=9)
    grant = await desk.hold(strict=False)
    desk.clock.advance(EXPIRY_S)
    await desk.void(await desk.hold())
    await desk.rest()
    assert not await desk.ledger.extend(grant, 10)
    assert await desk.held(desk.key) == {}


async def test_extension_larger_than_a_whole_limit_is_denied(desk: Desk) -> None:
    """In a minute that nobody began too."""
    await desk.set_budget(desk.key, "tokens/minute=4400")
    grant = await desk.hold(strict=False)
    desk.clock.advance(20)
    assert not await desk.ledger.extend(grant, 4_401)
    assert await desk.ledger.extend(grant, 4_400)


async def test_elastic_hold_is_a_slice_of_what_is_left(desk: Desk) -> None:
    """Where there is no plenty, half of a fair share, at least 512: the rest is for extensions."""
    await desk.set_budget(desk.key, "tokens/day=8000")
    first = await desk.hold(output_tokens=6_000, strict=False)
    second = await desk.hold(output_tokens=6_000, strict=False)
    assert (first.output_tokens, second.output_tokens) == (3_950, 962)  # 7,900 / 2, (3,950 - 100) / 4
    assert (await desk.hold(output_tokens=6_000, strict=False)).output_tokens == 512


async def test_extension_denied_by_a_minute_names_the_end_of_that_minute(desk: Desk) -> None:
    """A stream that runs into a rate in a later minute than it began in may go on when that one ends."""
    await desk.set_budget(desk.key, "tokens/day=90000", "tokens/minute=5000")
    grant = await desk.hold(strict=False)
    desk.advance_to_end_of(Window.MINUTE)
    await desk.hold(strict=False)
    assert not await desk.ledger.extend(grant, 4_000)
    assert (grant.lowered_by, grant.lowered_until_s) == (desk.key, desk.clock.wall() + 60)
    desk.advance_to_end_of(Window.MINUTE)
    assert await desk.ledger.extend(grant, 4_000)


async def test_extension_denied_names_the_limit_that_is_short(desk: Desk) -> None:
    """A limit that the extension would just fill is not the one; the next, a nano-dollar short, is."""
    await desk.set_budget(desk.key, "tokens/day=1500", "usd/month=0.000569999")
    grant = await desk.hold(strict=False, output_tokens=600)
    assert not await desk.ledger.extend(grant, 800)
    assert grant.lowered_until_s == 1_796_083_200  # the first of December
