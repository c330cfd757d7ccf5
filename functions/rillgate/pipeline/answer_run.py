"""Serves one whole answer: the provider's body, unchanged unless usage must be added."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rillgate.delivery.responses import Headers, send_json
from rillgate.delivery.writer import Send
from rillgate.domain.ends import End
from rillgate.domain.request import UpstreamRequest
from rillgate.domain.timer import Timer
from rillgate.domain.usage import Usage
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.run import Receive, Run


class AnswerRun(Run):
    """Serves one whole answer: the provider's body, unchanged unless usage must be added.

    Args:
        outgoing: the provider's request.
        headers: of the response.
        count: the usage of an answer's body, our own count where the provider gives none.
    """

    def __init__(
        self,
        call: Call,
        services: Services,
        receive: Receive,
        send: Send,
        *,
        outgoing: UpstreamRequest,
        headers: Headers,
        count: Callable[[bytes], Usage],
    ) -> None:
        super().__init__(call, services, receive, send)
        self._outgoing = outgoing
        self._headers = headers
        self._count = count
        self._starting = Timer(services.clock, call.target.timeouts.first_token_s, lambda: self._stop_for(End.IDLE))
        self._usage: Usage | None = None
        self._body: bytes | None = None

    @property
    def end(self) -> End:
        """The cause that stopped it, else whether there was an answer."""
        if self._stopped is not None:
            return self._stopped
        return End.FINISHED if self._body is not None else End.UPSTREAM_ERROR

    @property
    def usage(self) -> Usage | None:
        """Known when the answer is there."""
        return self._usage

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
            watch = group.create_task(self._watch_client())
            await asyncio.wait((self._work,))
            watch.cancel()
        if self._body is not None:
            await send_json(self._send, 200, self._body, self._headers)

    async def _fetch(self) -> None:
        call = self._call
        try:
            self._starting.restart()  # a model that is still starting
            endpoint = await call.location.endpoint()
            self._starting.stop()
            exchange = self._services.exchange
            connect_s = call.target.timeouts.connect_s
            async with exchange.open(call.target.provider, endpoint, self._outgoing, connect_s=connect_s) as response:
                if response.status >= 300:
                    raise call.provider.error(response.status, response.headers, await response.read_error())
                body = await response.read()
            self._usage = self._count(body)
            ours = self._usage if self._usage.estimated else None
            self._body = call.dialect.answer(body, ours, {"estimated": True} if ours else {})
        except Exception as error:
            self._failure = self._mapped(error)
        finally:
            self._starting.close()
