"""A request out, by our own transport or by any other of httpx2's kind, until its answer's headers are there.

Ours is called without httpx2's own request and response: making the two costs as much as sending does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import httpx2

from rillgate.upstream.fast.body import Body
from rillgate.upstream.fast.request import encode_head
from rillgate.upstream.fast.transport import Call, FastTransport, Origin
from rillgate.upstream.transport import timeouts

URLS_MAX = 256  # parsed ones that are kept; parsing costs as much as sending

Answer = tuple[Body | httpx2.Response, int, Mapping[str, str]]  # the body, the status, the headers
_url = lru_cache(URLS_MAX)(httpx2.URL)


class Outgoing(NamedTuple):
    """A request as it goes out.

    Attributes:
        connect_s, pool_s: how long a connection, and a place for one, are waited for.
        on_sending: called when there is a connection and the first byte is about to be written.
    """

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    connect_s: float
    pool_s: float
    on_sending: Callable[[], None] | None


async def send(transport: httpx2.AsyncBaseTransport, outgoing: Outgoing) -> Answer:
    """Send it.

    Raises: httpx2.HTTPError: its subclasses say what failed.
    """
    if isinstance(transport, FastTransport):
        return await _send_fast(transport, outgoing)
    request = httpx2.Request(
        outgoing.method,
        _url(outgoing.url),
        headers=list(outgoing.headers),
        content=outgoing.body or None,
        extensions={"timeout": timeouts(outgoing.connect_s, outgoing.pool_s)} | _trace(outgoing.on_sending),
    )
    request.headers.setdefault("accept", "*/*")
    response = await transport.handle_async_request(request)
    return response, response.status_code, response.headers


async def _send_fast(transport: FastTransport, outgoing: Outgoing) -> Answer:
    """With the headers that httpx2 would have added."""
    address = _address(outgoing.url)
    method, content = outgoing.method.encode("ascii", "replace"), outgoing.body
    given = [(name.encode("ascii"), value.encode("ascii")) for name, value in outgoing.headers]
    names = {name.lower() for name, _ in given}
    headers = given if b"host" in names else [(b"Host", address.host), *given]
    if b"accept" not in names:
        headers.append((b"accept", b"*/*"))
    if b"content-length" not in names and (content or method in (b"POST", b"PUT", b"PATCH")):
        headers.append((b"Content-Length", b"%d" % len(content)))
    call = Call(
        address.origin,
        encode_head(method, address.target, headers),
        content,
        to_head=method == b"HEAD",
        timeouts=timeouts(outgoing.connect_s, outgoing.pool_s),
        on_sending=outgoing.on_sending,
    )
    body = await transport.send(call)
    return body, body.reader.status, Headers(body.reader.headers)


class _Address(NamedTuple):
    origin: Origin
    target: bytes
    host: bytes


@lru_cache(URLS_MAX)
def _address(url: str) -> _Address:
    parsed = httpx2.URL(url)
    return _Address(Origin.of(parsed), parsed.raw_path, parsed.netloc)


class Headers(Mapping[str, str]):
    """Headers of a response, names in any case; what came more than once stands in one line (RFC 9110, section 5.3)."""

    __slots__ = ("_values",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        values: dict[str, str] = {}
        for raw_name, raw_value in raw:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            values[name] = f"{values[name]}, {value}" if name in values else value
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, name: str, default: Any = None) -> Any:
        """As any mapping's, without an exception for what is not there."""
        return self._values.get(name.lower(), default)


def _trace(on_sending: Callable[[], None] | None) -> dict[str, Any]:
    """httpcore's own way of saying how far a request has come."""
    if on_sending is None:
        return {}

    async def tell(event: str, info: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            on_sending()

    return {"trace": tell}
