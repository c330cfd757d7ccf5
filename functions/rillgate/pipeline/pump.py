"""What carries a stream: read from the provider, relay, put into the writer; pause while the client lags.

Where the transport can push, all of it happens in the callback that reads, as long as the client keeps up; elsewhere in
a loop that awaits each read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from rillgate.delivery.writer import StreamWriter
from rillgate.domain.errors import UpstreamTruncated
from rillgate.domain.ports import Clock, Provider
from rillgate.domain.request import ChatRequest
from rillgate.domain.timer import Timer
from rillgate.pipeline.push import Push
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
        self._push: Push | None = None
        self._halted = False
        self.passed_on = False

    def start(self) -> None:
        """The time to the first token begins, before there is a connection."""
        self._first_token.restart()

    def close(self) -> None:
        """No timer is left, and nobody is told of a first event."""
        self._first_token.close()
        self._idle.close()
        self._on_first = _nothing

    async def run(self, response: UpstreamResponse, provider: Provider, request: ChatRequest) -> None:
        """Carry the whole stream that answers the request. Afterwards `relay.end` says how the provider's side ended.

        Raises:
            UpstreamError: the provider answered with an error status, or its JSON is no answer.
        """
        if response.status >= 300:
            raise provider.error(response.status, response.headers, await response.read_error())
        if not response.is_event_stream:
            self._put(self._relay.feed_answer(provider.decode_answer(await response.read(), request)))
            return
        try:
            if not await self._carry_pushed(response):
                async with aclosing(response.chunks()) as chunks:
                    await self._carry(chunks)
        except UpstreamTruncated:
            self._put(self._relay.truncated())
        self.close()
        if self.passed_on:
            self._writer.close()
        if self._relay.upstream_done:
            async with aclosing(response.chunks()) as chunks:
                await _give_back(chunks)

    def halt(self) -> None:
        """The stream was ended by somebody else: nothing more of the provider's is taken."""
        self._halted = True
        if self._push is not None:
            self._push.stop()

    async def _carry_pushed(self, response: UpstreamResponse) -> bool:
        """Have it pushed to its end, or to the relay's; False where it cannot be."""
        relay = self._relay
        push = self._push = Push(self._take)
        try:
            if not push.open(response):
                return False
            while not await push.over():
                if self._halted or relay.end is not None:
                    return True
                await self._pause()
                push.resume()
        finally:
            self._push = None
            push.close()
        if relay.end is None:
            self._put(relay.feed_eof())
        return True

    def _take(self, data: bytes) -> bool:
        """Deal with what has come; False when that is enough for now, or for good."""
        if self._halted or self._relay.end is not None:
            return False
        relay = self._relay
        self._put(relay.feed(data))
        if relay.frames != self._frames_seen:
            self._move_deadlines()
        return relay.end is None and not self._writer.full

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
        if not out or (self._relay.failed_first and not self.passed_on):
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


def _nothing() -> None:
    """It is over."""


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
