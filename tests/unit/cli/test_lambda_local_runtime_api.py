"""A local Runtime API, from the side of a runtime: its states and refusals are those of AWS's own."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rillgate.cli.local.invocation import Failure, Invocation
from rillgate.cli.local.runtime_api import RESPONSE_BYTES_MAX, RuntimeApi
from tests.fakes.clients import RawClient, Truncated

pytestmark = pytest.mark.anyio

API = "/2018-06-01/runtime"
STREAMING = {
    "lambda-runtime-function-response-mode": "streaming",
    "transfer-encoding": "chunked",
    "content-type": "application/vnd.awslambda.http-integration-response",
}


class ApiInTest(RuntimeApi):
    """A Runtime API, and what it says to its environment.

    Attributes:
        asked: set whenever the runtime asks for work.
        init_failure: what it reported.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.init_failure: Failure | None = None
        super().__init__(function_arn="arn:f", on_idle=self.asked.set, on_init_error=self._init_failed)

    def _init_failed(self, failure: Failure) -> None:
        self.init_failure = failure

    async def open(self) -> RawClient:
        """A connection of the runtime's."""
        return await RawClient.open(int(self.address.rpartition(":")[2]))

    async def ask(self, method: str, path: str, **request: Any) -> tuple[int, Any]:
        """One request on a connection of its own: status and JSON."""
        async with await self.open() as client:
            await client.request(method, f"{API}{path}", **request)
            status = await client.response()
            return status, json.loads(await client.read_body())

    async def invoked(self, event: bytes = b"{}") -> Invocation:
        """Have the runtime ask for work and give it some."""
        self.asked.clear()
        async with await self.open() as client:
            await client.request("GET", f"{API}/invocation/next")
            await self.asked.wait()
            invocation = Invocation(event)
            self.give(invocation, 1_795_000_000_000)
            assert await client.response() == 200
            assert await client.read_body() == event
            assert client.headers["lambda-runtime-aws-request-id"] == invocation.request_id
            assert client.headers["lambda-runtime-deadline-ms"] == "1795000000000"
            assert client.headers["lambda-runtime-invoked-function-arn"] == "arn:f"
            assert client.headers["lambda-runtime-invocation-id"] == invocation.invocation_id
        return invocation

    async def streaming(self, invocation: Invocation) -> RawClient:
        """A streamed response that has begun."""
        client = await self.open()
        path = f"{API}/invocation/{invocation.request_id}/response"
        await client.request("POST", path, headers=STREAMING)
        return client


@asynccontextmanager
async def runtime_api() -> AsyncIterator[ApiInTest]:
    """One that listens."""
    api = ApiInTest()
    await api.start()
    try:
        yield api
    finally:
        await api.aclose()


async def test_runtime_api_hands_on_each_chunk_as_it_comes() -> None:
    """A chunk can be read while the next one has not been written, and the answer comes after the last one."""
    async with runtime_api() as api:
        invocation = await api.invoked()
        async with await api.streaming(invocation) as client:
            for text in (b"one", b"two"):
                await client.send(b"3\r\n" + text + b"\r\n")
                assert await invocation.read() == text
            head = await invocation.head()
            assert head is not None
            assert head.streaming
            await client.send(b"0\r\n\r\n")
            assert await invocation.read() == b""
            assert await client.response() == 202
            assert json.loads(await client.read_body()) == {"status": "OK"}
        assert invocation.failure is None


async def test_runtime_api_reads_the_error_behind_a_streamed_response() -> None:
    """Trailers with a type and a base64 body; a type that Lambda does not take becomes the one it puts there."""
    body = base64.b64encode(b'{"errorMessage": "oh"}').decode()
    for kind, found in (("Function.Oh", "Function.Oh"), ("oh no", "Function.Unknown")):
        async with runtime_api() as api:
            invocation = await api.invoked()
            async with await api.streaming(invocation) as client:
                await client.send(
                    f"0\r\nLambda-Runtime-Function-Error-Type: {kind}\r\n"
                    f"Lambda-Runtime-Function-Error-Body: {body}\r\n\r\n".encode()
                )
                assert await client.response() == 202
            assert invocation.failure == Failure(found, "oh")


async def test_runtime_api_reads_no_further_than_its_client() -> None:
    """With nobody reading the response, a runtime that writes without end is stopped within a bound."""
    async with runtime_api() as api:
        invocation = await api.invoked()
        async with await api.streaming(invocation) as client:
            sent = 0
            try:
                while sent < 64 * 1024 * 1024:
                    async with asyncio.timeout(0.5):
                        await client.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                    sent += 0x4000
            except TimeoutError:
                pass
            assert 0 < sent < 8 * 1024 * 1024


