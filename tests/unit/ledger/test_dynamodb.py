"""The DynamoDB store against scripted answers: what it asks, what it repeats, and what it says when it gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rillgate.domain.errors import UpstreamError, UpstreamTimeout
from rillgate.ledger.dynamodb import DynamoDbStore
from rillgate.ledger.dynamodb_location import DynamoDbLocation
from rillgate.ledger.writes import Absent, Add, AtMost, ConditionFailed, Key, Put, StoreUnavailable, Write
from tests.fakes.aws_calls import Answer, ScriptedCalls, answered, refused

LOCATION = DynamoDbLocation("ledger", "eu-central-1")
KEY = Key("scope|key:a1|0")
HOLD = Write(KEY, (Add("tT", 70), Put("h1", "x")), (Absent("h1"), AtMost("tT", 30)), returns="changed")
DONE = answered({"Attributes": {"tT": {"N": "70"}, "h1": {"S": "x"}}})
TIMEOUT = UpstreamTimeout("no answer within 0.3 s")
RESET = UpstreamError("the connection broke")
UNAVAILABLE = refused("InternalServerError", 500)
THROTTLED = refused("ProvisionedThroughputExceededException")
HOT = refused(
    "ThrottlingException",
    throttlingReasons=[{"reason": "TableWriteKeyRangeThroughputExceeded", "resource": "arn:aws:dynamodb:…"}],
)


class Waits:
    """Takes what a store would sleep."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


def store_of(
    calls: ScriptedCalls,
    *,
    sleep: Callable[[float], Awaitable[None]] | None = None,
    random: float = 0.5,
    tries: int = 3,
) -> DynamoDbStore:
    return DynamoDbStore(
        calls, LOCATION, read_timeout_s=0.3, tries=tries, sleep=sleep or Waits().sleep, random=lambda: random
    )


@pytest.mark.anyio
async def test_write_that_is_done_gives_what_changed() -> None:
    """One call with the write's own request and the configured timeout; the answer's attributes come back."""
    calls = ScriptedCalls(DONE)
    store = store_of(calls)
    assert await store.write(HOLD) == {"tT": 70, "h1": "x"}
    assert [(called.operation, called.timeout_s) for called in calls.called] == [("UpdateItem", 0.3)]
    assert calls.called[0].request == HOLD.render("ledger")
    assert (store.calls, store.repeats, store.throttles, store.hot) == (1, 0, 0, 0)


@pytest.mark.anyio
async def test_write_that_returns_nothing_gives_an_empty_item() -> None:
    """An answer without attributes is an empty item."""
    assert await store_of(ScriptedCalls(answered({}))).write(Write(KEY, (Put("a", 1),))) == {}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("old_image", "item"),
    [
        ({"Item": {"pk": {"S": KEY.pk}, "sk": {"S": "-"}, "tT": {"N": "95"}}}, {"tT": 95}),
        ({}, {}),  # there was no item, and a condition wanted one
    ],
)
async def test_write_whose_condition_fails_gives_the_old_image_and_is_not_repeated(
    old_image: dict[str, Any], item: dict[str, int]
) -> None:
    """A failed condition is an answer, not a fault: it carries what was there, without the key."""
    calls = ScriptedCalls(refused("ConditionalCheckFailedException", **old_image))
    with pytest.raises(ConditionFailed) as failed:
        await store_of(calls).write(HOLD)
    assert failed.value.item == item
    assert len(calls.called) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "trouble",
    [
        TIMEOUT,
        RESET,
        UNAVAILABLE,
        (503, b"<html>Service Unavailable</html>"),
        (502, b""),
        (200, b'{"Attributes": {"tT"'),
        THROTTLED,
        refused("ThrottlingException"),
        refused("RequestLimitExceeded"),
        refused("TransactionConflictException"),
        refused("ReplicatedWriteConflictException"),
    ],
    ids=str,
)
async def test_write_after_passing_trouble_is_repeated_unchanged(trouble: Answer | Exception) -> None:
    """What a moment can mend is asked again, with the very same request, and then done."""
    calls = ScriptedCalls(trouble, DONE)
    store = store_of(calls)
    assert await store.write(HOLD) == {"tT": 70, "h1": "x"}
    assert calls.called[0] == calls.called[1]
    assert (store.calls, store.repeats) == (2, 1)


