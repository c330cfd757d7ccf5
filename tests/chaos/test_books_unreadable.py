"""What stands in the store is nothing that this version knows: a newer one wrote it, or a hand."""

from __future__ import annotations

import pytest

from rillgate.identity import keys
from rillgate.ledger.keys import budget_key, scope_key, virtual_key_key
from rillgate.ledger.writes import Add, Key, Put, Remove, Write
from tests.chaos.client import Ask, asked
from tests.chaos.gateway import FAR, in_chaos
from tests.chaos.plan import Plan

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("on_error", ["deny", "allow"])
@pytest.mark.parametrize(
    ("written", "change"),
    [
        ("budget", Put("limits", "{")),
        ("budget", Put("limits", '["furlongs/fortnight=1"]')),
        ("budget", Put("warn", "[1.5]")),
        ("key", Put("created", "yesterday")),
        ("key", Put("models", "{")),
    ],
)
async def test_books_that_cannot_be_read_refuse_whom_they_are_about_and_nobody_else(
    written: str, change: Put, on_error: str
) -> None:
    """503 in the client's dialect, whatever is allowed where the store fails: it is not known to be no limit."""
    async with in_chaos(LEDGER__ON_ERROR=on_error) as chaos:
        broken = await chaos.inside.new_key(limits=[f"tokens/total={FAR}"])
        key_id = keys.parse(broken)
        where: dict[str, Key] = {"budget": budget_key(f"key:{key_id}"), "key": virtual_key_key(key_id)}
        await chaos.inside.gateway.books.store.write(Write(where[written], (change,)))
        for number, dialect in enumerate(("chat", "messages", "plain")):
            ask = Ask(Plan(100 + number), dialect)
            got = await asked(chaos.port, ask, authorization=f"Bearer {broken}")
            assert got.outcome == "503 budget_unreadable"
            assert (await chaos.ask(ask)).outcome in ("stop", "end_turn")


async def test_hold_that_cannot_be_read_is_no_fault_of_the_gateway() -> None:
    """It stands in a scope's item, which every request to that scope is shown."""
    async with in_chaos() as chaos:
        scope = chaos.scopes[-1]
        await chaos.inside.gateway.books.store.write(Write(scope_key(scope), (Put("hstrange", "gen2:{}"), Put("n", 1))))
        got = await chaos.ask(Ask(Plan(100)))
        assert got.outcome == "503 budget_unreadable"
        await chaos.inside.settled()
        await chaos.inside.gateway.books.store.write(Write(scope_key(scope), (Remove("hstrange"), Add("n", -1))))
