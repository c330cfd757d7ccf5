"""The embedded model seen from the gateway: its process is started, watched and ended here.

It is a provider like any other, reached over loopback; what differs is that its address is not configured but
awaited. `embedded_child.py` is the other half: what runs in that process, and what the two say to each other.

    starting ──── {"base_url": …} ────► ready
        │                                 │
        └── error, exit, signal, silence ─┴──► dead      for good: what died once would die again, in a loop
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal, cast

from rillgate.app import embedded_child
from rillgate.domain.errors import UpstreamError
from rillgate.domain.request import Endpoint

State = Literal["starting", "ready", "dead"]

REMEDY = "Set OPENAI_API_KEY, ANTHROPIC_API_KEY, OLLAMA_HOST or RILLGATE_BACKEND=bedrock to use another model."
# By path, and with no folder put before the installed packages (-P): it runs however this package was found.
COMMAND = (sys.executable, "-P", str(Path(embedded_child.__file__)))

STDIN, STDOUT, STDERR = 0, 1, 2
OUTPUT_BYTES_MAX = 4096  # kept of each pipe; one line is expected
DETAIL_CHARS_MAX = 300

HINTS = {"SIGILL": ", as where a processor lacks an instruction that the wheel was built with"}


class EmbeddedModel:
    """A `Location` whose provider is a process of our own.

    Attributes:
        on_change: each is called with the model when its state changes by itself, to ready or to dead; not on `stop()`.

    Args:
        command: what to run instead of the model; for tests.
        start_timeout_s: seconds after which a process that has not said where it listens is given up.
        stop_grace_s: seconds that the process has to end after its pipe was closed; then it is killed.
    """

    ALIAS: ClassVar[str] = embedded_child.ALIAS

    def __init__(
        self, *, command: Sequence[str] = COMMAND, start_timeout_s: float = 120, stop_grace_s: float = 2
    ) -> None:
        self.on_change: list[Callable[[EmbeddedModel], None]] = []
        self._command = command
        self._start_timeout_s = start_timeout_s
        self._stop_grace_s = stop_grace_s
        self._secret = secrets.token_urlsafe(32)
        self._child: _Child | None = None
        self._late: asyncio.TimerHandle | None = None
        self._endpoint: Endpoint | None = None
        self._error = ""  # what the process itself says about why it ends
        self._cause: str | None = None
        self._detail = ""
        self._decided = asyncio.Event()

    @staticmethod
    def available() -> bool:
        """Whether the wheels are installed. Whether they run here, `start()` finds out."""
        wheels = (embedded_child.SERVER_WHEEL, embedded_child.MODEL_WHEEL)
        return all(importlib.util.find_spec(name) is not None for name in wheels)

    @property
    def state(self) -> State:
        """Starting until it answers or has ended; so also before `start()`."""
        if self._cause is not None:
            return "dead"
        return "starting" if self._endpoint is None else "ready"

    @property
    def reason(self) -> str | None:
        """Once dead, for the operator: one line that says why, and what to set instead."""
        if self._cause is None:
            return None
        return f"The embedded model {self._cause}{f' ({self._detail})' if self._detail else ''}. {REMEDY}"

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return None if self._child is None else self._child.pid

    @property
    def address(self) -> Endpoint | None:
        """Where it answers; None as long as it does not. It carries the secret: never log it."""
        return self._endpoint

    @property
    def cause(self) -> str | None:
        """Once dead: why, in a few words that clients may read too."""
        return self._cause

    @property
    def detail(self) -> str:
        """Once dead: what its process said; for the operator."""
        return self._detail

    def is_ready(self) -> bool:
        """Whether it answers."""
        return self.state == "ready"

    async def start(self) -> None:
        """Start the process and return; `endpoint()` waits for it. One that cannot be started is a dead model."""
        loop = asyncio.get_running_loop()
        self._child = child = _Child(on_line=self._heard, on_end=self._ended)
        try:
            await loop.subprocess_exec(
                lambda: child,
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # the terminal's Ctrl-C is for the gateway alone
            )
        except OSError as error:
            self._child = None
            self._die("cannot be started", str(error))
            return
        child.say(self._secret)
        if not self._decided.is_set():
            self._late = loop.call_later(self._start_timeout_s, self._give_up, "did not come up in time")

    async def endpoint(self) -> Endpoint:
        """Where the model answers, waiting until it does.

        Shape:   Endpoint("http://127.0.0.1:49152/v1", (("Authorization", "Bearer …"),))
        Raises:  UpstreamError: it never will, or no longer does. 503, not retryable, with what to set instead.
        """
        await self._decided.wait()
        if self._endpoint is None or self._cause is not None:
            # Without `_detail`, which may name a path of this machine: clients are not the operator.
            message = f"The embedded model {self._cause}. {REMEDY}"
            raise UpstreamError(message, status=503, code="model_unavailable", retryable=False, should_retry=False)
        return self._endpoint

    async def stop(self) -> None:
        """End the process and see it gone. Harmless when there is none, or when it has ended."""
        if self._cause is None:
            self._cause = "was stopped"
        self._decide()
        if self._child is not None:
            await self._child.end(self._stop_grace_s)

    def _heard(self, line: bytes) -> bool:
        """The process has said its one line. Returns whether what else it writes is still of interest."""
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        match answer:
            case {"base_url": str(base_url)} if self._cause is None:
                self._answers(Endpoint(base_url, (("Authorization", f"Bearer {self._secret}"),)))
                return False
            case {"error": str(error)}:
                self._error = error  # `_ended` follows at once, with what stands in stderr
            case _:
                self._give_up("said something else than where it listens")
        return True

    def _ended(self, returncode: int, stderr: str) -> None:
        """The process has ended, and all that it wrote has been read."""
        if self._error:
            self._die("cannot start", "; ".join(filter(None, (self._error, stderr))))
        elif returncode < 0:
            name = _signal_name(-returncode)
            self._die(f"was ended by {name}{HINTS.get(name, '')}", stderr)
        else:
            self._die(f"ended with exit code {returncode}", stderr)

    def _answers(self, endpoint: Endpoint) -> None:
        """From now on, there."""
        self._endpoint = endpoint
        self._decide()
        self._notify()

    def _give_up(self, cause: str) -> None:
        """It runs, but is of no use."""
        self._die(cause)
        if self._child is not None:
            self._child.kill()

    def _die(self, cause: str, detail: str = "") -> None:
        if self._cause is not None:
            return
        self._cause = cause
        self._detail = detail[:DETAIL_CHARS_MAX]
        self._decide()
        self._notify()

    def _decide(self) -> None:
        """Let go on what waits in `endpoint()`."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._decided.set()

    def _notify(self) -> None:
        for callback in self.on_change:
            callback(self)


