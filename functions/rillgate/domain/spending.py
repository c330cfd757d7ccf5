"""One request's way through the ledger, as values: what it asks for, what it is granted, what it took.

    Ask → authorize → Grant → (extend) → settle with Amounts and a Record, or void

Words as card payments have them: a hold is authorized, perhaps extended, and then settled or voided; one that is
neither before it expires is captured: what it held counts as spent.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rillgate.domain.limits import Amounts, Budget, Limit
from rillgate.domain.price import Price


class Ask(msgspec.Struct, frozen=True):
    """What a request wants to hold.

    Attributes:
        hold_id: the request's id without its prefix: 16 characters of base64url.
        scopes: what it is charged to, such as ("global", "key:a1", "user:ada", "model:fast"), without repetition.
            A scope that has no budget and is no key is passed over.
        input_tokens: of the prompt, at most, as well as we know.
        output_tokens: the cap of each choice.
        choices: how many.
        price: the dearest that may apply; None where it is not known.
        lifetime_s: seconds from now to the hold's expiry: the stream's own deadline and 30 more.
        strict: hold what the cap allows and lower the cap to it; else (elastic) hold slices and extend them.
        price_problem: why `price` is not known, for the refusal under a money limit.
        own_budgets: budgets that came with the request and not from the ledger (a ticket's).
    """

    hold_id: str
    scopes: tuple[str, ...]
    input_tokens: int
    output_tokens: int
    choices: int
    price: Price | None
    lifetime_s: float
    strict: bool = True
    price_problem: str = "its price is not known"
    own_budgets: Mapping[str, Budget] = msgspec.field(default_factory=dict)


class Level(msgspec.Struct, frozen=True):
    """How full one limit was right after this request's own hold.

    Attributes:
        scope: whose limit.
        limit: it.
        committed: settled and held, in the limit's unit.
        resets_s: seconds since 1970 at which the window ends; None for a total.
    """

    scope: str
    limit: Limit
    committed: int
    resets_s: int | None

    @property
    def remaining(self) -> int:
        """What is left, never below 0."""
        return max(0, self.limit.amount - self.committed)


class ScopeHold(msgspec.Struct):
    """A live hold in one scope: `value` is exactly what its item holds, which is how its owner is known.

    Attributes:
        generation: counts up with every extension.
        budget: of the scope, as it was when the hold was made.
    """

    scope: str
    value: str
    generation: int
    held: Amounts
    budget: Budget


class Grant(msgspec.Struct):
    """What a request was granted.

    Attributes:
        ask: what was asked for.
        output_tokens: the cap of each choice; at most what was asked.
        started_s, expires_s: seconds since 1970.
        lowered_by: the scope whose limit made the cap lower than asked; None where none did.
        lowered_until_s: when that scope's window ends, seconds since 1970; None for a total.
        holds: by scope.
        levels: of every limit of these scopes.
        accounted: False where the store failed and the configuration lets such requests pass.
    """

    ask: Ask
    output_tokens: int
    started_s: int
    expires_s: int
    lowered_by: str | None = None
    lowered_until_s: int | None = None
    holds: dict[str, ScopeHold] = msgspec.field(default_factory=dict)
    levels: tuple[Level, ...] = ()
    accounted: bool = True


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One request, at its end, as usage and audit read it.

    Attributes:
        hold_id: the hold's; also the request's id without its prefix.
        started_s: seconds since 1970; the record belongs to this day.
        scopes: what each scope was charged, by scope; empty where nothing was accounted.
        charged: tokens, nano-dollars and requests that were settled; nothing for a request that was voided.
        end: the value of `End`, or "captured" for a hold that died.
        key_id, user, team, ticket_id, model: who asked, and for what name.
        provider, routed_model: where it went.
        input_tokens … reasoning_tokens: as reported or counted; None where not known.
        estimated: whether the counts are ours and not the provider's.
        failed: the part of `charged` that attempts which another upstream had to follow may have cost: our estimate.
        priced: False where no price was known and the cost is therefore not in `charged`.
        captured_scope: for a hold that died: the one scope that this record is of; its tags are not known.
    """

    hold_id: str
    started_s: int
    scopes: Mapping[str, Amounts] = msgspec.field(default_factory=dict)
    charged: Amounts = msgspec.field(default_factory=Amounts)
    end: str = ""
    key_id: str | None = None
    user: str | None = None
    team: str | None = None
    ticket_id: str | None = None
    model: str | None = None
    provider: str | None = None
    routed_model: str | None = None
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False
    priced: bool = True
    failed: Amounts = msgspec.field(default_factory=Amounts)
    captured_scope: str | None = None
