"""What the providers list, kept fresh enough: asked for at start, and again when a name is not known.

Best effort: a provider has 2 s to answer, a failure is reported and never fatal, and what was listed before stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from rillgate.app.naming import ModelEntry, Names, Routed
from rillgate.app.settings.types import Settings
from rillgate.domain.errors import ClientError
from rillgate.domain.ports import Clock

ANSWER_S = 2.0  # that a provider has to list its models
FRESH_S = 60.0  # that a list is taken as it is
RETRY_S = 10.0  # between two failures of one provider


class Catalog:
    """The providers' lists, and the names that follow from them.

    Args:
        settings: the configuration.
        list_models: asks one provider, by name, for its model ids. It may raise anything.
        clock: time.
        on_failure: told the provider's name and the error, for the log. A late answer is a TimeoutError.

    Attributes:
        on_listed: each is told a provider's name and what it lists, or None and why not: once at start, and again
            when that has changed.
    """

    def __init__(
        self,
        settings: Settings,
        list_models: Callable[[str], Awaitable[list[str]]],
        clock: Clock,
        on_failure: Callable[[str, Exception], None] = lambda provider, error: None,
    ) -> None:
        self._settings = settings
        self._list_models = list_models
        self._clock = clock
        self._on_failure = on_failure
        self.on_listed: list[Callable[[str, Sequence[str] | None, str | None], None]] = []
        self._told: dict[str, Sequence[str] | None] = {}
        self._names = Names(settings)
        self._to_ask = [name for name, provider in settings.providers.items() if not provider.is_embedded]
        self._listed_at: dict[str, float] = {}
        self._failed_at: dict[str, float] = {}
        self._refreshing: asyncio.Future[None] | None = None
        self._calls: set[asyncio.Future[list[str]]] = set()

    @property
    def names(self) -> Names:
        """What every name means as far as is known now."""
        return self._names

    def start(self) -> None:
        """Ask all providers in the background. Call on the event loop."""
        for provider, ids in self._names.lists.items():
            self._tell(provider, ids)
        self._begin_refresh()

    async def close(self) -> None:
        """End what is under way, and wait until it has ended."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait({self._refreshing})
        if self._calls:
            await asyncio.wait(self._calls)

    async def resolve(self, requested: str | None, *, reasoning: bool = False) -> Routed:
        """Where a request goes; asks the providers where the lists known now do not settle it.

        Raises: ClientError: as `Names.resolve`.
        """
        if self._names.needs_lists(requested):
            await self._settle(lambda: self._names.resolve(requested))
        return self._names.resolve(requested, reasoning=reasoning)

    async def models(self) -> list[ModelEntry]:
        """All models that can be asked for, from lists no older than a minute where the providers answer."""
        await self._refresh()
        return self._names.models()

    async def get(self, requested: str) -> ModelEntry:
        """One model's entry.

        Raises: ClientError: as `Names.get`.
        """
        await self._settle(lambda: self._names.get(requested))
        return self._names.get(requested)

    async def _settle(self, attempt: Callable[[], object]) -> None:
        """Ask the providers if `attempt` fails on what is known now."""
        if not self._all_asked():
            # Until each was asked once, a name that one provider lists may still turn out to be another's too.
            await self._refresh()
        try:
            attempt()
        except ClientError:
            await self._refresh()

    def _all_asked(self) -> bool:
        return all(name in self._listed_at or name in self._failed_at for name in self._to_ask)

    async def _refresh(self) -> None:
        """Wait for the refresh that is under way; begin one where lists are missing or old."""
        task = self._begin_refresh()
        if task is not None:
            await asyncio.wait({task})  # a caller that is cancelled leaves the refresh to the others

    def _begin_refresh(self) -> asyncio.Future[None] | None:
        if self._refreshing is None:
            due = [name for name in self._to_ask if self._is_due(name)]
            if due:
                self._refreshing = asyncio.ensure_future(self._ask_all(due))
        return self._refreshing

    def _is_due(self, provider: str) -> bool:
        now = self._clock.now()
        listed, failed = self._listed_at.get(provider), self._failed_at.get(provider)
        if failed is not None and now - failed < RETRY_S:
            return False
        return listed is None or now - listed > FRESH_S

    async def _ask_all(self, providers: list[str]) -> None:
        try:
            await asyncio.gather(*(self._ask(provider) for provider in providers))
        finally:
            self._refreshing = None

    async def _ask(self, provider: str) -> None:
        try:
            ids = await self._answer(provider)
        except Exception as error:  # whatever it is, a list is only a convenience
            self._failed_at[provider] = self._clock.now()
            self._on_failure(provider, error)
            self._tell(provider, None, str(error) or type(error).__name__)
            return
        self._listed_at[provider] = self._clock.now()
        self._names = Names(self._settings, {**self._names.lists, provider: ids})
        self._tell(provider, self._names.lists[provider])

    def _tell(self, provider: str, ids: Sequence[str] | None, problem: str | None = None) -> None:
        if provider in self._told and self._told[provider] == ids:
            return
        self._told[provider] = ids
        for callback in self.on_listed:
            callback(provider, ids, problem)

    async def _answer(self, provider: str) -> list[str]:
        """The provider's list, or TimeoutError after `ANSWER_S`, even from a call that ignores its cancellation."""
        late: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(ANSWER_S, lambda: _wake(late))
        call = asyncio.ensure_future(self._list_models(provider))
        self._calls.add(call)
        call.add_done_callback(self._forget)
        try:
            await asyncio.wait((call, late), return_when=asyncio.FIRST_COMPLETED)
            if call.done() and not call.cancelled():
                return call.result()
            raise TimeoutError(f"no answer within {ANSWER_S:g} s")
        finally:
            timer.cancel()
            call.cancel()

    def _forget(self, call: asyncio.Future[list[str]]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # seen here, or asyncio would report one that came too late for anybody


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