class _Child(asyncio.SubprocessProtocol):
    """The process and its three pipes.

    Calls `on_line` with the first line of stdout, at most once, and `on_end` with the exit status and the line of
    stderr that tells most. What `on_line` says is of no interest is read and dropped: it might hold prompts.
    """

    _transport: asyncio.SubprocessTransport  # from `connection_made` on, which precedes all else

    def __init__(self, on_line: Callable[[bytes], bool], on_end: Callable[[int, str], None]) -> None:
        self._on_line = on_line
        self._on_end = on_end
        self._output = {STDOUT: bytearray(), STDERR: bytearray()}
        self._heard = False
        self._listening = True
        self._exited = asyncio.Event()
        self._lost = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return None if self._exited.is_set() else self._transport.get_pid()

    def say(self, line: str) -> None:
        stdin = self._stdin()
        if not stdin.is_closing():  # else it was faster, and its end says the rest; uvloop's pipes raise then
            stdin.write(line.encode() + b"\n")

    def kill(self) -> None:
        try:
            self._transport.kill()
        except ProcessLookupError:
            pass  # it was faster

    async def end(self, grace_s: float) -> None:
        """Close its pipe, kill it when that does not help, and return when nothing of it is left."""
        self._stdin().close()
        try:
            async with asyncio.timeout(grace_s):
                await self._exited.wait()
        except TimeoutError:
            pass
        finally:
            self._transport.close()  # kills what still runs
        await self._lost.wait()

    def _stdin(self) -> asyncio.WriteTransport:
        return cast(asyncio.WriteTransport, self._transport.get_pipe_transport(STDIN))

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if not self._listening:
            return
        output = self._output[fd]
        output += data[: OUTPUT_BYTES_MAX - len(output)]
        if fd == STDOUT and not self._heard and (b"\n" in output or len(output) == OUTPUT_BYTES_MAX):
            self._heard = True
            self._listening = self._on_line(bytes(output.partition(b"\n")[0]))
            if not self._listening:
                self._output[STDERR].clear()

    def process_exited(self) -> None:
        self._exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Comes after the exit and after the last byte of each pipe, in whatever order those came."""
        self._transport.close()
        self._lost.set()
        self._on_end(
            self._transport.get_returncode() or 0, _telling_line(self._output[STDERR].decode(errors="replace"))
        )


def _telling_line(text: str) -> str:
    """llama.cpp says what failed first, and then what failed because of it; a Python traceback ends with it."""
    lines = text.strip().splitlines() or [""]
    return lines[-1 if lines[0].startswith("Traceback") else 0].strip()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
