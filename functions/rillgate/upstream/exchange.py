"""One HTTP exchange with a provider: the request out, the response's bytes in, the connection given back or closed.

Foreign exceptions end here: whatever httpx2 raises becomes an error of `domain.errors` that says whose fault it is.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

import httpx2

from rillgate.domain.errors import CapacityError, UpstreamError, UpstreamTimeout, UpstreamTruncated
from rillgate.domain.request import Endpoint, UpstreamRequest
from rillgate.upstream.fast.body import Body
from rillgate.upstream.sending import Outgoing, send
from rillgate.upstream.transport import make_ssl_context, make_transport

CLOSE_TIMEOUT_S = 2.0
POOL_TIMEOUT_S = 5.0  # a pool has room for every stream, so waiting for it is our own fault
ERROR_BODY_BYTES_MAX = 65536
ANSWER_BYTES_MAX = 64 * 1024 * 1024
REFUSALS = frozenset({400, 401, 403})  # statuses that may be about a signature


class UpstreamResponse:
    """A response whose headers have come. Valid inside `Exchange.open` only.

    Args:
        stream: the body, from our own transport, or a response of httpx2's.
        headers: names in any case.
    """

    def __init__(self, stream: Body | httpx2.Response, status: int, headers: Mapping[str, str], provider: str) -> None:
        self._stream = stream
        self._provider = provider
        self.status = status
        self.headers = headers

    @property
    def is_event_stream(self) -> bool:
        """Whether the body says that it is a stream; some servers answer a stream request with plain JSON."""
        return "application/json" not in self.headers.get("content-type", "").lower()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes, in pieces of any length.

        Raises:
            UpstreamTruncated: the connection broke before the body's end.
        """
        stream = self._stream
        try:
            if isinstance(stream, Body):
                async for piece in stream:
                    yield piece
            else:
                async with aclosing(stream.aiter_raw()) as pieces:
                    async for piece in pieces:
                        yield piece
        except httpx2.HTTPError as error:
            raise _ours(self._provider, error) from error

    def attach(self, on_data: Callable[[bytes], None], on_end: Callable[[Exception | None], None]) -> Body | None:
        """Have the body pushed rather than pull it; None where what carries it cannot, and nothing was attached.

        `on_end` gets None, or the error that `chunks` would have raised. The `Body` pauses, resumes and detaches;
        after `detach` the rest comes from `chunks`.
        """
        stream = self._stream
        if not isinstance(stream, Body):
            return None
        stream.attach(on_data, lambda error: on_end(None if error is None else _ours(self._provider, error)))
        return stream

    async def read(self, bytes_max: int = ANSWER_BYTES_MAX) -> bytes:
        """The whole body.

        Raises:
            UpstreamError: it is longer than `bytes_max`, or broke off.
        """
        body = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > bytes_max:
                    raise UpstreamError(f"Provider {self._provider!r} sent an answer of more than {bytes_max} bytes.")
        return bytes(body)

    async def read_error(self) -> bytes:
        """The beginning of an error's body; what is missing of it is no further error."""
        body = bytearray()
        try:
            async with aclosing(self.chunks()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) >= ERROR_BODY_BYTES_MAX:
                        break
        except UpstreamError:
            pass  # the status says enough
        return bytes(body[:ERROR_BODY_BYTES_MAX])


