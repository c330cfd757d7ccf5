"""The units for systemd, without a systemd: judged by its own tools, their socket passed on as it does that, and the
program under the one restriction that an interpreter and a model might not bear.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from rillgate.app.embedded import EmbeddedModel
from rillgate.app.server import ABORT_S, FLUSH_S, LIFESPAN_S
from tests.e2e.process import PATIENCE_S, command, environment, variables_for
from tests.fakes.clients import RawClient, collect
from tests.fakes.provider import FakeProvider

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

UNITS = Path(__file__).parents[2] / "infra" / "container" / "systemd"
SERVICE = UNITS / "rillgate.service"
EXPOSURE_MAX = 20  # in tenths: systemd calls 2.0 and less "OK", 9.6 "UNSAFE" is a service without any of it
PR_SET_MDWE = 65  # prctl(2), Linux 6.3: what MemoryDenyWriteExecute= does
UNDER_MDWE = (
    "import ctypes, os, sys; "
    f"assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0) == 0; os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture
def anyio_backend() -> str:
    """The gateway is a process of its own, on the loop that it chooses."""
    return "asyncio"


def tool(name: str) -> str:
    """One of systemd's; skips the test where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}; `apt-get install systemd` brings it")
    return found


def test_units_are_what_systemd_accepts(tmp_path: Path) -> None:
    """`systemd-analyze verify`, on units that name a program that is there."""
    analyze = tool("systemd-analyze")
    program = tmp_path / "rillgate"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in UNITS.iterdir():
        text = unit.read_text()
        (tmp_path / unit.name).write_text(re.sub(r"ExecStart=\S+", f"ExecStart={program}", text))
    units = sorted(str(path) for path in tmp_path.glob("rillgate.*"))
    assert len(units) == 2
    verified = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_service_is_shut_in() -> None:
    """`systemd-analyze security` finds little that it could still do."""
    judged = subprocess.run(
        [tool("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", str(SERVICE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-200:]


def test_service_gives_streams_the_time_that_they_may_take() -> None:
    """systemd kills whatever is left later than the gateway gives up by itself."""
    longest_s = 20 + FLUSH_S + 2 * ABORT_S + LIFESPAN_S
    stop_s = re.search(r"^TimeoutStopSec=(\d+)$", SERVICE.read_text(), re.MULTILINE)
    assert stop_s is not None
    assert longest_s < int(stop_s[1])


async def test_socket_that_systemd_passes_on_is_served_and_needs_a_key(tmp_path: Path) -> None:
    """The process is started by the first connection, which is served too; SIGTERM ends it with 0."""
    activate = tool("systemd-socket-activate")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with FakeProvider() as fake:
        variables = environment(tmp_path, **variables_for(fake))
        given = [word for name, value in variables.items() for word in ("-E", f"{name}={value}")]
        process = await asyncio.create_subprocess_exec(
            *(activate, "-l", f"127.0.0.1:{port}", *given, *command("serve", "--first-key")),
            cwd=tmp_path,
            stdout=PIPE,
            stderr=PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(PATIENCE_S):
                assert b"Listening on" in await process.stderr.readline()
                async with await RawClient.open(port) as client:
                    await client.request("GET", "/v1/models")
                    assert await client.response() == 401
                    assert (
                        await process.stdout.readline()
                    ).decode() == f"Rillgate listens on http://127.0.0.1:{port}\n"
                key = (await process.stdout.readline()).decode().split()[-1]
                async with await RawClient.open(port) as client:
                    headers = {"authorization": f"Bearer {key}"}
                    await client.request("POST", "/chat/stream", json={"prompt": "hi"}, headers=headers)
                    assert await client.response() == 200
                    assert collect(await client.read_stream()).text == "Hello, world!"
                process.send_signal(signal.SIGTERM)
                await process.communicate()
            assert process.returncode == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


@pytest.mark.skipif(
    sys.platform != "linux" or ctypes.CDLL(None).prctl(66, 0, 0, 0, 0) < 0,
    reason="this kernel cannot refuse writable and executable memory",
)
@pytest.mark.skipif(not EmbeddedModel.available(), reason="the embedded model's wheels are not installed")
async def test_embedded_model_streams_without_memory_that_is_writable_and_executable(tmp_path: Path) -> None:
    """As under `MemoryDenyWriteExecute=yes`; what a process may not do, its children may not either."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", UNDER_MDWE, *command("serve", "--port", "0")),
        cwd=tmp_path,
        env=environment(tmp_path, RILLGATE_BACKEND="embedded"),
        stdout=PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            port = int((await process.stdout.readline()).decode().rsplit(":", 1)[1])
            while b"is ready" not in await process.stdout.readline():
                pass
            async with await RawClient.open(port) as client:
                await client.request("POST", "/chat/stream", json={"prompt": "Hello", "max_tokens": 8})
                assert await client.response() == 200
                assert collect(await client.read_stream()).text
    finally:
        process.kill()
        await process.communicate()
    assert os.listdir(tmp_path)
