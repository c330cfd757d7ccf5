"""AWS credentials that are always fresh enough to sign with.

    valid for 5 minutes or more    used
    less than 5 minutes            used, while one fetch runs in the background
    less than 1 minute, or refused by a service    waits for that fetch
    the fetch failed               the old ones as long as they are valid, then the error; the next fetch 2 s later

Where they come from is `aws_sources`' part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Clock
from rillgate.wire.sigv4 import Credentials

ADVISORY_S = 300.0
MANDATORY_S = 60.0
PAUSE_S = 2.0  # between two fetches: a source that is down, or has nothing newer, is not asked by every request


class AwsCredentials:
    """The credentials of this process, fetched when needed and refreshed before they expire.

    Args:
        fetch: asks the source; bounded in time by itself. Raises UpstreamError, naming what was tried and what to set.
        clock: wall time for expiry, monotonic time for pauses.
        on_error: told of every fetch that failed, also of those that nobody waits for.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Credentials]],
        clock: Clock,
        *,
        on_error: Callable[[UpstreamError], None] | None = None,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._on_error = on_error
        self._credentials: Credentials | None = None
        self._refused = False
        self._error: UpstreamError | None = None
        self._not_before = clock.now()
        self._fetching: asyncio.Task[None] | None = None

    async def current(self) -> Credentials:
        """Credentials to sign with now.

        Raises:
            UpstreamError: there are none, or they have expired, and no others could be had.
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

    def refused(self, credentials: Credentials) -> None:
        """A service did not accept these: the next call waits for others, unless they have come meanwhile."""
        if credentials == self._credentials:
            self._refused = True

    async def aclose(self) -> None:
        """Stop a fetch that runs."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _left_s(self) -> float:
        """How long the credentials are good for, in seconds."""
        if self._credentials is None or self._refused:
            return 0.0
        if self._credentials.expires_s is None:
            return ADVISORY_S
        return self._credentials.expires_s - self._clock.wall()

    def _usable(self) -> Credentials:
        """What there is. Just fetched ones are used whatever they say of themselves: the service is the judge."""
        have = self._credentials
        expired = have is not None and have.expires_s is not None and have.expires_s <= self._clock.wall()
        if have is not None and not (expired and self._error is not None):
            return have
        if self._error is None:
            raise UpstreamError("No AWS credentials: the fetch was broken off.")
        raise UpstreamError(self._error.message) from self._error  # a new one each time: tracebacks grow

    async def _refresh(self) -> None:
        try:
            self._credentials = await self._fetch()
            self._refused = False
            self._error = None
        except UpstreamError as error:
            self._error = error
            if self._on_error is not None:
                self._on_error(error)
        finally:
            self._not_before = self._clock.now() + PAUSE_S
            self._fetching = None
