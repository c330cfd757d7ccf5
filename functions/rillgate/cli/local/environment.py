"""One execution environment: a child process that runs the real bootstrap, its Runtime API, its clock and its limits.

    INIT ──> frozen <── next ── invocation (deadline, memory, exit) ──> REPORT

One invocation at a time. Between invocations the process is stopped (SIGSTOP), as Lambda freezes it: what the function
leaves undone when it asks for work stays undone until the next event. Its monotonic clock runs on, unlike Lambda's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time

from rillgate.cli.local.console import MIB, Console, Report
from rillgate.cli.local.invocation import TRUNCATED, Failure, Invocation
from rillgate.cli.local.memory import resident
from rillgate.cli.local.orphans import Orphans
from rillgate.cli.local.runtime_api import RuntimeApi
from rillgate.cli.local.shape import Shape

INIT_S_MAX = 120.0  # Lambda begins anew after 10 s; a laptop that starts twenty at once is slower
MEMORY_LOOK_S = 0.2
STOP_S = 2.0  # from SIGTERM to SIGKILL; Lambda gives 0 to 2 s
FLUSH_S = 1.0  # for what it had sent by then to be handed on


class InitFailed(Exception):
    """The environment cannot serve."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Environment:
    """One environment. `start`, then `invoke` as often as `alive`, then `aclose`.

    Args:
        shape: what it looks like.
        orphans: ends it when this process is killed.
        console: takes the platform's lines.
        stderr: the descriptor that the function's own lines go to.
    """

    def __init__(self, shape: Shape, orphans: Orphans, console: Console, *, stderr: int = 2) -> None:
        self._shape = shape
        self._orphans = orphans
        self._console = console
        self._stderr = stderr
        self._api = RuntimeApi(function_arn=shape.function_arn, on_idle=self._asked, on_init_error=self._init_error)
        self._process: asyncio.subprocess.Process | None = None
        self._exit: asyncio.Task[int] | None = None
        self._idle = asyncio.Event()
        self._init_failure: Failure | None = None
        self._init_ms: float | None = None
        self._peak_bytes: int | None = None
        self._finishing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pid(self) -> int:
        """Of the process, once started."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._exit is not None and not self._exit.done()

    @property
    def alive(self) -> bool:
        """Whether another invocation can be given to it."""
        return not self._closed and self.running and self._idle.is_set()

    async def start(self) -> None:
        """INIT.

        Raises:
            InitFailed: it said so, ended, or took too long. Nothing is left of it.
        """
        began_s = time.monotonic()
        await self._api.start()
        failure = await self._spawn() or await self._init()
        self._init_ms = (time.monotonic() - began_s) * 1000
        if failure is not None:
            self._console.init_failed(self._init_ms, failure)
            await self.aclose(0)
            raise InitFailed(failure)
        self._signal(signal.SIGSTOP)

    async def invoke(self, invocation: Invocation) -> None:
        """Run one invocation to its end, which is when the runtime asks for the next one, or does not live to.

        The response may still be on its way to a slow client by then.
        """
        self._idle.clear()
        self._console.start(invocation.request_id)
        timeout_s = self._shape.timeout_s
        began_s = time.monotonic()
        self._signal(signal.SIGCONT)
        self._api.give(invocation, int((time.time() + timeout_s) * 1000))
        failure = await self._watch(began_s + timeout_s)
        if failure is None:
            self._is_over_memory()  # a short one has not been looked at yet
            self._signal(signal.SIGSTOP)
        else:
            self._kill()
            await self._exited()
            if invocation.failure is None or invocation.failure.type == TRUNCATED:
                invocation.failure = failure  # which is why it is truncated
            self._console.failed(invocation.request_id, failure)
            self._finish(invocation, failure)
        self._report(invocation, (time.monotonic() - began_s) * 1000)

    async def aclose(self, grace_s: float = STOP_S) -> None:
        """End the process, with SIGTERM first where there is grace, and everything that belongs to it."""
        self._closed = True
        if self._exit is not None:
            if grace_s and not self._exit.done():
                self._signal(signal.SIGTERM)
                self._signal(signal.SIGCONT)
                await asyncio.wait({self._exit}, timeout=grace_s)
            self._kill()
            await self._exited()
            try:
                async with asyncio.timeout(FLUSH_S):
                    await self._api.drained()
            except TimeoutError:
                pass  # its client does not read
        await self._api.aclose()
        await self.finished()

    async def finished(self) -> None:
        """Wait until the response of a process that died is handed on."""
        if self._finishing:
            await asyncio.wait(set(self._finishing))

    # Within

    async def _spawn(self) -> Failure | None:
        shape = self._shape
        try:
            self._process = await asyncio.create_subprocess_exec(
                *shape.command,
                cwd=shape.task_root,
                env=shape.variables(self._api.address),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                start_new_session=True,
            )
        except OSError as error:
            return Failure("Runtime.InvalidEntrypoint", str(error))
        self._orphans.watch(self._process.pid)
        self._exit = asyncio.create_task(self._process.wait())
        return None

    async def _init(self) -> Failure | None:
        failure = await self._watch(time.monotonic() + INIT_S_MAX)
        if self._init_failure is not None:
            return self._init_failure
        return failure

    async def _watch(self, until_s: float) -> Failure | None:
        """Wait until the runtime asks for work; why it will not, where it does not."""
        idle = asyncio.create_task(self._idle.wait())
        exited = self._exit
        if exited is None:
            raise RuntimeError("the environment has not been started")
        try:
            while not idle.done():
                left_s = until_s - time.monotonic()
                if exited.done():
                    return Failure("Runtime.ExitError", _exit_text(exited.result()))
                if left_s <= 0:
                    return self._timed_out()
                if self._is_over_memory():
                    return Failure("Runtime.OutOfMemory", f"more than {self._shape.memory_mb} MB were in use")
                timeout_s = min(left_s, MEMORY_LOOK_S)
                await asyncio.wait({idle, exited}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()
        return None

    def _timed_out(self) -> Failure:
        return Failure("Sandbox.Timedout", f"Task timed out after {self._shape.timeout_s:.2f} seconds")

    def _is_over_memory(self) -> bool:
        found = resident(self.pid)
        if found is None:
            return False
        self._peak_bytes = found.peak
        return found.now > self._shape.memory_mb * MIB

    def _asked(self) -> None:
        self._idle.set()

    def _init_error(self, failure: Failure) -> None:
        self._init_failure = failure
        self._idle.set()

    def _finish(self, invocation: Invocation, failure: Failure) -> None:
        """End the response of a process that is dead, once all that it had sent is handed on."""

        async def finish() -> None:
            try:
                await self._api.drained()
            finally:
                invocation.end(failure)

        task = asyncio.create_task(finish())
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    def _report(self, invocation: Invocation, duration_ms: float) -> None:
        failure = invocation.failure
        timed_out = failure is not None and failure.type == "Sandbox.Timedout"
        report = Report(
            invocation.request_id,
            duration_ms,
            self._shape.memory_mb,
            self._peak_bytes,
            self._init_ms,
            status="" if failure is None else ("timeout" if timed_out else "error"),
            error_type="" if failure is None or timed_out else failure.type,
        )
        self._init_ms = None
        self._console.end(report)

    @property
    def _child(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the environment has not been started")
        return self._process

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass  # it has gone by itself
        except PermissionError:
            pass  # macOS says so of a group whose processes have ended and are not collected yet

    def _kill(self) -> None:
        """The whole group: what the function started goes with it."""
        self._signal(signal.SIGKILL)

    async def _exited(self) -> None:
        if self._exit is not None:
            await asyncio.wait({self._exit})
            self._orphans.forget(self.pid)


def _exit_text(code: int) -> str:
    """As Lambda words it."""
    if code < 0:
        return f"Runtime exited with error: signal: {signal.Signals(-code).name}"
    return f"Runtime exited with error: exit status {code}" if code else "Runtime exited without providing a reason"
