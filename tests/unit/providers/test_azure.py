"""Azure OpenAI is OpenAI at other addresses. What its filters say in a stream stands in the corpus."""

from __future__ import annotations

import msgspec
import pytest

from rillgate.dialects.chat_completions import parse
from rillgate.providers.azure import AzureProvider
from rillgate.providers.features import FEATURES
from tests.fakes.script_azure import blocked

HI = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("version", "model", "path"),
    [
        (None, "gpt-4o", "/openai/v1/chat/completions"),
        ("2024-10-21", "gpt-4o", "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"),
        ("2024-10-21", "a/b c", "/openai/deployments/a%2Fb%20c/chat/completions?api-version=2024-10-21"),
    ],
)
def test_request_goes_to_its_deployment(version: str | None, model: str, path: str) -> None:
    """By its name in the address, or in the body; the cap has the longer name at both."""
    request = AzureProvider("lab", version).build(parse(msgspec.json.encode({**HI, "max_tokens": 9})), model, 7)
    body = msgspec.json.decode(request.body)
    assert request.path == path
    assert (body["model"], body["max_completion_tokens"], body.get("max_tokens")) == (model, 7, None)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, msgspec.json.encode(blocked()), (400, "content_filter", False)),
        (404, b'{"error":{"code":"DeploymentNotFound","message":"no"}}', (404, "model_not_found", False)),
        (401, b'{"error":{"code":"401","message":"Access denied due to key k"}}', (502, "upstream_auth", False)),
        (429, b'{"error":{"code":"429","message":"slow down"}}', (429, "rate_limit_exceeded", True)),
        (400, b'{"error":{"code":"context_length_exceeded","message":"no"}}', (400, "context_length_exceeded", False)),
        (503, b"<html>", (503, "upstream_overloaded", True)),
    ],
)
def test_error_is_read_as_openais(status: int, body: bytes, expected: tuple[int, str, bool]) -> None:
    """With Azure's own name for a model that is not there."""
    error = AzureProvider("lab").error(status, {}, body)
    assert (error.status, error.code, error.retryable) == expected


def test_deployments_are_not_listed() -> None:
    """What Azure lists is what could be deployed."""
    assert AzureProvider("lab").models_request() is None


def test_every_feature_passes() -> None:
    """The client's own dialect."""
    assert AzureProvider("lab").handling == dict.fromkeys((feature.name for feature in FEATURES), "passed")
