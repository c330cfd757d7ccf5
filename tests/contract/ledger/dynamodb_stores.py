"""The stores on DynamoDB for the contract suite: on AWS's own DynamoDB Local, and for operators on moto too.

moto is not asked about the store for requests: it loses concurrent conditional writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import boto3
from moto import mock_aws

from rillgate.ledger.dynamodb import DynamoDbStore
from rillgate.ledger.dynamodb_admin import DynamoDbAdminStore
from rillgate.ledger.dynamodb_location import DynamoDbLocation
from rillgate.ledger.store import AdminStore, Store
from tests.fakes.aws_calls import PlainCalls
from tests.fakes.dynamodb_local import CLIENT_TIMEOUT_S, shared_or_skip


@contextlib.asynccontextmanager
async def dynamodb_local_store() -> AsyncIterator[Store]:
    """A store in the common table of the run's server; the test is skipped where there is none."""
    location = shared_or_skip().common_table
    assert location.endpoint_url is not None
    async with contextlib.aclosing(PlainCalls(location.endpoint_url)) as calls:
        store = DynamoDbStore(calls, location, read_timeout_s=CLIENT_TIMEOUT_S)
        yield store
        await store.aclose()


@contextlib.contextmanager
def dynamodb_local_admin_store() -> Iterator[AdminStore]:
    """The operators' store in the same table."""
    local = shared_or_skip()
    with contextlib.closing(DynamoDbAdminStore(local.new_client(), local.common_table)) as store:
        yield store


@contextlib.contextmanager
def moto_admin_store() -> Iterator[AdminStore]:
    """The operators' store in a table of its own on moto."""
    location = DynamoDbLocation("ledger", "us-east-1")
    with mock_aws():
        client = boto3.Session().client("dynamodb", region_name=location.region)
        with contextlib.closing(DynamoDbAdminStore(client, location)) as store:
            store.create_table()
            yield store
