"""The deadline and SIGTERM: an app is told, then cancelled, then given up; the stream ends properly each time."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from lambda_asgi.cycle import Receive, Send
from tests.fakes.runtime_api import FakeRuntimeApi, Post, function_url_event
from tests.unit.layers.runtime.support import Scope, Served, body, hello, serving, start

pytestmark = pytest.mark.anyio

MARGIN_S = 2.0
TIMEOUT_S = 60.0


def invoke(api: FakeRuntimeApi, served: Served) -> Post:
    """An invocation with a deadline that is `TIMEOUT_S` away."""
    return api.invoke(function_url_event(), deadline_s=served.clock.wall() + TIMEOUT_S)


async def test_app_that_is_told_in_time_ends_its_stream_in_band() -> None:
    """It hears of it at deadline minus margin and not before; what it sends then still arrives, without trailers."""
    heard: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await start(send)
        await body(send, b"first")
        heard.append((await receive())["type"])
        await body(send, b"sorry", more=False)

    async with FakeRuntimeApi() as api, serving(app, api, deadline_margin_s=MARGIN_S) as served:
        post = invoke(api, served)
        await post.until(lambda: len(post.chunks) == 2)
        served.clock.advance(TIMEOUT_S - MARGIN_S - 0.1)
        await anyio.wait_all_tasks_blocked()
        assert heard == []
        served.clock.advance(0.2)
        await post.until(lambda: post.ended)
        await api.polled(2)
    assert heard == ["http.disconnect"]
    assert post.chunks[2] == b"sorry"
    assert not post.trailers


async def test_app_that_does_not_listen_is_cancelled_and_its_stream_ends_with_trailers() -> None:
    """Half of the margin later it is cancelled; the environment lives on and serves the next one."""
    cancelled = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if cancelled.is_set():
            return await hello(scope, receive, send)
        await start(send)
        await body(send, b"first")
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return None

    async with FakeRuntimeApi() as api, serving(app, api, deadline_margin_s=MARGIN_S) as served:
        post = invoke(api, served)
        await post.until(lambda: len(post.chunks) == 2)
        served.clock.advance(TIMEOUT_S - MARGIN_S / 2 - 0.1)
        await anyio.wait_all_tasks_blocked()
        assert not cancelled.is_set()
        served.clock.advance(0.2)
        await post.until(lambda: post.ended)
        after = api.invoke(function_url_event())
        await after.until(lambda: after.ended)
    assert post.trailers["lambda-runtime-function-error-type"] == "Function.DeadlineExceeded"
    assert after.chunks[1] == b"hello"


async def test_app_that_sent_nothing_by_the_deadline_is_a_504() -> None:
    """The client hears what happened while there still is somebody to say it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async with FakeRuntimeApi() as api, serving(app, api, deadline_margin_s=MARGIN_S) as served:
        post = invoke(api, served)
        await anyio.wait_all_tasks_blocked()
        await api.polled(1)
        while served.clock.pending < 4:
            await asyncio.sleep(0)
        served.clock.advance(TIMEOUT_S - 0.9)
        await post.until(lambda: post.ended)
    assert post.prelude["statusCode"] == 504
    assert post.trailers["lambda-runtime-function-error-type"] == "Function.DeadlineExceeded"


async def test_app_that_survives_its_cancellation_is_given_up() -> None:
    """Three quarters into the margin the stream ends without it, and nothing that it sends later gets anywhere."""
    late: list[BaseException] = []
    release = asyncio.Event()
    done = asyncio.Event()

    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"first")
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        try:
            await body(send, b"too late")
        except OSError as error:
            late.append(error)
        done.set()

    async with FakeRuntimeApi() as api, serving(stubborn, api, deadline_margin_s=MARGIN_S) as served:
        post = invoke(api, served)
        await post.until(lambda: len(post.chunks) == 2)
        served.clock.advance(TIMEOUT_S - 0.6)
        await anyio.wait_all_tasks_blocked()
        assert not post.ended
        served.clock.advance(0.2)
        await post.until(lambda: post.ended)
        await api.polled(2)
        release.set()
        await done.wait()
    assert post.trailers["lambda-runtime-function-error-type"] == "Function.DeadlineExceeded"
    assert len(late) == 1


