"""The whole of it: INIT (settings, paths, the app's import and startup), then invocations until SIGTERM.

An environment that cannot start says so with `init/error` and exit code 1; a Runtime API that refuses to go on is exit
code 1 too, and Lambda starts a new environment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import MutableMapping
from typing import TextIO

from lambda_asgi.clock import Clock, LoopClock
from lambda_asgi.cycle import App
from lambda_asgi.failures import Failure
from lambda_asgi.handler import HandlerError, load_handler
from lambda_asgi.lifespan import Lifespan, LifespanFailed
from lambda_asgi.logs import configure_logs, log_event
from lambda_asgi.paths import set_paths
from lambda_asgi.runtime_api import RuntimeApi, RuntimeApiError
from lambda_asgi.settings import Settings, SettingsError
from lambda_asgi.worker import Worker

EXIT_FAILED = 1


def main(layer_python: str) -> int:
    """Run as the process's only work; gives its exit code.

    Args:
        layer_python: the folder that this package lies in.
    """
    _show_lines_at_once(sys.stdout)
    try:
        settings = Settings.from_environ(os.environ)
        configure_logs(os.environ, details=settings.error_details)
        if not os.environ.get("AWS_LAMBDA_RUNTIME_API"):
            log_event(logging.ERROR, "AWS_LAMBDA_RUNTIME_API is not set: this runs in Lambda or an emulator")
            return EXIT_FAILED
        set_paths(layer_python)
        app = load_handler(os.environ.get("_HANDLER", ""), details=settings.error_details)
    except SettingsError as error:
        configure_logs(os.environ)
        return asyncio.run(_refuse(Failure("Runtime.InvalidSettings", str(error)), error))
    except HandlerError as error:
        return asyncio.run(_refuse(error.failure, error.__cause__ or error))
    return asyncio.run(serve(app, settings, LoopClock(), os.environ))


async def serve(app: App, settings: Settings, clock: Clock, environ: MutableMapping[str, str]) -> int:
    """Start the app, serve until SIGTERM, end it; gives the exit code."""
    api = RuntimeApi(environ["AWS_LAMBDA_RUNTIME_API"], clock=clock, stall_s=settings.stall_s)
    lifespan = Lifespan(app, settings.lifespan)
    try:
        await lifespan.startup()
    except LifespanFailed as error:
        return await _refuse(Failure.of(error, details=settings.error_details, kind="Runtime.StartupFailed"), error)
    worker = Worker(app, api, settings=settings, clock=clock, environ=environ, state=lifespan.state)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    code = 0
    try:
        await worker.run()
    except RuntimeApiError as error:
        log_event(logging.ERROR, "the Runtime API refuses to go on", error=error)
        code = EXIT_FAILED
    await lifespan.shutdown()
    return code


async def _refuse(failure: Failure, error: BaseException) -> int:
    """Say why nothing can be served."""
    log_event(logging.ERROR, "initialization failed", error=error, type=failure.type)
    address = os.environ.get("AWS_LAMBDA_RUNTIME_API", "")
    try:
        await RuntimeApi(address, clock=LoopClock()).fail_init(failure)
    except (OSError, ValueError) as lost:
        log_event(logging.ERROR, "initialization error not reported", error=lost)
    return EXIT_FAILED


def _show_lines_at_once(stream: TextIO) -> None:
    """What the app prints would otherwise wait in a buffer while the environment is frozen, or be lost with it."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True)
