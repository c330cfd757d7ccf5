"""Whole answers on the stock runtime: one loop and one lifespan for the life of an environment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from rillgate.app.buffered import Buffered
from rillgate.app.context import Receive, Send
from rillgate.app.deadline import EXTENSION, PLATFORM_MARGIN_S
from tests.fakes.runtime_api import function_url_event


@dataclass
class Context:
    """As the stock runtime gives it."""

    left_s: float = 60.0
    aws_request_id: str = "aws-1"

    def get_remaining_time_in_millis(self) -> int:
        """Until the platform ends the invocation."""
        return int(self.left_s * 1000)


@dataclass
class App:
    """An app that notes what it is asked."""

    fails_at_startup: bool = False
    events: list[str] = field(default_factory=list)
    loops: set[int] = field(default_factory=set)
    scopes: list[MutableMapping[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    media_type: bytes = b"text/event-stream"

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self.loops.add(id(asyncio.get_running_loop()))
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.scopes.append(scope)
        self.bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-type", self.media_type)]})
        for part in (b"data: 1\n\n", b"data: 2\n\n"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _live(self, receive: Receive, send: Send) -> None:
        self.events.append((await receive())["type"])
        if self.fails_at_startup:
            await send({"type": "lifespan.startup.failed", "message": "no table"})
            return
        await send({"type": "lifespan.startup.complete"})
        self.events.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})


@pytest.fixture
def make() -> Iterator[Callable[[App], Buffered]]:
    """Handlers, closed in the end; the thread's own loop stays as it was."""
    made: list[Buffered] = []

    def build(app: App) -> Buffered:
        made.append(Buffered(app))
        return made[-1]

    yield build
    for handler in made:
        handler.close()


def test_buffered_requests_share_one_lifespan_and_one_loop(make: Callable[[App], Buffered]) -> None:
    """Connections and caches live as long as the environment, not as long as a request."""
    app = App()
    handler = make(app)
    answers = [handler(function_url_event("/x", method="POST", body="hello"), Context()) for _ in range(3)]
    assert all((answer["statusCode"], answer["body"]) == (201, "data: 1\n\ndata: 2\n\n") for answer in answers)
    assert app.bodies == [b"hello"] * 3
    assert app.events == ["lifespan.startup"]
    assert len(app.loops) == 1


def test_buffered_end_of_the_lifespan_is_told_on_close() -> None:
    """For tests and for whoever embeds it."""
    app = App()
    with closing(Buffered(app)) as handler:
        handler(function_url_event(), Context())
    assert app.events == ["lifespan.startup", "lifespan.shutdown"]


def test_buffered_app_that_does_not_start_fails_each_invocation(make: Callable[[App], Buffered]) -> None:
    """Lambda reports the error; nothing is answered as if it were an answer, and the next one tries again."""
    app = App(fails_at_startup=True)
    handler = make(app)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no table"):
            handler(function_url_event(), Context())
    assert app.scopes == []
    app.fails_at_startup = False
    assert handler(function_url_event(), Context())["statusCode"] == 201


def test_buffered_request_knows_the_deadline_as_a_streamed_one_does(make: Callable[[App], Buffered]) -> None:
    """Wall time, before the platform's own end."""
    app = App()
    before = time.time()
    make(app)(function_url_event(), Context(left_s=30))
    (scope,) = app.scopes
    deadline_s = scope["extensions"][EXTENSION]["deadline_s"]
    assert 0 <= deadline_s - (before + 30 - PLATFORM_MARGIN_S) < 5
    assert scope["aws.context"].aws_request_id == "aws-1"


def test_buffered_handler_called_from_another_thread_answers(make: Callable[[App], Buffered]) -> None:
    """Emulators call handlers from threads of their own."""
    app = App()
    handler = make(app)
    answers: list[dict[str, Any]] = []

    def invoke() -> None:
        answers.append(handler(function_url_event(), Context()))

    for _ in range(2):
        thread = threading.Thread(target=invoke)
        thread.start()
        thread.join()
    invoke()
    assert [answer["statusCode"] for answer in answers] == [201, 201, 201]
    assert len(app.loops) == 1


@pytest.mark.parametrize(
    ("media_type", "encoded"),
    [
        (b"text/event-stream; charset=utf-8", False),
        (b"application/json", False),
        (b"image/svg+xml", False),
        (b"image/png", True),
    ],
)
def test_buffered_text_goes_as_text(make: Callable[[App], Buffered], media_type: bytes, encoded: bool) -> None:
    """Only what is no text is encoded."""
    answer = make(App(media_type=media_type))(function_url_event(), Context())
    assert answer["isBase64Encoded"] is encoded
