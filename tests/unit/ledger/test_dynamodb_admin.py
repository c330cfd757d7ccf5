"""The operators' store over boto3: against moto, and with botocore's stubbed answers where moto never fails."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber
from moto import mock_aws

from rillgate.ledger.dynamodb_admin import DynamoDbAdminStore
from rillgate.ledger.dynamodb_client import open_client
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

LOCATION = DynamoDbLocation("ledger", "eu-central-1")
A, B = Key("budget|7", "team:core"), Key("scope|team:core|0")


@pytest.fixture(autouse=True)
def fake_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own AWS configuration is seen, and nobody is asked for credentials."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fakefakefake")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fake-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture
def store() -> Iterator[DynamoDbAdminStore]:
    """A store on moto, its table made."""
    with mock_aws():
        store = DynamoDbAdminStore.open(LOCATION)
        assert store.create_table()
        yield store
        store.close()


class Stubbed:
    """A store whose next answers are written down; what it waits is kept."""

    def __init__(self) -> None:
        self.client = boto3.Session().client("dynamodb", region_name="eu-central-1")
        self.stubber = Stubber(self.client)
        self.waits: list[float] = []
        self.store = DynamoDbAdminStore(self.client, LOCATION, sleep=self.waits.append, random=lambda: 0.5)


@pytest.fixture
def stubbed() -> Iterator[Stubbed]:
    """A store over a client that never reaches a network."""
    stubbed = Stubbed()
    with stubbed.stubber:
        yield stubbed
    stubbed.store.close()


def test_write_gives_back_what_it_says(store: DynamoDbAdminStore) -> None:
    """Nothing, what changed, or the whole item; numbers come back as numbers."""
    assert store.write(Write(A, (Put("a", "x"), Put("n", 1)))) == {}
    assert store.write(Write(A, (Add("n", -3),), returns="changed")) == {"n": -2}
    assert store.write(Write(A, (Remove("a"), Add("m", 2)), returns="all")) == {"n": -2, "m": 2}


def test_write_whose_condition_fails_changes_nothing_and_gives_the_old_image(store: DynamoDbAdminStore) -> None:
    """Operators see what was there, as requests do."""
    store.write(Write(A, (Put("n", 5),)))
    with pytest.raises(ConditionFailed) as failed:
        store.write(Write(A, (Add("n", 1),), (AtMost("n", 4),)))
    assert failed.value.item == {"n": 5}
    assert store.read([A]) == [{"n": 5}]


def test_write_all_does_every_write(store: DynamoDbAdminStore) -> None:
    """Several items change together, checks included."""
    store.write(Write(Key("name|x"), (Put("id", "a1"),)))
    store.write_all(
        [
            Write(A, (Put("limits", "[]"),), (Absent("limits"),)),
            Write(B, (Put("v", 2), Remove("b"))),
            Check(Key("name|x"), (Equal("id", "a1"),)),
            Check(Key("name|y"), ()),
        ]
    )
    assert store.read([A, B, Key("name|x"), Key("name|y")]) == [{"limits": "[]"}, {"v": 2}, {"id": "a1"}, None]


@pytest.mark.parametrize(
    "refusing", [Write(B, (Put("v", 2),), (Equal("v", 7),)), Check(B, (Equal("v", 7),)), Check(B, (Absent("v"),))]
)
def test_write_all_with_one_refusal_does_nothing(store: DynamoDbAdminStore, refusing: Write | Check) -> None:
    """One condition that does not hold leaves all items as they were."""
    store.write(Write(B, (Put("v", 1),)))
    with pytest.raises(ConditionFailed):
        store.write_all([Write(A, (Put("limits", "[]"),)), refusing])
    assert store.read([A, B]) == [None, {"v": 1}]


def test_write_all_of_nothing_does_nothing(stubbed: Stubbed) -> None:
    """No empty transaction is sent: it would be refused."""
    stubbed.store.write_all([])
    stubbed.store.write_all([Check(A, ())])


def test_write_all_of_too_much_is_a_mistake_of_the_caller(stubbed: Stubbed) -> None:
    """The port promises 25 and no more."""
    with pytest.raises(ValueError, match="26 operations"):
        stubbed.store.write_all([Check(Key(str(number)), (Absent("a"),)) for number in range(26)])


def cancelled(*codes: str) -> dict[str, Any]:
    """Arguments for a transaction that was cancelled for these reasons."""
    return {
        "service_error_code": "TransactionCanceledException",
        "http_status_code": 400,
        "modeled_fields": {"CancellationReasons": [{"Code": code, "Message": f"about {code}"} for code in codes]},
    }


def test_write_all_that_collides_is_repeated_with_its_token(stubbed: Stubbed) -> None:
    """A request that wrote one of the items meanwhile is no refusal; the same token makes the repeat harmless."""
    tokens: list[str] = []
    stubbed.client.meta.events.register(
        "provide-client-params.dynamodb.*", lambda params, **_: tokens.append(params["ClientRequestToken"])
    )
    stubbed.stubber.add_client_error("transact_write_items", **cancelled("None", "TransactionConflict"))
    stubbed.stubber.add_client_error("transact_write_items", **cancelled("ThrottlingError", "None"))
    stubbed.stubber.add_client_error("transact_write_items", service_error_code="TransactionInProgressException")
    stubbed.stubber.add_response("transact_write_items", {})
    stubbed.store.write_all([Write(A, (Put("a", 1),)), Write(B, (Put("v", 1),))])
    stubbed.stubber.assert_no_pending_responses()
    assert len(tokens) == 4
    assert len(set(tokens)) == 1
    assert stubbed.waits == [pytest.approx(0.11)] * 3


def test_write_all_that_always_collides_gives_up(stubbed: Stubbed) -> None:
    """Patience ends, and the message says why."""
    for _ in range(12):
        stubbed.stubber.add_client_error("transact_write_items", **cancelled("TransactionConflict"))
    with pytest.raises(StoreUnavailable, match="gave up after 12 tries: TransactionConflictException"):
        stubbed.store.write_all([Write(A, (Put("a", 1),))])


def test_write_all_refused_while_another_item_collides_is_refused(stubbed: Stubbed) -> None:
    """A condition that did not hold outweighs a collision beside it."""
    stubbed.stubber.add_client_error(
        "transact_write_items", **cancelled("TransactionConflict", "ConditionalCheckFailed")
    )
    with pytest.raises(ConditionFailed):
        stubbed.store.write_all([Write(A, (Put("a", 1),)), Check(B, (Absent("b"),))])


def test_write_all_with_several_refusals_shows_the_first(stubbed: Stubbed) -> None:
    """The image is of the first operation that was refused, whichever others were."""
    arguments = cancelled("None", "ConditionalCheckFailed", "ConditionalCheckFailed")
    for number, reason in enumerate(arguments["modeled_fields"]["CancellationReasons"]):
        reason["Item"] = {"n": {"N": str(number)}}
    stubbed.stubber.add_client_error("transact_write_items", **arguments)
    with pytest.raises(ConditionFailed) as refused:
        stubbed.store.write_all([Write(Key(name), (Put("a", 1),), (Absent("a"),)) for name in "xyz"])
    assert refused.value.item == {"n": 1}


def test_write_all_cancelled_for_another_reason_says_it(stubbed: Stubbed) -> None:
    """What no repeat helps is told in AWS's words."""
    stubbed.stubber.add_client_error("transact_write_items", **cancelled("None", "ValidationError"))
    with pytest.raises(StoreUnavailable, match="about ValidationError"):
        stubbed.store.write_all([Write(A, (Put("a", 1),))])


