"""A streamed response on the wire: what leaves, in which pieces, and when."""

from __future__ import annotations

import asyncio
import base64

import pytest

from lambda_asgi import __version__
from lambda_asgi.cycle import Receive, Send
from tests.fakes.runtime_api import FakeRuntimeApi, function_url_event
from tests.unit.layers.runtime.support import Scope, body, hello, serving, start

pytestmark = pytest.mark.anyio


async def test_response_of_two_pieces_is_these_bytes_on_the_wire() -> None:
    """Prelude and NULs are one chunk, each body message is one, and an empty one ends it, without trailers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"data: 1\n\n")
        await body(send, b"", more=True)
        await body(send, b"data: two\n\n")
        await body(send, b"", more=False)

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(function_url_event())
        await post.until(lambda: post.ended)
    assert post.raw == (
        b'42\r\n{"statusCode":200,"headers":{"content-type":"text/plain"}}\0\0\0\0\0\0\0\0\r\n'
        b"9\r\ndata: 1\n\n\r\n"
        b"b\r\ndata: two\n\n\r\n"
        b"0\r\n\r\n"
    )


async def test_post_head_declares_streaming_trailers_and_close() -> None:
    """The head of the request is the one that Lambda wants, the mode in lower case."""
    async with FakeRuntimeApi() as api, serving(hello, api):
        post = api.invoke(function_url_event())
        await post.until(lambda: post.ended)
        address = api.address
    assert post.target == "POST /invocation/id-1/response"
    assert post.headers.pairs == [
        ("Host", address),
        ("User-Agent", f"lambda-asgi/{__version__}"),
        ("Connection", "close"),
        ("Content-Type", "application/vnd.awslambda.http-integration-response"),
        ("Lambda-Runtime-Function-Response-Mode", "streaming"),
        ("Transfer-Encoding", "chunked"),
        ("Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"),
    ]


async def test_invocation_id_when_given_is_echoed() -> None:
    """What GET next said is said back with the response, and nothing where it said nothing."""
    async with FakeRuntimeApi() as api, serving(hello, api):
        given = api.invoke(function_url_event(), headers={"Lambda-Runtime-Invocation-Id": "inv/7"})
        not_given = api.invoke(function_url_event())
        await not_given.until(lambda: not_given.ended)
    assert given.headers["lambda-runtime-invocation-id"] == "inv/7"
    assert "lambda-runtime-invocation-id" not in not_given.headers


async def test_first_piece_leaves_before_the_app_goes_on() -> None:
    """The app waits for the other side to have its first piece, so nothing may hold that back."""
    arrived = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"first")
        await arrived.wait()
        await body(send, b"second", more=False)

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(function_url_event())
        await post.until(lambda: len(post.chunks) == 2)
        assert post.chunks[1] == b"first"
        assert len(post.arrivals) == 1, "head, prelude and the first piece travel together"
        arrived.set()
        await post.until(lambda: post.ended)
    assert post.chunks[2] == b"second"


async def test_prelude_without_a_body_yet_leaves_at_once() -> None:
    """A response that begins and then thinks has its head on the way: the platform times the first byte."""
    arrived = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, 201)
        await arrived.wait()
        await body(send, b"", more=False)

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(function_url_event())
        await post.until(lambda: len(post.chunks) == 1)
        assert post.prelude["statusCode"] == 201
        arrived.set()
        await post.until(lambda: post.ended)
    assert post.body.endswith(b"}" + bytes(8))


async def test_next_invocation_is_asked_for_when_the_app_has_returned() -> None:
    """Work after the last piece runs while the client has everything, and before the environment may freeze."""
    working = asyncio.Event()
    done = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"all", more=False)
        working.set()
        await done.wait()

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(function_url_event())
        await post.until(lambda: post.ended)
        await working.wait()
        assert api.happened == ["next", "response id-1", "end id-1"]
        done.set()
        await api.polled(2)


async def test_reader_that_stops_holds_the_app_up() -> None:
    """A send waits while nothing is read, and goes on when it is: no buffer takes the difference."""
    size = 16 * 1024 * 1024
    passed = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, bytes(size))
        passed.set()
        await body(send, b"", more=False)

    async with FakeRuntimeApi() as api, serving(app, api):
        post = api.invoke(function_url_event(), act="stop reading")
        await api.until(lambda: "response id-1" in api.happened)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not passed.is_set()
        post.resume.set()
        await post.until(lambda: post.ended)
        assert passed.is_set()
    assert len(post.chunks[1]) == size


async def test_head_request_has_no_body_in_its_response() -> None:
    """What an app sends to HEAD is its head only, as servers do it."""
    async with FakeRuntimeApi() as api, serving(hello, api):
        post = api.invoke(function_url_event(method="HEAD"))
        await post.until(lambda: post.ended)
    assert len(post.chunks) == 1


async def test_binary_body_comes_and_goes_unchanged() -> None:
    """Any bytes go in as base64 and out raw."""
    data = bytes(range(256))
    seen: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((await receive())["body"])
        await start(send)
        await body(send, data, more=False)

    async with FakeRuntimeApi() as api, serving(app, api):
        encoded = base64.b64encode(data).decode()
        post = api.invoke(function_url_event(method="POST", body=encoded, isBase64Encoded=True))
        await post.until(lambda: post.ended)
    assert seen == [data]
    assert post.chunks[1] == data


async def test_fifty_invocations_share_one_connection_for_next() -> None:
    """Each response has a connection of its own; asking for invocations needs one for all."""
    async with FakeRuntimeApi() as api, serving(hello, api):
        posts = [api.invoke(function_url_event()) for _ in range(50)]
        await api.polled(51)
    assert all(post.ended and post.chunks[1] == b"hello" for post in posts)
    assert api.connections == 51
