"""What only DynamoDB itself can be asked: its errors, transactions among other writers, and answers that are lost."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.to_thread
import pytest

from rillgate.domain.errors import UpstreamTimeout
from rillgate.ledger.dynamodb import DynamoDbStore
from rillgate.ledger.dynamodb_admin import DynamoDbAdminStore
from rillgate.ledger.dynamodb_location import DynamoDbLocation
from rillgate.ledger.dynamodb_table import create_table
from rillgate.ledger.store import Check
from rillgate.ledger.writes import (
    Absent,
    Add,
    AtMost,
    ConditionFailed,
    Equal,
    Key,
    Put,
    Remove,
    StoreUnavailable,
    Write,
)
from tests.fakes.aws_calls import Answer, PlainCalls
from tests.fakes.dynamodb_local import CLIENT_TIMEOUT_S, STOP_TIMEOUT_S, DynamoDbLocal, running


class LosingAnswers(PlainCalls):
    """Calls that are made, and whose answers are lost as long as `losing` says so."""

    losing = 0

    async def call(self, target: str, body: bytes, timeout_s: float) -> Answer:
        answer = await super().call(target, body, timeout_s)
        if self.losing:
            self.losing -= 1
            raise UpstreamTimeout("the answer was lost")
        return answer


async def no_sleep(seconds: float) -> None:
    """Waits are not what these tests are about."""


@contextlib.asynccontextmanager
async def opened(location: DynamoDbLocation) -> AsyncIterator[tuple[DynamoDbStore, LosingAnswers]]:
    """A store, and the calls beneath it."""
    assert location.endpoint_url is not None
    async with contextlib.aclosing(LosingAnswers(location.endpoint_url)) as calls:
        yield DynamoDbStore(calls, location, read_timeout_s=CLIENT_TIMEOUT_S, sleep=no_sleep), calls


@pytest.fixture
def location(dynamodb_local: DynamoDbLocal) -> DynamoDbLocation:
    """A table of the test's own."""
    return dynamodb_local.new_table()


@pytest.fixture
def admin(dynamodb_local: DynamoDbLocal, location: DynamoDbLocation) -> Iterator[DynamoDbAdminStore]:
    """The operators' store in it."""
    with contextlib.closing(DynamoDbAdminStore(dynamodb_local.new_client(), location)) as store:
        yield store


def hold(name: str) -> Write:
    """A hold of 10 in a scope with room for 100."""
    return Write(
        Key("scope|team:core|0"),
        (Add("tT", 10), Add("n", 1), Put(name, "own")),
        (Absent(name), AtMost("tT", 90)),
        "all",
    )


@pytest.mark.anyio
async def test_hold_whose_answer_was_lost_is_made_once_and_seen_as_ours(location: DynamoDbLocation) -> None:
    """The repeat is refused, since the hold is there; the image shows that it is our own, and it counts once."""
    async with opened(location) as (store, calls):
        calls.losing = 1
        with pytest.raises(ConditionFailed) as refused:
            await store.write(hold("h1"))
        assert refused.value.item == {"tT": 10, "n": 1, "h1": "own"}
        assert await store.read([hold("h1").key]) == [{"tT": 10, "n": 1, "h1": "own"}]


@pytest.mark.anyio
async def test_settlement_whose_answer_was_lost_is_charged_once(location: DynamoDbLocation) -> None:
    """A negative amount, a removal and a condition on the hold's own value: the second time finds no hold."""
    async with opened(location) as (store, calls):
        await store.write(hold("h1"))
        await store.write(hold("h2"))
        settle = Write(hold("h1").key, (Add("tT", -7), Add("n", -1), Remove("h1")), (Equal("h1", "own"),))
        calls.losing = 1
        with pytest.raises(ConditionFailed) as refused:
            await store.write(settle)
        assert refused.value.item == {"tT": 13, "n": 1, "h2": "own"}


@pytest.mark.anyio
async def test_store_whose_answers_are_all_lost_is_unavailable(location: DynamoDbLocation) -> None:
    """Three lost answers end in StoreUnavailable, although the write was done: nobody claims to know."""
    async with opened(location) as (store, calls):
        calls.losing = 3
        with pytest.raises(StoreUnavailable, match="gave up after 3 tries: the answer was lost"):
            await store.write(Write(Key("a"), (Put("s", "x"),)))
        assert await store.read([Key("a")]) == [{"s": "x"}]


@pytest.mark.anyio
async def test_table_that_is_missing_is_told_with_its_remedy(dynamodb_local: DynamoDbLocal) -> None:
    """DynamoDB's own error for it is recognised, in each operation."""
    nowhere = DynamoDbLocation("no-such-table", "us-east-1", dynamodb_local.endpoint_url)
    async with opened(nowhere) as (store, _):
        for keys in ([Key("a")], [Key("a"), Key("b")]):
            with pytest.raises(StoreUnavailable, match="ResourceNotFoundException: it does not exist"):
                await store.read(keys)
        with pytest.raises(StoreUnavailable, match=r"'no-such-table' in region us-east-1 at http://127.0.0.1"):
            await store.write(hold("h1"))
        assert store.repeats == 0


