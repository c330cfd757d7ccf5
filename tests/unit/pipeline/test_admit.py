"""Admission: what is asked of the ledger, and what becomes of its answer when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest
from msgspec import structs

from rillgate.domain.ends import End
from rillgate.domain.errors import BudgetError, BudgetUnavailable, RillgateError
from rillgate.domain.limits import Budget, Limit, Meter, Window
from rillgate.domain.price import Price
from rillgate.domain.principal import Principal
from rillgate.pipeline.admit import MODEL_BYTES_MAX, Admission, Prompt, make_ask
from tests.fakes.ledger import FakeLedger
from tests.unit.pipeline.call_support import make_call, make_services

ASKED = Prompt(10, 11)


def test_ask_names_every_scope_of_a_ticket_from_the_widest_on() -> None:
    """The key that issued it, its user, its team, the model that was asked for, and the ticket with its own limits."""
    budget = Budget(limits=(Limit(Meter.TOKENS, Window.TOTAL, 500),))
    principal = Principal(key_id="a1", user="ada", team="core", ticket_id="t9", ticket_budget=budget)
    ask = make_ask(make_call(principal=principal), make_services(FakeLedger()), ASKED)
    assert ask.scopes == ("global", "key:a1", "user:ada", "team:core", "model:fast", "ticket:t9")
    assert dict(ask.own_budgets) == {"ticket:t9": budget}


def test_ask_of_nobody_in_particular_has_two_scopes() -> None:
    """Keys off: everything, and the model; the routed one where none was named."""
    ask = make_ask(make_call(model=None), make_services(FakeLedger()), ASKED)
    assert ask.scopes == ("global", "model:lab-model")
    assert dict(ask.own_budgets) == {}


def test_ask_leaves_out_a_model_whose_name_fits_no_key_of_a_store() -> None:
    """A client may call a model what it likes; nobody can have set a budget for that."""
    services = make_services(FakeLedger())
    assert make_ask(make_call(model="m" * MODEL_BYTES_MAX), services, ASKED).scopes[-1].startswith("model:")
    assert make_ask(make_call(model="é" * MODEL_BYTES_MAX), services, ASKED).scopes == ("global",)


@pytest.mark.parametrize(
    ("mode", "stream", "bills", "strict"),
    [
        ("strict", True, False, True),
        ("elastic", True, False, False),
        ("elastic", False, False, True),
        ("elastic", True, True, True),
    ],
)
def test_ask_is_elastic_only_where_a_cut_saves_something(
    monkeypatch: pytest.MonkeyPatch, mode: Literal["strict", "elastic"], stream: bool, bills: bool, strict: bool
) -> None:
    """A whole answer cannot be cut, and some providers bill on after a cut: both are held to their caps."""
    call = make_call(stream=stream)
    monkeypatch.setattr(type(call.first.provider), "bills_after_cancel", bills)
    assert make_ask(call, make_services(FakeLedger(), mode=mode), ASKED).strict is strict


def test_ask_carries_price_cap_and_life() -> None:
    """The configured caps apply before the ledger's; the hold outlives the stream's deadline by 30 s."""
    services = make_services(FakeLedger())
    ask = make_ask(make_call(output_tokens_asked=5000, choices=3, total_s=60), services, ASKED)
    assert (ask.input_tokens, ask.output_tokens, ask.choices, ask.lifetime_s) == (11, 1000, 3, 90)
    assert (ask.hold_id, ask.price, ask.price_problem) == ("AAAAAAAAAAAAAAAA", None, "")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("routed", "loaded", "held"),
    [("gpt-4o", True, 7 + 3), ("lab-model", True, 15 + 32), ("lab-model", False, 7 + 13 + 32)],
    ids=["own encoding", "another one", "bytes"],
)
async def test_admission_holds_the_prompt_with_a_margin_where_it_is_an_estimate(
    routed: str, loaded: bool, held: int
) -> None:
    """Exact as it is; half more and a template's own words by another encoding; bytes while none is loaded."""
    ledger = FakeLedger()
    services = make_services(ledger) if loaded else make_services(ledger, encoding=lambda name: None)
    admitted = await Admission(make_call(routed=routed), services).run()
    assert admitted is not None
    assert ledger.asks[0].input_tokens == held
    assert admitted.prompt_tokens == (10 if loaded else 7 + 13)


@pytest.mark.anyio
async def test_admission_counts_what_is_no_text() -> None:
    """An image is bounded by its model's formula, beside the text."""
    ledger = FakeLedger()
    image = {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}}
    await Admission(make_call(content=[{"type": "text", "text": "one"}, image]), make_services(ledger)).run()
    assert ledger.asks[0].input_tokens > 1000


