"""How much a request may hold."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from rillgate.budget.holds import (
    OUTPUT_TOKENS_MIN,
    SHARE_TOKENS_MIN,
    Room,
    fits,
    has_plenty,
    headroom,
    hold_amounts,
    more_amounts,
    share,
    useful_output_tokens,
)
from rillgate.domain.limits import Amounts, Limit, Meter, Window
from rillgate.domain.price import FREE, Price
from rillgate.domain.spending import Ask

PRICE = Price(input=100_000_000, output=400_000_000, cache_write=150_000_000, reasoning=500_000_000)
ASK = Ask("AAAAAAAAAAAAAAAA", ("key:a",), 100, 1_000, 1, PRICE, 90)


def limit(meter: Meter = Meter.TOKENS, amount: int = 10_000) -> Limit:
    """One limit for each day."""
    return Limit(meter, Window.DAY, amount)


def room(left: int, live: int = 0, meter: Meter = Meter.TOKENS) -> Room:
    """What a limit leaves."""
    return Room(limit(meter), left, live)


asks = st.builds(
    replace,
    st.just(ASK),
    input_tokens=st.integers(0, 5_000),
    output_tokens=st.integers(1, 40_000),
    choices=st.integers(1, 16),
    strict=st.booleans(),
)
rooms = st.builds(
    Room,
    st.builds(limit, st.sampled_from(Meter)),
    left=st.integers(-1_000, 100_000) | st.integers(0, 10**8),
    live=st.integers(0, 1_000),
)


def test_hold_amounts_of_request_are_prompt_and_every_choice_at_the_dearest_price() -> None:
    """Prompt plus `choices` caps, priced as the dearest kind of each side, and one request."""
    assert hold_amounts(replace(ASK, choices=3), 10) == Amounts(130, 100 * 150 + 30 * 500, 1)


def test_hold_amounts_without_price_cost_nothing() -> None:
    """Where no price is known, no money is held; whether that may be is decided elsewhere."""
    assert hold_amounts(replace(ASK, price=None), 10) == Amounts(110, 0, 1)


def test_more_amounts_of_extension_are_output_alone() -> None:
    """An extension holds output for each choice and its price: neither the prompt again nor another request."""
    assert more_amounts(replace(ASK, choices=2), 10) == Amounts(20, 20 * 500, 0)
    assert more_amounts(replace(ASK, choices=2, price=None), 10) == Amounts(20, 0, 0)


@pytest.mark.parametrize(("asked", "useful"), [(1, 1), (63, 63), (64, 64), (4_096, OUTPUT_TOKENS_MIN)])
def test_useful_output_tokens_are_64_or_all_that_was_asked(asked: int, useful: int) -> None:
    """Who asks for less than 64 tokens wants no more; everybody else needs 64."""
    assert useful_output_tokens(replace(ASK, output_tokens=asked)) == useful


@pytest.mark.parametrize(
    ("one", "does"),
    [
        (limit(amount=164), True),
        (limit(amount=163), False),
        (limit(Meter.COST, 100 * 150 + 64 * 500), True),
        (limit(Meter.COST, 100 * 150 + 64 * 500 - 1), False),
        (limit(Meter.REQUESTS, 1), True),
    ],
)
def test_fits_limit_that_holds_prompt_and_64_tokens(one: Limit, does: bool) -> None:
    """A request can pass a limit whose whole window holds its prompt and the least useful output."""
    assert fits(ASK, one) is does


@pytest.mark.parametrize(("amount", "wide"), [(4_400, True), (4_399, False)])
def test_has_plenty_of_limit_that_holds_it_four_times(amount: int, wide: bool) -> None:
    """Wide is a limit in which three times as much could be left after the hold."""
    assert has_plenty(limit(amount=amount), hold_amounts(ASK, 1_000)) is wide


def test_headroom_of_requests_is_one_even_with_plenty() -> None:
    """Requests are counted one by one: the last one of a minute is as good as the first."""
    held = hold_amounts(ASK, 1_000)
    assert headroom(limit(Meter.REQUESTS), held, plenty=True) == 1
    assert headroom(limit(Meter.TOKENS), held, plenty=True) == 4_400
    assert headroom(limit(Meter.TOKENS), held, plenty=False) == 1_100
    assert has_plenty(limit(Meter.REQUESTS, 1), held)


@pytest.mark.parametrize(
    ("left", "live", "cap"),
    [
        (5_000, 4, 980),  # (5,000 - 100) / 5
        (5_000, 9, 512),  # 490 would be less than the least share
        (700, 50, 512),
        (611, 50, 511),  # no more than is left
        (164, 50, 64),
        (163, 50, 63),  # for others to refuse
        (100, 0, 0),
        (50, 0, 0),
        (-50, 0, 0),  # settled above a limit
        (50_000, 3, 1_000),  # no more than was asked
    ],
)
def test_share_of_tokens_is_what_is_left_among_the_live(left: int, live: int, cap: int) -> None:
    """max(512, left / (live + 1)) output tokens, at most what was asked or is left beside the prompt."""
    assert share(ASK, room(left, live)) == cap


@pytest.mark.parametrize(
    ("left", "live", "cap"), [(9_700, 4, 960), (9_700, 0, 1_000), (1_300, 0, 600), (1_000, 0, 512)]
)
def test_share_in_elastic_mode_is_half_of_a_fair_share(left: int, live: int, cap: int) -> None:
    """max(512, left / (2 × (live + 1))): a slice that leaves room for others to extend theirs."""
    assert share(replace(ASK, strict=False), room(left, live)) == cap


@pytest.mark.parametrize(
    ("left", "live", "choices", "cap"),
    [(8_100, 7, 2, 500), (2_100, 9, 2, 256), (2_100, 0, 2, 1_000), (300, 0, 2, 100), (101, 0, 2, 0)],
)
def test_share_of_several_choices_is_divided_among_them(left: int, live: int, choices: int, cap: int) -> None:
    """The share is of all choices together; each has its part, rounded down."""
    assert share(replace(ASK, choices=choices), room(left, live)) == cap


def test_share_of_many_choices_is_useful_as_long_as_that_is_left() -> None:
    """Sixteen choices of the least share would be 32 tokens each, which is refused though much is left."""
    many = replace(ASK, choices=16)
    assert SHARE_TOKENS_MIN // 16 < OUTPUT_TOKENS_MIN
    assert share(many, room(5_000, 20)) == OUTPUT_TOKENS_MIN
    assert share(replace(many, strict=False), room(1_500)) == OUTPUT_TOKENS_MIN
    assert share(many, room(100 + 16 * 64 - 1, 20)) < OUTPUT_TOKENS_MIN


def test_share_of_money_is_what_it_buys_beside_the_prompt() -> None:
    """Money is turned into tokens of the dearest output, after the prompt at its dearest."""
    prompt = 100 * 150
    assert share(ASK, room(prompt + 600 * 500, 0, Meter.COST)) == 600
    assert share(ASK, room(prompt + 600 * 500 - 1, 0, Meter.COST)) == 599
    assert share(ASK, room(prompt, 0, Meter.COST)) == 0
    assert share(ASK, room(prompt + 5_000 * 500, 9, Meter.COST)) == 512


@pytest.mark.parametrize("price", [None, FREE])
@pytest.mark.parametrize("live", [0, 1, 50])
def test_share_of_money_where_nothing_is_held_of_it_is_all_that_was_asked(price: Price | None, live: int) -> None:
    """A request that holds no money is not lowered by how much money is left, or among how many."""
    for strict in (True, False):
        assert share(replace(ASK, price=price, strict=strict), room(10**6, live, Meter.COST)) == 1_000


def test_share_of_requests_is_all_or_nothing() -> None:
    """One request is one request, whatever its cap."""
    assert share(ASK, room(1, 50, Meter.REQUESTS)) == 1_000
    assert share(ASK, room(0, 0, Meter.REQUESTS)) == 0


@given(asks, rooms)
def test_share_is_never_above_what_was_asked_nor_above_what_is_left(ask: Ask, one: Room) -> None:
    """A hold of the share fits into the room, and the cap is between nothing and what was asked."""
    cap = share(ask, one)
    assert 0 <= cap <= ask.output_tokens
    assume(cap > 0)
    assert hold_amounts(ask, cap).of(one.limit.meter) <= one.left


@given(asks, rooms, st.integers(0, 1_000))
def test_share_never_grows_with_more_to_share_with(ask: Ask, one: Room, others: int) -> None:
    """More live holds never make one's own share larger."""
    assert share(ask, replace(one, live=one.live + others)) <= share(ask, one)


@given(asks, rooms)
def test_share_is_of_use_wherever_that_much_is_left(ask: Ask, one: Room) -> None:
    """Nobody is refused for the others' sake while there is room for the least useful cap of every choice."""
    least = hold_amounts(ask, useful_output_tokens(ask)).of(one.limit.meter)
    if one.left >= least + 1:  # one nano-dollar is lost where prompt and output are rounded apart
        assert share(ask, one) >= useful_output_tokens(ask)
