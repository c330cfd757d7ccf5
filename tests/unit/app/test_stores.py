"""Which store a ledger's URL leads to, and when it is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from rillgate.app.settings.types import LedgerSettings
from rillgate.app.stores import DynamoDbOverHttp, LateStore, check_store, store_of
from rillgate.ledger.sqlite import SqliteStore
from rillgate.ledger.store import Store
from rillgate.ledger.writes import Key, Put, StoreUnavailable, Write
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.anyio

KEY = Key("a")


async def test_store_in_a_file_is_opened_when_it_is_used_and_keeps_what_was_written(tmp_path: Path) -> None:
    """Composing a gateway opens nothing; what one wrote the next one reads."""
    settings = LedgerSettings(url=f"sqlite:///{tmp_path}/l.db")
    store = store_of(settings, FakeClock(), {})
    assert not (tmp_path / "l.db").exists()
    await store.write(Write(KEY, (Put("n", 1),)))
    assert isinstance(store.open(), SqliteStore)
    await store.aclose()
    again = store_of(settings, FakeClock(), {})
    again.open()
    assert await again.read([KEY, Key("b")]) == [{"n": 1}, None]
    await again.aclose()


async def test_store_in_memory_is_one_for_as_long_as_it_is_open() -> None:
    """Every use sees what the others wrote."""
    store = store_of(LedgerSettings(url="memory:"), FakeClock(), {})
    await store.write(Write(KEY, (Put("n", 1),)))
    assert await store.read([KEY]) == [{"n": 1}]
    await store.aclose()


async def test_store_that_was_never_opened_closes_as_well() -> None:
    """A gateway that does not start has nothing to close."""

    def make() -> Store:
        raise AssertionError("nobody asked for it")

    await LateStore(make).aclose()


@pytest.mark.parametrize(
    ("query", "environ", "region"),
    [
        ("?region=eu-west-1", {"AWS_REGION": "us-east-1"}, "eu-west-1"),
        ("", {"AWS_REGION": "us-east-1"}, "us-east-1"),
        ("", {"AWS_DEFAULT_REGION": "us-west-2"}, "us-west-2"),
    ],
)
async def test_store_in_dynamodb_takes_its_region_from_url_then_environment(
    query: str, environ: dict[str, str], region: str
) -> None:
    """The URL is the more exact of the two."""
    settings = LedgerSettings(url=f"dynamodb://ledger{query}")
    check_store(settings, environ)
    store = store_of(settings, FakeClock(), environ)
    opened = store.open()
    assert isinstance(opened, DynamoDbOverHttp)
    assert opened.location.region == region
    await store.aclose()


async def test_store_in_dynamodb_that_does_not_answer_is_unavailable() -> None:
    """No connection: after its tries the store says so, and names the table; no secret is in it."""
    url = "dynamodb://ledger?region=eu-west-1&endpoint_url=http://127.0.0.1:9"
    environ = {"AWS_ACCESS_KEY_ID": "AKIAFAKE", "AWS_SECRET_ACCESS_KEY": "fake-secret"}
    store = store_of(LedgerSettings(url=url), FakeClock(), environ)
    with pytest.raises(StoreUnavailable) as caught:
        await store.read([KEY])
    assert "'ledger'" in str(caught.value)
    assert "fake-secret" not in str(caught.value)
    await store.aclose()


def test_check_of_a_store_leaves_a_ledger_that_is_ready(tmp_path: Path) -> None:
    """Whatever can be known before serving is known; what is there stays as it is."""
    url = f"sqlite:///{tmp_path}/l.db"
    for _ in range(2):
        check_store(LedgerSettings(url=url), {})
    assert (tmp_path / "l.db").stat().st_size
    check_store(LedgerSettings(url="memory:"), {})


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite:///{}/none/l.db", "there is no folder"),
        ("sqlite:///{}/t", "no SQLite"),
        ("dynamodb://ledger", "region"),
    ],
)
def test_check_of_a_store_that_cannot_be_used_says_why(tmp_path: Path, url: str, problem: str) -> None:
    """In the words of the store."""
    (tmp_path / "t").write_text("no database, and longer than the header of one " * 20)
    with pytest.raises(StoreUnavailable, match=problem):
        check_store(LedgerSettings(url=url.format(tmp_path)), {})