@pytest.mark.anyio
@pytest.mark.parametrize("trouble", [TIMEOUT, UNAVAILABLE, THROTTLED], ids=str)
async def test_write_under_lasting_trouble_gives_up_after_three_tries(trouble: Answer | Exception) -> None:
    """Three tries and two waits, and the message names operation, table, region and the last trouble."""
    calls, waits = ScriptedCalls(trouble, trouble, trouble), Waits()
    with pytest.raises(
        StoreUnavailable, match=r"UpdateItem on DynamoDB table 'ledger' in region eu-central-1: gave up"
    ):
        await store_of(calls, sleep=waits.sleep).write(HOLD)
    assert len(calls.called) == 3
    assert len(waits.seconds) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(("random", "wait_s"), [(0.0, 0.010), (0.5, 0.030), (0.999, 0.04996)])
async def test_wait_before_a_repeat_is_drawn_between_10_and_50_ms(random: float, wait_s: float) -> None:
    """The jitter spans the whole range, so writers of one item drift apart."""
    waits = Waits()
    await store_of(ScriptedCalls(TIMEOUT, DONE), sleep=waits.sleep, random=random).write(HOLD)
    assert waits.seconds == [pytest.approx(wait_s)]


@pytest.mark.anyio
async def test_waits_of_one_call_stay_below_150_ms_however_many_tries_are_allowed() -> None:
    """With many tries it is time that bounds them: a request's first token waits for this."""
    calls, waits = ScriptedCalls(*[THROTTLED] * 20), Waits()
    with pytest.raises(StoreUnavailable, match="gave up after 4 tries: ProvisionedThroughputExceededException"):
        await store_of(calls, sleep=waits.sleep, random=0.9, tries=20).write(HOLD)
    assert sum(waits.seconds) <= 0.150
    assert len(calls.called) == 4


@pytest.mark.anyio
async def test_write_whose_answer_was_lost_shows_itself_in_the_old_image() -> None:
    """The first try was done and its answer came too late; the second one fails, and its image has our own hold."""
    item: dict[str, Any] = {}

    def late(request: Any) -> Answer:
        item.update(HOLD.apply(item))
        raise TIMEOUT

    def at_once(request: Any) -> Answer:
        with pytest.raises(ConditionFailed):
            HOLD.apply(item)
        return refused("ConditionalCheckFailedException", Item={"tT": {"N": "70"}, "h1": {"S": "x"}})

    with pytest.raises(ConditionFailed) as failed:
        await store_of(ScriptedCalls(late, at_once)).write(HOLD)
    assert failed.value.item == {"tT": 70, "h1": "x"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (refused("ResourceNotFoundException"), "it does not exist: correct the ledger's url, or create the table"),
        (refused("AccessDeniedException"), "allow dynamodb:GetItem, BatchGetItem, UpdateItem"),
        (refused("ValidationException"), "AWS says: about ValidationException"),
        (answered({"__type": "com.amazon.coral.validate#ValidationException", "Message": "bad"}, 400), "AWS says: bad"),
        (refused("SomethingNewException"), "SomethingNewException: check that it is a table of this ledger"),
        ((413, b"too large"), "HTTP 413"),
    ],
    ids=str,
)
async def test_write_that_no_repeat_helps_says_at_once_what_to_do(answer: Answer, told: str) -> None:
    """One call only; the message names table, region and AWS's error, and the way out."""
    calls = ScriptedCalls(answer)
    with pytest.raises(StoreUnavailable) as failed:
        await store_of(calls).write(HOLD)
    assert told in str(failed.value)
    assert "DynamoDB table 'ledger' in region eu-central-1" in str(failed.value)
    assert len(calls.called) == 1


