"""A ledger of a test's own that any number of processes share: a SQLite file, or a table on DynamoDB Local.

@pytest.mark.parametrize("open_ledger", LEDGERS)
async def test_…(open_ledger: OpenLedger) -> None:
    with open_ledger() as ledger:
        async with serving(**ledger.variables): …
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from rillgate.budget.limit_text import parse_limits
from rillgate.ledger.admin_budgets import change_budget
from rillgate.ledger.dynamodb_admin import DynamoDbAdminStore
from rillgate.ledger.items import HOLD, LIVE, number
from rillgate.ledger.keys import scope_key
from rillgate.ledger.sqlite_table import SqliteTable
from rillgate.ledger.store import AdminStore
from rillgate.ledger.writes import EMPTY, Item
from tests.e2e.process import run
from tests.fakes.dynamodb_local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, shared_or_skip

EMULATOR_TIMEOUT_MS: Final = 30_000
"""For each call: the emulator does some 300 contended writes a second, so the last of a thousand waits for seconds.
How often a call is tried stays as it is."""


@dataclass(frozen=True)
class LedgerInTest:
    """One ledger.

    Attributes:
        url: as a configuration names it.
        store: the operators' view of it.
        variables: what gateways and commands on it need in their environment.
    """

    url: str
    store: AdminStore
    variables: dict[str, Any] = field(default_factory=dict)

    def item(self, scope: str) -> Item:
        """A scope's counters and holds, as they are now."""
        return self.store.read([scope_key(scope)])[0] or EMPTY

    def live(self, scope: str) -> int:
        """How many holds are outstanding, and that it is as many as are counted."""
        item = self.item(scope)
        holds = sum(name.startswith(HOLD) for name in item)
        assert number(item, LIVE) == holds
        return holds

    def set_limits(self, scope: str, *limits: str) -> None:
        """Give a scope these limits, written as operators write them."""
        amounts, streams_max = parse_limits(limits)
        change_budget(self.store, scope, lambda budget: replace(budget, limits=amounts, streams_max=streams_max))

    async def new_key(self, *limits: str) -> tuple[str, str]:
        """A key with these limits, made as operators make one: what a client presents, and its scope."""
        options = [word for limit in limits for word in ("--limit", limit)]
        made = await self.command("keys", "create", "--name", "proof", *options)
        return made["key"], f"key:{made['key_id']}"

    async def command(self, *arguments: str) -> Any:
        """What a command of the control plane prints as JSON. It must not fail, as an audit does that finds any."""
        done = await run(*arguments, "--ledger", self.url, "--json", **self.variables)
        assert done.code == 0, done.out + done.err
        return msgspec.json.decode(done.out)


OpenLedger = Callable[[], AbstractContextManager[LedgerInTest]]


@contextlib.contextmanager
def sqlite_ledger() -> Iterator[LedgerInTest]:
    """A file that is gone at the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rillgate.db"
        url = f"sqlite:///{path}"
        with contextlib.closing(SqliteTable(path)) as store:
            yield LedgerInTest(url, store, {"RILLGATE_LEDGER__URL": url})


@contextlib.contextmanager
def dynamodb_ledger() -> Iterator[LedgerInTest]:
    """A table on the run's server; the test is skipped where there is none."""
    local = shared_or_skip()
    location = local.new_table()
    url = local.ledger_url(location)
    variables = {
        "RILLGATE_LEDGER__URL": url,
        "RILLGATE_LEDGER__CONNECT_TIMEOUT_MS": str(EMULATOR_TIMEOUT_MS),
        "RILLGATE_LEDGER__READ_TIMEOUT_MS": str(EMULATOR_TIMEOUT_MS),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    }
    with contextlib.closing(DynamoDbAdminStore(local.new_client(), location)) as store:
        yield LedgerInTest(url, store, variables)


LEDGERS: Final[Sequence[Any]] = [
    pytest.param(sqlite_ledger, id="sqlite"),
    pytest.param(dynamodb_ledger, id="dynamodb-local"),
]
