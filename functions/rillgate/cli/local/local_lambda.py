"""Everything behind the Function URL, put together: the watch over orphans, and the environments."""

from __future__ import annotations

import os

from rillgate.cli.local.console import Console
from rillgate.cli.local.environment import Environment
from rillgate.cli.local.fleet import Fleet
from rillgate.cli.local.invocation import Invocation
from rillgate.cli.local.orphans import Orphans
from rillgate.cli.local.shape import Shape


class LocalLambda:
    """One function on this machine.

    Args:
        shape: of its environments.
        console: takes the platform's lines.
        environments_max: how many may run at once; one more request is answered 429.
        stderr: the descriptor that the function's own lines go to.
    """

    def __init__(self, shape: Shape, console: Console, *, environments_max: int, stderr: int = 2) -> None:
        self._orphans = Orphans()
        self.fleet = Fleet(
            lambda: Environment(shape, self._orphans, console, stderr=stderr),
            environments_max=environments_max,
            starts_max=max(2, os.cpu_count() or 1),
        )

    async def start(self) -> None:
        """Begin; the first environment starts with the first request, as on Lambda."""
        await self._orphans.start()

    async def run(self, invocation: Invocation) -> None:
        """As `Fleet.run`."""
        await self.fleet.run(invocation)

    def terminate(self) -> None:
        """As `Fleet.terminate`."""
        self.fleet.terminate()

    async def aclose(self) -> None:
        """End everything."""
        await self.fleet.aclose()
        await self._orphans.aclose()
