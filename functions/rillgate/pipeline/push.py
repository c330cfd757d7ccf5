"""A provider's body that is pushed: what comes is dealt with where it is read, in the event loop's own callback.

No task wakes up for a chunk. The one that owns the stream waits for what is rare: the body's end, a client that has
fallen behind, an end of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from rillgate.upstream.exchange import UpstreamResponse


class _Body(Protocol):
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def detach(self) -> None: ...


class Push:
    """One body.

    Args:
        take: called with the bytes as they come; False to be called no more until `resume`.
    """

    def __init__(self, take: Callable[[bytes], bool]) -> None:
        self._take = take
        self._body: _Body | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._stopped = False
        self._over = False
        self._error: Exception | None = None

    def open(self, response: UpstreamResponse) -> bool:
        """Begin; False where this response cannot be pushed."""
        self._body = response.attach(self._data, self._end)
        if self._body is not None and self._stopped:  # by what was there already
            self._body.pause()
        return self._body is not None

    async def over(self) -> bool:
        """Wait for the body's end, or until no more is taken: True, False.

        Raises: what `UpstreamResponse.attach` says of the end.
        """
        while not (self._stopped or self._over):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._stopped:
            return False
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback leads back here
        return True

    def resume(self) -> None:
        """Take again; what has come meanwhile is taken within this call."""
        self._stopped = False
        if self._body is not None:
            self._body.resume()

    def stop(self) -> None:
        """Take no more."""
        self._stopped = True
        if self._body is not None:
            self._body.pause()
        self._wake()

    def close(self) -> None:
        """Leave the rest to be read in the usual way."""
        if self._body is not None and not self._over:
            self._body.detach()
        self._body = None

    def _data(self, data: bytes) -> None:
        if not self._take(data):
            self.stop()

    def _end(self, error: Exception | None) -> None:
        self._over = True
        self._error = error
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
