"""Responses that go wrong: the app raises, the platform gives up, the event is none."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import anyio
import pytest

from lambda_asgi.cycle import Receive, Send
from lambda_asgi.runtime_api import RuntimeApiError
from tests.fakes.runtime_api import FakeRuntimeApi, Post, function_url_event
from tests.unit.layers.runtime.support import Scope, body, hello, serving, start

pytestmark = pytest.mark.anyio


def trailer_error(post: Post) -> dict[str, Any]:
    """The error in the trailers, decoded."""
    found: dict[str, Any] = json.loads(base64.b64decode(post.trailers["lambda-runtime-function-error-body"]))
    return found


async def test_app_that_raises_after_the_first_byte_ends_with_error_trailers() -> None:
    """The body ends properly, and what went wrong stands behind it; /error would hang now."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"half")
        raise ValueError("no more")

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(function_url_event())
        await api.polled(2)
    assert post.chunks[1:] == [b"half"]
    assert post.trailers["lambda-runtime-function-error-type"] == "Function.ValueError"
    error = trailer_error(post)
    assert error["errorMessage"] == "no more"
    assert error["errorType"] == "ValueError"
    assert "test_failing.py" in error["stackTrace"][-1]
    assert api.happened == ["next", "response id-1", "end id-1", "next"]


async def test_app_that_raises_before_the_first_byte_is_a_500_that_lambda_counts() -> None:
    """The client gets an answer it understands, Lambda the error in the trailers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("nothing")

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(function_url_event())
        await api.polled(2)
    assert post.prelude == {"statusCode": 500, "headers": {"content-type": "application/json"}}
    assert post.chunks[1] == b'{"message": "Internal Server Error"}'
    assert post.trailers["lambda-runtime-function-error-type"] == "Function.ValueError"


async def test_app_that_raises_when_called_is_a_500() -> None:
    """An app that fails before there is anything to await does not take the process with it."""

    def app(scope: Scope, receive: Receive, send: Send) -> Any:
        raise TypeError("no coroutine")

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(function_url_event())
        await api.polled(2)
    assert post.prelude["statusCode"] == 500


async def test_error_details_type_keeps_the_message_back() -> None:
    """With that setting what an exception says leaves the process nowhere."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("my prompt")

    async with FakeRuntimeApi() as api, serving(app, api, error_details="type"):
        post = api.invoke(function_url_event())
        await api.polled(2)
    assert trailer_error(post)["errorMessage"] == ""


async def test_app_that_returns_too_early_ends_with_error_trailers() -> None:
    """A response without its end is never made to look complete."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"half")

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(function_url_event())
        await api.polled(2)
    assert post.trailers["lambda-runtime-function-error-type"] == "Function.IncompleteResponse"


async def test_app_that_fails_after_its_response_leaves_the_response_alone() -> None:
    """The client has everything; an error after that is a log line."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        raise ValueError("afterwards")

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(function_url_event())
        await api.polled(2)
    assert post.raw.endswith(b"hello\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body", "body": b"x"}],
        [{"type": "http.response.start", "status": 200}, {"type": "http.response.start", "status": 200}],
        [{"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nset-cookie: c")]}],
        [{"type": "http.response.start", "status": 200, "headers": [(b"a\0", b"b")]}],
        [{"type": "http.response.trailers"}],
    ],
)
async def test_message_that_may_not_come_is_the_apps_error(messages: list[dict[str, Any]]) -> None:
    """Order and headers are checked where they come in; nothing of a broken message leaves."""
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            for message in messages:
                await send(message)
        except (RuntimeError, ValueError) as error:
            raised.append(error)
            raise

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(function_url_event())
        await api.polled(2)
    assert len(raised) == 1
    assert b"set-cookie" not in post.raw
    assert post.trailers["lambda-runtime-function-error-type"].startswith("Function.")


@pytest.mark.parametrize("event", [{}, {"Records": []}, [], b"no json", {"requestContext": {"http": {}}}])
async def test_event_that_is_no_request_is_refused_and_the_next_one_served(event: Any) -> None:
    """Such an invocation fails by itself, with a type that names it."""
    async with FakeRuntimeApi() as api, serving(hello, api):
        refused = api.invoke(event)
        served = api.invoke(function_url_event())
        await served.until(lambda: served.ended)
    assert refused.target == "POST /invocation/id-1/error"
    assert refused.headers["lambda-runtime-function-error-type"] == "Function.UnsupportedEvent"
    assert refused.headers["content-type"] == "application/vnd.aws.lambda.error+json"
    assert json.loads(refused.body)["errorType"] == "UnsupportedEvent"
    assert served.chunks[1] == b"hello"


