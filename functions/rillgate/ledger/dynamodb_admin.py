"""The ledger's store on DynamoDB for operators: blocking, by boto3, with transactions and queries.
Source: Amazon DynamoDB API reference, TransactWriteItems, Query, read 2026-11.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rillgate.ledger.dynamodb_client import fault_of, open_client, unavailable_told
from rillgate.ledger.dynamodb_faults import Course, Patience
from rillgate.ledger.dynamodb_location import DynamoDbLocation
from rillgate.ledger.dynamodb_reads import batches
from rillgate.ledger.dynamodb_table import create_table
from rillgate.ledger.store import Check
from rillgate.ledger.writes import ConditionFailed, Item, Key, Write, read_attributes

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

OPERATIONS_MAX = 25  # of one transaction; DynamoDB takes 100, and no ledger operation needs more than a few

# A transaction loses against every request that writes one of its items meanwhile, so an operator needs patience.
_TRIES = 12
_WAIT_MIN_S = 0.020
_WAIT_MAX_S = 0.200
_WAITING_S_MAX = 5.0


class DynamoDbAdminStore:
    """`ledger.store.AdminStore` in one table.

    Args:
        client: boto3's, for DynamoDB; `open` makes one. Its own repeats should be off.
        location: the table.
        sleep, random: seconds to wait, and numbers from 0 to below 1 for their jitter.
    """

    def __init__(
        self,
        client: Any,
        location: DynamoDbLocation,
        *,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._location = location
        self._sleep = sleep
        self._random = random

    @classmethod
    def open(cls, location: DynamoDbLocation) -> DynamoDbAdminStore:
        """A store with a client of its own; credentials are found as AWS's tools find them.

        Raises: StoreUnavailable: no region is known, or a profile is broken. Nothing is called yet.
        """
        return cls(open_client(location), location)

    def write(self, write: Write) -> Item:
        """Do one write; gives what `write.returns` says.

        Raises: ConditionFailed, StoreUnavailable: as `Store.write`.
        """
        answer = self._call("update_item", write.render(self._location.table))
        return read_attributes(answer.get("Attributes", {}))

    def write_all(self, operations: Sequence[Write | Check]) -> None:
        """Do all of these writes or none, at most 25, no item twice.

        Raises:
            ConditionFailed: a condition did not hold; `item` is what was there, of the first one that failed.
            StoreUnavailable: no answer that says whether it was done, after all tries.
        """
        if len(operations) > OPERATIONS_MAX:
            raise ValueError(f"{len(operations)} operations in one transaction: {OPERATIONS_MAX} are the most")
        items = [self._transacted(operation) for operation in operations]
        items = [item for item in items if item]
        if items:
            # One token for all tries: a transaction whose answer was lost is not done twice.
            request = {"TransactItems": items, "ClientRequestToken": secrets.token_hex(16)}
            self._call("transact_write_items", request)

    def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """Items as they are now, without their keys; None for none.

        Raises: StoreUnavailable: as `write`.
        """
        items: dict[Key, Item | None] = {}
        for batch in batches(self._location.table, keys):
            asked = list(batch.left)
            patience = self._patience("batch_get_item")
            while batch.left:
                if batch.take(self._call("batch_get_item", batch.request())):
                    patience.progress()
                if batch.left:
                    self._sleep(patience.spend(f"{len(batch.left)} keys were left over"))
            items |= {key: batch.item(key) for key in asked}
        return [items[key] for key in keys]

    def query(self, pk: str) -> Iterator[tuple[str, Item]]:
        """All items of one partition, as (sk, item), in order of sk, a page (1 MB) at a time.

        Raises: StoreUnavailable: as `write`, while it is read.
        """
        request: dict[str, Any] = {
            "TableName": self._location.table,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": "pk"},
            "ExpressionAttributeValues": {":pk": {"S": pk}},
            "ConsistentRead": True,
        }
        while True:
            page = self._call("query", request)
            for attributes in page["Items"]:
                yield attributes["sk"]["S"], read_attributes(attributes)
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def create_table(self) -> bool:
        """Make the table unless it is there, and wait until it can be used; True where it was made.

        Raises: StoreUnavailable: it could not be made, or there is one of this name with another key.
        """
        return create_table(self._client, self._location)

    def close(self) -> None:
        """Give up connections."""
        self._client.close()

    def _transacted(self, operation: Write | Check) -> dict[str, Any] | None:
        """One operation as a transaction has it; None for a check of nothing."""
        if isinstance(operation, Check):
            if not operation.conditions:
                return None
            operation, kind = Write(operation.key, (), operation.conditions), "ConditionCheck"
        else:
            kind = "Update"
        request = operation.render(self._location.table)
        del request["ReturnValues"]  # a transaction gives nothing back
        return {kind: request}

    def _patience(self, operation: str) -> Patience:
        return Patience(
            f"{operation} on {self._location}",
            self._random,
            tries=_TRIES,
            wait_min_s=_WAIT_MIN_S,
            wait_max_s=_WAIT_MAX_S,
            waiting_s_max=_WAITING_S_MAX,
        )

    def _call(self, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer of one operation, after as many tries as patience allows."""
        from botocore.exceptions import (  # noqa: PLC0415 see the head of dynamodb_client.py
            ClientError,
            ConnectionClosedError,
            ReadTimeoutError,
        )

        patience = self._patience(operation)
        while True:
            with unavailable_told(self._location):
                try:
                    answer: Mapping[str, Any] = getattr(self._client, operation)(**request)
                    return answer
                except ClientError as error:
                    trouble = self._judge(error, patience)
                except (ReadTimeoutError, ConnectionClosedError) as error:
                    trouble = str(error)
            self._sleep(patience.spend(trouble))

    def _judge(self, error: ClientError, patience: Patience) -> str:
        """What the trouble is, where a repeat may help.

        Raises: ConditionFailed; or the error again, where no repeat helps.
        """
        found = fault_of(error.response)
        if found.course is Course.CONDITION:
            raise ConditionFailed(found.item) from error
        if found.course is Course.GIVE_UP or (found.course is Course.RENEW and not patience.renew()):
            raise error
        return found.kind
