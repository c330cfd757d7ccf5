"""The streaming entry point: one object with two faces, and nothing heavy behind it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from rillgate.identity.keys import new_key
from tests.fakes.provider import FakeProvider
from tests.fakes.runtime_api import function_url_event
from tests.unit.app.lambda_support import ask
from tests.unit.app.test_buffered import Context
from tests.unit.telemetry.lambda_logging import logging_restored

KEY = new_key()
NAMES = ("rillgate.lambda_gateway", "rillgate.lambda_buffered")

# What a first streamed request must not pay for. `mangum` and `sqlite3` are for other homes, `h11` and `httpcore2` for
# proxies, `prometheus_client` for /metrics, `uvicorn` and `uvloop` for a server of our own; the rest are SDKs and
# frameworks.
HEAVY = {
    *("anthropic", "boto3", "botocore", "fastapi", "google", "openai", "pydantic", "requests"),
    *("h11", "httpcore2", "mangum", "prometheus_client", "sqlite3", "uvicorn", "uvloop"),
}

COLD = """
import json, sys
import rillgate.lambda_gateway
sys.modules.pop("botocore", None)  # its bare name only: Powertools tells it, where it is there, who is calling
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Those of a function with a ledger in memory; logging and modules are as before in the end."""
    monkeypatch.setenv("SSL_CERT_FILE", "")
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("RILLGATE_LEDGER__URL", "memory:")
    monkeypatch.setenv("RILLGATE_LOCAL_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fake")
    with logging_restored():
        yield monkeypatch
    for name in NAMES:
        sys.modules.pop(name, None)


def entry(name: str) -> ModuleType:
    """The module, imported anew."""
    sys.modules.pop(name, None)
    return importlib.import_module(name)


@pytest.mark.anyio
async def test_handler_with_three_arguments_is_the_asgi_app(variables: pytest.MonkeyPatch) -> None:
    """As the layer calls it."""
    async with FakeProvider() as fake:
        variables.setenv("OPENAI_BASE_URL", fake.base_url)
        handler = entry("rillgate.lambda_gateway").handler
        answered = await ask(handler, None, path="/healthz", method="GET")
    assert (answered.status, answered.body) == (200, b'{"status":"ok"}')


@pytest.mark.parametrize("name", NAMES)
def test_handler_with_two_arguments_is_a_stock_handler(variables: pytest.MonkeyPatch, name: str) -> None:
    """As a runtime calls it that knows nothing of the layer: the same answers, as a whole."""
    variables.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    handler = entry(name).handler
    try:
        answers = [handler(function_url_event(path), Context()) for path in ("/healthz", "/v1/models", "/nowhere")]
    finally:
        (handler if name.endswith("buffered") else handler._buffered).close()
    assert [answer["statusCode"] for answer in answers] == [200, 401, 404]
    assert json.loads(answers[0]["body"]) == {"status": "ok"}
    assert answers[0]["headers"]["x-request-id"] != answers[1]["headers"]["x-request-id"]


def test_handler_imports_nothing_heavy(tmp_path: Path) -> None:
    """A cold start pays for every import; SDKs alone would double it."""
    done = subprocess.run(
        [sys.executable, "-c", COLD],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "AWS_REGION": "eu-central-1",
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "OPENAI_API_KEY": "sk-fake",
            "RILLGATE_LEDGER__URL": "dynamodb://table",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert imported & HEAVY == set()
    assert "aws_lambda_powertools" in imported
