"""A gateway without a network, for `rillgate chat`: what it streams, and what it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from rillgate.cli.checkup.client import Answer, Remote, Stream

Step = Any
"""A JSON value or a string, one event each; an exception, raised in its place."""


class StreamInTest(Stream):
    """A stream that plays steps, one a second."""

    def __init__(self, status: int, headers: Sequence[tuple[str, str]], steps: Sequence[Step]) -> None:
        self.status = status
        self.headers = list(headers)
        self.closed = False
        self._steps = steps

    def events(self) -> Iterator[tuple[float, str]]:
        """The steps."""
        for at_s, step in enumerate(self._steps, start=1):
            if isinstance(step, BaseException):
                raise step
            yield float(at_s), step if isinstance(step, str) else json.dumps(step)

    def read(self) -> bytes:
        """The first step, as the body of an answer that is no stream."""
        return json.dumps(self._steps[0]).encode() if self._steps else b""

    def close(self) -> None:
        """Remember it."""
        self.closed = True


class RemoteInTest(Remote):
    """Answers each chat with the next script.

    Attributes:
        bodies, headers: of the chats.
        cancelled: paths of the cancels.
        streams: all that were begun.
    """

    def __init__(self, *scripts: Sequence[Step], url: str = "http://127.0.0.1:8000") -> None:
        super().__init__(urlsplit(url), None, now_s=lambda: 0.0)
        self.scripts = list(scripts)
        self.status = 200
        self.answer_headers = [("x-request-id", "req_1"), ("x-rillgate-upstream", "lab/m")]
        self.refuses: BaseException | None = None
        self.bodies: list[Any] = []
        self.headers: list[Any] = []
        self.cancelled: list[str] = []
        self.streams: list[StreamInTest] = []
        self.fails_to_cancel = False

    def chat(self, body: Any, headers: Any = None) -> Stream:
        """The next script."""
        self.bodies.append(json.loads(json.dumps(body)))
        self.headers.append(headers)
        if self.refuses is not None:
            raise self.refuses
        stream = StreamInTest(self.status, self.answer_headers, self.scripts.pop(0))
        self.streams.append(stream)
        return stream

    def ask(self, method: str, path: str, *_: Any, **__: Any) -> Answer:
        """A cancel."""
        self.cancelled.append(path)
        if self.fails_to_cancel:
            raise HTTPException("gone")
        return Answer(200, [], b"{}", 0.0)


def text(content: str, **more: Any) -> dict[str, Any]:
    """A chunk with text."""
    return delta({"content": content}, **more)


def delta(fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A chunk."""
    return {"model": "m-1", "choices": [{"index": 0, "delta": fields, "finish_reason": None}], **more}


def finish(reason: str = "stop", **more: Any) -> dict[str, Any]:
    """The chunk with the finish reason."""
    return {"model": "m-1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}], **more}


def usage(input_tokens: int, output_tokens: int, reasoning: int = 0) -> dict[str, Any]:
    """The usage chunk."""
    counts = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}
    return {"choices": [], "usage": {**counts, "completion_tokens_details": {"reasoning_tokens": reasoning}}}


DONE = "[DONE]"
HELLO: Sequence[Step] = [
    delta({"role": "assistant", "content": ""}),
    text("Hel"),
    text("lo"),
    finish(),
    usage(9, 2),
    DONE,
]
