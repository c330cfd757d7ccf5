"""Two fakes of `domain.ports.AwsCalls`: one that answers from a script, and one that really calls, without signing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from rillgate.domain.errors import UpstreamError, UpstreamTimeout
from tests.fakes.http import Body, take_head

Answer = tuple[int, bytes]


def answered(content: Any, status: int = 200) -> Answer:
    """An answer with this JSON."""
    return status, msgspec.json.encode(content)


def refused(kind: str, status: int = 400, **more: Any) -> Answer:
    """An error as DynamoDB spells it."""
    return answered({"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": f"about {kind}", **more}, status)


@dataclass(frozen=True)
class Called:
    """One call that was made."""

    operation: str
    request: Any
    timeout_s: float


class ScriptedCalls:
    """Answers with one entry after the other; an exception is raised, a function is asked with the request.

    Attributes:
        called: what was called, in order.
    """

    def __init__(self, *script: Answer | Exception | Callable[[Any], Answer]) -> None:
        self._script = iter(script)
        self.called: list[Called] = []

    async def call(self, target: str, body: bytes, timeout_s: float) -> Answer:
        """The next entry. A call more than the script has is a mistake of the caller's."""
        api, _, operation = target.partition(".")
        assert api == "DynamoDB_20120810"
        request = msgspec.json.decode(body)
        self.called.append(Called(operation, request, timeout_s))
        entry = next(self._script, None)
        assert entry is not None, f"call {len(self.called)} was not expected: {operation}"
        if isinstance(entry, Exception):
            raise entry
        return entry(request) if callable(entry) else entry

    @property
    def operations(self) -> list[str]:
        """Names of the operations, in order."""
        return [called.operation for called in self.called]


class PlainCalls:
    """Calls an endpoint over kept connections, with credentials that are no signature: for emulators that check none.

    Belongs to the event loop that uses it first; `aclose` closes its connections.
    """

    def __init__(self, endpoint_url: str) -> None:
        parts = urlsplit(endpoint_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self, target: str, body: bytes, timeout_s: float) -> Answer:
        """One POST; see `AwsCalls.call`."""
        try:
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            raise UpstreamError(f"no connection: {error}") from error
        try:
            async with asyncio.timeout(timeout_s):
                writer.write(self._head(target, len(body)) + body)
                answer = await _read_answer(reader)
        except TimeoutError as error:
            writer.close()
            raise UpstreamTimeout(f"no answer within {timeout_s} s") from error
        except (OSError, EOFError, ValueError) as error:
            writer.close()
            raise UpstreamError(f"the connection broke: {error!r}") from error
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        return answer

    async def aclose(self) -> None:
        """Close what is idle."""
        writers = [writer for _, writer in self._idle]
        self._idle.clear()
        for writer in writers:
            writer.close()
        for writer in writers:
            await writer.wait_closed()

    def _head(self, target: str, length: int) -> bytes:
        lines: Iterable[str] = (
            "POST / HTTP/1.1",
            f"host: {self._host}:{self._port}",
            "content-type: application/x-amz-json-1.0",
            f"x-amz-target: {target}",
            "x-amz-date: 20261121T000000Z",
            "authorization: AWS4-HMAC-SHA256 Credential=fakefakefake/20261121/us-east-1/dynamodb/aws4_request, "
            "SignedHeaders=host;x-amz-date;x-amz-target, Signature=0",
            f"content-length: {length}",
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    buffer = bytearray(await reader.readuntil(b"\r\n\r\n"))
    head = take_head(buffer)
    assert head is not None
    first, headers = head
    body, content = Body(headers, until_close=False), b""
    while not body.complete:
        buffer += await reader.read(65536)
        if not buffer:
            raise EOFError("the connection was closed within an answer")
        content += body.take(buffer)
    return int(first.split(" ")[1]), content
