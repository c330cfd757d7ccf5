"""The embedded model itself: it answers, only to us, and never outlives its gateway."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import pytest

from rillgate.app import embedded, embedded_child
from rillgate.app.embedded import EmbeddedModel
from rillgate.domain.request import Endpoint

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(not EmbeddedModel.available(), reason="the embedded model's wheels are not installed"),
]

# Holds the pipe named by its argument for as long as it lives, and is otherwise the model's own process.
CHILD_HOLDING_A_PIPE = """
import os, runpy, sys
os.open(sys.argv[1], os.O_WRONLY)
runpy.run_path(sys.argv[2], run_name="__main__")
"""

# A gateway in small: starts the model, says when it is ready, and waits to be killed.
PARENT = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
from rillgate.app.embedded import EmbeddedModel

async def main():
    model = EmbeddedModel(command=sys.argv[2:])
    await model.start()
    endpoint = await model.endpoint()
    print(model.pid, endpoint.base_url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def call(endpoint: Endpoint, path: str, headers: Mapping[str, str], body: object = None) -> tuple[int, Any]:
    """One blocking request to the model. Returns the status and the answer's JSON."""
    url = urlsplit(endpoint.base_url + path)
    connection = http.client.HTTPConnection(url.netloc, timeout=60)
    try:
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", url.path, content, dict(headers))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.anyio
async def test_embedded_model_started_answers_with_the_secret_and_refuses_without() -> None:
    """A completion with the endpoint's headers comes; without them, or with another secret, it is 401."""
    model = EmbeddedModel()
    await model.start()
    try:
        with anyio.fail_after(120):
            endpoint = await model.endpoint()
            question = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}

            async def ask(headers: Mapping[str, str]) -> tuple[int, Any]:
                return await anyio.to_thread.run_sync(call, endpoint, "/chat/completions", headers, question)

            status, answer = await ask(dict(endpoint.headers))
            assert status == 200
            assert answer["model"] == EmbeddedModel.ALIAS
            assert answer["choices"][0]["message"]["content"]
            assert 1 <= answer["usage"]["completion_tokens"] <= 4
            assert (await ask({}))[0] == 401
            assert (await ask({"Authorization": "Bearer guessed"}))[0] == 401

            status, models = await anyio.to_thread.run_sync(call, endpoint, "/models", dict(endpoint.headers))
            assert status == 200
            assert [entry["id"] for entry in models["data"]] == [EmbeddedModel.ALIAS]
            assert urlsplit(endpoint.base_url).hostname == "127.0.0.1"
    finally:
        await model.stop()


@pytest.mark.anyio
async def test_embedded_model_signalled_with_its_group_answers_on() -> None:
    """Ctrl-C and `kill` of a whole group are the gateway's to handle: the model serves until it is stopped."""
    model = EmbeddedModel()
    await model.start()
    try:
        with anyio.fail_after(120):
            endpoint = await model.endpoint()
            pid = model.pid
            assert pid is not None
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, number)
            status, _ = await anyio.to_thread.run_sync(call, endpoint, "/models", dict(endpoint.headers))
            assert status == 200
            assert model.is_ready()
    finally:
        await model.stop()
    assert model.pid is None


@pytest.mark.anyio
async def test_embedded_model_stopped_ends_by_its_pipe_alone() -> None:
    """Closing the pipe is enough: with no time limit on it, `stop()` still returns, and nothing listens any more."""
    model = EmbeddedModel(stop_grace_s=120)
    await model.start()
    endpoint = await model.endpoint()
    await model.stop()
    with pytest.raises(ConnectionRefusedError):
        await anyio.to_thread.run_sync(call, endpoint, "/models", {})


def test_embedded_model_gateway_killed_leaves_no_orphan(tmp_path: Path) -> None:
    """After kill -9 of the gateway the model's process ends: the pipe that only it still held reads its end."""
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    root = str(Path(embedded.__file__).parents[2])
    child = [sys.executable, "-P", "-c", CHILD_HOLDING_A_PIPE, str(fifo), embedded_child.__file__]
    with subprocess.Popen([sys.executable, "-P", "-c", PARENT, root, *child], stdout=subprocess.PIPE) as parent:
        try:
            held = os.open(fifo, os.O_RDONLY)  # returns when the child has opened it for writing
            try:
                assert parent.stdout is not None
                pid, base_url = parent.stdout.readline().split()
                assert int(pid) != parent.pid
                parent.kill()
                parent.wait()
                assert select.select([held], [], [], 60)[0]
                assert os.read(held, 1) == b""
            finally:
                os.close(held)
        finally:
            parent.kill()
    with pytest.raises(ConnectionRefusedError):
        call(Endpoint(base_url.decode()), "/models", {})
