"""Over TLS, with HTTP/1.1 and HTTP/2 from a real curl: nginx ends both, and streams stay what they are."""

from __future__ import annotations

import asyncio
import functools
import json
import shutil
import subprocess
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trustme

from tests.e2e.nginx import need_nginx
from tests.e2e.process import PATIENCE_S
from tests.e2e.proxied import Proxied, proxied
from tests.fakes.script import chat, flood

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

STALLED_BYTES_MAX: Final = 1_000_000
"""What a provider may send for a curl whose output nobody reads: 0.45 to 0.57 MB are measured, its pipe and its own
buffers among them."""
VERSIONS: Final = ("1.1", "2")


@pytest.fixture
def anyio_backend() -> str:
    """nginx, the gateway and curl are processes of their own."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _curl_is_there() -> None:
    need_nginx()
    if "HTTP2" not in features():
        pytest.skip("there is no curl that speaks HTTP/2")


@functools.cache
def features() -> str:
    """What this machine's curl can do."""
    if shutil.which("curl") is None:
        return ""
    return subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout


@asynccontextmanager
async def curl(
    through: Proxied, authority: Path, version: str, *, prompt: str = "hi"
) -> AsyncIterator[asyncio.subprocess.Process]:
    """curl with a streaming request, its answer on its standard output as it comes, then the version it has spoken."""
    body = {"model": "fake-model", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    request = authority.with_name("request.json")
    request.write_text(json.dumps({**body, "max_tokens": 10**8}))
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--no-buffer", "--cacert", str(authority), "--noproxy", "*"),
        *("--http2",) if version == "2" else ("--http1.1",),
        *("--write-out", "HTTP/%{http_version}", "--json", f"@{request}"),
        f"https://127.0.0.1:{through.nginx.tls_port}/v1/chat/completions",
        stdin=DEVNULL,
        stdout=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()  # a pipe that is full and not read would never be seen to close


@asynccontextmanager
async def over_tls(folder: Path) -> AsyncIterator[tuple[Proxied, Path]]:
    """Everything behind TLS, and the file of the authority that vouches for it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    async with proxied("unix", certificate=authority.issue_cert("127.0.0.1")) as through:
        yield through, folder / "authority.pem"


@pytest.mark.parametrize("version", VERSIONS)
async def test_stream_over_tls_delivers_each_chunk_before_the_next_is_sent(version: str, tmp_path: Path) -> None:
    """No record, no frame and no window holds a chunk back."""
    texts = [f"word{number} " for number in range(100)]
    async with over_tls(tmp_path) as (through, authority):
        through.fake.script = chat(texts, lockstep_after=0)
        async with curl(through, authority, version) as client, asyncio.timeout(PATIENCE_S):
            assert client.stdout is not None
            for text in texts:
                through.fake.allow()
                await client.stdout.readuntil(f'"content":"{text}"'.encode())
            rest = await client.stdout.read()
            assert b"data: [DONE]\n\n" in rest
            assert rest.endswith(f"HTTP/{version}".encode())
            assert await client.wait() == 0


@pytest.mark.parametrize("version", VERSIONS)
async def test_large_body_over_tls_goes_through_without_a_file(version: str, tmp_path: Path) -> None:
    """Images in a prompt are megabytes, and HTTP/2 has windows for what is sent, too."""
    prompt = "x" * 8_000_000
    async with (
        over_tls(tmp_path) as (through, authority),
        curl(through, authority, version, prompt=prompt) as client,
    ):
        exchange = await through.fake.request()
        assert exchange.json["messages"][0]["content"] == prompt
        assert through.nginx.files() == []
        out, _ = await client.communicate()
        assert out.endswith(f"data: [DONE]\n\nHTTP/{version}".encode())


@pytest.mark.parametrize("version", VERSIONS)
async def test_client_over_tls_that_leaves_closes_the_providers_connection(version: str, tmp_path: Path) -> None:
    """A reset stream of HTTP/2 and a closed connection are the same to a provider."""
    async with over_tls(tmp_path) as (through, authority):
        through.fake.script = chat(["one", "two"], lockstep_after=1)
        async with curl(through, authority, version) as client:
            assert client.stdout is not None
            await client.stdout.readuntil(b'"content":"one"')
            client.terminate()
            exchange = await through.fake.closed()
            assert exchange.connection.how in ("fin", "rst")


@pytest.mark.parametrize("version", VERSIONS)
async def test_client_over_tls_that_stops_reading_stops_the_provider(version: str, tmp_path: Path) -> None:
    """The provider is read up to a bound, and nginx keeps nothing on a disk."""
    async with over_tls(tmp_path) as (through, authority):
        through.fake.script = flood(64, frame_bytes=1024)
        async with curl(through, authority, version):
            exchange = await through.fake.request()
            assert await through.taken(exchange) < STALLED_BYTES_MAX
            assert exchange.outcome == "running"
            assert through.nginx.files() == []
