"""One line of JSON for each record."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from lambda_asgi.logs import configure_logs, log, log_event, request_id


@pytest.fixture(autouse=True)
def own_loggers() -> Iterator[None]:
    """What logging was before."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, log.handlers[:], log.level, log.propagate)
    yield
    root.handlers[:], root.level, log.handlers[:], log.level, log.propagate = before


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was written, decoded line by line."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_record_with_line_ends_is_one_line() -> None:
    """Lambda cuts at line ends: a traceback is a field, an app's message is escaped."""
    stream = io.StringIO()
    configure_logs({"AWS_LAMBDA_LOG_LEVEL": "INFO"}, stream)
    token = request_id.set("id-1")
    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("app").exception("two\nlines")
    finally:
        request_id.reset(token)
    (line,) = lines(stream)
    assert line["message"] == "two\nlines"
    assert (line["level"], line["logger"], line["requestId"]) == ("ERROR", "app", "id-1")
    assert (line["errorType"], line["errorMessage"]) == ("ValueError", "a\nb")
    assert "test_logs.py" in line["stackTrace"][0]
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("level", "expected"),
    [("", ["WARN", "FATAL"]), ("DEBUG", ["DEBUG", "INFO", "WARN", "FATAL"]), ("fatal", ["FATAL"])],
)
def test_level_is_the_one_that_lambda_sets(level: str, expected: list[str]) -> None:
    """With AWS's names; without one it is the managed runtime's."""
    stream = io.StringIO()
    configure_logs({"AWS_LAMBDA_LOG_LEVEL": level}, stream)
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.CRITICAL):
        log_event(number, "x", field=1)
    assert [line["level"] for line in lines(stream)] == expected
    assert all(line["field"] == 1 for line in lines(stream))


def test_details_type_keeps_messages_of_exceptions_out() -> None:
    """The type and the place stay."""
    stream = io.StringIO()
    configure_logs({}, stream, details="type")
    log_event(logging.ERROR, "the app failed", error=ValueError("secret"))
    assert "secret" not in stream.getvalue()
    assert lines(stream)[0]["errorType"] == "ValueError"
