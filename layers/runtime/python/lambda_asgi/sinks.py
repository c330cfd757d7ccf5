"""Where a response goes: streamed as the app makes it, or whole when it is complete."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from lambda_asgi.answers import prelude, whole_answer
from lambda_asgi.events import Headers
from lambda_asgi.failures import Failure
from lambda_asgi.http1 import Answer
from lambda_asgi.logs import log_event
from lambda_asgi.response_stream import ResponseStream, StreamBroken
from lambda_asgi.runtime_api import Invocation, RuntimeApi, RuntimeApiError

BUFFERED_BYTES_MAX = 6 * 1024 * 1024  # Lambda takes no more in a whole answer
_WORDS = {500: "Internal Server Error", 504: "Gateway Timeout", 503: "Service Unavailable"}


class Sink(Protocol):
    """One response's way out. `body` and `end` follow `start`; `fail` may come at any time before `end`, instead."""

    async def start(self, status: int, headers: Headers) -> None: ...
    async def body(self, data: bytes) -> None:
        """Raises: StreamBroken: it cannot be delivered."""

    async def end(self) -> None:
        """The response is complete, and leaves for the client now."""

    async def fail(self, failure: Failure) -> None:
        """The response will not be completed. Raises nothing where it cannot be delivered either."""

    async def settle(self) -> None:
        """Wait until Lambda has taken it.

        Raises: RuntimeApiError: this process cannot go on.
        """

    def break_off(self, why: str) -> None:
        """Wait for nothing any more."""

    @property
    def broken(self) -> str:
        """Why nothing can be delivered any more, a failure neither; "" while all is well."""


class StreamSink:
    """Prelude, body, and errors as trailers: after the first byte nothing else reaches Lambda, and the client nothing.

    A failure before the first byte is a JSON answer with its status, and trailers too, so that Lambda counts it.
    """

    def __init__(self, api: RuntimeApi, invocation: Invocation, on_broken: Callable[[], None]) -> None:
        self._api = api
        self._invocation = invocation
        self._on_broken = on_broken
        self._stream: ResponseStream | None = None

    async def start(self, status: int, headers: Headers) -> None:
        self._stream = await self._api.stream(self._invocation, prelude(status, headers), self._on_broken)

    async def body(self, data: bytes) -> None:
        await self._begun.send(data)

    async def end(self) -> None:
        await self._begun.end()

    async def fail(self, failure: Failure) -> None:
        try:
            if self._stream is None:
                await self.start(failure.status, [(b"content-type", b"application/json")])
                await self.body(json.dumps({"message": _WORDS[failure.status]}).encode())
            await self._begun.end(failure.trailers())
        except OSError as error:
            log_event(logging.WARNING, "failure not reported", error=error, failure=failure.type)

    async def settle(self) -> None:
        if self._stream is not None:
            answer = await self._stream.answer()
            _judge(answer, self._stream.broken)

    def break_off(self, why: str) -> None:
        if self._stream is not None:
            self._stream.break_off(why)

    @property
    def broken(self) -> str:
        return self._stream.broken if self._stream is not None else ""

    @property
    def _begun(self) -> ResponseStream:
        if self._stream is None:
            raise StreamBroken("The response has not begun.")
        return self._stream


class BufferedSink:
    """Keeps the body until it is complete. A failure is reported as one, and the front door answers for it."""

    def __init__(self, api: RuntimeApi, invocation: Invocation, payload: str) -> None:
        self._api = api
        self._invocation = invocation
        self._payload = payload
        self._status = 500
        self._headers: Headers = []
        self._parts: list[bytes] = []
        self._size = 0
        self._posting: asyncio.Task[Answer] | None = None
        self.broken = ""

    async def start(self, status: int, headers: Headers) -> None:
        self._status, self._headers = status, headers

    async def body(self, data: bytes) -> None:
        self._size += len(data)
        self._check_size()
        self._parts.append(data)

    async def end(self) -> None:
        self._check_size()
        body = whole_answer(self._status, self._headers, b"".join(self._parts), self._payload)
        self._parts.clear()
        await self._post(self._api.respond(self._invocation, body))

    async def fail(self, failure: Failure) -> None:
        if self._posting is not None:
            return  # an app that is cancelled now has answered all the same, and a second answer would be refused
        if self._size > BUFFERED_BYTES_MAX:  # whatever the app made of it
            failure = Failure("Function.ResponseSizeTooLarge", f"more than {BUFFERED_BYTES_MAX} bytes, not streamed")
        try:
            await self._post(self._api.fail(self._invocation, failure))
        except OSError:
            pass  # `settle` says so

    async def settle(self) -> None:
        answer = None
        if self._posting is not None:
            await asyncio.wait({self._posting})
            if not self._posting.cancelled() and self._posting.exception() is None:
                answer = self._posting.result()
        _judge(answer, self.broken)

    def break_off(self, why: str) -> None:
        self.broken = self.broken or why
        if self._posting is not None:
            self._posting.cancel()

    async def _post(self, posting: Coroutine[Any, Any, Answer]) -> None:
        self._posting = asyncio.create_task(posting)
        try:
            await asyncio.shield(self._posting)
        except OSError as error:
            self.broken = str(error)
            raise

    def _check_size(self) -> None:
        if self._size > BUFFERED_BYTES_MAX:
            self._parts.clear()
            raise StreamBroken(f"The response is longer than {BUFFERED_BYTES_MAX} bytes and is not streamed.")


def _judge(answer: Answer | None, broken: str) -> None:
    """Log what Lambda did not take, and go on where it lets us.

    Raises: RuntimeApiError: it does not.
    """
    if answer is None:
        log_event(logging.WARNING, "response not delivered", reason=broken or "no answer")
    elif answer.status == 410:
        log_event(logging.WARNING, "invocation had timed out", status=410)
    elif answer.status == 413:
        log_event(logging.ERROR, "response too large", status=413)
    elif answer.status in (400, 404):
        log_event(logging.ERROR, "response refused", status=answer.status, reason=_text(answer))
    elif answer.status >= 400:
        raise RuntimeApiError(f"The Runtime API answered {answer.status} to a response: {_text(answer)}")


def _text(answer: Answer) -> str:
    return answer.body[:200].decode("utf-8", "replace")
