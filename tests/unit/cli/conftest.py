"""An operator with a ledger on SQLite; and one for each kind of ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from moto import mock_aws

from tests.unit.cli.control_support import Operator


@pytest.fixture
def operator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Operator:
    """On SQLite, as it is without any configuration."""
    return Operator(tmp_path, capsys)


@pytest.fixture
def dynamodb_operator(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    """On DynamoDB as moto has it, without a table. Nothing of this machine's own AWS configuration is seen."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fakefakefake")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fake-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(operator.folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(operator.folder / "credentials"))
    operator.ledger = "--ledger 'dynamodb://ledger?region=eu-central-1'"
    with mock_aws():
        yield operator


@pytest.fixture(params=["operator", "dynamodb_operator"])
def any_operator(request: pytest.FixtureRequest) -> Operator:
    """On each kind of ledger, made and empty."""
    operator: Operator = request.getfixturevalue(request.param)
    assert operator.json("ledger init")["made"] is True
    return operator
