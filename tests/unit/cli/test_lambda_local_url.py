"""What clients of a local Function URL get, whatever the runtime behind it does."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.lambda_support import function_url

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The command runs on uvloop."""
    return "asyncio", {"use_uvloop": True}


def is_stopped(pid: int) -> bool:
    """Whether a process is frozen, where the system says so."""
    stat = Path(f"/proc/{pid}/stat")
    return sys.platform != "linux" or stat.read_text().split()[2] == "T"


async def test_event_is_the_one_of_a_function_url(tmp_path: Path) -> None:
    """Path as it was encoded, query as it was and decoded, headers in lower case, cookies in their own place."""
    async with function_url(tmp_path) as url:
        headers = {"X-Many": "1", "Cookie": "a=1; b=2", "Connection": "close", "User-Agent": "test"}
        status, body = await url.body("/event?x=1&x=a%20b&y=", headers=headers)
        assert status == 201
        event: dict[str, Any] = json.loads(body)["event"]
    assert event["version"] == "2.0"
    assert event["rawPath"] == "/event"
    assert event["rawQueryString"] == "x=1&x=a%20b&y="
    assert event["queryStringParameters"] == {"x": "1,a b", "y": ""}
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["headers"]["x-many"] == "1"
    assert "cookie" not in event["headers"]
    assert "connection" not in event["headers"]
    assert event["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert event["headers"]["x-forwarded-port"] == str(url.address.port)
    assert event["headers"]["x-forwarded-proto"] == "http"
    context = event["requestContext"]
    assert ".lambda-url.eu-central-1.on.aws" in context["domainName"]
    assert context["http"] == {
        "method": "GET",
        "path": "/event",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "test",
    }
    assert context["stage"] == "$default"
    assert event["isBase64Encoded"] is False
    assert "body" not in event


@pytest.mark.parametrize(
    ("content_type", "body", "as_text"),
    [
        ("application/json", b'{"a": "\xc3\xa9"}', True),
        ("text/plain; charset=utf-8", b"hi", True),
        ("text/plain", b"\xff", False),
        ("application/octet-stream", b"hi", False),
        ("application/x-www-form-urlencoded", b"a=1", False),
    ],
)
async def test_event_body_is_text_where_its_type_says_so(
    tmp_path: Path, content_type: str, body: bytes, as_text: bool
) -> None:
    """Everything else is base64, and so is what only says that it is text."""
    async with function_url(tmp_path) as url:
        _, answer = await url.body("/event", method="POST", body=body, headers={"content-type": content_type})
        event = json.loads(answer)["event"]
    assert event["isBase64Encoded"] is not as_text
    found = event["body"].encode() if as_text else base64.b64decode(event["body"])
    assert found == body


async def test_request_of_more_than_six_megabytes_is_refused(tmp_path: Path) -> None:
    """Base64 counts: 5 MB of bytes do not fit where 5 MB of text do. No environment is started for it."""
    async with function_url(tmp_path) as url:
        status, _ = await url.body("/event", method="POST", body=b"x" * 7_000_000)
        assert status == 413
        status, _ = await url.body("/event", method="POST", body=b"x" * 5_000_000)
        assert status == 413
        assert url.lines == []
        text = {"content-type": "text/plain"}
        status, _ = await url.body("/pid", method="POST", body=b"x" * 5_000_000, headers=text)
        assert status == 201


async def test_streamed_answer_has_the_preludes_status_headers_and_cookies(tmp_path: Path) -> None:
    """And the invocation's id, under the name that Lambda gives it."""
    async with function_url(tmp_path) as url, await url.ask("/pid") as client:
        assert client.status == 201
        assert client.headers["content-type"] == "text/plain"
        assert client.headers["x-a"] == "1,2"
        assert [value for name, value in client.headers.pairs if name == "set-cookie"] == ["a=1", "b=2"]
        assert (await client.read_body()).isdigit()
        assert f"RequestId: {client.headers['x-amzn-requestid']}\t" in (await url.reports())[0]


async def test_streamed_answer_leaves_while_the_function_still_works_on_it(tmp_path: Path) -> None:
    """What a function has written is with the client although nothing follows."""
    async with function_url(tmp_path) as url:
        client = await url.ask("/hang")
        assert (await client.read_some()).isdigit()
        client.close()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/error", "Function.Unknown"),
        ("/exit", "Runtime.ExitError"),
        ("/too-large", "Function.ResponseSizeTooLarge"),
    ],
)
async def test_failure_before_the_first_byte_is_a_502(tmp_path: Path, path: str, kind: str) -> None:
    """The client learns nothing of it; the REPORT line says what it was."""
    async with function_url(tmp_path) as url:
        assert await url.body(path) == (502, b"Internal Server Error")
        (report,) = await url.reports()
        assert report.endswith(f"\tStatus: error\tError Type: {kind}")


