"""DynamoDB behind a real socket, as bad as a network and a throttled table can be."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Final, Literal

from tests.fakes import http
from tests.fakes.dynamodb import FakeDynamoDb, Key
from tests.fakes.exchange import linger_none

Mood = Literal["up", "flaky", "throttled", "slow", "down", "deaf"]
LATE_S: Final = 0.4  # the gateway waits for 0.3
REGION: Final = "us-east-1"
_HEAD: Final = b"HTTP/1.1 %d X\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n"
_THROTTLES: Final = ("ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded")


@dataclass
class ChaosDynamoDb:
    """One table.

    Attributes:
        mood: what becomes of calls from now on. "flaky": any of what follows, or nothing, by chance. "slow": done, but
            too late to be heard. "down": reset. "deaf": done, and reset. "throttled": refused.
        table: what is in it.
    """

    seed: int = 1
    mood: Mood = "up"
    table: FakeDynamoDb = field(default_factory=FakeDynamoDb)
    port: int = 0

    def __post_init__(self) -> None:
        self._drawn = random.Random(self.seed)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """As a configuration names it."""
        return f"dynamodb://chaos?region={REGION}&endpoint_url=http://127.0.0.1:{self.port}"

    def item(self, key: Key) -> dict[str, int | str]:
        """An item in plain values."""
        return self.table.item(*key)

    async def __aenter__(self) -> ChaosDynamoDb:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while True:
                head = http.take_head(bytearray(await reader.readuntil(b"\r\n\r\n")))
                assert head is not None
                body = await reader.readexactly(int(head[1].get("content-length", "0")))
                answer = await self._answer(head[1].get("x-amz-target", ""), body)
                if answer is None:
                    linger_none(writer.get_extra_info("socket"))
                    writer.transport.abort()
                    return
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, target: str, body: bytes) -> bytes | None:
        """What goes out; None for a reset."""
        mood = self.mood
        if mood == "flaky":
            moods: tuple[Mood, ...] = ("up", "up", "up", "throttled", "slow", "down", "deaf")
            mood = self._drawn.choice(moods)
        if mood in ("down", "throttled"):
            status, answer = 400, self._throttle()
        else:
            status, answer = await self.table.call(target, body, 1.0)
        if mood == "slow":
            await asyncio.sleep(LATE_S)
        if mood in ("down", "deaf"):
            return None
        return _HEAD % (status, len(answer)) + answer

    def _throttle(self) -> bytes:
        return b'{"__type":"com.amazonaws.dynamodb.v20120810#%b"}' % self._drawn.choice(_THROTTLES).encode()
