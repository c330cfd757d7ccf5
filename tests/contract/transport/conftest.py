"""Every test of this folder runs on every transport, on both event loops."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.transport import carriers
from tests.contract.transport.carriers import Carrier


@pytest.fixture(params=carriers.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which transport."""
    name: str = request.param
    return name


@pytest.fixture
async def carrier(kind: str, anyio_backend: tuple[str, dict[str, Any]]) -> AsyncIterator[Carrier]:
    """A transport with room for ten connections to an origin."""
    made = carriers.make(kind)
    yield made
    await made.transport.aclose()
