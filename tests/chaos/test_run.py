"""The large run, small: `make chaos` is the same for longer and with more streams."""

from __future__ import annotations

import sys

import pytest

from tests.chaos.run import Options, run

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and sets another process's limits"),
]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Of the clients."""
    return "asyncio", {"use_uvloop": True}


async def test_hundred_clients_for_half_a_minute_find_no_promise_broken() -> None:
    """Every byte is checked, every hold is settled, every descriptor closed, and the audit explains all of it."""
    report = await run(Options(seconds=25, streams=100, seed=7))
    print(report)  # noqa: T201 what was seen, where it fails
    assert not report.broken
    assert report.seen.words > 1_000
    assert report.locked + report.full > 0