@pytest.mark.anyio
async def test_refused_signature_is_told_without_what_aws_repeats() -> None:
    """AWS's message about a signature contains the canonical request, session token and all: it is not passed on."""
    answer = answered({"__type": "InvalidSignatureException", "message": "x-amz-security-token:FAKETOKEN"}, 403)
    with pytest.raises(StoreUnavailable) as failed:
        await store_of(ScriptedCalls(answer, answer)).write(HOLD)
    assert "FAKETOKEN" not in str(failed.value)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("ExpiredTokenException", "the credentials have expired: renew them"),
        ("UnrecognizedClientException", "the credentials are not known there"),
        ("InvalidSignatureException", "check the secret key, and this machine's clock"),
    ],
)
async def test_refused_credentials_are_tried_once_more_and_not_twice(kind: str, told: str) -> None:
    """The refusal has credentials renewed or a clock set right, which shows at the second try; then it is final."""
    calls = ScriptedCalls(refused(kind), refused(kind), refused(kind))
    with pytest.raises(StoreUnavailable, match=rf"{kind}: .*{told}"):
        await store_of(calls).write(HOLD)
    assert len(calls.called) == 2
    assert await store_of(ScriptedCalls(refused(kind), DONE)).write(HOLD) == {"tT": 70, "h1": "x"}


@pytest.mark.anyio
async def test_call_that_cannot_be_made_is_not_repeated() -> None:
    """Where the caller says that trying again changes nothing (no credentials, say), its words are passed on."""
    calls = ScriptedCalls(UpstreamError("no credentials were found", retryable=False))
    with pytest.raises(StoreUnavailable, match=r"eu-central-1: no credentials were found"):
        await store_of(calls).write(HOLD)
    assert len(calls.called) == 1


@pytest.mark.anyio
async def test_throttles_are_counted_and_a_hot_key_is_named() -> None:
    """Any throttle counts; one for a single partition also says which key takes too much."""
    store = store_of(ScriptedCalls(THROTTLED, HOT, DONE))
    await store.write(HOLD)
    assert (store.calls, store.repeats, store.throttles) == (3, 2, 2)
    assert (store.hot, store.hot_pk) == (1, KEY.pk)


@pytest.mark.anyio
async def test_trouble_that_is_no_throttle_is_not_counted_as_one() -> None:
    """Timeouts and errors of the service are repeats only."""
    store = store_of(ScriptedCalls(TIMEOUT, UNAVAILABLE, DONE))
    await store.write(HOLD)
    assert (store.repeats, store.throttles, store.hot, store.hot_pk) == (2, 0, 0, None)


class HeldCalls(ScriptedCalls):
    """Holds the first call until `let_go` is set."""

    def __init__(self, *script: Answer | Exception) -> None:
        super().__init__(*script)
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()

    async def call(self, target: str, body: bytes, timeout_s: float) -> Answer:
        answer = await super().call(target, body, timeout_s)
        if not self.begun.is_set():
            self.begun.set()
            await self.let_go.wait()
        return answer


@pytest.mark.anyio
@pytest.mark.parametrize("outcome", [DONE, refused("ValidationException")], ids=["done", "refused"])
async def test_write_of_a_cancelled_caller_is_done_before_the_next_one_to_its_item(outcome: Answer) -> None:
    """What undoes a write must not overtake it on another connection; other items need not wait, and closing does."""
    calls = HeldCalls(outcome, DONE, DONE)
    store = store_of(calls)
    write = asyncio.ensure_future(store.write(HOLD))
    await calls.begun.wait()
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    undo = asyncio.ensure_future(store.write(Write(KEY, (Put("h1", "undone"),))))
    closed = asyncio.ensure_future(store.aclose())
    other = asyncio.ensure_future(store.write(Write(Key("scope|key:b2|0"), HOLD.changes)))
    assert await other == {"tT": 70, "h1": "x"}
    assert not closed.done()
    calls.let_go.set()
    await closed
    await undo
    assert [called.request["Key"]["pk"]["S"] for called in calls.called] == [KEY.pk, "scope|key:b2|0", KEY.pk]


def attributes_of(key: dict[str, Any]) -> dict[str, Any]:
    return {**key, "a": {"S": key["pk"]["S"]}}


class Table:
    """Answers BatchGetItem: every key that begins with "k" is there. At most `each` keys in one answer."""

    def __init__(self, each: int = 100) -> None:
        self.each = each
        self.asked: list[int] = []

    def __call__(self, request: Any) -> Answer:
        assert list(request["RequestItems"]) == ["ledger"]
        keys = request["RequestItems"]["ledger"]["Keys"]
        assert request["RequestItems"]["ledger"]["ConsistentRead"] is True
        assert len(keys) <= 100
        assert len({key["pk"]["S"] for key in keys}) == len(keys)
        self.asked.append(len(keys))
        done, left = keys[: self.each], keys[self.each :]
        found = [attributes_of(key) for key in reversed(done) if key["pk"]["S"].startswith("k")]
        unprocessed = {"ledger": {"Keys": left, "ConsistentRead": True}} if left else {}
        return answered({"Responses": {"ledger": found}, "UnprocessedKeys": unprocessed})