@pytest.mark.anyio
async def test_write_that_adds_to_a_text_is_refused_in_aws_words(location: DynamoDbLocation) -> None:
    """A mistake of ours is told with what DynamoDB says of it, and changes nothing."""
    async with opened(location) as (store, _):
        await store.write(Write(Key("a"), (Put("s", "x"),)))
        with pytest.raises(StoreUnavailable, match=r"ValidationException: .*AWS says: An operand"):
            await store.write(Write(Key("a"), (Add("s", 1),)))
        assert await store.read([Key("a")]) == [{"s": "x"}]


@pytest.mark.anyio
async def test_write_without_changes_makes_an_empty_item(location: DynamoDbLocation) -> None:
    """DynamoDB refuses empty expressions and empty maps of names; none is sent."""
    async with opened(location) as (store, _):
        assert await store.write(Write(Key("a"), (), returns="all")) == {}
        assert await store.write(Write(Key("b"), (), (Absent("n"),))) == {}
        with pytest.raises(ConditionFailed):
            await store.write(Write(Key("b"), (), (Equal("n", 1),)))
        assert await store.read([Key("a"), Key("b")]) == [{}, {}]


@pytest.mark.anyio
async def test_transactions_among_busy_writers_are_all_done(
    location: DynamoDbLocation, admin: DynamoDbAdminStore
) -> None:
    """An operator's changes to a scope that requests write all the time get through, and lose nobody's write."""
    key, budget = Key("scope|team:core|0"), Key("budget|7", "team:core")
    done = threading.Event()

    def change_budget() -> None:
        try:
            for version in range(1, 11):
                admin.write_all([Write(budget, (Put("v", version),)), Write(key, (Put("v", version),))])
        finally:
            done.set()

    async with opened(location) as (store, _), anyio.create_task_group() as tasks:
        written = [0, 0, 0, 0]

        async def keep_writing(number: int) -> None:
            while not done.is_set() or not written[number]:
                await store.write(Write(key, (Add("n", 1),)))
                written[number] += 1

        for number in range(len(written)):
            tasks.start_soon(keep_writing, number)
        await anyio.to_thread.run_sync(change_budget)
    assert admin.read([budget, key]) == [{"v": 10}, {"v": 10, "n": sum(written)}]


def test_write_all_that_is_refused_shows_the_item_that_refused(admin: DynamoDbAdminStore) -> None:
    """Of writes and checks alike, the old image of the one whose condition failed comes back."""
    admin.write(Write(Key("b"), (Put("v", 1),)))
    for refusing in (Write(Key("b"), (Put("v", 2),), (Equal("v", 7),)), Check(Key("b"), (Equal("v", 7),))):
        with pytest.raises(ConditionFailed) as refused:
            admin.write_all([Write(Key("a"), (Put("n", 1),)), refusing])
        assert refused.value.item == {"v": 1}
    assert admin.read([Key("a"), Key("b")]) == [None, {"v": 1}]


def test_create_table_again_is_harmless(
    dynamodb_local: DynamoDbLocal, location: DynamoDbLocation, admin: DynamoDbAdminStore
) -> None:
    """The table stays as it is, with its expiry on."""
    admin.write(Write(Key("a"), (Put("n", 1),)))
    assert not admin.create_table()
    assert admin.read([Key("a")]) == [{"n": 1}]
    expiry = dynamodb_local.client.describe_time_to_live(TableName=location.table)["TimeToLiveDescription"]
    assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", "x")


def test_create_table_where_another_program_has_that_name_refuses(dynamodb_local: DynamoDbLocal) -> None:
    """A table with another key is left alone."""
    location = DynamoDbLocation("another-program", "us-east-1", dynamodb_local.endpoint_url)
    dynamodb_local.client.create_table(
        TableName=location.table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(StoreUnavailable, match="its key is id and not"):
        create_table(dynamodb_local.client, location)
    dynamodb_local.client.delete_table(TableName=location.table)


def test_server_of_a_block_is_gone_afterwards(dynamodb_local: DynamoDbLocal) -> None:
    """`running` leaves no process behind; the run's own server is another."""
    with running() as own:
        assert own.pid != dynamodb_local.pid
        assert own.client.list_tables()["TableNames"] == []
    with pytest.raises(ProcessLookupError):
        os.kill(own.pid, 0)
    assert dynamodb_local.client.list_tables()["TableNames"]


def test_server_of_a_run_that_is_killed_is_gone_with_it() -> None:
    """Nobody is left to end it after a SIGKILL; it ends all the same."""
    script = "from tests.fakes.dynamodb_local import shared; print(shared().port, flush=True); input()"
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, **paths}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        port = int(run.stdout.readline())
        assert _listens(port)
        run.kill()
        run.wait()
    ends = time.monotonic() + STOP_TIMEOUT_S
    while _listens(port) and time.monotonic() < ends:
        time.sleep(0.05)  # a stranger's process ends: no event of ours tells when
    assert not _listens(port)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
