"""AWS's own DynamoDB Local, on a free port, as long as a block or the whole test run.

Maven fetches it once into build/dynamodb-local; Java 17 runs it in memory. It takes any credentials, checks no
signatures, and listens on all interfaces, which no option changes: nothing but tests' own items is ever in it.

    if reason := unavailable(): pytest.skip(reason)
    local = shared()               # one server for the whole run; `with running() as local` for one of one's own
    location = local.new_table()   # a table of the test's own
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import http.client
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import boto3
import pytest
from botocore.config import Config

from rillgate.ledger.dynamodb_location import DynamoDbLocation
from rillgate.ledger.dynamodb_table import create_table

ROOT = Path(__file__).parents[2]
JARS = ROOT / "build" / "dynamodb-local"
POM = ROOT / "tests" / "dynamodb_local" / "pom.xml"

REGION = "us-east-1"
ACCESS_KEY_ID = "fakefakefake"
SECRET_ACCESS_KEY = "fake-secret"

FETCH_TIMEOUT_S = 900.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
CLIENT_TIMEOUT_S = 30.0  # it does some 300 contended writes a second: the last one of a crowd waits long

_FETCH = ["mvn", "-B", "-q", "-C", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={JARS}"]
_PATIENT = ["-Dmaven.wagon.rto=120000", "-Dmaven.wagon.http.retryHandler.count=3"]  # ms without a byte; repeats
_SERVER = [
    "-cp",
    f"{JARS}/*",
    f"-Djava.library.path={JARS}",
    "com.amazonaws.services.dynamodbv2.local.main.ServerRunner",
]
_OPTIONS = ["-inMemory", "-sharedDb", "-disableTelemetry"]  # one database, whatever region and key a call has

# Runs a command, prints its process id, and ends it when the standard input is closed: a test run that is killed leaves
# no server behind.
_WATCH = """
exec 3<&0
"$@" </dev/null >&2 3<&- &
child=$!
echo "$child"
(cat <&3 >/dev/null; kill "$child" 2>/dev/null) >/dev/null &
exec 3<&-
wait "$child"
"""


@functools.cache
def unavailable() -> str | None:
    """Why it cannot run on this machine; None when it can. Fetches it where it is not there yet."""
    if shutil.which("java") is None:
        return "DynamoDB Local needs Java 17, and there is no java"
    with _one_process_at_a_time():
        return None if _complete().exists() else _fetch()


def _complete() -> Path:
    """A file that stands when everything of this very pom has been copied."""
    return JARS / f"complete-{zlib.crc32(POM.read_bytes()):08x}"


@contextlib.contextmanager
def _one_process_at_a_time() -> Iterator[None]:
    JARS.parent.mkdir(exist_ok=True)
    with JARS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch() -> str | None:
    if shutil.which("mvn") is None:
        return "DynamoDB Local is not in build/dynamodb-local, and there is no mvn to fetch it"
    shutil.rmtree(JARS, ignore_errors=True)
    try:
        subprocess.run([*_FETCH, *_PATIENT], check=True, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"mvn did not fetch DynamoDB Local within {FETCH_TIMEOUT_S:.0f} s"
    except subprocess.CalledProcessError as error:
        said = str(error.stdout + error.stderr).strip().splitlines()
        return f"mvn could not fetch DynamoDB Local: {said[0] if said else f'exit code {error.returncode}'}"
    _complete().touch()
    return None


class DynamoDbLocal:
    """A running server.

    Attributes:
        port: where it answers, on loopback among others.
        pid: of its process.
        client: boto3's, for tests that look into a table themselves.
    """

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid
        self.client = self.new_client()
        self._numbers = itertools.count(1)

    @property
    def endpoint_url(self) -> str:
        """Such as http://127.0.0.1:40123."""
        return f"http://127.0.0.1:{self.port}"

    def new_client(self) -> Any:
        """boto3's, patient and without repeats of its own; whoever asks closes it."""
        return boto3.Session().client(
            "dynamodb",
            region_name=REGION,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
            config=Config(read_timeout=CLIENT_TIMEOUT_S, retries={"total_max_attempts": 1, "mode": "standard"}),
        )

    def new_table(self) -> DynamoDbLocation:
        """An empty table that nobody else uses."""
        location = DynamoDbLocation(f"test-{os.getpid()}-{next(self._numbers)}", REGION, self.endpoint_url)
        create_table(self.client, location)
        return location

    @functools.cached_property
    def common_table(self) -> DynamoDbLocation:
        """One table for all tests that take keys of their own."""
        return self.new_table()

    def ledger_url(self, location: DynamoDbLocation) -> str:
        """The table as a configuration names it."""
        return f"dynamodb://{location.table}?region={REGION}&endpoint_url={self.endpoint_url}"


@contextlib.contextmanager
def running() -> Iterator[DynamoDbLocal]:
    """A server of one's own, gone at the end of the block.

    Raises: RuntimeError: it cannot run here (see `unavailable`), or did not start; with what it printed.
    """
    if reason := unavailable():
        raise RuntimeError(reason)
    port = _free_port()
    with tempfile.TemporaryFile() as output, _started(port, output) as (watcher, pid):
        _wait_until_it_answers(port, watcher, output)
        local = DynamoDbLocal(port, pid)
        try:
            yield local
        finally:
            local.client.close()


@contextlib.contextmanager
def _started(port: int, output: IO[bytes]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The watcher's process and the server's id. The server ends with the block, or when this process is killed."""
    command = ["sh", "-c", _WATCH, "sh", "java", "-Xmx512m", *_SERVER, *_OPTIONS, "-port", str(port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=output, cwd=JARS) as watcher:
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        pid = int(watcher.stdout.readline())
        try:
            yield watcher, pid
        finally:
            watcher.stdin.close()
            try:
                watcher.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.kill(pid, signal.SIGKILL)


def _wait_until_it_answers(port: int, watcher: subprocess.Popen[bytes], output: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(port):
        if watcher.poll() is not None or time.monotonic() > deadline:
            output.seek(0)
            raise RuntimeError(f"DynamoDB Local did not start:\n{output.read().decode(errors='replace')}")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 400  # it is there, and this is no call
    except OSError:
        return False
    finally:
        connection.close()


@functools.cache
def shared() -> DynamoDbLocal:
    """The server of this test run: started by whoever asks first, ended with the process.

    Raises: RuntimeError: as `running`.
    """
    stack = contextlib.ExitStack()
    local = stack.enter_context(running())
    owner = os.getpid()
    atexit.register(lambda: stack.close() if os.getpid() == owner else None)
    return local


def shared_or_skip() -> DynamoDbLocal:
    """The server of this test run; the test is skipped where it cannot run."""
    if reason := unavailable():
        pytest.skip(reason)
    return shared()


@pytest.fixture(scope="session")
def dynamodb_local() -> DynamoDbLocal:
    """`shared_or_skip` for tests; tests/contract/conftest.py hands it on."""
    return shared_or_skip()