def test_read_keeps_order_and_repetition_over_blocks(store: DynamoDbAdminStore) -> None:
    """More keys than one batch may have, one of them twice, one missing."""
    keys = [Key("record|2026-11-21|f", f"{number:03}") for number in range(130)]
    for number in (0, 99, 100, 129):
        store.write(Write(keys[number], (Put("i", number),)))
    found = store.read([*keys, keys[99], Key("missing")])
    assert [item and item["i"] for item in found if item is not None] == [0, 99, 100, 129, 99]
    assert found[99] == {"i": 99}
    assert found[131] is None
    assert store.read([]) == []


def test_read_with_keys_left_over_asks_for_those_again(stubbed: Stubbed) -> None:
    """Throttled reads are completed, after a wait."""
    first, second = ({"pk": {"S": name}, "sk": {"S": "-"}} for name in ("a", "b"))
    stubbed.stubber.add_response(
        "batch_get_item", {"Responses": {"ledger": [first]}, "UnprocessedKeys": {"ledger": {"Keys": [second]}}}
    )
    stubbed.stubber.add_response("batch_get_item", {"Responses": {"ledger": [second]}, "UnprocessedKeys": {}})
    assert stubbed.store.read([Key("a"), Key("b")]) == [{}, {}]
    assert len(stubbed.waits) == 1


