"""What the contract suites share: AWS's own DynamoDB Local, where it can run."""

from __future__ import annotations

from tests.fakes.dynamodb_local import dynamodb_local

__all__ = ["dynamodb_local"]
