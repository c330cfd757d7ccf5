"""Where everything lives in the one table: primary keys, and the partitions that can be listed without an index.

pk                      sk             what
scope|team:core|0       -              one shard of a scope: counters and outstanding holds
budget|7                team:core      its limits (16 partitions, so that all can be listed)
key|b                   <key id>       a virtual key
name|<name>             -              which key has this name
secret                  tickets        the signing secret of tickets
ticket|<id>             -              a ticket for one use that was used
cancel|<request id>     by:<owner>     the wish to end a request, by its owner
record|2026-11-21|f     <hold id>      what one request took; `<hold id>|team:core` for a hold that was captured
"""

from __future__ import annotations

import zlib
from datetime import UTC, date, datetime

from rillgate.ledger.writes import Key

PARTITIONS = 16
SHARD = 0  # scopes are not sharded yet; the key has room for it


def scope_key(scope: str, shard: int = SHARD) -> Key:
    """Counters and holds of a scope."""
    return Key(f"scope|{scope}|{shard}")


def budget_key(scope: str) -> Key:
    """The limits of a scope."""
    return Key(f"budget|{_partition(scope)}", scope)


def virtual_key_key(key_id: str) -> Key:
    """A virtual key."""
    return Key(f"key|{_partition(key_id)}", key_id)


def name_key(name: str) -> Key:
    """The claim of a virtual key on its name."""
    return Key(f"name|{name}")


def ticket_secret_key() -> Key:
    """The secret that signs tickets."""
    return Key("secret", "tickets")


def used_ticket_key(ticket_id: str) -> Key:
    """That a ticket for one use was used."""
    return Key(f"ticket|{ticket_id}")


def cancel_key(request_id: str, owner: str) -> Key:
    """The wish of one owner to end a request. The owner is part of the key: nobody's wish hides another's."""
    return Key(f"cancel|{request_id}", f"by:{owner}")


def record_key(started_s: int, hold_id: str, captured_scope: str | None = None) -> Key:
    """The record of a request, or of one scope's hold that was captured."""
    sk = hold_id if captured_scope is None else f"{hold_id}|{captured_scope}"
    return Key(f"record|{day_of(started_s).isoformat()}|{_partition(hold_id)}", sk)


def budget_partitions() -> list[str]:
    """Where all budgets are."""
    return [f"budget|{number:x}" for number in range(PARTITIONS)]


def virtual_key_partitions() -> list[str]:
    """Where all virtual keys are."""
    return [f"key|{number:x}" for number in range(PARTITIONS)]


def record_partitions(day: date) -> list[str]:
    """Where all records of a day are."""
    return [f"record|{day.isoformat()}|{number:x}" for number in range(PARTITIONS)]


def day_of(at_s: int) -> date:
    """The day in UTC."""
    return datetime.fromtimestamp(at_s, UTC).date()


def _partition(name: str) -> str:
    return f"{zlib.crc32(name.encode()) % PARTITIONS:x}"