def test_query_gives_one_partition_in_order_over_pages(store: DynamoDbAdminStore) -> None:
    """More than a page (1 MB) comes whole, in order of sk, and nothing of other partitions."""
    names = ["b", "a", "Z", "a|2", "é", "c"]
    for name in names:
        store.write(Write(Key("record|d|0", name), (Put("text", name * (300_000 // len(name.encode()))),)))
    store.write(Write(Key("record|d|1", "a"), (Put("text", "other"),)))
    found = list(store.query("record|d|0"))
    assert [sk for sk, _ in found] == ["Z", "a", "a|2", "b", "c", "é"]
    assert all(set(item) == {"text"} for _, item in found)
    assert list(store.query("record|d|2")) == []


def test_query_follows_every_page(stubbed: Stubbed) -> None:
    """The next page begins where the last one ended, until there is none; an empty page is not the end."""
    key = {"pk": {"S": "p"}, "sk": {"S": "1"}}
    asked: list[Any] = []
    stubbed.client.meta.events.register(
        "provide-client-params.dynamodb.*", lambda params, **_: asked.append(params.get("ExclusiveStartKey"))
    )
    stubbed.stubber.add_response("query", {"Items": [{**key, "n": {"N": "1"}}], "LastEvaluatedKey": key})
    stubbed.stubber.add_response("query", {"Items": [], "LastEvaluatedKey": key})
    stubbed.stubber.add_response("query", {"Items": [{**key, "n": {"N": "2"}}]})
    assert list(stubbed.store.query("p")) == [("1", {"n": 1}), ("1", {"n": 2})]
    assert asked == [None, key, key]


def test_create_table_makes_what_the_ledger_needs(store: DynamoDbAdminStore) -> None:
    """String keys, paid on demand, forgetting after `x`; a second time is harmless and loses nothing."""
    store.write(Write(A, (Put("n", 1),)))
    assert not store.create_table()
    client = open_client(LOCATION)
    table = client.describe_table(TableName="ledger")["Table"]
    assert [(part["AttributeName"], part["KeyType"]) for part in table["KeySchema"]] == [
        ("pk", "HASH"),
        ("sk", "RANGE"),
    ]
    assert {part["AttributeType"] for part in table["AttributeDefinitions"]} == {"S"}
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    expiry = client.describe_time_to_live(TableName="ledger")["TimeToLiveDescription"]
    assert (expiry["AttributeName"], expiry["TimeToLiveStatus"]) == ("x", "ENABLED")
    assert store.read([A]) == [{"n": 1}]
    client.close()


def test_create_table_where_another_program_has_that_name_refuses() -> None:
    """A table with another key is left alone, and the message says why."""
    with mock_aws():
        client = open_client(LOCATION)
        client.create_table(
            TableName="ledger",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        with pytest.raises(StoreUnavailable, match="its key is id and not the strings pk, sk; choose another name"):
            create_table(client, LOCATION)
        client.close()


def test_create_table_that_somebody_else_makes_meanwhile_is_no_error(stubbed: Stubbed) -> None:
    """Two operators at once: the slower one finds the table in the making, and waits for it."""
    table = {
        "TableStatus": "ACTIVE",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
    }
    off = {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
    enabling = {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLING", "AttributeName": "x"}}
    stubbed.stubber.add_client_error("describe_table", service_error_code="ResourceNotFoundException")
    stubbed.stubber.add_client_error("create_table", service_error_code="ResourceInUseException")
    stubbed.stubber.add_response("describe_table", {"Table": table})
    stubbed.stubber.add_response("describe_table", {"Table": table})
    stubbed.stubber.add_response("describe_time_to_live", off)
    stubbed.stubber.add_client_error("update_time_to_live", service_error_code="ValidationException")
    stubbed.stubber.add_response("describe_time_to_live", enabling)
    assert not stubbed.store.create_table()
    stubbed.stubber.assert_no_pending_responses()


def test_table_that_is_missing_is_told_with_its_remedy() -> None:
    """A wrong url is the usual mistake: the message names table and region."""
    with mock_aws():
        store = DynamoDbAdminStore.open(LOCATION)
        with pytest.raises(StoreUnavailable, match=r"table 'ledger' in region eu-central-1: ResourceNotFound.* create"):
            list(store.query("x"))
        store.close()


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        ("AccessDeniedException", "User: arn:… is not authorized", "allow dynamodb:GetItem"),
        ("ValidationException", "Invalid UpdateExpression", "AWS says: Invalid UpdateExpression"),
    ],
)
def test_refusal_that_no_repeat_helps_is_told_at_once(stubbed: Stubbed, code: str, message: str, told: str) -> None:
    """One call, and a message with the way out."""
    stubbed.stubber.add_client_error("update_item", service_error_code=code, service_message=message)
    with pytest.raises(StoreUnavailable) as failed:
        stubbed.store.write(Write(A, (Put("a", 1),)))
    assert told in str(failed.value)
    assert stubbed.waits == []


def test_expired_credentials_are_tried_once_more(stubbed: Stubbed) -> None:
    """A profile that renews itself gets its chance; then the message says what to do."""
    for _ in range(2):
        stubbed.stubber.add_client_error("update_item", service_error_code="ExpiredTokenException")
    with pytest.raises(StoreUnavailable, match="the credentials have expired: renew them"):
        stubbed.store.write(Write(A, (Put("a", 1),)))
    assert len(stubbed.waits) == 1


def test_answer_that_is_late_is_asked_for_again(stubbed: Stubbed) -> None:
    """A read timeout is no refusal: every write is safe to repeat."""
    failures = iter([True, False])

    def late(**_: Any) -> None:
        if next(failures):
            raise ReadTimeoutError(endpoint_url="http://127.0.0.1")

    stubbed.stubber.add_response("update_item", {"Attributes": {"a": {"N": "1"}}})
    stubbed.client.meta.events.register("before-parameter-build.dynamodb.*", late)
    assert stubbed.store.write(Write(A, (Put("a", 1),), returns="all")) == {"a": 1}
    assert len(stubbed.waits) == 1


def test_open_without_credentials_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call finds none, and no metadata service is asked here."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = DynamoDbAdminStore.open(DynamoDbLocation("ledger", "eu-central-1", "http://127.0.0.1:1"))
    with pytest.raises(StoreUnavailable, match=r"NoCredentialsError: .*set AWS_ACCESS_KEY_ID"):
        store.read([A])
    store.close()


def test_open_without_a_region_says_where_it_belongs() -> None:
    """Neither the url nor the environment names one."""
    with pytest.raises(StoreUnavailable, match=r"NoRegionError: .*dynamodb://TABLE\?region=R"):
        DynamoDbAdminStore.open(DynamoDbLocation("ledger"))


def test_open_with_a_missing_profile_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_PROFILE names one that no file has."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreUnavailable, match=r"ProfileNotFound: .*correct AWS_PROFILE"):
        DynamoDbAdminStore.open(LOCATION)


def test_endpoint_where_nobody_answers_is_told() -> None:
    """DynamoDB Local is not running: one line, at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    store = DynamoDbAdminStore.open(DynamoDbLocation("ledger", "us-east-1", f"http://127.0.0.1:{port}"))
    with pytest.raises(StoreUnavailable, match=r"EndpointConnectionError: .*check endpoint_url and region"):
        store.write(Write(A, (Put("a", 1),)))
    with pytest.raises(StoreUnavailable, match="EndpointConnectionError"):
        store.create_table()
    store.close()
