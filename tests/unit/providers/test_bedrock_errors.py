"""Bedrock's errors before a stream: whose fault they are and whether they pass."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.domain.errors import UpstreamError, UpstreamTimeout
from rillgate.providers.bedrock import BedrockProvider

PROVIDER = BedrockProvider("aws")


def error(status: int, kind: str = "", message: str = "words", **more: Any) -> UpstreamError:
    headers = {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/"} if kind else {}
    return PROVIDER.error(status, headers, msgspec.json.encode({"message": message, **more}))


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "ValidationException", (400, "invalid_request_error", "invalid_request", False)),
        (404, "ResourceNotFoundException", (404, "invalid_request_error", "model_not_found", False)),
        (408, "ModelTimeoutException", (504, "server_error", "upstream_timeout", True)),
        (424, "ModelErrorException", (502, "server_error", "upstream_error", True)),
        (429, "ThrottlingException", (429, "rate_limit_error", "rate_limit_exceeded", True)),
        (429, "ModelNotReadyException", (503, "server_error", "upstream_overloaded", True)),
        (400, "ServiceQuotaExceededException", (429, "rate_limit_error", "rate_limit_exceeded", True)),
        (500, "InternalServerException", (502, "server_error", "upstream_error", True)),
        (503, "ServiceUnavailableException", (503, "server_error", "upstream_overloaded", True)),
        (424, "", (502, "server_error", "upstream_error", True)),
        (429, "", (429, "rate_limit_error", "rate_limit_exceeded", True)),
        (502, "", (502, "server_error", "upstream_error", True)),
        (400, "SomethingNewException", (400, "invalid_request_error", "invalid_request", False)),
    ],
)
def test_bedrock_error_is_of_its_class(status: int, kind: str, expected: tuple[Any, ...]) -> None:
    """By its type, else by its status; what it says is passed on."""
    found = error(status, kind)
    assert (found.status, found.kind, found.code, found.retryable) == expected
    assert found.message == "Provider 'aws': words"
    assert isinstance(found, UpstreamTimeout) is (expected[0] == 504)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, "AccessDeniedException"),
        (403, "ExpiredTokenException"),
        (403, "UnrecognizedClientException"),
        (403, "InvalidSignatureException"),
        (400, "MissingAuthenticationToken"),
        (400, "com.amazon.coral.service#IncompleteSignatureException"),
        (401, ""),
        (403, ""),
    ],
)
def test_bedrock_refused_credentials_are_the_gateways_fault_and_repeat_nothing(status: int, kind: str) -> None:
    """What AWS says there names accounts, roles and keys."""
    found = error(status, kind, "User: arn:aws:sts::123456789012:assumed-role/x is not authorized AKIAEXAMPLE")
    assert (found.status, found.kind, found.code) == (502, "upstream_error", "upstream_auth")
    assert (found.retryable, found.should_retry) == (False, False)
    assert "123456789012" not in found.message
    assert "AKIA" not in found.message


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        ("Input is too long for requested model.", 400, "context_length_exceeded"),
        ("prompt is too long: 250000 tokens > 200000 maximum", 400, "context_length_exceeded"),
        ("The provided model identifier is invalid.", 404, "model_not_found"),
    ],
)
def test_bedrock_validation_that_has_a_name_of_its_own_gets_it(message: str, status: int, code: str) -> None:
    """Bedrock says all of them with one type."""
    found = error(400, "ValidationException", message)
    assert (found.status, found.code, found.retryable) == (status, code, False)


@pytest.mark.parametrize(
    ("original", "retryable"), [(500, True), (429, True), (400, False), ("400", True), (None, True)]
)
def test_bedrock_models_own_error_passes_unless_it_lies_in_the_request(original: Any, retryable: bool) -> None:
    """The status that the model itself gave says which."""
    assert error(424, "ModelErrorException", originalStatusCode=original).retryable is retryable


def test_bedrock_type_may_stand_in_the_body_and_the_message_in_capitals() -> None:
    """Emulators and gateways of AWS write them so."""
    body = msgspec.json.encode({"__type": "com.amazonaws#ThrottlingException", "Message": "slow down"})
    found = PROVIDER.error(400, {}, body)
    assert (found.status, found.message) == (429, "Provider 'aws': slow down")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"message": 5}', b'{"message": "cut'])
def test_bedrock_error_without_readable_words_says_its_status(body: bytes) -> None:
    """A proxy may stand in between."""
    found = PROVIDER.error(503, {"retry-after": "7"}, body)
    assert (found.status, found.retry_after_s) == (503, 7)
    assert found.message == "Provider 'aws' answered with status 503."
