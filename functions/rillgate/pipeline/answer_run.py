"""Serves one whole answer: the provider's body, unchanged unless something must be added or it is another family's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec

from rillgate.delivery.responses import Headers, send_json
from rillgate.delivery.writer import Send
from rillgate.domain.ends import End
from rillgate.domain.ports import Report
from rillgate.domain.request import UpstreamRequest
from rillgate.domain.timer import Timer
from rillgate.domain.usage import Usage
from rillgate.pipeline.call import Call, Services, Upstream
from rillgate.pipeline.charge import Outcome
from rillgate.pipeline.run import Run

AT_ONCE = 8  # of the requests that one answer takes


class Answer(msgspec.Struct, frozen=True):
    """What a whole answer says.

    Attributes:
        usage: the provider's, or ours where it gave none.
        reported: what the provider gave of it.
        report: why it was stopped, where a budget did that; else empty.
        body: for the client.
    """

    usage: Usage
    reported: Usage | None
    report: Report
    body: bytes


class AnswerRun(Run):
    """Serves one whole answer.

    Args:
        build: an upstream's request.
        read: what an answer's body says, and what the client gets of it.
    """

    def __init__(
        self,
        call: Call,
        services: Services,
        send: Send,
        *,
        cap: int,
        headers: Headers,
        build: Callable[[Upstream, int], UpstreamRequest],
        read: Callable[[Upstream, bytes], Answer],
    ) -> None:
        super().__init__(call, services, send, cap=cap, headers=headers)
        self._build = build
        self._read = read
        self._began_s = services.clock.now()
        self._answer: Answer | None = None

    @property
    def end(self) -> End:
        """The cause that stopped it, else whether there was an answer."""
        if self._stopped is not None:
            return self._stopped
        if self._answer is None:
            return End.UPSTREAM_ERROR
        return End.BUDGET if self._answer.report else End.FINISHED

    @property
    def outcome(self) -> Outcome:
        """Known when the answer is there."""
        answer = self._answer
        return Outcome(
            reached=self._reached,
            usage=None if answer is None else answer.usage,
            reported=None if answer is None else answer.reported,
            finished=answer is not None,
        )

    @property
    def bytes_sent(self) -> int:
        """Of the body."""
        return 0 if self._answer is None else len(self._answer.body)

    def stop(self, end: End) -> bool:
        """End it: the provider's connection is closed, the client gets an error."""
        if self._stopped or self._answer is not None or self._failure is not None:
            return False
        self._stopped = end
        if end is not End.CLIENT_GONE:
            self._failure = self._error_of(end)
        if self._work is not None:
            self._work.cancel()
        return True

    async def _serve(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._work = group.create_task(self._fetch())
        finally:
            self._work = None  # what ended it has a traceback, and that has us
        if self._answer is not None:
            await send_json(self._send, 200, self._answer.body, self._headers)

    async def _fetch(self) -> None:
        try:
            await self._ask()
        except Exception as error:
            self._failure = self._mapped(error)

    async def _attempt(self) -> None:
        upstream = self.upstream
        outgoing = self._build(upstream, self._cap)
        await self._started(upstream)
        body = await self._in_time(self._bodies((outgoing, *outgoing.more)) if outgoing.more else self._body(outgoing))
        self._answer = self._read(upstream, body)
        self._answering()

    async def _in_time(self, asking: Coroutine[Any, Any, bytes]) -> bytes:
        """What is asked, within this attempt's share of the time that is left.

        Nobody can tell a provider that is dead from one that still writes a long answer. So where other upstreams are
        to be asked, the time is divided among all of them; the last one has all that is left.
        """
        others, clock = self._attempts.others, self._services.clock
        left_s = self._call.total_s - (clock.now() - self._began_s)
        patience: asyncio.Timeout | None = None
        try:
            async with asyncio.timeout(None) as patience:
                share = Timer(clock, max(left_s, 1.0) / (others + 1) if others else 0.0, partial(_expire, patience))
                share.restart()
                try:
                    return await asking
                finally:
                    share.close()
        except TimeoutError:
            raise self._error_of(End.IDLE) from None
        finally:
            patience = None  # it knows this task, whose last exception comes through here

    async def _body(self, outgoing: UpstreamRequest) -> bytes:
        async with self._response(outgoing) as response:
            if response.status >= 300:
                error = self.upstream.provider.error
                raise error(response.status, response.headers, await response.read_error())
            return await response.read()

    async def _bodies(self, requests: Sequence[UpstreamRequest]) -> bytes:
        """The bodies of several requests as one JSON list, a few asked at a time.

        Where one fails they all do; what others have been answered by then was made, and counts as reached.
        """
        bodies: list[bytes] = []
        for at in range(0, len(requests), AT_ONCE):
            tasks: list[asyncio.Task[bytes]] = []
            try:
                async with asyncio.TaskGroup() as group:
                    tasks += [group.create_task(self._body(one)) for one in requests[at : at + AT_ONCE]]
            except ExceptionGroup as failed:
                answered = [task for task in tasks if not task.cancelled() and task.exception() is None]
                self._reached = self._reached or bool(bodies or answered)
                tasks.clear()  # they hold the error, whose traceback holds them
                raise failed.exceptions[0] from None
            bodies += [task.result() for task in tasks]
        return b"[" + b",".join(bodies) + b"]"

    async def _started(self, upstream: Upstream) -> None:
        """Wait for a model that is still starting, as long as for a first token."""
        waiting = Timer(self._services.clock, upstream.target.timeouts.first_token_s, lambda: self._stop_for(End.IDLE))
        waiting.restart()
        try:
            await upstream.location.endpoint()
        finally:
            waiting.close()


def _expire(patience: asyncio.Timeout) -> None:
    patience.reschedule(asyncio.get_running_loop().time())
