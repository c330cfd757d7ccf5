"""Records as items."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.limits import Amounts
from rillgate.domain.spending import Record
from rillgate.ledger.records import read_record, record_item, record_write
from rillgate.ledger.writes import Put

TEXT = st.none() | st.text()
COUNT = st.none() | st.integers(0, 10**9)
AMOUNTS = st.builds(Amounts, st.integers(0, 10**9), st.integers(0, 10**15), st.integers(0, 1))
HOLD_ID = "AbCdEfGhIjKlMn_-"


@given(
    st.builds(
        Record,
        hold_id=st.just(HOLD_ID),
        started_s=st.integers(0, 4 * 10**9),
        scopes=st.dictionaries(st.text(), AMOUNTS, max_size=3),
        charged=AMOUNTS,
        end=st.text(),
        key_id=TEXT,
        user=TEXT,
        team=TEXT,
        ticket_id=TEXT,
        model=TEXT,
        provider=TEXT,
        routed_model=TEXT,
        tags=st.dictionaries(st.text(), st.text(), max_size=3),
        input_tokens=COUNT,
        output_tokens=COUNT,
        cached_input_tokens=COUNT,
        cache_write_tokens=COUNT,
        reasoning_tokens=COUNT,
        estimated=st.booleans(),
        priced=st.booleans(),
        captured_scope=st.none() | st.sampled_from(["global", "key:a1", "model:a|b"]),
    )
)
def test_record_write_read_back_gives_the_same_record(record: Record) -> None:
    """Nothing of a record is lost, whatever its texts hold; unknown counts stay unknown."""
    write = record_write(record)
    item = write.apply({})
    assert read_record(write.key.sk, item) == record
    assert all(type(value) in (int, str) for value in item.values())


def test_record_write_done_twice_changes_nothing() -> None:
    """A writer that got no answer may write again."""
    write = record_write(Record(hold_id=HOLD_ID, started_s=1_795_269_600, charged=Amounts(5, 7, 1), end="finished"))
    once = write.apply({})
    assert write.apply(once) == once
    assert not write.conditions


def test_record_write_of_a_captured_hold_has_a_key_of_its_own() -> None:
    """Its owner's record and the one that captured it stand side by side."""
    own = record_write(Record(hold_id=HOLD_ID, started_s=1_795_269_600))
    captured = record_write(Record(hold_id=HOLD_ID, started_s=1_795_269_600, captured_scope="team:core"))
    assert (own.key.pk, own.key.sk) == (captured.key.pk, HOLD_ID)
    assert captured.key.sk == f"{HOLD_ID}|team:core"


def test_record_item_of_a_record_is_forgotten_after_400_days() -> None:
    """The time to live counts from the start of the request."""
    assert record_item(Record(hold_id=HOLD_ID, started_s=1000))["x"] == 1000 + 400 * 86_400


def test_record_write_of_a_record_puts_every_attribute_once() -> None:
    """No attribute stands in two changes, which DynamoDB would refuse."""
    write = record_write(Record(hold_id=HOLD_ID, started_s=1000, tags={"a": "b"}, captured_scope="global"))
    names = [change.name for change in write.changes if isinstance(change, Put)]
    assert len(names) == len(set(names)) == len(write.changes)
