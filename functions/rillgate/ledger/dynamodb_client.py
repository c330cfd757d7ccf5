"""boto3's client for the ledger's table, and what its errors mean.

boto3 is imported when a client is made and never on a request's path: it takes a quarter of a second.
Source: botocore's exceptions and Amazon DynamoDB API reference, TransactionCanceledException, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rillgate.ledger.dynamodb_faults import CONDITION_FAILED, Fault, fault
from rillgate.ledger.dynamodb_location import DynamoDbLocation
from rillgate.ledger.writes import StoreUnavailable

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 5

# Reasons for a cancelled transaction that are gone a moment later.
_LATER = {
    "TransactionConflict": "TransactionConflictException",
    "ThrottlingError": "ThrottlingException",
    "ProvisionedThroughputExceeded": "ProvisionedThroughputExceededException",
}

# By name: the classes themselves would have to be imported. Several are bases of what is raised.
_REMEDIES = {
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (DynamoDB Local takes any)",
    "PartialCredentialsError": "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "NoRegionError": "write the region into the ledger's url, dynamodb://TABLE?region=R, or set AWS_DEFAULT_REGION",
    "ProfileNotFound": "correct AWS_PROFILE",
    "SSOError": "run `aws sso login`",
    "TokenRetrievalError": "run `aws sso login`",
    "CredentialRetrievalError": "check the profile that the credentials come from",
    "ConnectionError": "check endpoint_url and region of the ledger's url, and the network",
    "HTTPClientError": "check endpoint_url and region of the ledger's url, and the network",
}


def open_client(location: DynamoDbLocation) -> Any:
    """A client for the table's region and endpoint, with short timeouts and without repeats of its own.

    Raises: StoreUnavailable: no region is known, or a profile is broken. Nothing is called yet.
    """
    import boto3  # noqa: PLC0415 see the head of this file
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    with unavailable_told(location):
        session = boto3.Session()  # not the process-wide one, which keeps the first credentials that it found
        return session.client("dynamodb", location.region, endpoint_url=location.endpoint_url, config=config)


@contextmanager
def unavailable_told(location: DynamoDbLocation) -> Iterator[None]:
    """Turn what botocore raises into StoreUnavailable with what to do about it."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 see the head of this file

    try:
        yield
    except ClientError as error:
        raise StoreUnavailable(f"{location}: {fault_of(error.response).told()}") from error
    except BotoCoreError as error:
        raise StoreUnavailable(f"{location}: {_told(error)}") from error


def fault_of(response: Mapping[str, Any]) -> Fault:
    """An error answer as botocore has read it. A cancelled transaction is the reason that counts."""
    error = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    kind, message = error.get("Code", ""), error.get("Message", "")
    if kind == "TransactionCanceledException":
        return _fault_of_transaction(response.get("CancellationReasons", ()), status)
    return fault(kind, status, message, response.get("Item"))


def _fault_of_transaction(reasons: Sequence[Mapping[str, Any]], status: int) -> Fault:
    by_code = {reason.get("Code", "None"): reason for reason in reversed(reasons)}  # the first of each stays
    if failed := by_code.get("ConditionalCheckFailed"):
        return fault(CONDITION_FAILED, status, item=failed.get("Item"))
    for code, kind in _LATER.items():
        if code in by_code:
            return fault(kind, status)
    messages = [reason["Message"] for reason in by_code.values() if reason.get("Message")]
    return fault("ValidationException", status, " ".join(messages))


def _told(error: Exception) -> str:
    names = [base.__name__ for base in type(error).__mro__]
    remedy = next((_REMEDIES[name] for name in names if name in _REMEDIES), "check the configuration of AWS here")
    return f"{names[0]}: {error}; {remedy}"
