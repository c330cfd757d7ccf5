"""What every test may ask for: both event loops that Rillgate runs on. And where no test may be skipped."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import settings

ReportT = TypeVar("ReportT", pytest.TestReport, pytest.CollectReport)

# On a machine that is meant to have everything, a test that did not run is a test that did not pass.
NO_SKIPS = bool(os.environ.get("RILLGATE_NO_SKIPS"))


# A shell's background jobs ignore Ctrl-C, and so would every program that a test starts and sends one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What an example takes says something about the machine, and about nothing else.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run asynchronous tests on the standard loop and on uvloop."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Logging is of the whole process: what one test sets must not be what the next one sees."""
    before = [(each, each.level, each.handlers[:], each.propagate) for each in _loggers()]
    yield
    for each, level, handlers, propagate in before:
        if each.level != level:
            each.setLevel(level)
        each.handlers[:] = handlers
        each.propagate = propagate


def _loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.values()
    return [logging.root, *(each for each in known if isinstance(each, logging.Logger))]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With RILLGATE_NO_SKIPS, a skipped test is a failed one. An expected failure stays what it is."""
    return _failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a file that skips itself whole."""
    return _failed_if_skipped((yield))


def _failed_if_skipped(report: ReportT) -> ReportT:
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"not run, and RILLGATE_NO_SKIPS is set: {reason}"
    return report
