"""A provider that does what a test's script says, in the test's own event loop.

It knows where requests of OpenAI's two APIs, Azure's, Anthropic's, Ollama's, Bedrock's and Gemini's come to; scripts
speak for any of them.

    async with FakeProvider() as fake:
        fake.script = chat(["Hel", "lo"])
        …                                    # point the gateway at fake.base_url
        exchange = await fake.request(0)     # the first chat request, when it comes
        await exchange.closed.wait()

`python -m tests.fakes.provider --port 0` runs one that answers every request in the same way and prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import sys
import time
from collections import deque
from types import TracebackType
from typing import Literal, Self, cast
from urllib.parse import unquote

from tests.fakes import http
from tests.fakes.exchange import CREATED, Exchange, PeerGone, Script, linger_none
from tests.fakes.script import Sleep, chat

NOTSENT_LOWAT_BYTES = 16_384  # so that the kernel does not take megabytes which the client never reads
CHAT_PATHS = frozenset(
    {
        "/v1/chat/completions",
        "/v1/messages",
        "/api/chat",
        "/openai/v1/chat/completions",
        "/v1/responses",
        "/openai/v1/responses",
        "/v1/embeddings",
        "/api/embed",
        "/openai/v1/embeddings",
    }
)
MODEL_PATHS = (  # where the model is a part of the address
    re.compile(r"/model/([^/]+)/(?:converse|converse-stream|invoke)"),
    re.compile(r"/v1beta/models/([^/:]+):(?:generateContent|streamGenerateContent|batchEmbedContents)"),
    re.compile(r"/openai/deployments/([^/]+)/(?:chat/completions|embeddings)"),
)

How = Literal["open", "fin", "rst", "ours"]


class Connection(asyncio.Protocol):
    """One accepted connection.

    Attributes:
        how: "open", or who closed it: the peer with "fin" or "rst", or "ours".
        closed: set when it is closed by either side.
        closed_at: `time.monotonic()` of that.
        exchanges: how many requests came over it.
        paused: the socket takes nothing more.
    """

    transport: asyncio.Transport

    def __init__(self, fake: FakeProvider) -> None:
        self._fake = fake
        self.how: How = "open"
        self.closed = asyncio.Event()
        self.closed_at: float | None = None
        self.exchanges = 0
        self.paused = False
        self._room: asyncio.Future[None] | None = None
        self._on_pause: list[asyncio.Future[None]] = []
        self._buffer = bytearray()
        self._head: tuple[str, http.Headers] | None = None
        self._body: http.Body | None = None
        self._parts: list[bytes] = []
        self._task: asyncio.Task[None] | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=self._fake.write_high, low=self._fake.write_high // 4)
        self._fake.connections_opened += 1
        self._fake.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next_request()

    def eof_received(self) -> bool:
        # A client of HTTP/1.1 that sends FIN has gone: nothing that we send will be read.
        self._gone("fin")
        self.transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone("rst" if exc is not None else "ours")

    def pause_writing(self) -> None:
        self.paused = True
        self._tell_paused()

    def resume_writing(self) -> None:
        self.paused = False
        self._make_room()

    # The exchange's side

    async def writable(self) -> None:
        """Wait until the socket takes bytes.

        Raises:
            PeerGone: the connection is closed.
        """
        while self.how == "open" and self.paused:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        if self.how != "open":
            raise PeerGone(self.how)

    def write(self, data: bytes) -> None:
        """Give bytes to the socket."""
        self.transport.write(data)

    async def until_paused(self) -> None:
        """Wait until the socket takes nothing more.

        Raises:
            PeerGone: the connection is closed.
        """
        if self.how == "open" and not self.paused:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._on_pause.append(future)
            await future
        if self.how != "open":
            raise PeerGone(self.how)

    def close(self) -> None:
        """FIN, after what was written."""
        self._mark("ours")
        self.transport.close()

    def reset(self) -> None:
        """RST, at once."""
        self._mark("ours")
        if not self.transport.is_closing():
            linger_none(self.transport.get_extra_info("socket"))
        self.transport.abort()

    def half_close(self) -> None:
        """FIN, after what was written; the peer may still send."""
        self.transport.write_eof()

    def drop(self) -> None:
        """For the end of the fake: close without waiting for anything."""
        self._mark("ours")
        self.transport.abort()
        if self._task is not None:
            self._task.cancel()

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The script that runs on this connection now, if any."""
        return self._task

    # Within

    def _mark(self, how: How) -> None:
        if self.how == "open":
            self.how = how

    def _gone(self, how: How) -> None:
        self._mark(how)
        if not self.closed.is_set():
            self.closed_at = time.monotonic()
            self._fake.connections.remove(self)
            self.closed.set()
        self._make_room()
        self._tell_paused()
        if self._task is not None:
            self._task.cancel()

    def _tell_paused(self) -> None:
        for future in self._on_pause:
            if not future.done():
                future.set_result(None)
        self._on_pause.clear()

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _next_request(self) -> None:
        """Start the next request if it is whole and no other one runs."""
        if self._task is not None or self.how != "open":
            return
        if self._head is None:
            self._head = http.take_head(self._buffer)
            if self._head is None:
                return
            self._body = http.Body(self._head[1], until_close=False)
        assert self._body is not None
        self._parts.append(self._body.take(self._buffer))
        if not self._body.complete:
            return
        first, headers = self._head
        body = b"".join(self._parts)
        self._head, self._body, self._parts = None, None, []
        self.exchanges += 1
        exchange = self._fake.arrived(self, first, headers, body)
        self._task = asyncio.get_running_loop().create_task(self._serve(exchange))

    async def _serve(self, exchange: Exchange) -> None:
        self._fake.active += 1
        try:
            await exchange.run(self._fake.script_for(exchange))
            exchange.outcome = "finished"
        except PeerGone:
            exchange.outcome = self._ended_by()
        except asyncio.CancelledError:
            # Only we cancel this task, when the connection or the fake is closed.
            exchange.outcome = self._ended_by()
        except Exception as error:  # a mistake in the script: the test must fail, wherever it looks
            exchange.outcome = "failed"
            self._fake.errors.append(error)
            self.reset()
        finally:
            self._fake.active -= 1
            self._task = None
            exchange.done.set()
        if self.how == "open":
            if exchange.headers.get("connection", "").lower() == "close":
                self.close()
            else:
                self._next_request()

    def _ended_by(self) -> str:
        return "peer gone" if self.how in ("fin", "rst") else "closed"


