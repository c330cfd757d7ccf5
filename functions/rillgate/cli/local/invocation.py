"""One invocation between the two servers: its event goes to the Runtime API, its response comes to the Function URL.

One piece of the body is under way at a time, so a client that does not read stops the function.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass

TRUNCATED = "Runtime.TruncatedResponse"
_ERROR_TYPE = re.compile(r"(?:Runtime|Function|Sandbox)\.[A-Z][a-zA-Z]+")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an invocation or an INIT failed: Lambda's own word for it, and a sentence for the log."""

    type: str
    message: str = ""

    @classmethod
    def reported(cls, kind: str, message: str) -> Failure:
        """What a runtime reported; a type that Lambda would not take becomes the one that it puts in its place."""
        return cls(kind if _ERROR_TYPE.fullmatch(kind) else "Function.Unknown", message)


@dataclass(frozen=True, slots=True)
class Head:
    """How a response begins.

    Attributes:
        streaming: sent as it is made, and not as one whole.
        content_type: of the runtime's own request; says whether a streamed response has a prelude.
    """

    streaming: bool
    content_type: str


class Over(Exception):
    """Nobody takes the rest of this response."""


class Invocation:
    """One invocation.

    Args:
        event: JSON.
        request_id: Lambda's own; a new one unless given.
        trace_id: for X-Ray.

    Attributes:
        invocation_id: in `GET next`, and echoed by the runtime.
        failure: what the runtime or the platform says went wrong; None while all is well.
        left: whether nobody takes the response any more.
        on_left: called then.
    """

    def __init__(self, event: bytes, *, request_id: str = "", trace_id: str = "") -> None:
        self.event = event
        self.request_id = request_id or str(uuid.uuid4())
        self.trace_id = trace_id
        self.invocation_id = uuid.uuid4().hex
        self.failure: Failure | None = None
        self.left = False
        self.on_left: Callable[[], None] | None = None
        self._head: Head | None = None
        self._piece = b""
        self._ended = False
        self._changed: list[asyncio.Future[None]] = []

    # From the runtime

    def begin(self, head: Head) -> None:
        """The response begins."""
        self._head = head
        self._wake()

    async def write(self, data: bytes) -> None:
        """Hand on a piece of the body; comes back when it was taken.

        Raises:
            Over: nobody takes it.
        """
        if data and not self._ended:
            self._piece = data
            self._wake()
            while self._piece and not self._is_over():
                await self._change()
        if self._is_over():
            raise Over

    def end(self, failure: Failure | None = None) -> None:
        """The response is complete, or will not be completed. What was handed on before can still be taken."""
        if self._ended:
            return
        self.failure = self.failure or failure
        self._ended = True
        self._wake()

    # To the client

    async def head(self) -> Head | None:
        """How the response begins; None where it failed before."""
        while self._head is None and not self._ended:
            await self._change()
        return self._head

    async def read(self) -> bytes:
        """The next piece of the body; nothing at its end, whether it is complete or not."""
        while not self._piece and not self._ended:
            await self._change()
        piece, self._piece = self._piece, b""
        self._wake()
        return piece

    def leave(self) -> None:
        """The client has gone, and the function is to know."""
        self.left = True
        if self.on_left is not None:
            self.on_left()
        self._wake()

    # Within

    def _is_over(self) -> bool:
        return self._ended or self.left

    async def _change(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.append(future)
        await future

    def _wake(self) -> None:
        for future in self._changed:
            if not future.done():
                future.set_result(None)
        self._changed.clear()
