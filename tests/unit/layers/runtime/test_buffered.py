"""Whole answers: where a front door cannot stream, and where the setting says so."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from lambda_asgi.cycle import Receive, Send
from tests.fakes.runtime_api import FakeRuntimeApi, function_url_event
from tests.unit.layers.runtime.support import Scope, body, hello, serving, start

pytestmark = pytest.mark.anyio

REST_EVENT = {
    "httpMethod": "GET",
    "path": "/a",
    "multiValueHeaders": {"host": ["x.execute-api.eu-central-1.amazonaws.com"]},
    "multiValueQueryStringParameters": None,
    "requestContext": {"path": "/prod/a", "stage": "prod", "identity": {"sourceIp": "203.0.113.7"}},
    "body": None,
    "isBase64Encoded": False,
}


def http_api_event() -> dict[str, Any]:
    """As a Function URL's, from another domain."""
    event = function_url_event()
    event["requestContext"]["domainName"] = "x.execute-api.eu-central-1.amazonaws.com"
    return event


def cookies_and_repeats(*, content_type: bytes, data: bytes) -> Any:
    """An app whose response has everything that is folded."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"Content-Type", content_type), (b"vary", b"a"), (b"Vary", b"b")]
        headers += [(b"set-cookie", b"c=1; Path=/"), (b"set-cookie", b"d=2"), (b"content-length", b"9")]
        await start(send, 202, headers)
        await body(send, data[:2])
        await body(send, data[2:], more=False)

    return app


async def test_http_api_gets_one_json_document() -> None:
    """Payload 2.0: headers joined, cookies apart, text as text."""
    app = cookies_and_repeats(content_type=b"text/plain; charset=utf-8", data="grün".encode())
    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(http_api_event(), headers={"Lambda-Runtime-Invocation-Id": "inv"})
        await api.polled(2)
    assert post.target == "POST /invocation/id-1/response"
    assert "lambda-runtime-function-response-mode" not in post.headers
    assert post.headers["lambda-runtime-invocation-id"] == "inv"
    assert json.loads(post.body) == {
        "statusCode": 202,
        "headers": {"content-type": "text/plain; charset=utf-8", "vary": "a,b"},
        "cookies": ["c=1; Path=/", "d=2"],
        "body": "grün",
        "isBase64Encoded": False,
    }


async def test_rest_api_gets_each_value_of_a_header() -> None:
    """Payload 1.0: values in lists, cookies among them, binary as base64."""
    app = cookies_and_repeats(content_type=b"image/png", data=b"\x89PNG")
    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(REST_EVENT)
        await api.polled(2)
    assert json.loads(post.body) == {
        "statusCode": 202,
        "multiValueHeaders": {
            "content-type": ["image/png"],
            "vary": ["a", "b"],
            "set-cookie": ["c=1; Path=/", "d=2"],
        },
        "body": base64.b64encode(b"\x89PNG").decode(),
        "isBase64Encoded": True,
    }


@pytest.mark.parametrize(
    ("mode", "event", "streamed"),
    [
        ("auto", function_url_event(), True),
        ("auto", http_api_event(), False),
        ("auto", REST_EVENT, False),
        ("stream", http_api_event(), True),
        ("stream", REST_EVENT, True),
        ("buffered", function_url_event(), False),
    ],
)
async def test_response_mode_decides_where_the_event_does_not(mode: str, event: Any, streamed: bool) -> None:
    """`auto` goes by the front door, the other two do not ask."""
    async with FakeRuntimeApi() as api, serving(hello, api, response_mode=mode):
        post = api.invoke(event)
        await api.polled(2)
    assert (post.headers.get("lambda-runtime-function-response-mode") == "streaming") is streamed


async def test_response_leaves_when_it_is_complete_not_when_the_app_returns() -> None:
    """Work after a response is no different here."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        await post.until(lambda: post.ended)

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(http_api_event())
        await api.polled(2)


async def test_app_that_raises_is_reported_as_an_error() -> None:
    """The front door answers for it, and Lambda counts it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        raise ValueError("no")

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(http_api_event())
        await api.polled(2)
    assert post.target == "POST /invocation/id-1/error"
    assert post.headers["lambda-runtime-function-error-type"] == "Function.ValueError"


@pytest.mark.parametrize("swallows", [True, False])
async def test_response_past_lambdas_limit_is_an_error_not_a_piece_of_it(swallows: bool) -> None:
    """Six megabytes are the most; what an app does with its OSError changes nothing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        for _ in range(7):
            try:
                await body(send, bytes(1024 * 1024))
            except OSError:
                if not swallows:
                    raise
        await body(send, b"", more=False)

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(http_api_event())
        await api.polled(2)
    assert post.headers["lambda-runtime-function-error-type"] == "Function.ResponseSizeTooLarge"


@pytest.mark.parametrize("status", [410, 413])
async def test_refusal_lets_the_worker_go_on(status: int) -> None:
    """Too late or too large is over; the next one is served."""
    async with FakeRuntimeApi() as api, serving(hello, api):
        api.invoke(http_api_event(), status=status)
        after = api.invoke(http_api_event())
        await after.until(lambda: after.ended)
    assert json.loads(after.body)["body"] == "hello"
