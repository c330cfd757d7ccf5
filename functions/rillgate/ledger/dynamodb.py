"""The ledger's store on DynamoDB, for requests: signed calls of a neighbour's, short timeouts, safe repeats.

A call whose answer does not come may have been done. It is repeated all the same: every write of the ledger holds its
own identity in its conditions, so a second one does what the first did not, or fails and shows what the first one did.
Source: Amazon DynamoDB API reference, UpdateItem, GetItem, BatchGetItem, read 2026-11.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import AwsCalls
from rillgate.ledger.dynamodb_faults import TRIES, Course, Fault, Patience, fault
from rillgate.ledger.dynamodb_location import DynamoDbLocation
from rillgate.ledger.dynamodb_reads import BatchRead, batches, one_request
from rillgate.ledger.writes import ConditionFailed, Item, Key, StoreUnavailable, Write, read_attributes
from rillgate.wire.loose_json import UNREADABLE

_API = "DynamoDB_20120810"
_HOT = b"KeyRangeThroughputExceeded"  # a part of every reason that is about one partition

Attributes = dict[str, dict[str, str]]
Answer = TypeVar("Answer")


class _Written(msgspec.Struct, rename="pascal"):
    attributes: Attributes = {}


class _Found(msgspec.Struct, rename="pascal"):
    item: Attributes | None = None


class _Error(msgspec.Struct):
    type: str = msgspec.field(name="__type", default="")
    message: str = ""
    message_too: str = msgspec.field(name="Message", default="")  # some answers spell it so
    item: Attributes = msgspec.field(name="Item", default_factory=dict)


class DynamoDbStore:
    """`ledger.store.Store` in one table.

    Args:
        aws: signed calls; whoever made them closes them.
        location: the table; region and endpoint stand in messages only.
        read_timeout_s: for each call once connected.
        tries: of each call, the first one included.
        sleep, random: seconds to wait, and numbers from 0 to below 1 for their jitter.

    Attributes:
        calls: made, repeats included.
        repeats: of them, those that were not the first try.
        throttles: answers that said "later", and reads that were left over.
        hot: throttles of one partition, whose scope needs shards; `hot_pk` is the last one's key.
    """

    def __init__(
        self,
        aws: AwsCalls,
        location: DynamoDbLocation,
        *,
        read_timeout_s: float,
        tries: int = TRIES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._aws = aws
        self._location = location
        self._read_timeout_s = read_timeout_s
        self._tries = tries
        self._sleep = sleep
        self._random = random
        self._left: dict[Key, set[asyncio.Task[Item]]] = {}  # writes whose callers were cancelled
        self.calls = 0
        self.repeats = 0
        self.throttles = 0
        self.hot = 0
        self.hot_pk: str | None = None

    async def write(self, write: Write) -> Item:
        """Do one write; gives what `write.returns` says.

        Raises:
            ConditionFailed: nothing was changed by the last try; after a lost answer, what is seen there may be ours.
            StoreUnavailable: no answer in time, after all tries, or none that a repeat would change.
        """
        while left := self._left.get(write.key):
            await asyncio.wait(left)
        task = asyncio.ensure_future(self._write(write))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._leave(write.key, task)
            raise

    def _leave(self, key: Key, task: asyncio.Task[Item]) -> None:
        """Nobody waits for this write any more. It goes on: what was sent cannot be called back, only undone."""
        if task.done():
            return
        self._left.setdefault(key, set()).add(task)

        def forget(task: asyncio.Task[Item]) -> None:
            if not task.cancelled():
                task.exception()  # or asyncio reports it: whoever left undoes the write, done or not
            self._left[key].discard(task)
            if not self._left[key]:
                del self._left[key]

        task.add_done_callback(forget)

    async def _write(self, write: Write) -> Item:
        request = write.render(self._location.table)
        written = await self._call("UpdateItem", request, _Written, self._patience("UpdateItem"), write.key.pk)
        return read_attributes(written.attributes)

    async def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """Items as they are now, without their keys; None for none. A key may stand there twice.

        Raises: StoreUnavailable: as `write`.
        """
        if len(keys) == 1:
            return [await self._read_one(keys[0])]
        items: dict[Key, Item | None] = {}
        for batch in batches(self._location.table, keys):
            asked = list(batch.left)
            await self._read_batch(batch)
            items |= {key: batch.item(key) for key in asked}
        return [items[key] for key in keys]

    async def aclose(self) -> None:
        """Wait for the writes that nobody waits for any more."""
        if left := set[asyncio.Task[Item]]().union(*self._left.values()):
            await asyncio.wait(left)

    async def _read_one(self, key: Key) -> Item | None:
        request = one_request(self._location.table, key)
        found = await self._call("GetItem", request, _Found, self._patience("GetItem"), key.pk)
        return None if found.item is None else read_attributes(found.item)

    async def _read_batch(self, batch: BatchRead) -> None:
        patience = self._patience("BatchGetItem")
        while batch.left:
            answer = await self._call("BatchGetItem", batch.request(), dict[str, Any], patience, None)
            if batch.take(answer):
                patience.progress()
            if batch.left:
                self.throttles += 1
                wait_s = patience.spend(f"{len(batch.left)} keys were left over")
                self.repeats += 1
                await self._sleep(wait_s)

    def _patience(self, operation: str) -> Patience:
        return Patience(f"{operation} on {self._location}", self._random, tries=self._tries)

    async def _call(
        self, operation: str, request: dict[str, Any], kind: type[Answer], patience: Patience, pk: str | None
    ) -> Answer:
        """The answer of one operation, after as many tries as patience allows. `pk` is its key, where it has one."""
        body = msgspec.json.encode(request)
        while True:
            self.calls += 1
            try:
                status, answer = await self._aws.call(f"{_API}.{operation}", body, self._read_timeout_s)
                if status == 200:
                    return msgspec.json.decode(answer, type=kind)
                found = read_fault(status, answer)
                self._count(found, pk)
                trouble = self._judge(found, patience)
            except UpstreamError as error:
                if not error.retryable:
                    raise StoreUnavailable(f"{operation} on {self._location}: {error.message}") from error
                trouble = error.message
            except UNREADABLE as error:
                trouble = f"an answer that is not DynamoDB's: {error}"
            wait_s = patience.spend(trouble)
            self.repeats += 1
            await self._sleep(wait_s)

    def _count(self, found: Fault, pk: str | None) -> None:
        self.throttles += found.course is Course.THROTTLED
        if found.hot:
            self.hot += 1
            self.hot_pk = pk or self.hot_pk

    def _judge(self, found: Fault, patience: Patience) -> str:
        """What the trouble is, where a repeat may help.

        Raises: ConditionFailed, StoreUnavailable: where none does.
        """
        if found.course is Course.CONDITION:
            raise ConditionFailed(found.item)
        if found.course is Course.GIVE_UP or (found.course is Course.RENEW and not patience.renew()):
            raise StoreUnavailable(f"{self._location}: {found.told()}")
        return found.kind


def read_fault(status: int, body: bytes) -> Fault:
    """An answer that is an error, from its bytes; whatever it is, it is never None."""
    try:
        error = msgspec.json.decode(body, type=_Error)
    except UNREADABLE:  # a proxy's page, or an answer that was cut
        error = _Error()
    return fault(error.type, status, error.message or error.message_too, error.item, hot=_HOT in body)
