"""The layer's real bootstrap under AWS's own Runtime Interface Emulator, with Python 3.13, one invocation at a time."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import rie_app
from tests.e2e.rie import Emulated, emulated
from tests.fakes.runtime_api import function_url_event

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> str:
    """The function has a loop of its own; ours only waits."""
    return "asyncio"


def function(
    task_root: Path, *, handler: str = "fn.app", timeout_s: int = 30, variables: Mapping[str, str] | None = None
) -> AbstractAsyncContextManager[Emulated]:
    """`rie_app` as a function."""
    shutil.copy(rie_app.__file__, task_root / "fn.py")
    return emulated(task_root, handler, timeout_s=timeout_s, variables=variables or {})


async def about(running: Emulated, **event: Any) -> dict[str, Any]:
    """What the app says about itself and the request."""
    _, body = await running.get("/about", **event)
    found: dict[str, Any] = json.loads(body)
    return found


async def test_request_comes_in_and_its_streamed_response_goes_out(tmp_path: Path) -> None:
    """Prelude with cookies, body, and a context that is true."""
    async with function(tmp_path) as running:
        prelude, body = await running.get("/about", method="POST", query="a=1&a=2", body="{}")
    found = json.loads(body)
    assert prelude == {"statusCode": 200, "headers": {"content-type": "text/plain"}, "cookies": ["a=1", "b=2"]}
    assert (found["method"], found["query"], found["body"]) == ("POST", "a=1&a=2", "{}")
    assert 0 < found["remaining_ms"] <= 30_000
    assert any(f"START RequestId: {found['request_id']}" in line for line in running.lines)


async def test_fifty_invocations_are_served_by_one_process_that_started_once(tmp_path: Path) -> None:
    """The lifespan belongs to the environment, not to a request."""
    async with function(tmp_path) as running:
        found = [await about(running) for _ in range(50)]
        await running.says("START RequestId")
    assert len({each["pid"] for each in found}) == 1
    assert {each["starts"] for each in found} == {1}
    assert len({each["request_id"] for each in found}) == 50


async def test_ten_thousand_pieces_arrive_whole(tmp_path: Path) -> None:
    """No piece is lost, and none is out of order."""
    async with function(tmp_path) as running:
        _, body = await running.get("/many")
    assert body == b"".join(b"data: %d\n\n" % number for number in range(10_000))


async def test_response_near_the_emulators_limit_arrives_whole(tmp_path: Path) -> None:
    """It keeps a stream in memory and takes as much as of a whole answer; Lambda itself takes 200 MB."""
    async with function(tmp_path) as running:
        _, body = await running.get("/large", query="5")
    assert len(body) == 5 * 1024 * 1024


async def test_response_beyond_the_emulators_limit_fails_alone(tmp_path: Path) -> None:
    """413 in the middle of a stream or at its end; the next invocation is served by the same process."""
    async with function(tmp_path) as running:
        _, answer = await running.invoke(function_url_event("/large", query="32"))
        assert b"Function.ResponseSizeTooLarge" in answer
        await running.says("response too large")
        assert (await about(running))["starts"] == 1


async def test_app_that_raises_before_its_first_byte_is_a_500(tmp_path: Path) -> None:
    """And the environment goes on."""
    async with function(tmp_path) as running:
        prelude, body = await running.get("/raises-before")
        assert prelude["statusCode"] == 500
        assert json.loads(body) == {"message": "Internal Server Error"}
        await running.says('"errorMessage": "before"')
        assert (await about(running))["starts"] == 1


async def test_app_that_raises_after_its_first_byte_ends_the_stream(tmp_path: Path) -> None:
    """The emulator takes the trailers and shows what came before them; the environment goes on."""
    async with function(tmp_path) as running:
        prelude, body = await running.get("/raises-after")
        assert (prelude["statusCode"], body) == (200, b"half")
        await running.says('"errorMessage": "after"')
        assert (await about(running))["starts"] == 1


async def test_deadline_lets_an_app_that_listens_end_in_band(tmp_path: Path) -> None:
    """Before the platform's timeout, and in the same process as before."""
    async with function(tmp_path, timeout_s=2) as running:
        before = await about(running)
        _, body = await running.get("/listens")
        assert body == b"first,sorry"
        assert (await about(running))["pid"] == before["pid"]


async def test_deadline_cuts_an_app_that_hangs(tmp_path: Path) -> None:
    """The stream ends with what there was, and the environment is not lost."""
    async with function(tmp_path, timeout_s=2) as running:
        before = await about(running)
        _, body = await running.get("/hangs")
        assert body == b"first"
        await running.says("did not complete its response in time")
        assert (await about(running))["pid"] == before["pid"]


async def test_work_after_the_response_is_done_before_the_next_invocation(tmp_path: Path) -> None:
    """Whatever the emulator does with the time between, the work comes before what follows."""
    async with function(tmp_path) as running:
        assert (await running.get("/later"))[1] == b"all"
        await about(running)
        assert any("work after the response done" in line for line in running.lines)


async def test_runtime_api_refuses_what_the_layer_never_asks_for(tmp_path: Path) -> None:
    """Why it waits: next in the middle of a stream is refused, and so are a wrong id and a second response."""
    async with function(tmp_path) as running:
        _, body = await running.get("/intrudes")
        assert json.loads(body) == {"wrong id": 400, "next": 403}
        await running.says("second response: 403")
        assert (await about(running))["starts"] == 1


async def test_whole_answer_that_is_too_large_fails_alone(tmp_path: Path) -> None:
    """413 for one invocation; the next one is served."""
    async with function(tmp_path, variables={"LAMBDA_ASGI_RESPONSE_MODE": "buffered"}) as running:
        _, answer = await running.invoke(function_url_event("/inflated"))
        assert b"Function.ResponseSizeTooLarge" in answer
        await running.says("response too large")
        _, answer = await running.invoke(function_url_event("/about"))
        assert json.loads(answer)["statusCode"] == 200


async def test_event_that_is_no_request_is_an_error_of_its_own(tmp_path: Path) -> None:
    """The invoker sees the type; the next invocation is served."""
    async with function(tmp_path) as running:
        _, answer = await running.invoke({"Records": []})
        assert json.loads(answer)["errorType"] == "UnsupportedEvent"
        assert (await about(running))["starts"] == 1


async def test_terminate_ends_the_lifespan(tmp_path: Path) -> None:
    """SIGTERM to a waiting process: shutdown, then its end."""
    async with function(tmp_path) as running:
        found = await about(running)
        os.kill(found["pid"], signal.SIGTERM)
        await running.says("lifespan ended")


async def test_handler_that_cannot_be_imported_is_an_init_error(tmp_path: Path) -> None:
    """The invoker is told what is missing."""
    async with function(tmp_path, handler="missing.app") as running:
        _, answer = await running.invoke(function_url_event())
        error = json.loads(answer)
    assert error["errorType"] == "ImportModuleError"
    assert "missing" in error["errorMessage"]
