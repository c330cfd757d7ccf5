"""The processes of a run: gateways, fake providers, nginx. Each is started here, on a free port, and ended here."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
START_S = 30.0
STOP_S = 10.0
LISTENS = "Rillgate listens on http://127.0.0.1:"


class BenchmarkError(Exception):
    """A figure could not be taken; the message says what went wrong."""


def python_command(module: str, *arguments: str) -> list[str]:
    """A program of this folder, on the interpreter that runs the benchmarks."""
    return [sys.executable, "-m", f"benchmarks.{module}", *arguments]


def rillgate_command(*words: str) -> list[str]:
    """The command line of the interpreter that runs the benchmarks."""
    script = Path(sys.executable).with_name("rillgate")
    return [*([str(script)] if script.exists() else [sys.executable, "-m", "rillgate.cli.main"]), *words]


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would configure a gateway, and with `more`."""
    ours = ("OPENAI_", "ANTHROPIC_", "OLLAMA_", "RILLGATE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | dict(more or {})


class Child:
    """A running process with its standard output as lines; its standard error is kept for when it fails."""

    def __init__(self, command: list[str], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> None:
        self.started_at = time.monotonic()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `stop`)
        self._name = Path(command[0]).name
        self._process = subprocess.Popen(
            command,
            env=clean_environment() if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._lines: queue.SimpleQueue[tuple[float, str] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """For `machine`."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """It has not ended."""
        return self._process.poll() is None

    def line(self, timeout_s: float) -> tuple[float, str]:
        """The next line of its output and when it came, in `time.monotonic()`.

        Raises:
            TimeoutError: none came in time.
            BenchmarkError: none will come, with the end of its standard error.
        """
        try:
            found = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError(f"{self._name} said nothing for {timeout_s:g} s") from None
        if found is None:
            raise self.failure("ended")
        return found

    def failure(self, what: str) -> BenchmarkError:
        """An error with the end of what the process wrote to standard error."""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 2000))
        return BenchmarkError(f"{self._name} {what}: {self._errors.read().decode(errors='replace')}")

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not go."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(STOP_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # closed under us
            for line in self._process.stdout:
                self._lines.put((time.monotonic(), line.decode().rstrip("\n")))
        self._lines.put(None)


class Provider:
    """`benchmarks.provider` in a process of its own. It tells what it sees, with times of the shared clock."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.port = int(self.wait("listening")["port"])

    @property
    def base_url(self) -> str:
        """As the gateway's configuration takes it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def wait(self, event: str, timeout_s: float = START_S, **fields: Any) -> dict[str, Any]:
        """The next message of this kind with these fields; others before it are thrown away."""
        while True:
            message: dict[str, Any] = json.loads(self.child.line(timeout_s)[1])
            if message["event"] == event and fields.items() <= message.items():
                return message

    def says(self, event: str, within_s: float) -> bool:
        """Whether such a message comes within a time."""
        try:
            self.wait(event, within_s)
        except TimeoutError:
            return False
        return True


@contextmanager
def provider() -> Iterator[Provider]:
    """A fake provider that plays the scripts of `benchmarks.provider`."""
    child = Child(python_command("provider"))
    try:
        yield Provider(child)
    finally:
        child.stop()


@contextmanager
def server(
    command: list[str], port: int, *, env: Mapping[str, str] | None = None, cwd: Path = ROOT, start_s: float = START_S
) -> Iterator[Child]:
    """Any server that listens on this port within `start_s`."""
    child = Child(command, env=env, cwd=cwd)
    try:
        wait_for_port(child, port, start_s)
        yield child
    finally:
        child.stop()


class Gateway:
    """`rillgate serve` in a process of its own.

    Attributes:
        listening_s: from its start until it says that it listens.
    """

    def __init__(self, child: Child) -> None:
        self.child = child
        while True:
            at, line = child.line(START_S)
            if line.startswith(LISTENS):
                break
        self.listening_s = at - child.started_at
        self.port = int(line.removeprefix(LISTENS))

    @property
    def pid(self) -> int:
        """The process that serves: with one worker, the one that was started."""
        return self.child.pid

    def wait_ready(self, timeout_s: float = START_S) -> float:
        """Wait for `GET /readyz` to answer 200; seconds from the process's start."""
        while get(self.port, "/readyz")[0] != 200:
            if time.monotonic() - self.child.started_at > timeout_s or not self.child.running:
                raise self.child.failure("did not become ready")
            time.sleep(0.002)
        return time.monotonic() - self.child.started_at


@contextmanager
def gateway(
    providers: Mapping[str, str],
    *,
    kinds: Mapping[str, str] | None = None,
    embedded: bool = False,
    environ: Mapping[str, str] | None = None,
    program: Sequence[str] | None = None,
    **settings: object,
) -> Iterator[Gateway]:
    """A gateway in front of these providers, by name and base URL.

    Args:
        kinds: of providers that are not of kind "openai", by name.
        embedded: with the embedded model instead.
        environ: more variables of its environment, such as AWS's.
        program: what stands in for the command `rillgate`.
        settings: such as `timeouts__stall_s=300`.
    """
    variables = {f"RILLGATE_{name.upper()}": str(value) for name, value in settings.items()} | dict(environ or {})
    for name, base_url in providers.items():
        variables[f"RILLGATE_PROVIDERS__{name.upper()}__KIND"] = (kinds or {}).get(name, "openai")
        variables[f"RILLGATE_PROVIDERS__{name.upper()}__BASE_URL"] = base_url
    if embedded:
        variables["RILLGATE_BACKEND"] = "embedded"
    command = program or rillgate_command()
    with tempfile.TemporaryDirectory() as empty:  # a rillgate.toml of the working directory would configure it
        child = Child([*command, "serve", "--port", "0"], env=clean_environment(variables), cwd=Path(empty))
        try:
            yield Gateway(child)
        finally:
            child.stop()


NGINX = """
worker_processes 1; master_process off; daemon off; pid {folder}/pid; error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; tcp_nodelay on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {servers}
}}
"""
NGINX_SERVER = """
  upstream u{listen} {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{listen}; keepalive_requests 1000000; location / {{ proxy_pass http://u{listen}; }} }}
"""


@contextmanager
def nginx(upstream_ports: list[int]) -> Iterator[tuple[Child, list[int]] | None]:
    """nginx as one process in front of each of these ports, without buffering; None where it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        yield None
        return
    ports = [free_port() for _ in upstream_ports]
    with tempfile.TemporaryDirectory() as folder:
        servers = "".join(
            NGINX_SERVER.format(listen=port, upstream=upstream)
            for port, upstream in zip(ports, upstream_ports, strict=True)
        )
        configuration = Path(folder, "nginx.conf")
        configuration.write_text(NGINX.format(folder=folder, servers=servers))
        with server([program, "-p", folder, "-c", str(configuration)], ports[-1]) as child:
            yield child, ports


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(child: Child, port: int, start_s: float = START_S) -> None:
    """Until somebody accepts connections there."""
    deadline = time.monotonic() + start_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline or not child.running:
                raise child.failure("does not listen") from None
            time.sleep(0.01)
        else:
            return


def get(port: int, path: str) -> tuple[int, bytes]:
    """One GET on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
