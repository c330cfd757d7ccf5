"""A request leaves nothing that only the collector of cycles could take away: prompts would pile up until it comes."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from typing import Final

import pytest

from tests.chaos.client import Ask
from tests.chaos.gateway import in_chaos
from tests.chaos.plan import MODEL, Plan

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

OURS: Final = ("rillgate.pipeline", "rillgate.delivery", "rillgate.dialects", "rillgate.domain.request")
SHORT: Final = {"TIMEOUTS__FIRST_TOKEN_S": "0.2", "TIMEOUTS__IDLE_S": "0.2", "TIMEOUTS__TOTAL_S": "2"}
FAULTS: Final = (
    "none",
    "fin",
    "rst",
    "silent",
    "stuck",
    "status_500",
    "status_429",
    "broken_event",
    "page",
    "compressed",
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop of the container; asyncio's own transports hang together in cycles themselves."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(autouse=True)
def _no_log_and_no_collector() -> Iterator[None]:
    """A log line that is kept keeps what it names."""
    logging.disable()
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_request_that_is_over_is_gone_without_the_collector(fault: str, stream: bool) -> None:
    """However it ended."""
    async with in_chaos(None, "memory:", **SHORT) as chaos:
        await chaos.ask(Ask(Plan(100)))
        await chaos.settled()
        gc.collect()
        for number in range(200, 203):
            await chaos.ask(Ask(Plan(number, 12, fault, 0.5), "chat", f"openai/{MODEL}", stream))
        await chaos.settled()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        left = [type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith(OURS)]
        gc.garbage.clear()
        assert not left
