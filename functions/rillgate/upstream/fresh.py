"""Something that expires, fetched when it is needed and refreshed before it does: AWS credentials, Entra's tokens.

valid for 5 minutes or more    used
less than 5 minutes            used, while one fetch runs in the background
less than 1 minute, or refused by a service    waits for that fetch
the fetch failed               the old one as long as it is valid, then the error; the next fetch 2 s later
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Clock

ADVISORY_S = 300.0
MANDATORY_S = 60.0
PAUSE_S = 2.0  # between two fetches: a source that is down, or has nothing newer, is not asked by every request


class Expiring(Protocol):
    """What is kept fresh. `expires_s`: seconds since 1970, None for never."""

    @property
    def expires_s(self) -> float | None: ...


T = TypeVar("T", bound=Expiring)


class Fresh(Generic[T]):
    """One of them, for the whole process.

    Args:
        fetch: asks the source; bounded in time by itself. Raises UpstreamError, naming what was tried and what to set.
        clock: wall time for expiry, monotonic time for pauses.
        what: it is, for messages.
        on_error: told of every fetch that failed, also of those that nobody waits for.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[T]],
        clock: Clock,
        *,
        what: str,
        on_error: Callable[[UpstreamError], None] | None = None,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._what = what
        self._on_error = on_error
        self._kept: T | None = None
        self._refused = False
        self._error: UpstreamError | None = None
        self._not_before = clock.now()
        self._fetching: asyncio.Task[None] | None = None

    async def current(self) -> T:
        """One that is good now.

        Raises:
            UpstreamError: there is none, or it has expired, and no other could be had.
        """
        left_s = self._left_s()
        if left_s < ADVISORY_S:
            if self._fetching is None and self._clock.now() >= self._not_before:
                self._fetching = asyncio.create_task(self._refresh())
            fetching = self._fetching
            if left_s < MANDATORY_S and fetching is not None:
                await asyncio.wait([fetching])  # the fetch is everybody's: who stops waiting does not stop it
                if not fetching.cancelled():
                    fetching.result()
        return self._usable()

    def refused(self, kept: T) -> None:
        """A service did not accept this one: the next call waits for another, unless one has come meanwhile."""
        if kept == self._kept:
            self._refused = True

    async def aclose(self) -> None:
        """Stop a fetch that runs."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _left_s(self) -> float:
        """How long it is good for, in seconds."""
        if self._kept is None or self._refused:
            return 0.0
        if self._kept.expires_s is None:
            return ADVISORY_S
        return self._kept.expires_s - self._clock.wall()

    def _usable(self) -> T:
        """What there is. One just fetched is used whatever it says of itself: the service is the judge."""
        have = self._kept
        expired = have is not None and have.expires_s is not None and have.expires_s <= self._clock.wall()
        if have is not None and not (expired and self._error is not None):
            return have
        if self._error is None:
            raise UpstreamError(f"No {self._what}: the fetch was broken off.")
        raise UpstreamError(self._error.message) from self._error  # a new one each time: tracebacks grow

    async def _refresh(self) -> None:
        try:
            self._kept = await self._fetch()
            self._refused = False
            self._error = None
        except UpstreamError as error:
            self._error = error
            if self._on_error is not None:
                self._on_error(error)
        finally:
            self._not_before = self._clock.now() + PAUSE_S
            self._fetching = None
