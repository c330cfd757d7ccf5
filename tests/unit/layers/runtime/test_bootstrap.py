"""The bootstrap as Lambda and its emulator start it: a process of its own."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from tests.fakes.runtime_api import FakeRuntimeApi, function_url_event
from tests.unit.layers.runtime.launch import LAYER, bootstrap, ended

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Processes are waited for in the same way by every loop."""
    return "asyncio"


def test_bootstrap_is_an_executable_script_without_carriage_returns() -> None:
    """Lambda answers anything else with exit code 126."""
    file = LAYER / "bootstrap"
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    assert b"\r" not in file.read_bytes()


@pytest.mark.parametrize("arguments", [[], ["fn.app"], [sys.executable, "/var/runtime/bootstrap.py"]])
async def test_bootstrap_serves_however_it_is_called(tmp_path: Path, arguments: list[str]) -> None:
    """As an exec wrapper, with a handler as the emulator does, and with nothing; startup and shutdown are once each."""
    async with FakeRuntimeApi() as api, bootstrap(tmp_path, api.address, *arguments) as process:
        posts = [api.invoke(function_url_event()) for _ in range(3)]
        await api.polled(4)
        process.terminate()
        code, out, err = await ended(process)
    assert (code, err) == (0, "")
    assert out.splitlines() == ["started", "ended"]
    script, *path = posts[0].chunks[2].decode().splitlines()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert script.endswith("/lambda_asgi/__main__.py")
    assert path[:5] == [
        str(tmp_path),
        str(LAYER / "python" / "lib" / version / "site-packages"),
        str(LAYER / "python"),
        f"/var/lang/lib/{version}/site-packages",
        "/var/runtime",
    ]
    assert str(LAYER / "python" / "lambda_asgi") not in path, "its modules would stand in for others of their name"
    assert path[-1] == "/var/runtime"


async def test_bootstrap_with_pythonpath_finds_itself_all_the_same(tmp_path: Path) -> None:
    """As on the managed runtime the layers' folders are left out then."""
    async with FakeRuntimeApi() as api, bootstrap(tmp_path, api.address, variables={"PYTHONPATH": "/mine"}) as process:
        post = api.invoke(function_url_event())
        await api.polled(2)
        process.terminate()
        code, _, _ = await ended(process)
    path = post.chunks[2].decode().splitlines()[1:]
    assert path[:2] == [str(tmp_path), "/mine"]
    assert str(LAYER / "python") not in path
    assert code == 0


async def test_bootstrap_hides_no_module_of_the_functions_own(tmp_path: Path) -> None:
    """A function may call its modules as the layer calls its own, or as the standard library does."""
    (tmp_path / "logs.py").write_text("here = 'mine'\n")
    (tmp_path / "json.py").write_text("raise AssertionError('the layer has to have its own by now')\n")
    (tmp_path / "fn.py").write_text("import logs\nassert logs.here == 'mine'\nasync def app(a, b, c): ...\n")
    async with FakeRuntimeApi() as api, bootstrap(tmp_path, api.address) as process:
        await api.polled(1)
        process.terminate()
        code, _, _ = await ended(process)
    assert code == 0


async def test_bootstrap_calls_the_next_wrapper_with_what_would_run(tmp_path: Path) -> None:
    """Another wrapper sees an interpreter and a script, once, and may call us back."""
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\necho "wrapped ${LAMBDA_ASGI_NEXT_WRAPPER-none} $1"\nexec "$@"\n')
    wrapper.chmod(0o755)
    async with (
        FakeRuntimeApi() as api,
        bootstrap(tmp_path, api.address, variables={"LAMBDA_ASGI_NEXT_WRAPPER": str(wrapper)}) as process,
    ):
        post = api.invoke(function_url_event())
        await api.polled(2)
        process.terminate()
        code, out, _ = await ended(process)
    assert code == 0
    assert out.splitlines()[0] == f"wrapped none {sys.executable}"
    assert post.chunks[1] == b"first"


@pytest.mark.parametrize(("mode", "code"), [(None, 127), (0o644, 126)])
async def test_next_wrapper_that_cannot_be_called_is_named(tmp_path: Path, mode: int | None, code: int) -> None:
    """The exit codes are those that the managed runtime gives for a wrapper of its own."""
    wrapper = tmp_path / "wrapper"
    if mode is not None:
        wrapper.write_text("")
        wrapper.chmod(mode)
    async with bootstrap(tmp_path, "127.0.0.1:1", variables={"LAMBDA_ASGI_NEXT_WRAPPER": str(wrapper)}) as process:
        found, _, err = await ended(process)
    assert found == code
    assert str(wrapper) in err


@pytest.mark.parametrize(
    ("variables", "source", "kind"),
    [
        ({"_HANDLER": "missing.app"}, None, "Runtime.ImportModuleError"),
        ({"LAMBDA_ASGI_STALL_S": "soon"}, None, "Runtime.InvalidSettings"),
        ({"LAMBDA_ASGI_LIFESPAN": "on"}, "async def app(a, b, c): ...", "Runtime.StartupFailed"),
    ],
)
async def test_init_that_fails_is_reported_and_ends_the_process(
    tmp_path: Path, variables: dict[str, str], source: str | None, kind: str
) -> None:
    """Lambda is told why, nothing is asked for, and the exit code is 1."""
    if source:
        (tmp_path / "fn.py").write_text(source)
    async with FakeRuntimeApi() as api, bootstrap(tmp_path, api.address, variables=variables) as process:
        code, out, err = await ended(process)
    assert (code, err) == (1, "")
    ((headers, error),) = api.init_errors
    assert headers["lambda-runtime-function-error-type"] == kind
    assert error["errorType"] == kind.partition(".")[2]
    assert api.happened == ["init/error"]
    assert json.loads(out.splitlines()[-1])["type"] == kind


async def test_terminate_during_a_stream_ends_it_and_the_process(tmp_path: Path) -> None:
    """SIGTERM in the middle: the app is told, ends in-band, and the lifespan is ended too."""
    async with FakeRuntimeApi() as api, bootstrap(tmp_path, api.address) as process:
        post = api.invoke(function_url_event("/wait"))
        await post.until(lambda: len(post.chunks) == 2)
        process.terminate()
        code, out, _ = await ended(process)
    assert code == 0
    assert post.ended
    assert not post.trailers
    assert out.splitlines() == ["started", "ended"]


async def test_runtime_api_that_refuses_ends_the_process(tmp_path: Path) -> None:
    """403 to GET next: exit code 1, after the lifespan's end."""
    async with FakeRuntimeApi() as api:
        api.next_statuses.append(403)
        async with bootstrap(tmp_path, api.address) as process:
            code, out, _ = await ended(process)
    assert code == 1
    assert out.splitlines()[0] == "started"
    assert out.splitlines()[-1] == "ended"


async def test_bootstrap_outside_of_lambda_says_so(tmp_path: Path) -> None:
    """Without a Runtime API there is nobody to tell but the log."""
    async with bootstrap(tmp_path, "") as process:
        code, out, _ = await ended(process)
    assert code == 1
    assert "AWS_LAMBDA_RUNTIME_API is not set" in out
    assert os.listdir(tmp_path) == ["fn.py"]
