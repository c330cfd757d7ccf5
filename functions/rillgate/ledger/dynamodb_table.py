"""Makes the ledger's one table: string keys pk and sk, paid on demand, items forgotten after `x`.

Source: Amazon DynamoDB API reference, CreateTable, UpdateTimeToLive, read 2026-11.
"""

from __future__ import annotations

from typing import Any

from rillgate.ledger.dynamodb_client import unavailable_told
from rillgate.ledger.dynamodb_location import DynamoDbLocation
from rillgate.ledger.store import TTL
from rillgate.ledger.writes import StoreUnavailable

_KEY = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
_ATTRIBUTES = [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "S"}]
_WAITING = {"Delay": 1, "MaxAttempts": 120}  # seconds, and how often; a new table takes a few


def create_table(client: Any, location: DynamoDbLocation) -> bool:
    """Make the table unless it is there, and wait until it can be used; True where it was made.

    Harmless when it exists, or when somebody else makes it at the same time.

    Args:    client: boto3's, for DynamoDB.
    Raises:  StoreUnavailable: it could not be made, or there is one of this name with another key.
    """
    with unavailable_told(location):
        made = not _exists(client, location.table) and _make(client, location.table)
        client.get_waiter("table_exists").wait(TableName=location.table, WaiterConfig=_WAITING)
        _check(client.describe_table(TableName=location.table)["Table"], location)
        _let_items_expire(client, location.table)
        return made


def _exists(client: Any, table: str) -> bool:
    try:
        client.describe_table(TableName=table)
    except client.exceptions.ResourceNotFoundException:
        return False
    return True


def _make(client: Any, table: str) -> bool:
    try:
        client.create_table(
            TableName=table, KeySchema=_KEY, AttributeDefinitions=_ATTRIBUTES, BillingMode="PAY_PER_REQUEST"
        )
    except client.exceptions.ResourceInUseException:  # somebody else was quicker
        return False
    return True


def _check(table: Any, location: DynamoDbLocation) -> None:
    types = {attribute["AttributeName"]: attribute["AttributeType"] for attribute in table["AttributeDefinitions"]}
    key = [(part["AttributeName"], part["KeyType"], types[part["AttributeName"]]) for part in table["KeySchema"]]
    if key != [("pk", "HASH", "S"), ("sk", "RANGE", "S")]:
        names = ", ".join(name for name, _, _ in key)
        raise StoreUnavailable(
            f"{location} is another program's: its key is {names} and not the strings pk, sk; choose another name"
        )


def _let_items_expire(client: Any, table: str) -> None:
    if _expires(client, table):
        return
    wanted = {"Enabled": True, "AttributeName": TTL}
    try:
        client.update_time_to_live(TableName=table, TimeToLiveSpecification=wanted)
    except client.exceptions.ClientError:
        if not _expires(client, table):  # else somebody else was quicker
            raise


def _expires(client: Any, table: str) -> bool:
    found = client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    return found.get("AttributeName") == TTL and found["TimeToLiveStatus"] in ("ENABLING", "ENABLED")
