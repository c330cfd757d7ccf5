"""Where the event loop is watched, and where it is not."""

from __future__ import annotations

import pytest

from rillgate.app.gateway import Gateway
from rillgate.telemetry.loop_lag import PERIOD_S
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import settings_for
from tests.fakes.server import serving

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("watches", "shown"), [(True, 0.0), (False, None)])
async def test_gateway_watches_its_loop_where_it_is_told_to(watches: bool, shown: float | None) -> None:
    """On Lambda the process is frozen between requests: nothing ticks there, and nothing is shown."""
    clock = FakeClock()
    gateway = Gateway(settings_for("http://127.0.0.1:9"), clock=clock, watches_loop=watches)
    async with serving(gateway.asgi, drain=gateway.streams, grace_s=0):
        clock.advance(60 * PERIOD_S)  # whatever the start had to wait for is over
        assert clock.pending == watches, "one timer, over and over"
        assert gateway.metrics.registry.get_sample_value("llm_loop_lag_seconds") == shown
    assert clock.pending == 0
