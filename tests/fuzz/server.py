"""What clients put on the wire: the server's own protocol around an application that echoes, on a transport of ours."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import httptools
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from rillgate.app.http_protocol import GatewayHttpProtocol, HttpLimits
from tests.fuzz.target import Finding, Outcome, Target
from tests.streaming.test_http_protocol import answer, read_body

LIMITS = HttpLimits(head_bytes_max=2_000, headers_max=20, pipeline_max=4)
REFUSED = frozenset({"request_refused"})
TURNS = 20  # of the event loop: no application here needs as many
BODY = b'{"model":"m","stream":false}'


def server_targets() -> Iterator[Target]:
    """One."""
    yield Target(
        "http_server", frozenset({"rillgate.app.http_protocol"}), lambda: REQUESTS, _serve, "lines", events=REFUSED
    )


class _Transport(asyncio.Transport):
    """Takes what is written, and fails whatever would be written behind a close."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False
        self.over = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 8000) if name in ("peername", "sockname") else default

    def write(self, data: Any) -> None:
        if self.over:
            raise Finding("something is written behind the end")
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.over = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    body = await read_body(receive)
    if body is not None:
        await answer(send, {"method": scope["method"], "size": len(body)})


def _serve(pieces: Sequence[bytes]) -> Outcome:
    """Whole and in pieces: where requests wait for each other the outcomes differ, so each is looked at alone."""
    data = b"".join(pieces)
    rng = random.Random(zlib.crc32(data))
    with asyncio.Runner() as runner:
        whole = runner.run(_connection([data]))
        at, cut = 0, []
        while at < len(data):
            size = rng.choice((1, 5, 50, 500))
            cut.append(data[at : at + size])
            at += size
        runner.run(_connection(cut))
    return whole


async def _connection(pieces: Sequence[bytes]) -> Outcome:
    config = uvicorn.Config(
        _app, http=GatewayHttpProtocol.bound(LIMITS), ws="none", lifespan="off", log_config=None, access_log=False
    )
    config.load()
    state = ServerState()
    transport = _Transport()
    protocol: Any = config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg]
    protocol.connection_made(transport)
    for piece in pieces:
        if transport.closing:
            break
        protocol.data_received(piece)
        await asyncio.sleep(0)
    await _settle(state)
    if not transport.closing:
        protocol.eof_received()
    await _settle(state)
    protocol.connection_lost(None)
    await _settle(state)
    if state.tasks or state.connections:
        raise Finding(f"{len(state.tasks)} requests and {len(state.connections)} connections are left")
    return _answers(transport.written, heads=any(b"HEAD" in piece for piece in (b"".join(pieces),)))


async def _settle(state: ServerState) -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def _answers(written: bytes, *, heads: bool) -> list[int]:
    """The statuses of what was written, which is HTTP from its first byte to its last."""
    if heads:  # whose answers say the length of a body that does not come
        return []
    statuses: list[int] = []

    class Reading:
        def on_headers_complete(self) -> None:
            statuses.append(parser.get_status_code())

    parser = httptools.HttpResponseParser(Reading())
    try:
        parser.feed_data(written)
    except httptools.HttpParserError as error:
        raise Finding(f"no HTTP is written: {error}: {written[-300:]!r}") from error
    return statuses


REQUESTS = [
    b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b"GET /1 HTTP/1.1\r\n\r\n" * 3 + b"GET /2 HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    b"GET / HTTP/1.0\r\n\r\n",
    b"\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
]
