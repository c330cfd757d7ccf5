"""The ledger and the keys of one gateway, over one store."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rillgate.app.settings.rules import DYNAMODB, MEMORY
from rillgate.app.settings.types import Settings
from rillgate.app.stores import store_of
from rillgate.domain.ports import Clock, Ledger
from rillgate.identity.gatekeeper import Gatekeeper
from rillgate.ledger.cancel_flags import StoreCancelFlags
from rillgate.ledger.ledger import StoreLedger
from rillgate.ledger.vault import StoreKeyVault


class Books:
    """What is spent, and by whom.

    Args:
        settings: the configuration.
        clock: time.
        environ: where AWS's credentials and region are looked for.
        tell: takes the ledger's events, by name and fields.
        ledger: instead of one over the store, for tests; the keys stay in the store.
        several: whether other processes serve on the same store. They may wherever it is DynamoDB.

    Attributes:
        store: the one behind all of it.
        ledger: where budgets are held.
        gatekeeper: checks keys and tickets.
        cancel_flags: reach requests of those other processes; None where there are none.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        environ: Mapping[str, str],
        tell: Callable[..., None],
        ledger: Ledger | None = None,
        *,
        several: bool = False,
    ) -> None:
        self.store = store_of(settings.ledger, clock, environ)
        self._own = StoreLedger(
            self.store,
            clock,
            grace_s=settings.ledger.hold_grace_s,
            quota_status=settings.ledger.quota_status,
            tell=tell,
        )
        self.ledger: Ledger = ledger or self._own
        shared = settings.ledger.url.startswith(DYNAMODB) or (several and settings.ledger.url != MEMORY)
        self.cancel_flags = StoreCancelFlags(self.store, clock.wall) if shared else None
        self.gatekeeper = Gatekeeper(StoreKeyVault(self.store), clock, stale_ok=settings.ledger.on_error == "allow")

    @property
    def owed(self) -> int:
        """How many settles and voids wait for a store that did not take them."""
        return self._own.owed

    async def quiet(self, wait_s: float | None) -> bool:
        """Wait until the ledger does nothing in the background, at most `wait_s`; False when it still does."""
        return await self._own.quiet(wait_s)

    async def aclose(self) -> None:
        """Finish what the ledger does in the background, then give up the store."""
        try:
            await self._own.aclose()
            await self.gatekeeper.aclose()
        finally:
            await self.store.aclose()