async def test_runtime_api_refuses_what_comes_in_the_wrong_state() -> None:
    """403 for a question during a response, for a second response, and for a response to nothing."""
    async with runtime_api() as api:
        assert (await api.ask("POST", "/invocation/x/response", body=b"1"))[0] == 400
        invocation = await api.invoked()
        path = f"/invocation/{invocation.request_id}"
        async with await api.streaming(invocation) as client:
            await client.send(b"1\r\nx\r\n")
            await invocation.head()
            for method, what in (("GET", "/invocation/next"), ("POST", f"{path}/response"), ("POST", f"{path}/error")):
                status, error = await api.ask(method, what, body=b"1" if method == "POST" else None)
                assert (status, error["errorType"]) == (403, "InvalidStateTransition")
        assert (await api.ask("POST", "/init/error", body=b"{}"))[0] == 403


@pytest.mark.parametrize(
    ("path", "headers", "status", "kind"),
    [
        ("/invocation/another/response", {}, 400, "InvalidRequestID"),
        ("/invocation/ID/response", {"lambda-runtime-invocation-id": "an-older-one"}, 410, "InvokeTimeout"),
        (
            "/invocation/ID/response",
            {"lambda-runtime-function-response-mode": "Streaming"},
            400,
            "InvalidFunctionResponseMode",
        ),
        ("/invocation/ID/nothing", {}, 404, "NotFound"),
    ],
)
async def test_runtime_api_refuses_what_is_not_an_answer(
    path: str, headers: dict[str, str], status: int, kind: str
) -> None:
    """And the invocation still waits for the right one."""
    async with runtime_api() as api:
        invocation = await api.invoked()
        found, error = await api.ask("POST", path.replace("ID", invocation.request_id), headers=headers, body=b"1")
        assert (found, error["errorType"]) == (status, kind)
        echo = {"lambda-runtime-invocation-id": invocation.invocation_id}
        answer = asyncio.create_task(
            api.ask("POST", f"/invocation/{invocation.request_id}/response", headers=echo, body=b"{}")
        )
        assert await invocation.read() == b"{}"
        assert (await answer)[0] == 202


async def test_runtime_api_takes_no_whole_answer_of_more_than_six_megabytes() -> None:
    """413 once it was read, so that the runtime hears it; the invocation has failed."""
    async with runtime_api() as api:
        invocation = await api.invoked()
        path = f"/invocation/{invocation.request_id}/response"
        status, error = await api.ask("POST", path, body=b"x" * (RESPONSE_BYTES_MAX + 1))
        assert (status, error["errorType"]) == (413, "RequestEntityTooLarge")
        assert await invocation.head() is None
        assert invocation.failure is not None
        assert invocation.failure.type == "Function.ResponseSizeTooLarge"


async def test_runtime_api_ends_a_response_that_is_cut() -> None:
    """Without its last chunk it is truncated; what had come was handed on."""
    async with runtime_api() as api:
        invocation = await api.invoked()
        client = await api.streaming(invocation)
        await client.send(b"3\r\none\r\n")
        client.close()
        assert await invocation.read() == b"one"
        assert await invocation.read() == b""
        assert invocation.failure is not None
        assert invocation.failure.type == "Runtime.TruncatedResponse"


async def test_runtime_api_drops_the_connection_of_a_client_that_left() -> None:
    """Where that is passed on: the runtime's write fails, and it may ask for the next one."""
    async with runtime_api() as api:
        invocation = await api.invoked()
        client = await api.streaming(invocation)
        await client.send(b"3\r\none\r\n")
        await invocation.head()
        invocation.leave()
        with pytest.raises((Truncated, ConnectionResetError)):
            await client.response()
        client.close()
        await api.invoked()


async def test_runtime_api_passes_on_an_init_that_failed() -> None:
    """Before the first question for work only."""
    async with runtime_api() as api:
        headers = {"lambda-runtime-function-error-type": "Runtime.Oh"}
        status, _ = await api.ask("POST", "/init/error", headers=headers, body=b'{"errorMessage": "why"}')
        assert status == 202
        assert api.init_failure == Failure("Runtime.Oh", "why")


async def test_runtime_api_reported_error_ends_the_invocation() -> None:
    """There is no response then."""
    async with runtime_api() as api:
        invocation = await api.invoked()
        path = f"/invocation/{invocation.request_id}/error"
        headers = {"lambda-runtime-function-error-type": "Function.Oh"}
        assert (await api.ask("POST", path, headers=headers, body=b'{"errorMessage": "why"}'))[0] == 202
        assert await invocation.head() is None
        assert invocation.failure == Failure("Function.Oh", "why")
        await api.invoked()