async def test_reader_that_never_reads_does_not_outlive_the_deadline() -> None:
    """At Lambda's own timeout the connection is dropped, whoever waits for it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, bytes(16 * 1024 * 1024), more=False)

    async with FakeRuntimeApi() as api, serving(app, api, deadline_margin_s=MARGIN_S, stall_s=0.0) as served:
        post = api.invoke(function_url_event(), deadline_s=served.clock.wall() + TIMEOUT_S, act="stop reading")
        await api.until(lambda: "response id-1" in api.happened)
        await anyio.wait_all_tasks_blocked()
        served.clock.advance(TIMEOUT_S - 0.4)
        await anyio.wait_all_tasks_blocked()
        assert api.happened.count("next") == 1
        served.clock.advance(0.5)
        await api.polled(2)
        post.resume.set()
        await post.until(lambda: post.gone)


async def test_work_after_the_response_is_bounded_by_the_deadline() -> None:
    """Without an end of its own it is cancelled, and the response stays as it was."""
    cancelled = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with FakeRuntimeApi() as api, serving(app, api, deadline_margin_s=MARGIN_S) as served:
        post = invoke(api, served)
        await post.until(lambda: post.ended)
        await anyio.wait_all_tasks_blocked()
        served.clock.advance(TIMEOUT_S - 0.9)
        await api.polled(2)
    assert cancelled.is_set()
    assert not post.trailers


@pytest.mark.parametrize(("left_s", "told_after_s"), [(60.0, 58.0), (8.0, 6.0), (3.0, 2.25), (-5.0, -5.0)])
async def test_margin_is_never_more_than_a_quarter_of_what_is_left(left_s: float, told_after_s: float) -> None:
    """A timeout of 3 s with a margin of 2 leaves the app 2.25; a deadline that is past has no margin."""
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await hello(scope, receive, send)

    async with FakeRuntimeApi() as api, serving(app, api, deadline_margin_s=2.0) as served:
        now = served.clock.wall()
        api.invoke(function_url_event(), deadline_s=now + left_s)
        await api.polled(2)
    told_s = scopes[0]["extensions"]["lambda_asgi.deadline"]["deadline_s"]
    assert told_s - now == pytest.approx(told_after_s, abs=0.001)


async def test_deadline_far_beyond_lambdas_own_is_no_deadline_to_die_of() -> None:
    """An emulator gives times of years; the timers take them."""
    async with FakeRuntimeApi() as api, serving(hello, api) as served:
        post = api.invoke(function_url_event(), deadline_s=served.clock.wall() * 1000)
        await post.until(lambda: post.ended)


async def test_stop_while_nothing_runs_ends_the_worker() -> None:
    """SIGTERM while waiting for an invocation: nothing to wait for."""
    async with FakeRuntimeApi() as api, serving(hello, api) as served:
        await api.polled(1)
        served.worker.stop()
        await served.task
    assert api.happened == ["next"]


async def test_stop_during_a_stream_lets_the_app_end_it() -> None:
    """SIGTERM in the middle: the app is told at once, ends in-band, and no invocation is asked for any more."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await start(send)
        await body(send, b"first")
        await receive()
        await body(send, b"bye", more=False)

    async with FakeRuntimeApi() as api, serving(app, api) as served:
        post = api.invoke(function_url_event())
        await post.until(lambda: len(post.chunks) == 2)
        served.worker.stop()
        served.clock.advance(0.0)
        await post.until(lambda: post.ended)
        await served.task
    assert post.chunks[2] == b"bye"
    assert api.happened.count("next") == 1


async def test_stop_during_a_stream_that_does_not_end_cuts_it_with_trailers() -> None:
    """The grace is short: the platform kills soon after."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"first")
        await asyncio.Event().wait()

    async with FakeRuntimeApi() as api, serving(app, api, shutdown_grace_s=0.2) as served:
        post = api.invoke(function_url_event())
        await post.until(lambda: len(post.chunks) == 2)
        served.worker.stop()
        served.clock.advance(0.1)
        await post.until(lambda: post.ended)
        await served.task
    assert post.trailers["lambda-runtime-function-error-type"] == "Function.Shutdown"


@pytest.mark.parametrize("mode", ["stream", "buffered"])
async def test_app_that_is_cancelled_while_its_response_is_taken_has_answered(mode: str) -> None:
    """A response that is complete is not answered a second time, nor ended twice."""
    size = 5 * 1024 * 1024

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, bytes(size), more=False)

    async with FakeRuntimeApi() as api, serving(app, api, response_mode=mode) as served:
        post = api.invoke(function_url_event(), act="answer")
        await api.until(lambda: "response id-1" in api.happened)
        served.worker.stop()
        served.clock.advance(0.15)
        await post.until(lambda: post.ended)
        await served.task
    assert api.happened == ["next", "response id-1", "end id-1"]
