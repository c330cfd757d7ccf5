"""A gateway with limits for each address that are smaller than a configuration may set them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from rillgate.app.gateway import Gateway
from rillgate.app.http_protocol import GatewayHttpProtocol, HttpLimits
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import GatewayInTest, settings_for
from tests.fakes.provider import FakeProvider
from tests.fakes.server import serving


@asynccontextmanager
async def limited_gateway(
    fake: FakeProvider,
    *,
    clock: FakeClock | None = None,
    protocol: type[GatewayHttpProtocol] = GatewayHttpProtocol,
    connections_max: int = 0,
    rate_max: float = 0,
    burst_max: int = 2000,
    **overrides: Any,
) -> AsyncIterator[GatewayInTest]:
    """A gateway with limits for each address that are smaller than a configuration may set them."""
    settings = settings_for(fake.base_url, **overrides)
    limits = replace(
        settings.limits,
        address_connections_max=connections_max,
        address_rate_max=rate_max,
        address_burst_max=burst_max,
    )
    gateway = Gateway(replace(settings, limits=limits), clock=clock)
    http = HttpLimits(connections=gateway.connections)
    async with serving(gateway.asgi, drain=gateway.streams, limits=http, protocol=protocol) as address:
        await gateway.encoders.loaded()
        yield GatewayInTest(gateway, address)
