"""In elastic mode a stream holds a slice, and asks for more in good time. Never is a chunk kept waiting for it.

The first slice is asked for with the request; whenever most of a slice is used the next one is asked for, as much
again, up to the cap that the client asked for. Where that is refused, or comes too late, the stream goes on to the
end of what it holds and is cut there.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context

from rillgate.budget.guard import Guard
from rillgate.domain.errors import BudgetUnavailable
from rillgate.domain.spending import Grant
from rillgate.pipeline.call import Services
from rillgate.telemetry.logs import log_exception


def is_slice(grant: Grant) -> bool:
    """Whether the hold is less than the cap that went upstream, so that nothing but our count stands before its end."""
    return not grant.ask.strict and grant.output_tokens < grant.ask.output_tokens


class Extension:
    """Extends the hold of one stream. `ask` is what its guard calls when a slice is nearly used up.

    Attributes:
        guard: whose limit is raised.
    """

    def __init__(self, services: Services, grant: Grant) -> None:
        self._services = services
        self._grant = grant
        self._asking: asyncio.Task[None] | None = None
        self._context = copy_context()
        self.guard: Guard | None = None

    def ask(self) -> None:
        """Begin to ask for as much again; the answer comes by itself."""
        if is_slice(self._grant):
            # It is called from a connection's callback, which may run in the context of whoever used that before.
            self._asking = self._context.run(self._services.streams.outlive, self._extend())

    async def answered(self, wait_s: float) -> None:
        """Wait until the ledger has answered, since an answer changes what is held; give it up after `wait_s`."""
        if self._asking is None or self._asking.done():
            return
        await asyncio.wait((self._asking,), timeout=wait_s)
        self._asking.cancel()  # harmless where it has answered: until it is known to be held, the old hold is the bound

    async def _extend(self) -> None:
        grant = self._grant
        more = min(grant.output_tokens, grant.ask.output_tokens - grant.output_tokens)
        clock = self._services.clock
        began_s = clock.now()
        try:
            granted = await self._services.ledger.extend(grant, more)
        except BudgetUnavailable:
            return
        except Exception as error:
            log_exception("ledger_failed", error, hold_id=grant.ask.hold_id)
            return
        finally:
            self._services.metrics.ledger("extend", clock.now() - began_s)
        if granted and self.guard is not None:
            self.guard.raise_limit(grant.output_tokens, soft=is_slice(grant))
