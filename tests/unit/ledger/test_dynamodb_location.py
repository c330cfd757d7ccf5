"""The URL of a DynamoDB ledger."""

from __future__ import annotations

import pytest

from rillgate.ledger.dynamodb_location import DynamoDbLocation, parse_location


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("dynamodb://ledger", DynamoDbLocation("ledger")),
        ("dynamodb://ledger/", DynamoDbLocation("ledger")),
        ("dynamodb://My_Ledger-2.test?region=eu-central-1", DynamoDbLocation("My_Ledger-2.test", "eu-central-1")),
        (
            "dynamodb://ledger?region=us-east-1&endpoint_url=http://127.0.0.1:8000",
            DynamoDbLocation("ledger", "us-east-1", "http://127.0.0.1:8000"),
        ),
        (
            "dynamodb://ledger?endpoint_url=https%3A%2F%2Fdb.example%2Fpath",
            DynamoDbLocation("ledger", None, "https://db.example/path"),
        ),
    ],
)
def test_location_from_a_good_url_has_its_parts(url: str, location: DynamoDbLocation) -> None:
    """Table as written, in its own case; region and endpoint where they stand."""
    assert parse_location(url) == location


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:///rillgate.db", "'sqlite' is not 'dynamodb'"),
        ("dynamodb:", "names no table"),
        ("dynamodb://", "names no table"),
        ("dynamodb://?region=eu-central-1", "names no table"),
        ("dynamodb:///ledger", "names no table"),
        ("dynamodb://le", "'le' is no table's name"),
        ("dynamodb://ledger:8000", "'ledger:8000' is no table's name"),
        ("dynamodb://ledger/extra", "a table's name has no /"),
        ("dynamodb://ledger#extra", "a table's name has no #"),
        ("dynamodb://ledger?regoin=x", "unknown option 'regoin': there are region and endpoint_url"),
        ("dynamodb://ledger?region=a1&region=b1", "'region' stands there twice"),
        ("dynamodb://ledger?region=", "region '' is none"),
        ("dynamodb://ledger?region=Frankfurt!", "region 'Frankfurt!' is none"),
        ("dynamodb://ledger?endpoint_url=127.0.0.1:8000", "endpoint_url is no http URL"),
        ("dynamodb://ledger?endpoint_url=ftp://127.0.0.1", "endpoint_url is no http URL"),
        ("dynamodb://ledger?endpoint_url=http://", "endpoint_url is no http URL"),
        ("dynamodb://ledger?endpoint_url=http://127.0.0.1:x", "endpoint_url is no http URL"),
        ("dynamodb://ledger?endpoint_url=http://[::1", "endpoint_url is no http URL"),
    ],
)
def test_location_from_a_bad_url_says_what_is_wrong(url: str, says: str) -> None:
    """The message repeats the part at fault and shows the way out."""
    with pytest.raises(ValueError, match=r".") as failed:
        parse_location(url)
    assert says in str(failed.value)


@pytest.mark.parametrize(
    "url", ["dynamodb://AKIAFAKE:hunter2@ledger", "dynamodb://ledger?endpoint_url=http://me:hunter2@127.0.0.1:8000"]
)
def test_location_from_a_url_with_credentials_is_refused_without_repeating_them(url: str) -> None:
    """Credentials do not belong into configuration, and still less into an error message."""
    with pytest.raises(ValueError, match="credentials") as failed:
        parse_location(url)
    assert "hunter2" not in str(failed.value)


def test_location_as_text_names_table_region_and_endpoint() -> None:
    """Messages of the store say where the trouble is."""
    assert str(DynamoDbLocation("ledger")) == "DynamoDB table 'ledger' in the default region"
    local = DynamoDbLocation("ledger", "us-east-1", "http://127.0.0.1:8000")
    assert str(local) == "DynamoDB table 'ledger' in region us-east-1 at http://127.0.0.1:8000"