@pytest.mark.anyio
async def test_read_of_one_key_is_one_consistent_get() -> None:
    """GetItem costs half the bytes of a batch of one; a key that is not there is None."""
    found = answered({"Item": {"pk": {"S": KEY.pk}, "sk": {"S": "-"}, "n": {"N": "3"}}})
    calls = ScriptedCalls(found, answered({}))
    store = store_of(calls)
    assert await store.read([KEY]) == [{"n": 3}]
    assert await store.read([KEY]) == [None]
    assert calls.operations == ["GetItem", "GetItem"]
    assert calls.called[0].request["ConsistentRead"] is True


@pytest.mark.anyio
async def test_read_of_no_keys_calls_nobody() -> None:
    """Nothing asked, nothing called."""
    assert await store_of(ScriptedCalls()).read([]) == []


@pytest.mark.anyio
async def test_read_of_many_keys_keeps_their_order_in_blocks_of_a_hundred() -> None:
    """Answers come in any order and in blocks; items stand where their keys do, twice where a key does."""
    table = Table()
    keys = [Key(f"k{number}") for number in range(205)]
    found = await store_of(ScriptedCalls(*[table] * 3)).read([*keys, Key("missing"), keys[7]])
    assert found == [*[{"a": f"k{number}"} for number in range(205)], None, {"a": "k7"}]
    assert table.asked == [100, 100, 6]


@pytest.mark.anyio
async def test_read_with_keys_left_over_asks_for_those_again() -> None:
    """What an answer leaves over is asked for anew, alone, after a wait, and counts as throttled."""
    table, waits = Table(each=4), Waits()
    store = store_of(ScriptedCalls(*[table] * 3), sleep=waits.sleep)
    found = await store.read([Key(f"k{number}") for number in range(10)])
    assert found == [{"a": f"k{number}"} for number in range(10)]
    assert table.asked == [10, 6, 2]
    assert len(waits.seconds) == 2
    assert (store.calls, store.repeats, store.throttles) == (3, 2, 2)


@pytest.mark.anyio
async def test_read_that_makes_no_progress_gives_up() -> None:
    """A table that leaves everything over is unavailable after three tries."""
    table = Table(each=0)
    store = store_of(ScriptedCalls(*[table] * 3))
    with pytest.raises(StoreUnavailable, match=r"BatchGetItem on .*gave up after 3 tries: 2 keys were left over"):
        await store.read([Key("k1"), Key("k2")])
    assert (store.calls, store.repeats, store.throttles) == (3, 2, 3)


@pytest.mark.anyio
async def test_read_that_makes_progress_has_as_many_tries_as_it_needs() -> None:
    """Only tries that bring nothing are counted against it."""
    table = Table(each=2)
    found = await store_of(ScriptedCalls(*[table] * 5), random=0.0).read([Key(f"k{number}") for number in range(10)])
    assert found == [{"a": f"k{number}"} for number in range(10)]
    assert table.asked == [10, 8, 6, 4, 2]


@pytest.mark.anyio
async def test_read_that_crawls_is_bounded_in_time() -> None:
    """Progress gives back the tries but not the time."""
    table, waits = Table(each=1), Waits()
    with pytest.raises(StoreUnavailable):
        await store_of(ScriptedCalls(*[table] * 6), sleep=waits.sleep).read([Key(f"k{number}") for number in range(50)])
    assert sum(waits.seconds) <= 0.150


@pytest.mark.anyio
async def test_read_repeats_after_trouble_as_a_write_does() -> None:
    """Reads have no side effects; the same rules hold."""
    store = store_of(ScriptedCalls(TIMEOUT, THROTTLED, answered({})))
    assert await store.read([KEY]) == [None]
    assert (store.calls, store.repeats, store.throttles) == (3, 2, 1)
    await store.aclose()
