"""What every test may ask for: both event loops that Rillgate runs on."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run asynchronous tests on the standard loop and on uvloop."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}
