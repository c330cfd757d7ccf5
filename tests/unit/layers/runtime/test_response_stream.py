"""The end of a streamed response: once, whatever happens around it."""

from __future__ import annotations

import pytest

from lambda_asgi.response_stream import ResponseStream, StreamBroken
from lambda_asgi.runtime_api import Invocation, RuntimeApi
from tests.fakes.clock import FakeClock
from tests.fakes.runtime_api import FakeRuntimeApi, Post

pytestmark = pytest.mark.anyio


async def begin(api: FakeRuntimeApi, heard: list[str], **behaviour: object) -> tuple[Post, ResponseStream]:
    """A streamed response that has begun."""
    post = api.invoke({}, **behaviour)  # type: ignore[arg-type]
    client = RuntimeApi(api.address, clock=FakeClock())
    stream = await client.stream(Invocation(post.request_id, b""), b"first", lambda: heard.append("broken"))
    return post, stream


async def send_on(stream: ResponseStream) -> None:
    """Send until it raises."""
    while True:
        await stream.send(b"more")


async def test_second_end_leaves_the_first_as_it_was() -> None:
    """A response that is complete is not ended again with an error behind it."""
    heard: list[str] = []
    async with FakeRuntimeApi() as api:
        post, stream = await begin(api, heard)
        await stream.end()
        await stream.end([("Lambda-Runtime-Function-Error-Type", "Function.Late")])
        answer = await stream.answer()
    assert answer is not None
    assert answer.status == 202
    assert post.raw == b"5\r\nfirst\r\n0\r\n\r\n"
    assert heard == []


async def test_stream_that_breaks_says_so_once_and_keeps_the_early_answer() -> None:
    """What the platform said is still to be judged, when nothing more can be sent."""
    heard: list[str] = []
    async with FakeRuntimeApi() as api:
        _, stream = await begin(api, heard, act="answer early", act_after=0, status=410)
        with pytest.raises(StreamBroken, match="answered 410 too early"):
            await send_on(stream)
        stream.break_off("again")
        with pytest.raises(StreamBroken, match="410"):
            await stream.end()
        answer = await stream.answer()
    assert answer is not None
    assert answer.status == 410
    assert heard == ["broken"]


async def test_stream_whose_connection_closes_has_no_answer() -> None:
    """And nothing waits for one."""
    heard: list[str] = []
    async with FakeRuntimeApi() as api:
        _, stream = await begin(api, heard, act="close", act_after=0)
        with pytest.raises(StreamBroken, match="connection broke"):
            await send_on(stream)
        assert await stream.answer() is None
    assert heard == ["broken"]
