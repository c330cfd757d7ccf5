"""The loop that carries a stream: read from the provider, relay, put into the writer; pause while the client lags."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from rillgate.delivery.writer import StreamWriter
from rillgate.domain.errors import UpstreamTruncated
from rillgate.domain.ports import Clock, Provider
from rillgate.domain.timer import Timer
from rillgate.pipeline.relay import Relay
from rillgate.upstream.exchange import UpstreamResponse

TURN_S = 0.002  # a stream that has this much ready lets the others run
WAITED_S = 0.0005  # a read that took so long has let the others run by itself
GIVE_BACK_S = 1.0
GIVE_BACK_BYTES_MAX = 64 * 1024


class Pump:
    """Carries one stream from a response to a writer.

    Args:
        relay: what happens to the bytes.
        writer: where they go.
        clock: for turns.
        on_first: called once, before the first bytes of the answer go to the writer.
        on_expiry: the provider was silent for too long.
        first_token_s: until its first content; from `start()` on.
        idle_s: between two events after that, not counting the time in which it is not read from.

    Attributes:
        passed_on: whether anything of the answer went to the writer. An error that comes first does not: another
            attempt may follow it, and where none does it can still be a true HTTP status.
    """

    def __init__(
        self,
        relay: Relay,
        writer: StreamWriter,
        clock: Clock,
        *,
        on_first: Callable[[], None],
        on_expiry: Callable[[], None],
        first_token_s: float,
        idle_s: float,
    ) -> None:
        self._relay = relay
        self._writer = writer
        self._clock = clock
        self._first_token = Timer(clock, first_token_s, on_expiry)
        self._idle = Timer(clock, idle_s, on_expiry)
        self._on_first = on_first
        self._frames_seen = 0
        self.passed_on = False

    def start(self) -> None:
        """The time to the first token begins, before there is a connection."""
        self._first_token.restart()

    def close(self) -> None:
        """No timer is left."""
        self._first_token.close()
        self._idle.close()

    async def run(self, response: UpstreamResponse, provider: Provider) -> None:
        """Carry the whole stream. Afterwards `relay.end` says how the provider's side ended.

        Raises:
            UpstreamError: the provider answered with an error status, or its JSON is no answer.
        """
        if response.status >= 300:
            raise provider.error(response.status, response.headers, await response.read_error())
        if not response.is_event_stream:
            self._put(self._relay.feed_answer(provider.decode_answer(await response.read())))
            return
        async with aclosing(response.chunks()) as chunks:
            try:
                await self._carry(chunks)
            except UpstreamTruncated:
                self._put(self._relay.truncated())
            self.close()
            if self.passed_on:
                self._writer.close()
            if self._relay.upstream_done:
                await _give_back(chunks)

    async def _carry(self, chunks: AsyncIterator[bytes]) -> None:
        relay, now = self._relay, self._clock.now
        turn_began = before = now()
        async for chunk in chunks:
            arrived = now()
            if arrived - before > WAITED_S:
                turn_began = arrived
            self._put(relay.feed(chunk))
            if relay.end is not None:
                return
            self._move_deadlines()
            if self._writer.full:
                await self._pause()
            elif now() - turn_began > TURN_S:
                await asyncio.sleep(0)
                turn_began = now()
            before = now()
        self._put(relay.feed_eof())

    def _put(self, out: bytes) -> None:
        """To the writer, unless an error is the stream's first word."""
        if not out or (self._relay.error is not None and not self.passed_on):
            return
        if not self.passed_on:
            self.passed_on = True
            self._on_first()
        self._writer.put(out)

    def _move_deadlines(self) -> None:
        """Complete events move the deadline; comments and halves of events do not."""
        if self._relay.frames == self._frames_seen:
            return
        self._frames_seen = self._relay.frames
        if self._relay.content_frames:
            self._first_token.stop()
            self._idle.restart()

    async def _pause(self) -> None:
        """Wait for the client. The provider's silence is not counted while nobody listens to it."""
        waiting_for_content = self._first_token.running
        self._first_token.stop()
        self._idle.stop()
        await self._writer.writable()
        (self._first_token if waiting_for_content else self._idle).restart()


async def _give_back(chunks: AsyncIterator[bytes]) -> None:
    """Read what follows the terminal event, mostly nothing, so that the connection can serve again."""
    rest = 0
    try:
        async with asyncio.timeout(GIVE_BACK_S):
            async for chunk in chunks:
                rest += len(chunk)
                if rest > GIVE_BACK_BYTES_MAX:
                    return
    except (TimeoutError, UpstreamTruncated):
        pass  # the connection is closed instead