class FakeProvider:
    """A scriptable server on 127.0.0.1. Use it as an asynchronous context manager.

    Which script answers: for a chat request the oldest of `queue`, else `by_model` of its model, else `script`. On
    leaving, the first error of a script is raised.

    Args:
        port: 0 takes a free one.
        write_high: bytes that asyncio may hold for a connection before a script waits.
        send_buffer: SO_SNDBUF of accepted sockets; None leaves it to the kernel.

    Attributes:
        script, by_model: see above. A generator can be played once only: use lists and functions here.
        model_ids: what `GET /v1/models`, `/api/tags` and `/v1beta/models` list; `models_script` answers instead when it
            is set.
        chats: the requests to a model so far, in order of arrival; `others`: all other requests.
        connections: those open now; `connections_opened`: all there were.
        chunks_sent: content frames of all streams together.
        active: scripts that run now.
        errors: what went wrong within scripts.
    """

    def __init__(self, *, port: int = 0, write_high: int = 16_384, send_buffer: int | None = None) -> None:
        self.write_high = write_high
        self._send_buffer = send_buffer
        self._wanted_port = port
        self.script: Script = chat()
        self.by_model: dict[str, Script] = {}
        self.model_ids: list[str] = ["fake-model"]
        self.models_script: Script | None = None
        self.chats: list[Exchange] = []
        self.others: list[Exchange] = []
        self.connections: list[Connection] = []
        self.connections_opened = 0
        self.chunks_sent = 0
        self.active = 0
        self.errors: list[Exception] = []
        self._queue: deque[Script] = deque()
        self._permits = 0
        self._arrival: asyncio.Future[None] | None = None
        self._server: asyncio.Server | None = None
        self.port = port

    @property
    def base_url(self) -> str:
        """As a provider's own SDK takes it, with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def connections_open(self) -> int:
        """How many connections are open now."""
        return len(self.connections)

    def queue(self, *scripts: Script) -> None:
        """Scripts for the next chat requests, one each."""
        self._queue.extend(scripts)

    def allow(self, count: int = 1) -> None:
        """Let `count` pauses pass: of streams that wait in one, the oldest first, else of those that will."""
        for _ in range(count):
            for exchange in self.chats:
                if exchange.paused:
                    exchange.allow()
                    break
            else:
                self._permits += 1

    async def request(self, number: int = 0) -> Exchange:
        """The chat request with this number, waiting until it has come whole."""
        while len(self.chats) <= number:
            if self._arrival is None or self._arrival.done():
                self._arrival = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._arrival)
        return self.chats[number]

    async def closed(self, number: int = 0) -> Exchange:
        """The chat request with this number, when its connection is closed."""
        exchange = await self.request(number)
        await exchange.closed.wait()
        return exchange

    async def all_closed(self) -> None:
        """Wait until no connection is open."""
        while self.connections:
            await self.connections[0].closed.wait()

    async def start(self) -> None:
        """Listen."""
        sock = socket.socket(
            socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
        )  # by which asyncio knows TCP_NODELAY
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # macOS has it from Python 3.13 on
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
        if self._send_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
        try:
            sock.bind(("127.0.0.1", self._wanted_port))
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Connection(self), sock=sock, backlog=4096
            )
        except BaseException:
            sock.close()
            raise
        self.port = sock.getsockname()[1]

    async def aclose(self) -> None:
        """Stop listening, close every connection and end every script."""
        if self._server is None:
            return
        self._server.close()
        tasks = [each.task for each in self.connections if each.task is not None]
        for connection in list(self.connections):
            connection.drop()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.all_closed()
        await self._server.wait_closed()
        await asyncio.sleep(0)  # transports aborted a moment ago close their sockets in the next turn
        self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
        if self.errors and value is None:
            raise self.errors[0]

    # For connections and exchanges

    def arrived(self, connection: Connection, first: str, headers: http.Headers, body: bytes) -> Exchange:
        """A request came whole."""
        method, target, _ = first.split(" ", 2)
        path = target.partition("?")[0]
        is_chat = method == "POST" and _is_chat(path)
        requests = self.chats if is_chat else self.others
        exchange = Exchange(self, connection, number=len(requests), first=first, headers=headers, body=body)
        exchange.model = _model_of(path) or exchange.model
        requests.append(exchange)
        if is_chat and self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
        return exchange

    def script_for(self, exchange: Exchange) -> Script:
        """What answers this request."""
        if exchange.method == "POST" and _is_chat(exchange.path):
            if self._queue:
                return self._queue.popleft()
            return self.by_model.get(exchange.model, self.script)
        if exchange.method == "GET" and exchange.path == "/v1/models":
            return self.models_script or self._list_models
        if exchange.method == "GET" and exchange.path == "/api/tags":
            return self.models_script or self._list_tags
        if exchange.method == "GET" and exchange.path == "/v1beta/models":
            return self.models_script or self._list_gemini
        return self._unknown

    def take_permit(self) -> bool:
        """One of the permits that `allow` has left over."""
        if not self._permits:
            return False
        self._permits -= 1
        return True

    async def _list_models(self, exchange: Exchange) -> None:
        entries = [{"id": each, "object": "model", "created": CREATED, "owned_by": "fake"} for each in self.model_ids]
        await exchange.answer_json({"object": "list", "data": entries})

    async def _list_tags(self, exchange: Exchange) -> None:
        await exchange.answer_json({"models": [{"name": each, "model": each} for each in self.model_ids]})

    async def _list_gemini(self, exchange: Exchange) -> None:
        methods = ["generateContent", "countTokens"]
        entries = [{"name": f"models/{each}", "supportedGenerationMethods": methods} for each in self.model_ids]
        await exchange.answer_json({"models": entries})

    async def _unknown(self, exchange: Exchange) -> None:
        message = f"no {exchange.method} {exchange.path} here"
        await exchange.answer_json({"error": {"message": message, "type": "invalid_request_error"}}, 404)


def _is_chat(path: str) -> bool:
    return path in CHAT_PATHS or _model_of(path) is not None


def _model_of(path: str) -> str | None:
    found = next((match for pattern in MODEL_PATHS if (match := pattern.fullmatch(path))), None)
    return None if found is None else unquote(found[1])


async def _main(port: int, pace_s: float) -> None:
    async def answer(exchange: Exchange) -> None:
        prompt = str((exchange.json.get("messages") or [{}])[-1].get("content", ""))
        words = f"You said: {prompt}".split(" ")
        pieces = [word if place == 0 else f" {word}" for place, word in enumerate(words)]
        if not exchange.wants_stream or not pace_s:
            await chat(pieces)(exchange)
            return
        for piece in pieces:
            await exchange.text(piece)
            await Sleep(pace_s).run(exchange)
        await chat([], role_first=False, output_tokens=len(pieces))(exchange)

    async with FakeProvider(port=port) as fake:
        fake.script = answer
        sys.stdout.write(f"{fake.port}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A provider that repeats the last message, for trying things out.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between two chunks")
    arguments = parser.parse_args()
    try:
        asyncio.run(_main(arguments.port, arguments.pace))
    except KeyboardInterrupt:
        pass
