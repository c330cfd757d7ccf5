"""What an app finds in its scope, and in `receive`."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from lambda_asgi.cycle import Receive, Send
from tests.fakes.runtime_api import FakeRuntimeApi, function_url_event
from tests.unit.layers.runtime.support import Scope, body, hello, serving, start

pytestmark = pytest.mark.anyio


async def test_scope_holds_event_context_and_deadline() -> None:
    """An app may look at what Lambda said: the event, the stock context's fields, and when it will be told to end."""
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await hello(scope, receive, send)

    event = function_url_event("/a")
    async with FakeRuntimeApi() as api, serving(app, api, deadline_margin_s=2.0) as served:
        now = served.clock.wall()
        headers = {"Lambda-Runtime-Client-Context": '{"custom":{"a":1}}', "Lambda-Runtime-Cognito-Identity": ""}
        api.invoke(event, deadline_s=now + 60, headers=headers)
        await api.polled(2)
    extensions = scopes[0]["extensions"]
    assert extensions["lambda_asgi.deadline"] == {"deadline_s": now + 58, "timeout_s": now + 60}
    assert extensions["lambda_asgi"]["event"] == event
    context = extensions["lambda_asgi"]["context"]
    assert context.aws_request_id == "id-1"
    assert context.invoked_function_arn.endswith(":function:f:live")
    assert context.function_name == "f"
    assert context.client_context == {"custom": {"a": 1}}
    assert context.identity is None
    assert context.get_remaining_time_in_millis() == pytest.approx(60_000, abs=1_000)


async def test_scope_without_a_deadline_names_none() -> None:
    """Where Lambda says nothing about time, nothing is made up."""
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await hello(scope, receive, send)

    async with FakeRuntimeApi() as api, serving(app, api):
        api.invoke(function_url_event())
        await api.polled(2)
    assert "lambda_asgi.deadline" not in scopes[0]["extensions"]
    assert scopes[0]["extensions"]["lambda_asgi"]["context"].get_remaining_time_in_millis() == 86_400_000


async def test_state_of_the_lifespan_is_copied_for_each_request() -> None:
    """A request sees what startup left, and cannot leave anything for the next one there."""
    pool = object()
    seen: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope["state"]))
        scope["state"]["mine"] = True
        await hello(scope, receive, send)

    async with FakeRuntimeApi() as api, serving(app, api, state={"pool": pool}):
        api.invoke(function_url_event())
        api.invoke(function_url_event())
        await api.polled(3)
    assert seen == [{"pool": pool}, {"pool": pool}]


async def test_receive_after_the_body_waits_until_the_response_is_complete() -> None:
    """An app that listens for a disconnect hears none while all is well."""
    heard: list[str] = []
    listening = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append((await receive())["type"])

        async def listen() -> None:
            listening.set()
            heard.append((await receive())["type"])

        task = asyncio.create_task(listen())
        await listening.wait()
        await start(send)
        await body(send, b"1")
        await anyio.wait_all_tasks_blocked()
        heard.append("still here")
        await body(send, b"2", more=False)
        await task

    async with FakeRuntimeApi() as api, serving(app, api):
        api.invoke(function_url_event())
        await api.polled(2)
    assert heard == ["http.request", "still here", "http.disconnect"]


async def test_trace_is_in_the_environment_during_its_invocation_only() -> None:
    """Tracing SDKs look there; a later invocation without a trace must not inherit one."""
    seen: list[str | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(served.environ.get("_X_AMZN_TRACE_ID"))
        await hello(scope, receive, send)

    async with FakeRuntimeApi() as api, serving(app, api) as served:
        api.invoke(function_url_event(), headers={"Lambda-Runtime-Trace-Id": "Root=1-a"})
        api.invoke(function_url_event(), headers={"Lambda-Runtime-Trace-Id": ""})
        await api.polled(3)
    assert seen == ["Root=1-a", None]
