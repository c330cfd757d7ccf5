"""The same request leaves the same line in a container and on Lambda: names, order and kinds of its fields."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lambda_asgi.logs import configure_logs as configure_layer_logs
from lambda_asgi.logs import log_event as layer_event
from rillgate.app.on_lambda import compose
from rillgate.telemetry.lambda_logs import configure_lambda_logs
from rillgate.telemetry.logs import configure_logs, log_event, log_exception
from tests.fakes.gateway import CHAT, chat_body, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Error, chat, error
from tests.streaming.asking import ask as ask_container
from tests.unit.app.lambda_support import ask as ask_lambda
from tests.unit.app.test_on_lambda import KEY, environ, started
from tests.unit.telemetry.lambda_logging import logging_restored

OF_LAMBDA_ALONE = {"function_request_id", "cold_start", "xray_trace_id"}
COMMON = {"timestamp", "level", "event"}


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging and the trusted certificates are the process's own, and stay as they were."""
    monkeypatch.setenv("SSL_CERT_FILE", os.environ.get("SSL_CERT_FILE", ""))
    monkeypatch.delenv("SSL_CERT_FILE")
    layer = logging.getLogger("lambda_asgi")
    before = layer.handlers[:], layer.level, layer.propagate
    with logging_restored():
        yield
    layer.handlers[:], layer.propagate = before[0], before[2]
    layer.setLevel(before[1])


def shape(line: dict[str, Any]) -> list[tuple[str, type]]:
    """Names in their order, with the kinds of their values."""
    return [(name, type(value)) for name, value in line.items() if name not in OF_LAMBDA_ALONE]


def parsed(text: str) -> list[dict[str, Any]]:
    """Lines of JSON, without those that are metrics."""
    return [line for line in map(json.loads, text.splitlines()) if "_aws" not in line]


REQUESTS: list[tuple[str, Any]] = [
    ("stream", chat_body(model="m", max_tokens=5)),
    ("answer", chat_body(model="m", stream=False)),
    ("refused by the provider", chat_body(model="bad")),
    ("broken", {"messages": 7}),
]


@pytest.mark.anyio
@pytest.mark.parametrize("body", [body for _, body in REQUESTS], ids=[name for name, _ in REQUESTS])
async def test_request_logged_is_the_same_line_in_a_container_and_on_lambda(
    body: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Success and failure. Lambda's has three names more, which only it can know."""
    buffer = io.StringIO()
    async with FakeProvider() as fake:
        fake.by_model["m"] = chat(["one", " two"])
        fake.by_model["bad"] = [Error(400, error("no", "invalid_request_error", "no"))]
        configure_logs("info", buffer)
        async with gateway_for(fake, auth__required="true") as g:
            key = await g.new_key()
            await ask_container(g, "POST", CHAT, json=body, headers={"authorization": f"Bearer {key}"})
            await g.idle()
        (in_container,) = parsed(buffer.getvalue())
        variables = {"POWERTOOLS_LOG_LEVEL": "INFO"}
        async with started(compose(environ(fake.base_url, **variables))) as app:
            capsys.readouterr()
            await ask_lambda(app, KEY, body)
        on_lambda = [line for line in parsed(capsys.readouterr().out) if line["event"] == "request"]
    assert len(on_lambda) == 1
    told = [name for name, _ in shape(in_container)]
    assert COMMON | {"request_id", "trace_id", "span_id", "status", "duration_ms", "key_id"} <= set(told)
    assert shape(on_lambda[0]) == shape(in_container)
    assert on_lambda[0]["function_request_id"] == "aws-1"


def both(write: Callable[[], None]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The line that `write` leaves in a container, and on Lambda."""
    told = []
    for configure in (lambda stream: configure_logs("info", stream), configure_lambda_logs):
        with logging_restored() as buffer:
            configure(buffer)
            write()
            (line,) = map(json.loads, buffer.getvalue().splitlines())
            told.append({name: value for name, value in line.items() if name != "timestamp"})
    return told[0], told[1]


def _fail() -> None:
    try:
        raise ValueError("a prompt")
    except ValueError as failure:
        log_exception("failed", failure, request_id="req_1")


@pytest.mark.parametrize(
    "write",
    [
        lambda: log_event("started", port=1, note="é\u2028"),
        _fail,
        lambda: logging.getLogger("some.library").error("text of %s", "somebody"),
        lambda: logging.getLogger("asyncio").error("Task was destroyed"),
        lambda: logging.getLogger("uvicorn.error").error("a constant"),
    ],
)
def test_other_lines_are_the_same_in_a_container_and_on_lambda(write: Callable[[], None]) -> None:
    """Events, exceptions and what libraries say, value for value."""
    in_container, on_lambda = both(write)
    assert in_container == on_lambda
    assert list(in_container) == list(on_lambda)


def test_layers_own_lines_have_the_same_shape() -> None:
    """The layer knows nothing of us and writes in a shape for any app; in our function its lines are as ours."""
    with logging_restored() as buffer:
        configure_layer_logs({}, io.StringIO())
        configure_lambda_logs(buffer)
        try:
            raise ValueError("grandmother")
        except ValueError as failure:
            layer_event(logging.ERROR, "the app failed", error=failure, response_complete=True)
        layer_event(logging.WARNING, "response refused", status=413, reason="grandmother said so", failure="Function.X")
    failed, refused = map(json.loads, buffer.getvalue().splitlines())
    assert list(failed)[:3] == list(refused)[:3] == ["timestamp", "level", "event"]
    assert (failed["level"], failed["event"], failed["logger"]) == ("error", "log", "lambda_asgi")
    assert (failed["message"], failed["response_complete"], failed["exception"]) == (
        "the app failed",
        True,
        "ValueError",
    )
    assert (refused["status"], refused["failure"], refused["reason_length"]) == (413, "Function.X", 19)
    assert "grandmother" not in buffer.getvalue()
