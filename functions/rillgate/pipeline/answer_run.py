"""Serves one whole answer: the provider's body, unchanged unless something must be added."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from rillgate.delivery.responses import Headers, send_json
from rillgate.delivery.writer import Send
from rillgate.domain.ends import End
from rillgate.domain.ports import Report
from rillgate.domain.request import UpstreamRequest
from rillgate.domain.timer import Timer
from rillgate.domain.usage import Usage
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.charge import Outcome
from rillgate.pipeline.run import Run


class Answer(msgspec.Struct, frozen=True):
    """What a whole answer says.

    Attributes:
        usage: the provider's, or ours where it gave none.
        reported: what the provider gave of it.
        report: why it was stopped, where a budget did that; else empty.
    """

    usage: Usage
    reported: Usage | None
    report: Report


class AnswerRun(Run):
    """Serves one whole answer: the provider's body, unchanged unless something must be added.

    Args:
        headers: of the response.
        read: what an answer's body says.
    """

    def __init__(
        self,
        call: Call,
        services: Services,
        send: Send,
        *,
        outgoing: UpstreamRequest,
        headers: Headers,
        read: Callable[[bytes], Answer],
    ) -> None:
        super().__init__(call, services, send, outgoing)
        self._headers = headers
        self._read = read
        self._starting = Timer(services.clock, call.target.timeouts.first_token_s, lambda: self._stop_for(End.IDLE))
        self._answer: Answer | None = None
        self._body: bytes | None = None

    @property
    def end(self) -> End:
        """The cause that stopped it, else whether there was an answer."""
        if self._stopped is not None:
            return self._stopped
        if self._body is None or self._answer is None:
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
        return len(self._body or b"")

    def stop(self, end: End) -> bool:
        """End it: the provider's connection is closed, the client gets an error."""
        if self._stopped or self._body is not None or self._failure is not None:
            return False
        self._stopped = end
        if end is not End.CLIENT_GONE:
            self._failure = self._error_of(end)
        if self._work is not None:
            self._work.cancel()
        return True

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._work = group.create_task(self._fetch())
        if self._body is not None:
            await send_json(self._send, 200, self._body, self._headers)

    async def _fetch(self) -> None:
        call = self._call
        try:
            self._starting.restart()  # a model that is still starting
            await call.location.endpoint()
            self._starting.stop()
            async with self._response() as response:
                if response.status >= 300:
                    raise call.provider.error(response.status, response.headers, await response.read_error())
                body = await response.read()
            answer = self._answer = self._read(body)
            ours = answer.usage if answer.usage.estimated else None
            report = {**answer.report, "estimated": True} if ours else answer.report
            self._body = call.dialect.answer(body, ours, report)
        except Exception as error:
            self._failure = self._mapped(error)
        finally:
            self._starting.close()