@pytest.mark.anyio
async def test_admission_without_a_deadline_is_refused() -> None:
    """A hold that never expires could block a budget for ever; the message says what to set."""
    ledger = FakeLedger()
    with pytest.raises(RillgateError, match=r"timeouts\.total_s"):
        await Admission(make_call(total_s=0), make_services(ledger)).run()
    assert ledger.asks == []


@pytest.mark.anyio
async def test_admission_of_a_failing_store_is_refused_or_unaccounted() -> None:
    """As configured; unaccounted means the whole cap, no holds, and a mark."""
    ledger = FakeLedger(failing={"authorize"})
    with pytest.raises(BudgetUnavailable):
        await Admission(make_call(), make_services(ledger)).run()
    admitted = await Admission(make_call(output_tokens_asked=70), make_services(ledger, on_error="allow")).run()
    assert admitted is not None
    assert not admitted.grant.accounted
    assert (admitted.upstream_cap, admitted.grant.holds) == (70, {})


@pytest.mark.anyio
async def test_admission_that_is_allowed_without_a_store_is_still_held_to_a_refusal() -> None:
    """`on_error` is about a store that does not answer; this one has."""
    ledger = FakeLedger()
    ledger.refuse(BudgetError("no", scope="key:a1"))
    with pytest.raises(BudgetError):
        await Admission(make_call(), make_services(ledger, on_error="allow")).run()


@pytest.mark.anyio
async def test_admission_stopped_voids_what_the_ledger_grants_afterwards() -> None:
    """The first cause wins, and the hold does not stay."""
    ledger = FakeLedger(waiting=asyncio.Event())
    services = make_services(ledger)
    admission = Admission(make_call(), services)
    running = asyncio.ensure_future(admission.run())
    await ledger.asked.wait()
    assert admission.stop(End.CANCELLED)
    assert not admission.stop(End.SHUTDOWN)
    assert await running is None
    assert admission.stopped is End.CANCELLED
    assert ledger.waiting is not None
    ledger.waiting.set()
    assert await services.streams.settled()
    assert ledger.voided_once()
    assert ledger.settles[0].record.end == "cancelled"


@pytest.mark.anyio
async def test_admission_cancelled_with_its_task_voids_what_the_ledger_grants_afterwards() -> None:
    """The server may end the request's task at any moment; the ledger's call is not interrupted by that."""
    ledger = FakeLedger(waiting=asyncio.Event())
    services = make_services(ledger)
    running = asyncio.ensure_future(Admission(make_call(), services).run())
    await ledger.asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ledger.settles == []
    assert ledger.waiting is not None
    ledger.waiting.set()
    assert await services.streams.settled()
    assert ledger.voided_once()


@pytest.mark.anyio
async def test_admission_stopped_in_the_moment_of_the_answer_is_stopped() -> None:
    """The ledger has answered, nobody has looked yet: the hold is voided all the same."""
    ledger = FakeLedger(waiting=asyncio.Event())
    services = make_services(ledger)
    admission = Admission(make_call(), services)
    running = asyncio.ensure_future(admission.run())
    await ledger.asked.wait()
    assert ledger.waiting is not None
    ledger.waiting.set()
    while not ledger.grants:
        await asyncio.sleep(0)
    assert admission.stop(End.CLIENT_GONE)
    assert await running is None
    assert await services.streams.settled()
    assert ledger.voided_once()


@pytest.mark.anyio
async def test_admission_stopped_before_the_ledger_is_asked_asks_nothing() -> None:
    """A long prompt is counted in a thread meanwhile."""
    ledger = FakeLedger()
    admission = Admission(make_call(), make_services(ledger))
    assert admission.stop(End.CLIENT_GONE)
    assert await admission.run() is None
    assert ledger.asks == []


@pytest.mark.anyio
async def test_admission_that_is_over_cannot_be_stopped() -> None:
    """What comes after it answers from then on."""
    admission = Admission(make_call(), make_services(FakeLedger()))
    assert await admission.run() is not None
    assert not admission.stop(End.CLIENT_GONE)


def test_price_problem_of_the_call_is_told() -> None:
    """Why no price is known is for the refusal under a money limit."""
    call = structs.replace(make_call(), price_problem="audio has no price", price=Price(1, 2))
    ask = make_ask(call, make_services(FakeLedger()), ASKED)
    assert (ask.price_problem, ask.price) == ("audio has no price", Price(1, 2))
