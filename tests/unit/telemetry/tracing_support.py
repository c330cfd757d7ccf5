"""X-Ray's SDK in the process of the tests, as it is in a function: told where a fake daemon is, and put back after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from tests.fakes.xray import FakeDaemon

NO_SDK: Final = "X-Ray's SDK is not installed: requirements/dev.in names aws-xray-sdk"


@contextmanager
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A daemon, and variables as in a function. The SDK is one for the whole process, and so is Powertools' memory."""
    with FakeDaemon() as daemon:
        monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")  # outside a function Powertools traces nothing
        monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", daemon.address)
        for name in ("AWS_SAM_LOCAL", "POWERTOOLS_TRACE_DISABLED", "AWS_XRAY_SDK_ENABLED", "_X_AMZN_TRACE_ID"):
            monkeypatch.delenv(name, raising=False)
        sdk: Any = pytest.importorskip("aws_xray_sdk", reason=NO_SDK)
        core: Any = pytest.importorskip("aws_xray_sdk.core", reason=NO_SDK)
        recorder = core.xray_recorder
        context, emitter = recorder.context, type(recorder.emitter)()  # which reads the variable
        recorder.emitter._socket.close()
        recorder.configure(emitter=emitter)
        try:
            yield daemon
        finally:
            forget()
            emitter._socket.close()
            recorder.configure(context=context)
            sdk.global_sdk_config.set_sdk_enabled(True)


def forget() -> None:
    """Powertools' Tracers of one process share what the first one found."""
    from aws_lambda_powertools.tracing import Tracer  # noqa: PLC0415

    Tracer._reset_config()  # type: ignore[no-untyped-call]
