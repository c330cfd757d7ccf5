"""How much a request may hold: everything it asks for while there is plenty, a fair share where it is tight.

While three times as much would still be left, a request holds its whole cap, so that nobody notices budgets. Where it
would not, worst-case caps of streams that will mostly end early would lock others out; so a request holds what is left
divided among the live holds and itself, at least `SHARE_TOKENS_MIN`, and its cap is lowered to that. Less than
`OUTPUT_TOKENS_MIN` is of no use to anybody and is refused.
"""

from __future__ import annotations

import msgspec

from rillgate.domain.limits import Amounts, Limit, Meter
from rillgate.domain.spending import Ask

PLENTY = 4  # the hold itself, and three times as much left after it
SHARE_TOKENS_MIN = 512
OUTPUT_TOKENS_MIN = 64


class Room(msgspec.Struct, frozen=True):
    """What one limit leaves. `left` is in the limit's unit; `live` are the holds that share it, ours not among them."""

    limit: Limit
    left: int
    live: int


def hold_amounts(ask: Ask, output_tokens: int) -> Amounts:
    """What a request holds for a cap of `output_tokens` for each choice: prompt, output, their price, one request."""
    output = output_tokens * ask.choices
    cost = 0 if ask.price is None else ask.price.hold_nanos(ask.input_tokens, output)
    return Amounts(ask.input_tokens + output, cost, 1)


def more_amounts(ask: Ask, output_tokens: int) -> Amounts:
    """What an extension by `output_tokens` for each choice holds more."""
    output = output_tokens * ask.choices
    return Amounts(output, 0 if ask.price is None else ask.price.hold_nanos(0, output), 0)


def useful_output_tokens(ask: Ask) -> int:
    """The lowest cap of each choice that is worth a call."""
    return min(OUTPUT_TOKENS_MIN, ask.output_tokens)


def fits(ask: Ask, limit: Limit) -> bool:
    """Whether the request could ever pass this limit, with the whole window to itself."""
    return hold_amounts(ask, useful_output_tokens(ask)).of(limit.meter) <= limit.amount


def has_plenty(limit: Limit, amounts: Amounts) -> bool:
    """Whether the limit is so wide that the amounts could be held with three times as much left."""
    return headroom(limit, amounts, plenty=True) <= limit.amount


def headroom(limit: Limit, amounts: Amounts, *, plenty: bool) -> int:
    """What must be left of the limit for the amounts to be held. Requests are counted one by one, never shared."""
    need = amounts.of(limit.meter)
    return need * PLENTY if plenty and limit.meter is not Meter.REQUESTS else need


def share(ask: Ask, room: Room) -> int:
    """The cap of each choice that this room allows: a fair share, at most what was asked or what is left.

    Shape:   5,000 tokens left among 4 live holds, a prompt of 100 → max(512, 4,900 / 5) = 980.
    Returns: 0 where there is not even room for the prompt.
    """
    if room.limit.meter is Meter.REQUESTS:
        return ask.output_tokens if room.left >= 1 else 0
    left = _output_left(ask, room)
    if left is None:
        return ask.output_tokens
    least = max(SHARE_TOKENS_MIN, useful_output_tokens(ask) * ask.choices)  # many choices need more to be of use
    fair = max(least, left // (room.live + 1 if ask.strict else 2 * (room.live + 1)))
    return max(0, min(ask.output_tokens * ask.choices, fair, left)) // ask.choices


def _output_left(ask: Ask, room: Room) -> int | None:
    """How many output tokens fit beside the prompt; None for any number, where no money is held."""
    if room.limit.meter is Meter.TOKENS:
        return room.left - ask.input_tokens
    if ask.price is None:
        return None
    return ask.price.output_tokens_for(room.left - ask.price.hold_nanos(ask.input_tokens, 0))
