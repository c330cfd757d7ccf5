"""How streams end behind a real nginx, what it answers itself, and what it never writes down."""

from __future__ import annotations

import json
import os
import signal
from typing import Final

import pytest

from rillgate.cli.healthcheck import UnixConnection
from tests.e2e.nginx import need_nginx, nginx, shared_folder
from tests.e2e.proxied import WAYS, Proxied, proxied
from tests.fakes.clients import RawClient, collect
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Close, Done, Finish, Pause, Role, chat, flood

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

BODY_BYTES_MAX: Final = 8_388_608  # limits.body_bytes_max
SECRET: Final = "a-prompt-that-nobody-may-log"
OTHER_GROUP: Final = 101  # that nginx's user has by default, and the gateway has not


@pytest.fixture
def anyio_backend() -> str:
    """nginx and the gateway are processes of their own."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _nginx_is_there() -> None:
    need_nginx()


async def streaming(through: Proxied) -> RawClient:
    """A client in the middle of a stream, which goes on when the provider is allowed to."""
    through.fake.script = [Role(), Chunk("one"), Pause(), Chunk(" two"), Finish(), Done()]
    client = await through.chat()
    assert await client.response() == 200
    for _ in range(2):
        assert await client.next_frame()
    return client


# Ends


@pytest.mark.parametrize("way", WAYS)
async def test_provider_that_breaks_off_is_an_error_in_band_behind_nginx(way: str) -> None:
    """The client gets a whole body that ends with the error, and no [DONE]."""
    async with proxied(way) as through:
        through.fake.script = [Role(), Chunk("one"), Close()]
        async with await through.chat() as client:
            assert await client.response() == 200
            answer = collect(await client.read_stream())
            assert client.complete
            assert answer.error is not None
            assert (answer.error["code"], answer.done) == ("upstream_truncated", False)


@pytest.mark.parametrize("way", WAYS)
async def test_cancel_through_nginx_ends_the_stream_in_band(way: str) -> None:
    """Another connection names the stream by the id that its headers have; the provider is let go."""
    async with proxied(way) as through, await streaming(through) as client, await through.nginx.client() as other:
        await other.request("POST", f"/v1/requests/{client.headers['x-request-id']}/cancel")
        assert await other.response() == 200
        answer = collect(await client.read_stream())
        assert answer.error is not None
        assert answer.error["code"] == "cancelled"
        assert client.complete
        await through.fake.closed()


@pytest.mark.parametrize("way", WAYS)
async def test_gateway_that_is_stopped_ends_its_streams_in_band_behind_nginx(way: str) -> None:
    """SIGTERM with the grace over: error, whole body, exit code 0; then nginx answers in its place, as JSON."""
    async with proxied(way, "--grace-s", "0") as through:
        async with await streaming(through) as client:
            through.served.signal(signal.SIGTERM)
            answer = collect(await client.read_stream())
            assert answer.error is not None
            assert (answer.error["code"], answer.done) == ("shutting_down", False)
            assert client.complete
        assert await through.served.ended() == 0
        async with await through.chat() as late:
            assert await late.response() == 502
            assert late.headers["retry-after"] == "2"
            assert json.loads(await late.read_body())["error"]["code"] == "gateway_unreachable"


@pytest.mark.parametrize("way", WAYS)
async def test_client_behind_nginx_that_stalls_is_ended_by_the_gateways_deadline(way: str) -> None:
    """nginx is more patient than `stall_s`: the end is `stalled`, and a client that wakes up reads the reason."""
    async with proxied(way, timeouts__stall_s=2) as through:
        through.fake.script = flood(32, frame_bytes=1024)
        async with await through.chat() as client:
            assert await client.response() == 200
            await through.served.logs(r'"end": ?"stalled"')
            await through.fake.closed()
            answer = collect(await client.read_stream())
            assert client.complete
            assert answer.error is not None
            assert not answer.done


async def test_gateway_that_is_killed_is_a_broken_body_and_never_a_whole_one() -> None:
    """kill -9 leaves nobody to say anything: nginx must not end the body properly in its place."""
    async with proxied("unix") as through, await streaming(through) as client:
        through.served.signal(signal.SIGKILL)
        assert await client.next_frame() is None
        assert client.truncated


async def test_nginx_and_gateway_stopped_together_let_the_stream_finish() -> None:
    """As `docker compose down` does: no new streams, the running one goes on to its own end, and both exit with 0."""
    async with proxied("unix", "--grace-s", "600") as through, await streaming(through) as client:
        through.nginx.quit()
        through.served.signal(signal.SIGTERM)
        await through.served.says("^Shutting down: 1 running")
        through.fake.allow()
        answer = collect(await client.read_stream())
        assert (answer.text, answer.done, client.complete) == (" two", True, True)
        assert await through.served.ended() == 0
        assert await through.nginx.ended() == 0
        with pytest.raises(ConnectionRefusedError):
            await through.nginx.client()


# What nginx says itself, and what it lets through


@pytest.mark.parametrize("way", WAYS)
async def test_body_behind_nginx_may_be_as_large_as_the_gateway_takes(way: str) -> None:
    """The largest goes through whole; one byte more is refused in JSON, with a length and without."""
    frame = json.dumps({"model": "fake-model", "messages": [{"role": "user", "content": ""}], "stream": True}).encode()
    head, tail = frame.split(b'""')
    body = head + b'"' + b"x" * (BODY_BYTES_MAX - len(frame)) + b'"' + tail
    async with proxied(way) as through:
        async with await through.nginx.client() as client:
            await client.request("POST", "/v1/chat/completions", body=body)
            assert await client.response() == 200
            assert collect(await client.read_stream()).done
        assert len((await through.fake.request()).json["messages"][0]["content"]) == BODY_BYTES_MAX - len(frame)
        assert through.nginx.files() == []
        async with await through.nginx.client() as client:
            await client.request("POST", "/v1/chat/completions", headers={"content-length": str(BODY_BYTES_MAX + 1)})
            await refused_as_too_large(client)
        async with await through.nginx.client() as client:
            await client.request("POST", "/v1/chat/completions", headers={"transfer-encoding": "chunked"})
            await client.send(b"%x\r\n{" % (BODY_BYTES_MAX + 1))
            await refused_as_too_large(client)


async def refused_as_too_large(client: RawClient) -> None:
    """413, in the shape that SDKs read."""
    assert await client.response() == 413
    assert json.loads(await client.read_body())["error"]["code"] == "request_too_large"


async def test_body_of_a_stranger_is_not_read() -> None:
    """The key is checked while none of eight megabytes has been sent."""
    async with proxied("unix", keys=True) as through, await through.nginx.client() as client:
        headers = {"content-length": str(BODY_BYTES_MAX), "authorization": "Bearer rill_wrong"}
        await client.request("POST", "/v1/chat/completions", headers=headers)
        assert await client.response() == 401


async def test_nginx_logs_no_prompt_whatever_happens() -> None:
    """The query of GET /chat stands in neither log, when it is served and when there is no gateway any more."""
    async with proxied("unix", "--grace-s", "0") as through:
        assert (await through.get(f"/chat?message={SECRET}&ticket=rillt_{SECRET}"))[0] in (200, 401)
        through.served.signal(signal.SIGTERM)
        await through.served.ended()
        assert (await through.get(f"/chat?message={SECRET}"))[0] == 502
        assert (await through.get(f"/chat/fake-model?message={SECRET}"))[0] == 502
        assert (await through.get("/v1/models"))[0] == 502
        through.nginx.quit()
        await through.nginx.ended()
    said = through.nginx.said.decode()
    assert SECRET not in said
    paths = [json.loads(line)["path"] for line in said.splitlines() if line.startswith("{")]
    assert paths == ["/chat", "/chat", "/chat/fake-model", "/v1/models"]
    assert "connect() to unix:" in said  # elsewhere errors are told


async def test_metrics_are_not_shown_through_nginx() -> None:
    """Refused by nginx itself, however the path is written; and by the gateway to whoever is forwarded."""
    async with proxied("unix") as through:
        for path in ("/metrics", "//metrics", "/%6detrics", "/x/../metrics", "/metrics?a=b"):
            assert (await through.get(path))[0] == 404, path
        for headers, status in (({}, 200), ({"x-forwarded-for": "127.0.0.1"}, 403)):
            connection = UnixConnection(through.upstream.removeprefix("unix:"))
            connection.request("GET", "/metrics", headers=headers)
            assert connection.getresponse().status == status
            connection.close()


async def test_forwarded_headers_of_a_stranger_are_replaced_by_nginx() -> None:
    """The gateway hears of the address that nginx has seen, and of nothing that the client wrote."""
    async with FakeProvider() as fake:
        fake.script = chat(["hi"])
        with shared_folder() as folder:
            async with nginx(f"127.0.0.1:{fake.port}", folder) as running, await running.client() as client:
                forged = {"x-forwarded-for": "10.0.0.1", "x-forwarded-proto": "https", "forwarded": "for=10.0.0.1"}
                body = {"model": "fake-model", "messages": [], "stream": True}
                await client.request("POST", "/v1/chat/completions", json=body, headers=forged)
                assert await client.response() == 200
                await client.read_body()
                headers = (await fake.request()).headers
                assert headers["x-forwarded-for"] == "127.0.0.1"
                assert headers["x-forwarded-proto"] == "http"
                assert headers["host"] == f"127.0.0.1:{running.port}"
                assert "forwarded" not in headers
                assert "connection" not in headers


async def test_nginx_outside_of_the_gateways_group_cannot_reach_it() -> None:
    """The socket's mode is what keeps others from speaking in a proxy's name; root is needed to be somebody else."""
    if os.geteuid() != 0:
        return
    async with proxied("unix") as through:
        assert (await through.get("/healthz"))[0] == 200
        with shared_folder() as folder:
            async with nginx(through.upstream, folder, group=OTHER_GROUP) as other, await other.client() as client:
                await client.request("GET", "/healthz")
                assert await client.response() == 502
