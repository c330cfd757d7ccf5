"""Eight processes and a thousand streams race for one budget: through the ledger alone, and through whole gateways."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.e2e.ledgers import LEDGERS, LedgerInTest, OpenLedger
from tests.e2e.process import environment
from tests.e2e.racer import PROMPT_TOKENS

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PROCESSES: Final = 8
STREAMS: Final = 1000
LIMIT: Final = 250_000
LIMIT_WIDER: Final = 260_000
USED_SHARE_MIN: Final = 0.9

REPOSITORY: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 240.0  # a guard against hanging tests, never what a test waits for


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop of this process is not the subject."""
    return "asyncio", {"use_uvloop": True}


class Racer:
    """A process of `racer`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def said(self) -> Any:
        """The next thing that it says. Nothing but a refusal for want of budget lets it live on."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "a process has failed; its standard error says why"
        return msgspec.json.decode(line)

    def go_on(self) -> None:
        """Let it take its next step."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")


@asynccontextmanager
async def racer(ledger: LedgerInTest, first: int, streams: int, scopes: tuple[str, ...]) -> AsyncIterator[Racer]:
    """One process, ended with the block."""
    command = [sys.executable, "-m", "tests.e2e.racer", ledger.url, str(first), str(streams), *scopes]
    variables = {**ledger.variables, "PYTHONPATH": str(REPOSITORY)}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, env=environment(**variables), cwd=REPOSITORY
    )
    try:
        yield Racer(process)
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def all_say(racers: list[Racer]) -> list[Any]:
    """What each of them says next."""
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.gather(*(each.said() for each in racers))


@pytest.mark.parametrize("scopes", [("key:race",), ("global", "key:race")], ids=["one-scope", "two-scopes"])
@pytest.mark.parametrize("open_ledger", LEDGERS)
async def test_processes_racing_for_one_budget_never_pass_it(open_ledger: OpenLedger, scopes: tuple[str, ...]) -> None:
    """Admitted is at most the limit, nine tenths of it at least, nobody is told 503; then counted is what was used."""
    share = STREAMS // PROCESSES
    with open_ledger() as ledger:
        for scope, limit in zip(scopes, (LIMIT, LIMIT_WIDER), strict=False):
            ledger.set_limits(scope, f"tokens/total={limit}")
        async with AsyncExitStack() as stack:
            racers = [
                await stack.enter_async_context(racer(ledger, number * share, share, scopes))
                for number in range(PROCESSES)
            ]
            assert await all_say(racers) == ["ready"] * PROCESSES
            for each in racers:
                each.go_on()
            decided = await all_say(racers)
            held, admitted = (sum(each[name] for each in decided) for name in ("held", "admitted"))
            print(f"{held} tokens held, {held / LIMIT:.1%}, by {admitted} streams")  # noqa: T201
            assert held <= LIMIT
            assert held >= USED_SHARE_MIN * LIMIT
            for scope in scopes:
                assert ledger.item(scope)["tT"] == held
                assert ledger.live(scope) == ledger.item(scope)["rT"] == admitted
            for each in racers:
                each.go_on()
            used = sum(each["used"] for each in await all_say(racers))
        assert admitted * PROMPT_TOKENS <= used <= held
        for scope in scopes:
            item = ledger.item(scope)
            assert (item["tT"], item["rT"], ledger.live(scope)) == (used, admitted, 0)
        report = await ledger.command("audit")
        assert report["explained"]