@runtime_checkable
class LearningSigner(Protocol):
    """An `Endpoint.sign` that wants to know why it was refused: its key may have ended, its clock may be wrong."""

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take the headers of an answer whose status is one of `REFUSALS`; names in any case."""


class Exchange:
    """All connections to all providers: one transport for each origin, one TLS context for all.

    Args:
        connections_max: for each origin; at least as many as streams may run at once.
        user_agent: what providers see.
        proxies: whether proxies that the environment names are used; never for this machine's own metadata.
    """

    def __init__(self, *, connections_max: int, user_agent: str, proxies: bool = True) -> None:
        self._connections_max = connections_max
        self._user_agent = user_agent
        self._proxies = proxies
        self._ssl_context: ssl.SSLContext | None = None
        self._transports: dict[tuple[str, str], httpx2.AsyncBaseTransport] = {}

    @asynccontextmanager
    async def open(
        self,
        provider: str,
        endpoint: Endpoint,
        request: UpstreamRequest,
        *,
        connect_s: float,
        pool_s: float = POOL_TIMEOUT_S,
        on_sending: Callable[[], None] | None = None,
    ) -> AsyncIterator[UpstreamResponse]:
        """Send the request and give the response as soon as its headers are there.

        Where the endpoint wants signatures, each call is signed anew.

        `on_sending` is called when there is a connection and the request's first byte is about to be written.

        Leaving the block closes the response: a connection whose body was read to its end goes back to the pool,
        any other is closed, which is what cancels a provider's work.

        Raises:
            UpstreamError: no connection, a broken one, or one that is not HTTP.
            CapacityError: no free connection within the pool's timeout.
        """
        transport = self._transport(endpoint.base_url)
        own = (("user-agent", self._user_agent), *request.headers)
        configured = {name.lower() for name, _ in endpoint.headers}  # the operator's stand before ours
        headers = [("accept-encoding", "identity"), *endpoint.headers]
        headers += [(name, value) for name, value in own if name.lower() not in configured]
        url = endpoint.base_url + request.path
        if endpoint.sign is not None:
            headers += endpoint.sign(request.method, url, headers, request.body)
        outgoing = Outgoing(request.method, url, headers, request.body, connect_s, pool_s, on_sending)
        try:
            stream, status, answered = await send(transport, outgoing)
        except httpx2.HTTPError as error:
            raise _ours(provider, error) from error
        try:
            response = UpstreamResponse(stream, status, answered, provider)
            signer: object = endpoint.sign
            if response.status in REFUSALS and isinstance(signer, LearningSigner):
                signer.learn(response.headers)
            encoding = response.headers.get("content-encoding", "identity")
            if encoding not in ("", "identity"):
                raise UpstreamError(f"Provider {provider!r} compressed its answer ({encoding}) without being asked.")
            yield response
        finally:
            await _close(stream)

    async def aclose(self) -> None:
        """Close every connection."""
        transports = list(self._transports.values())
        self._transports.clear()
        for transport in transports:
            await transport.aclose()

    def _transport(self, base_url: str) -> httpx2.AsyncBaseTransport:
        parts = urlsplit(base_url)
        origin = (parts.scheme, parts.netloc)
        transport = self._transports.get(origin)
        if transport is None:
            if self._ssl_context is None:
                self._ssl_context = make_ssl_context()
            transport = self._transports[origin] = make_transport(
                self._ssl_context, self._connections_max, proxies=self._proxies
            )
        return transport


async def _close(stream: Body | httpx2.Response) -> None:
    """Close even when the task is being cancelled, and never hang on a peer that does not answer."""
    if isinstance(stream, Body):
        stream.close()
        return
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await stream.aclose()
    except (TimeoutError, httpx2.HTTPError):
        pass  # httpcore has dropped the connection from its pool by then


def _ours(provider: str, error: Exception) -> Exception:
    """What a foreign exception means; one that is none of the HTTP client's stays what it is."""
    match error:
        case httpx2.PoolTimeout():
            return CapacityError("No free connection to the provider; try again.", retry_after_s=1)
        case httpx2.ConnectTimeout():
            return UpstreamTimeout(f"Provider {provider!r} could not be reached in time.")
        case httpx2.TimeoutException():
            return UpstreamTimeout(f"Provider {provider!r} took no more of the request in time.")
        case httpx2.ConnectError():
            return UpstreamError(f"Provider {provider!r} could not be reached; is its base_url right?")
        case httpx2.ReadError() | httpx2.RemoteProtocolError():
            return UpstreamTruncated(f"Provider {provider!r} broke the connection before the answer was complete.")
        case httpx2.HTTPError():
            return UpstreamError(f"The call to provider {provider!r} failed: {type(error).__name__}.")
    return error