async def test_answer_without_a_prelude_is_a_502(tmp_path: Path) -> None:
    """The function has done its work, but nobody can say what the client's status would be."""
    async with function_url(tmp_path) as url:
        assert (await url.body("/no-prelude"))[0] == 502
        assert any("no prelude" in line for line in url.lines)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/cut", "Runtime.TruncatedResponse"),
        ("/exit-late", "Runtime.ExitError"),
        ("/trailers", "Function.Oh"),
    ],
)
async def test_failure_in_mid_stream_ends_the_body_as_if_it_were_complete(tmp_path: Path, path: str, kind: str) -> None:
    """As on Lambda: the client gets what there was and a proper end; only the REPORT line says more."""
    async with function_url(tmp_path) as url:
        assert await url.body(path) == (201, b"half")
        (report,) = await url.reports()
        assert report.endswith(f"\tStatus: error\tError Type: {kind}")


async def test_bare_stream_and_whole_document_are_answers_too(tmp_path: Path) -> None:
    """A stream of another type is its own body; a buffered answer is read as payload format 2.0."""
    async with function_url(tmp_path) as url:
        async with await url.ask("/bare") as client:
            assert (client.status, client.headers["content-type"]) == (200, "text/csv")
            assert await client.read_body() == b"a,b"
        async with await url.ask("/whole") as client:
            assert (client.status, client.headers["x-b"]) == (202, "1")
            assert await client.read_body() == b"\x00\x01"


async def test_deadline_kills_the_environment_and_the_next_request_gets_a_new_one(tmp_path: Path) -> None:
    """Before the first byte it is a 502, after it the body ends; both are `timeout` in the REPORT line."""
    async with function_url(tmp_path, timeout_s=1.0) as url:
        assert (await url.body("/silent"))[0] == 502
        status, pid = await url.body("/hang")
        assert status == 201
        for report in await url.reports(2):
            assert report.endswith("\tStatus: timeout")
            assert "Init Duration" in report
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
        assert (await url.body("/pid"))[0] == 201


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory another process has")
async def test_memory_limit_kills_the_environment(tmp_path: Path) -> None:
    """By what it has in memory, as Lambda counts."""
    async with function_url(tmp_path, memory_mb=128) as url:
        assert (await url.body("/memory"))[0] == 502
        (report,) = await url.reports()
        used = re.search(r"\tMemory Size: 128 MB\tMax Memory Used: (\d+) MB", report)
        assert used is not None
        assert int(used[1]) > 128
        assert report.endswith("\tError Type: Runtime.OutOfMemory")


@pytest.mark.parametrize(("how", "kind"), [("error", "Runtime.NoLuck"), ("exit", "Runtime.ExitError")])
async def test_init_that_fails_is_a_502_and_every_request_tries_again(tmp_path: Path, how: str, kind: str) -> None:
    """Nothing of it stays."""
    async with function_url(tmp_path, configured={"STANDIN_INIT": how}) as url:
        for _ in range(2):
            assert (await url.body("/pid"))[0] == 502
        assert [line.rpartition(" ")[2] for line in url.lines if line.startswith("INIT_REPORT")] == [kind, kind]
        assert url.function.fleet.pids == []


async def test_environment_serves_one_request_at_a_time_and_is_reused(tmp_path: Path) -> None:
    """While one is busy another one starts; idle, the same process serves again, and was frozen meanwhile."""
    async with function_url(tmp_path) as url:
        _, first = await url.body("/pid")
        await url.reports(1)
        while not is_stopped(int(first)):  # a moment after the signal
            await asyncio.sleep(0)
        assert (await url.body("/pid"))[1] == first
        await url.reports(2)
        busy = await url.ask("/hang")
        assert await busy.read_some() == first
        assert (await url.body("/pid"))[1] != first
        busy.close()


