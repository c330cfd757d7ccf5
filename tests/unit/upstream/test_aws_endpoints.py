"""Other addresses than AWS's own, as the environment names them."""

from __future__ import annotations

import pytest

from rillgate.app.stores import _located
from rillgate.upstream.aws_sources import aws_endpoint_url

ALL = "http://127.0.0.1:4566"
OWN = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"AWS_ENDPOINT_URL": ""}, None),
        ({"AWS_ENDPOINT_URL": ALL}, ALL),
        ({"AWS_ENDPOINT_URL": ALL, "AWS_ENDPOINT_URL_DYNAMODB": OWN}, OWN),
        ({"AWS_ENDPOINT_URL_SSM": OWN}, None),
        ({"AWS_ENDPOINT_URL": ALL, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, None),
    ],
)
def test_endpoint_is_the_services_own_else_that_of_all(environment: dict[str, str], expected: str | None) -> None:
    """As AWS's own tools read them."""
    assert aws_endpoint_url(environment, "dynamodb") == expected


def test_endpoint_of_a_service_with_a_space_has_an_underscore() -> None:
    """Secrets Manager's."""
    assert aws_endpoint_url({"AWS_ENDPOINT_URL_SECRETS_MANAGER": OWN}, "secrets_manager") == OWN


def test_endpoint_in_the_ledgers_url_wins() -> None:
    """What is written down for this table beats what holds for all."""
    environment = {"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": ALL}
    assert _located("dynamodb://ledger", environment).endpoint_url == ALL
    assert _located(f"dynamodb://ledger?endpoint_url={OWN}", environment).endpoint_url == OWN
    assert _located("dynamodb://ledger", {"AWS_REGION": "eu-central-1"}).endpoint_url is None