async def _ended(api: FakeRuntimeApi) -> None:
    """A worker from its start to where it ends by itself."""
    async with serving(hello, api) as served:
        await asyncio.wait({served.task})


async def _until_told(receive: Receive, send: Send, heard: list[Any]) -> None:
    """An app that streams until it is told to end, and tries to send once more."""
    await receive()
    await start(send)
    await body(send, b"first")
    heard.append((await receive())["type"])
    try:
        await body(send, b"second")
    except OSError as error:
        heard.append(error)
        raise


@pytest.mark.parametrize("act", ["close", "answer early"])
async def test_platform_that_gives_up_is_a_disconnect_and_an_oserror(act: Any) -> None:
    """A closed connection and an answer before the end both reach an app that waits, and one that sends."""
    heard: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await _until_told(receive, send, heard)

    async with FakeRuntimeApi() as api, serving(app, api):
        api.invoke(function_url_event(), act=act, act_after=1, status=410)
        after = api.invoke(function_url_event(), act=act, act_after=1, status=410)
        await after.until(lambda: after.gone or after.ended)
        await api.polled(3)
    assert heard[0] == "http.disconnect"
    assert isinstance(heard[1], OSError)
    assert "error id-1" not in api.happened, "the stream was begun: /error would hang"


async def test_write_that_stalls_is_a_disconnect_and_an_oserror() -> None:
    """Where nothing is read for the time that is set, the app hears it both ways and the connection is dropped."""
    heard: list[Any] = []
    sending = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await start(send)
        sending.set()
        try:
            await body(send, bytes(16 * 1024 * 1024))
        except OSError as error:
            heard.append(error)
        heard.append((await receive())["type"])

    async with FakeRuntimeApi() as api, serving(app, api, stall_s=30.0) as served:
        post = api.invoke(function_url_event(), act="stop reading")
        await sending.wait()
        await anyio.wait_all_tasks_blocked()
        served.clock.advance(29.9)
        await anyio.wait_all_tasks_blocked()
        assert heard == []
        served.clock.advance(0.2)
        await api.polled(2)
        post.resume.set()
        await post.until(lambda: post.gone)
    assert isinstance(heard[0], OSError)
    assert heard[1] == "http.disconnect"


@pytest.mark.parametrize("status", [400, 410, 413])
async def test_refusal_that_concerns_one_invocation_lets_the_worker_go_on(status: int) -> None:
    """Too late, too large, or not wanted: the next one is asked for."""
    async with FakeRuntimeApi() as api, serving(hello, api):
        api.invoke(function_url_event(), status=status)
        after = api.invoke(function_url_event())
        await after.until(lambda: after.ended)
    assert after.chunks[1] == b"hello"


@pytest.mark.parametrize("status", [403, 500])
async def test_refusal_that_concerns_the_process_ends_the_worker(status: int) -> None:
    """Lambda's state and ours differ: only a new environment helps."""
    async with FakeRuntimeApi() as api:
        api.invoke(function_url_event(), status=status)
        with pytest.raises(RuntimeApiError, match=str(status)):
            await _ended(api)
    assert api.happened.count("next") == 1


async def test_next_that_is_refused_ends_the_worker() -> None:
    """403 to GET next cannot be waited out."""
    async with FakeRuntimeApi() as api:
        api.next_statuses.append(403)
        with pytest.raises(RuntimeApiError, match="403 to GET next"):
            await _ended(api)


async def test_next_on_a_connection_that_has_gone_is_asked_anew() -> None:
    """A kept connection may be closed while the app is busy; that costs nothing but another one."""
    second: list[Post] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        if not second:
            await first.until(lambda: first.ended)
            api.drop_connections()

    async with FakeRuntimeApi() as api, serving(app, api):
        first = api.invoke(function_url_event())
        await api.polled(2)
        second.append(api.invoke(function_url_event()))
        await second[0].until(lambda: second[0].ended)
    assert second[0].chunks[1] == b"hello"
