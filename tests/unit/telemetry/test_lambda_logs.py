"""Logs of a function: the shape that they have everywhere, through Powertools."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from rillgate.telemetry.lambda_logs import configure_lambda_logs, tell_request
from rillgate.telemetry.logs import RequestRecord, log_event, log_exception, log_request
from tests.unit.telemetry.lambda_logging import logging_restored

PROMPT = "my grandmother's maiden name is Unwin"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A buffer to log to."""
    with logging_restored() as buffer:
        yield buffer


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was logged, each line being one JSON object."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lambda_logs_have_the_usual_shape(stream: io.StringIO) -> None:
    """Timestamp, level and event come first, one line each."""
    configure_lambda_logs(stream)
    log_event("started", seconds=1.5)
    log_request(RequestRecord(request_id="req_1", method="GET", route="/", status=503))
    started, request = lines(stream)
    assert list(started)[:3] == ["timestamp", "level", "event"]
    assert (started["event"], started["level"], started["seconds"]) == ("started", "info", 1.5)
    assert (request["event"], request["level"], request["request_id"]) == ("request", "warning", "req_1")


def test_lambda_logs_show_no_text_of_exceptions_nor_of_libraries(stream: io.StringIO) -> None:
    """Redaction does not depend on who formats the line."""
    configure_lambda_logs(stream)
    log_exception("request_failed", ValueError(PROMPT))
    logging.getLogger("some.library").warning("got %s", PROMPT)
    assert len(lines(stream)) == 2
    assert PROMPT not in stream.getvalue()


def test_lambda_logs_level_is_what_the_environment_says(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Powertools reads it."""
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "WARNING")
    configure_lambda_logs(stream)
    log_event("quiet")
    log_event("loud", level="warning")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_lambda_logs_carry_appended_keys_until_they_are_removed(stream: io.StringIO) -> None:
    """Powertools' interface works as its users know it."""
    logger = configure_lambda_logs(stream)
    logger.append_keys(tenant="a", stage="prod")
    assert logger.get_current_keys().items() >= {"tenant": "a", "stage": "prod"}.items()
    log_event("one")
    logger.remove_keys(["tenant"])
    log_event("two")
    one, two = lines(stream)
    assert (one["tenant"], one["stage"]) == ("a", "prod")
    assert "tenant" not in two


@pytest.mark.anyio
async def test_lambda_logs_of_requests_side_by_side_keep_their_own_keys(stream: io.StringIO) -> None:
    """A key that one task has told is in no line of another."""
    configure_lambda_logs(stream)
    both_told = asyncio.Barrier(2)

    async def serve(name: str) -> None:
        tell_request(function_request_id=name, cold_start=None)
        await both_told.wait()
        log_event("served", name=name)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve("a"))
        tasks.create_task(serve("b"))
    log_event("after")
    *served, after = lines(stream)
    assert all(line["function_request_id"] == line["name"] for line in served)
    assert len(served) == 2
    assert "function_request_id" not in after
    assert "cold_start" not in served[0]
