"""A process that shares a ledger's file with others: `python -m tests.unit.ledger.sqlite_worker MODE PATH`.

compete   100 increments of one counter under a limit of 250; prints how many were admitted
count     eight tasks increment a counter each, for ever, and print its new value when it is acknowledged
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from rillgate.ledger.sqlite import SqliteStore
from rillgate.ledger.writes import Add, AtMost, ConditionFailed, Key, Write

LIMIT = 250
INCREMENTS = 100
COUNTERS = [Key(f"counter|{number}") for number in range(8)]


async def compete(store: SqliteStore) -> None:
    """Ask for room a hundred times, ten at once."""
    write = Write(Key("shared"), (Add("n", 1),), (AtMost("n", LIMIT - 1),))
    admitted = 0
    for _ in range(INCREMENTS // 10):
        outcomes = await asyncio.gather(*(store.write(write) for _ in range(10)), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert all(isinstance(failure, ConditionFailed) for failure in failures), failures
        admitted += 10 - len(failures)
    print(admitted)  # noqa: T201 - how it reports


async def count(store: SqliteStore) -> None:
    """Increment until killed."""
    await asyncio.gather(*(_count(store, number, key) for number, key in enumerate(COUNTERS)))


async def _count(store: SqliteStore, number: int, key: Key) -> None:
    while True:
        item = await store.write(Write(key, (Add("n", 1),), returns="changed"))
        sys.stdout.write(f"{number} {item['n']}\n")
        sys.stdout.flush()


async def main(mode: str, path: str) -> None:
    """Do one of the two."""
    async with contextlib.aclosing(SqliteStore(Path(path))) as store:
        await {"compete": compete, "count": count}[mode](store)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
