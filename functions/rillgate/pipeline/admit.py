"""From a routed request to a hold: what it may take is estimated and authorized before anybody upstream hears of it.

    estimate → Ask → ledger.authorize → Admitted

While the ledger is asked, the client may leave, or somebody may end the request. The ledger is not interrupted then:
whether it holds something is not known until it has answered, so its answer is awaited in the background, and what
it holds is voided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from rillgate.budget.count import encoding_for_model
from rillgate.budget.estimate import estimate_prompt, prompt_bytes, prompt_tokens_max
from rillgate.budget.media import media_tokens
from rillgate.domain.ends import End
from rillgate.domain.errors import BudgetUnavailable, RillgateError
from rillgate.domain.limits import GLOBAL, NOTHING
from rillgate.domain.ports import Encoding
from rillgate.domain.spending import Ask, Grant
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.hold import record_of, settle_hold

MESSAGES_INLINE_MAX = 1000
PROMPT_BYTES_INLINE_MAX = 20_000  # a longer prompt is counted in a thread, so that no other stream waits for it
LIFETIME_SLACK_S = 30  # a hold outlives its stream's own deadline by this
MODEL_BYTES_MAX = 256  # a longer name has no budget: stores bound their keys


class Prompt(msgspec.Struct, frozen=True):
    """What a prompt counts as input.

    Attributes:
        tokens: our estimate, which stands in for usage that a provider does not report; images and the like at their
            most, since the books rather hold too much than too little.
        tokens_max: what is held for it: more where the encoding is not the model's own.
    """

    tokens: int
    tokens_max: int


class Admitted(msgspec.Struct, frozen=True):
    """A request that may be run.

    Attributes:
        grant: what it holds.
        prompt_tokens: our estimate of its prompt.
    """

    grant: Grant
    prompt_tokens: int

    @property
    def upstream_cap(self) -> int:
        """The cap that goes upstream for each choice: in elastic mode the one that was asked for."""
        return self.grant.output_tokens if self.grant.ask.strict else self.grant.ask.output_tokens


class Admission:
    """The stage of a request before it runs."""

    def __init__(self, call: Call, services: Services) -> None:
        self._call = call
        self._services = services
        self._over = False
        self._wake: asyncio.Future[None] | None = None
        self.stopped: End | None = None

    @property
    def queue_bytes(self) -> int:
        """Nothing waits for the client yet."""
        return 0

    def stop(self, end: End) -> bool:
        """End it: nothing goes upstream, and nothing stays held."""
        if self._over or self.stopped is not None:
            return False
        self.stopped = end
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        return True

    async def run(self) -> Admitted | None:
        """Estimate and authorize. None when it was stopped; `stopped` says why.

        Raises:
            BudgetError: a limit stands in the way.
            BudgetUnavailable: the ledger's store failed, and such requests may not pass.
            RillgateError: the request has no deadline, so a hold could not expire.
        """
        call, services = self._call, self._services
        if not call.total_s:
            raise RillgateError("A request without a deadline cannot be held to a budget; set timeouts.total_s.")
        prompt = await self._estimate()
        grant = None if self.stopped is not None else await self._authorize(make_ask(call, services, prompt))
        self._over = True
        return None if grant is None else Admitted(grant, prompt.tokens)

    async def _estimate(self) -> Prompt:
        """The prompt as the greediest of the upstreams would count it: one hold covers them all."""
        fields = self._call.request.fields
        counted: list[Prompt] = []
        for model in dict.fromkeys(upstream.target.model for upstream in self._call.upstreams):
            encoding_name, exact = encoding_for_model(model)
            counted.append(await estimate(fields, model, self._services.encoding(encoding_name), exact=exact))
        return Prompt(counted[0].tokens, max(prompt.tokens_max for prompt in counted))

    async def _authorize(self, ask: Ask) -> Grant | None:
        streams = self._services.streams
        self._wake = asyncio.get_running_loop().create_future()
        asking = streams.outlive(self._ask_ledger(ask))
        try:
            await asyncio.wait((asking, self._wake), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.stopped = self.stopped or End.CANCELLED
            streams.outlive(self._void_when_answered(asking))
            raise
        if self.stopped is not None:
            streams.outlive(self._void_when_answered(asking))
            return None
        return await asking

    async def _ask_ledger(self, ask: Ask) -> Grant:
        services = self._services
        began_s = services.clock.now()
        try:
            return await services.ledger.authorize(ask)
        except BudgetUnavailable:
            if services.on_ledger_error == "deny":
                raise
        finally:
            took_s = self._call.journal.ledger_s = services.clock.now() - began_s
            services.metrics.ledger("authorize", took_s)
        now_s = int(services.clock.wall())
        return Grant(ask, ask.output_tokens, now_s, now_s + int(ask.lifetime_s), accounted=False)

    async def _void_when_answered(self, asking: asyncio.Task[Grant]) -> None:
        try:
            grant = await asking
        except RillgateError:
            return  # nothing is held, or nobody knows and it expires
        record = record_of(self._call, grant, self.stopped, None, NOTHING)
        await settle_hold(self._services, self._call.journal.request_id, grant, NOTHING, record)


def make_ask(call: Call, services: Services, prompt: Prompt) -> Ask:
    """What the request wants to hold.

    A whole answer cannot be cut, so it is held to its cap even in elastic mode; so is what is billed all the same
    after a cut.
    """
    principal = call.principal
    bills_on = any(upstream.provider.bills_after_cancel for upstream in call.upstreams)
    strict = services.ledger_mode == "strict" or bills_on or not call.request.stream
    own_budgets = {}
    if principal.ticket_id is not None and principal.ticket_budget is not None:
        own_budgets[f"ticket:{principal.ticket_id}"] = principal.ticket_budget
    return Ask(
        hold_id=call.journal.request_id.removeprefix("req_"),
        scopes=_scopes(call),
        input_tokens=prompt.tokens_max,
        output_tokens=call.output_tokens_max(services.limits),
        choices=call.request.choices,
        price=call.price,
        lifetime_s=call.total_s + LIFETIME_SLACK_S,
        strict=strict,
        price_problem=call.price_problem,
        own_budgets=own_budgets,
    )


def _scopes(call: Call) -> tuple[str, ...]:
    """Everything that the request may be charged to, from the widest on."""
    principal, model = call.principal, call.asked_model
    named = {
        "key": principal.key_id,
        "user": principal.user,
        "team": principal.team,
        "model": model if len(model.encode()) <= MODEL_BYTES_MAX else None,
        "ticket": principal.ticket_id,
    }
    return (GLOBAL, *(f"{kind}:{name}" for kind, name in named.items() if name))


async def estimate(fields: Mapping[str, Any], model: str, encoding: Encoding | None, *, exact: bool) -> Prompt:
    """The prompt's tokens, as well as they can be known before the provider says them."""
    large = len(fields.get("messages") or ()) > MESSAGES_INLINE_MAX
    if large or (encoding is not None and prompt_bytes(fields) > PROMPT_BYTES_INLINE_MAX):
        text = await asyncio.to_thread(_estimate_texts, fields, encoding, exact=exact)
    else:
        text = _estimate_texts(fields, encoding, exact=exact)
    media = media_tokens(fields, model)
    return Prompt(text.tokens + media, text.tokens_max + media)


def _estimate_texts(fields: Mapping[str, Any], encoding: Encoding | None, *, exact: bool) -> Prompt:
    """Bytes are an upper bound, until the encoder is loaded."""
    tokens = prompt_bytes(fields) if encoding is None else estimate_prompt(fields, encoding)
    return Prompt(tokens, tokens if exact else prompt_tokens_max(fields, tokens))
