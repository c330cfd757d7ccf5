"""`rillgate lambda-local`, the layer's bootstrap and the function as they are deployed: what clients and books see."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from openai import AsyncOpenAI

from tests.e2e.local_lambda import gone, lambda_local, milliseconds
from tests.fakes.clients import collect
from tests.fakes.gateway import CHAT, chat_body
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, Finish, Pause, Role, Stall, chat, flood

pytestmark = [
    pytest.mark.slow,  # each starts the function anew
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]

QUESTION: Final[Any] = [{"role": "user", "content": "Say hello."}]
TEXTS: Final = ["one ", "two ", "three ", "four"]


@pytest.fixture
def anyio_backend() -> str:
    """The loop of this process is not the subject."""
    return "asyncio"


async def test_openai_sdk_streams_each_chunk_before_the_next_is_made(tmp_path: Path) -> None:
    """The official SDK, as it comes: a chunk has gone through layer, Runtime API and URL before the next one exists."""
    async with FakeProvider() as fake, lambda_local(fake, tmp_path) as served:
        fake.script = chat(TEXTS, lockstep_after=0)
        async with AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.key) as client:
            fake.allow()
            stream = await client.chat.completions.create(model="fake-model", messages=QUESTION, stream=True)
            heard: list[str] = []
            async for chunk in stream:
                text = chunk.choices[0].delta.content if chunk.choices else None
                if text:
                    heard.append(text)
                    fake.allow()
        assert heard == TEXTS
        (report,) = await served.reports(1)
        assert milliseconds(report, "Init Duration") > 0
        assert milliseconds(report, "Billed Duration") >= milliseconds(report, "Init Duration")
        assert "Status" not in report
        assert await served.audited() == 0


async def test_second_request_finds_the_environment_of_the_first(tmp_path: Path) -> None:
    """An idle environment is reused: one INIT for two requests that come one after the other."""
    async with FakeProvider() as fake, lambda_local(fake, tmp_path) as served:
        for _ in range(2):
            async with await served.chat() as client:
                assert await client.response() == 200
                assert collect(await client.read_stream()).done
            await served.reports(1)
        first, second = await served.reports(2)
        assert "Init Duration" in first
        assert "Init Duration" not in second
        assert len(served.environments()) == 1


async def test_request_without_a_key_is_refused_and_its_challenge_remapped(tmp_path: Path) -> None:
    """Keys cannot be switched off on Lambda; WWW-Authenticate comes back under the name that a URL gives it."""
    async with (
        FakeProvider() as fake,
        lambda_local(fake, tmp_path, RILLGATE_AUTH__REQUIRED="false") as served,
        await served.client() as client,
    ):
        await client.request("POST", CHAT, json=chat_body())
        assert await client.response() == 401
        assert json.loads(await client.read_body())["error"]["code"] == "missing_api_key"
        assert "www-authenticate" not in client.headers
        assert client.headers["x-amzn-remapped-www-authenticate"] == "Bearer"


async def test_slow_reader_stops_the_provider_and_gets_everything_in_the_end(tmp_path: Path) -> None:
    """A client that does not read is felt through URL, Runtime API, layer and gateway: the provider's writes stop."""
    async with FakeProvider() as fake, lambda_local(fake, tmp_path) as served:
        fake.script = flood(17, frame_bytes=2048)
        async with await served.chat(rcvbuf=4096, max_tokens=32768, model="big") as client:
            assert await client.response() == 200
            exchange = await fake.request()
            assert await exchange.stands_still() < 8 * 1024 * 1024
            answer = collect(await client.read_stream())
        assert answer.finish
        await served.reports(1)
        assert await served.audited() == 0


async def test_environment_killed_in_mid_stream_takes_its_own_stream_along_only(tmp_path: Path) -> None:
    """The dead one's response ends without a word, the other goes on, and nothing that was held is forgotten."""
    async with FakeProvider() as fake, lambda_local(fake, tmp_path) as served:
        fake.script = [Role(), Chunk("a"), Pause(), Chunk("b"), Finish(), Done()]
        first = await served.chat()
        assert await first.response() == 200
        assert '"a"' in (await first.read_until(b'"a"')).decode()
        (doomed,) = served.environments()
        second = await served.chat()
        assert await second.response() == 200
        await second.read_until(b'"a"')
        os.kill(doomed, signal.SIGKILL)
        rest = await first.read_body()
        assert b"[DONE]" not in rest
        (report,) = await served.reports(1)
        assert "Status: error\tError Type: Runtime.ExitError" in report
        fake.allow(2)
        answer = collect(await second.read_stream())
        assert answer.done
        assert len(await served.reports(2)) == 2
        async with await served.chat() as third:
            fake.allow()
            assert await third.response() == 200
            assert collect(await third.read_stream()).done
        assert await served.audited() == 0
        first.close()
        second.close()


