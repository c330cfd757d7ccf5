"""The service `metrics` of compose.yaml: the gateway's page on a port that Prometheus reaches, and nothing else."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.compose import services
from tests.e2e.nginx import (
    GROUP,
    PROGRAM,
    ROOT,
    Nginx,
    _user,
    free_port,
    need_nginx,
    places_of,
    replaced,
    shared_folder,
)
from tests.e2e.process import serving, variables_for
from tests.fakes.provider import FakeProvider

pytestmark = pytest.mark.anyio

SOURCE = ROOT / "infra" / "container" / "prometheus" / "metrics.conf"


@pytest.fixture
def anyio_backend() -> str:
    """The loop of this process is not the subject, and uvloop knows no groups of a child."""
    return "asyncio"


@asynccontextmanager
async def door(folder: Path) -> AsyncIterator[Nginx]:
    """nginx with the configuration that compose mounts, run by compose's command."""
    assert PROGRAM is not None
    port = free_port()
    places = {**places_of(folder), "listen 9464": f"listen 127.0.0.1:{port}"}
    configuration = folder / "etc" / "metrics.conf"
    configuration.write_text(replaced(SOURCE.read_text(), places))
    assert str(port) in configuration.read_text()
    _, *words = services()["metrics"]["command"]
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *words, "-c", str(configuration), stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, **_user(GROUP)
    )
    running = Nginx(port, 0, folder, process)
    try:
        await running.listens()
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        await running.ended()


async def asked(running: Nginx, path: str) -> tuple[int, bytes]:
    """One request to it."""
    async with await running.client() as client:
        await client.request("GET", path, headers={"connection": "close", "host": "metrics:9464"})
        return await client.response(), await client.read_body()


async def test_door_shows_the_metrics_of_a_gateway_on_a_socket_and_nothing_else() -> None:
    """Over the socket that the gateway shows them on by default; what else it can do is not to be had there."""
    need_nginx()
    with shared_folder() as folder:
        socket = str(folder / "run" / "gateway.sock")
        async with (
            FakeProvider() as fake,
            serving(port=None, **variables_for(fake), RILLGATE_SERVER__UNIX_SOCKET=socket),
            door(folder) as running,
        ):
            status, page = await asked(running, "/metrics")
            assert status == 200
            assert b"llm_workers 1.0" in page
            for path in ("/", "/healthz", "/metrics/", "/metricsx", "/v1/models", "/chat?message=hi"):
                assert (await asked(running, path))[0] == 404, path