async def test_request_beyond_the_environments_is_throttled(tmp_path: Path) -> None:
    """429, as Lambda answers; a moment later there is room again."""
    async with function_url(tmp_path, environments_max=1) as url:
        busy = await url.ask("/hang")
        pid = int(await busy.read_some())
        status, body = await url.body("/pid")
        assert status == 429
        assert json.loads(body)["Reason"] == "ConcurrentInvocationLimitExceeded"
        os.kill(pid, signal.SIGKILL)
        await busy.read_body()
        await url.reports()
        while (await url.body("/pid"))[0] == 429:
            await asyncio.sleep(0)
        busy.close()


async def test_killed_environment_takes_only_its_own_request_along(tmp_path: Path) -> None:
    """Another one in mid-stream does not notice."""
    async with function_url(tmp_path) as url:
        one, other = await url.ask("/hang"), await url.ask("/hang")
        os.kill(int(await one.read_some()), signal.SIGKILL)
        assert await one.read_body() == b""
        assert len(await url.reports(1)) == 1
        assert len(url.function.fleet.pids) == 1
        one.close()
        other.close()


async def test_client_that_does_not_read_stops_the_function(tmp_path: Path) -> None:
    """16 MB do not go into anybody's buffers: the runtime's writes wait, and all of it comes when it is read."""
    async with function_url(tmp_path) as url:
        client = await url.send("/flood", rcvbuf=4096)
        assert await client.response() == 201
        quick = await url.ask("/pid")
        await quick.read_body()
        assert len(await url.reports(1)) == 1
        assert len(await client.read_body()) == 1024 * 16_384
        await url.reports(2)
        client.close()
        quick.close()


async def test_client_that_leaves_changes_nothing(tmp_path: Path) -> None:
    """The function writes to its end, at once."""
    async with function_url(tmp_path) as url:
        client = await url.send("/flood", rcvbuf=4096)
        assert await client.response() == 201
        client.abort()
        (report,) = await url.reports()
        assert "Status" not in report
        client.close()


async def test_client_that_leaves_breaks_the_response_where_that_is_passed_on(tmp_path: Path) -> None:
    """The runtime's connection is closed in its face."""
    async with function_url(tmp_path, propagate_disconnect=True) as url:
        client = await url.send("/flood", rcvbuf=4096)
        assert await client.response() == 201
        client.abort()
        (report,) = await url.reports()
        assert "Status: error" in report
        client.close()


async def test_environments_that_ignore_sigterm_are_killed_at_the_end(tmp_path: Path) -> None:
    """Idle or in mid-stream, nothing is left."""
    async with function_url(tmp_path, configured={"STANDIN_INIT": "stubborn"}) as url:
        busy = await url.ask("/hang")
        pids = [int(await busy.read_some()), int((await url.body("/pid"))[1])]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    busy.close()


async def test_function_sees_lambdas_variables_and_none_of_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its configuration gives it, what Lambda adds, and nothing else."""
    monkeypatch.setenv("SOMETHING_ELSE", "1")
    configured = {"RILLGATE_MODEL": "m", "AWS_LAMBDA_FUNCTION_NAME": "forged"}
    async with function_url(tmp_path, configured=configured, memory_mb=512, handler="a.b") as url:
        _, body = await url.body("/event")
        found = json.loads(body)
    environ = found["environ"]
    assert "SOMETHING_ELSE" not in environ
    assert "PYTHONPATH" not in environ
    assert environ["RILLGATE_MODEL"] == "m"
    assert environ["AWS_LAMBDA_FUNCTION_NAME"] == "rillgate"
    assert environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512"
    assert environ["_HANDLER"] == "a.b"
    assert environ["LAMBDA_TASK_ROOT"] == str(tmp_path)
    assert environ["AWS_REGION"] == "us-east-1"
    assert found["headers"]["lambda-runtime-invocation-id"]
    assert found["headers"]["lambda-runtime-trace-id"] == found["event"]["headers"]["x-amzn-trace-id"]