async def test_deadline_in_mid_stream_ends_in_band_and_settles_before_the_kill(tmp_path: Path) -> None:
    """The stream ends with an error event while Lambda still waits; the platform's own timeout never strikes."""
    async with FakeProvider() as fake, lambda_local(fake, tmp_path, "--timeout-s", "8") as served:
        fake.script = [Role(), Chunk("a"), Stall()]
        async with await served.chat() as client:
            assert await client.response() == 200
            frames = [frame async for frame in _frames(client)]
        assert json.loads(frames[-1])["error"]["code"] == "deadline_exceeded"
        (report,) = await served.reports(1)
        assert "Status" not in report
        assert milliseconds(report, "Duration") < 8000
        (record,) = served.records()
        assert record["end"] == "deadline"
        assert await served.audited() == 0


async def test_cancel_reaches_a_stream_in_another_environment(tmp_path: Path) -> None:
    """The cancel is an invocation of its own, so it never comes to the process that streams; the ledger carries it."""
    async with FakeProvider() as fake, lambda_local(fake, tmp_path) as served:
        fake.script = [Role(), Chunk("a"), Stall()]
        async with await served.chat() as client, await served.client() as other:
            assert await client.response() == 200
            path = f"/v1/requests/{client.headers['x-request-id']}/cancel"
            await other.request("POST", path, headers={"authorization": f"Bearer {served.key}"}, body=b"")
            assert await other.response() == 202
            assert json.loads(await other.read_body())["requested"] is True
            frames = [frame async for frame in _frames(client)]
        assert json.loads(frames[-1])["error"]["code"] == "cancelled"
        await fake.closed()
        assert len(await served.reports(2)) == 2
        assert [record["end"] for record in served.records() if record["route"] == CHAT] == ["cancelled"]
        assert await served.audited() == 0


async def test_client_that_leaves_is_not_noticed_by_the_function(tmp_path: Path) -> None:
    """As on Lambda: the stream goes on to its end, and all of it is charged."""
    async with FakeProvider() as fake, lambda_local(fake, tmp_path) as served:
        fake.script = [Role(), Chunk("a"), Pause(), Chunk("b"), Finish(), Done()]
        client = await served.chat()
        assert await client.response() == 200
        await client.read_until(b'"a"')
        client.abort()
        fake.allow()
        exchange = await fake.request()
        await exchange.done.wait()
        assert exchange.outcome == "finished"
        await served.reports(1)
        assert served.records()[0]["end"] == "finished"
        assert await served.audited() == 0
        client.close()


async def test_client_that_leaves_ends_the_stream_where_that_is_passed_on(tmp_path: Path) -> None:
    """With --propagate-disconnect the function sees what a broken connection would be, and stops its provider."""
    async with FakeProvider() as fake, lambda_local(fake, tmp_path, "--propagate-disconnect") as served:
        fake.script = [Role(), Chunk("a"), Stall()]
        client = await served.chat()
        assert await client.response() == 200
        await client.read_until(b'"a"')
        client.abort()
        await fake.closed()
        await served.reports(1)
        assert served.records()[0]["end"] == "client_gone"
        assert await served.audited() == 0
        client.close()


async def test_sigterm_in_mid_stream_ends_everything_cleanly(tmp_path: Path) -> None:
    """Exit code 0, an end in-band for the stream, its hold settled, and no process left."""
    async with FakeProvider() as fake, lambda_local(fake, tmp_path) as served:
        fake.script = [Role(), Chunk("a"), Stall()]
        client = await served.chat()
        assert await client.response() == 200
        await client.read_until(b'"a"')
        (environment,) = served.environments()
        served.signal(signal.SIGTERM)
        await client.read_body()
        assert await served.ended() == 0
        await gone(environment)
        assert [record["end"] for record in served.records()] == ["client_gone"]  # how the layer says that time is up
        assert await served.audited() == 0
        client.close()


async def test_environments_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    """kill -9 leaves it no instruction to run, and still no environment outlives it, idle or in mid-stream."""
    async with FakeProvider() as fake, lambda_local(fake, tmp_path) as served:
        fake.script = [Role(), Chunk("a"), Stall()]
        fake.by_model["small"] = chat()
        busy = await served.chat()
        assert await busy.response() == 200
        async with await served.chat(model="small") as client:
            assert await client.response() == 200
            await client.read_stream()
        await served.reports(1)
        environments = served.environments()
        assert len(environments) == 2
        served.signal(signal.SIGKILL)
        for pid in environments:
            await gone(pid)
        busy.close()


async def test_fifty_streams_run_side_by_side(tmp_path: Path) -> None:
    """Fifty requests are in mid-stream at once, each in an environment of its own, and all are in the books."""
    async with FakeProvider() as fake, lambda_local(fake, tmp_path) as served:
        fake.script = [Role(), Chunk("a"), Pause(), Chunk("b"), Finish(), Done()]
        clients = [await served.chat() for _ in range(50)]
        for client in clients:
            assert await client.response() == 200
            await client.read_until(b'"a"')
        assert len(served.environments()) == 50
        fake.allow(50)
        for client in clients:
            answer = collect(await client.read_stream())
            assert answer.done
            client.close()
        reports = await served.reports(50)
        assert all("Status" not in report for report in reports)
        assert await served.audited() == 0


async def _frames(client: Any) -> Any:
    while (frame := await client.next_frame()) is not None:
        yield frame
