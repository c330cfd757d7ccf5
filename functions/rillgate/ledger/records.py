"""Records as items: what one request took, written once at its end; usage and audit are computed from these.

Writing one again changes nothing, so a writer that got no answer simply writes again.

Shape: pk "record|2026-11-21|f", sk "<hold id>" or "<hold id>|team:core" for a hold that was captured, and
{"started": 1795269600, "end": "finished", "scopes": '{"key:a1":[571,228400,1]}', "tokens": 571, "cost_nanos": 228400,
 "requests": 1, "key": "a1", "model": "fast", "tags": '{"app":"web"}', "input_tokens": 171, …, "x": 1829829600}
"""

from __future__ import annotations

import json
from typing import Any

from rillgate.domain.limits import NOTHING, Amounts
from rillgate.domain.spending import Record
from rillgate.ledger.keys import record_key
from rillgate.ledger.store import TTL
from rillgate.ledger.writes import Item, Put, Value, Write

KEPT_S = 400 * 86_400  # more than a year, so that a month can be compared with the one a year before

# attribute → field; those that are absent are None
_TEXTS = {
    "key": "key_id",
    "user": "user",
    "team": "team",
    "ticket": "ticket_id",
    "model": "model",
    "provider": "provider",
    "routed_model": "routed_model",
    "captured_scope": "captured_scope",
}
_COUNTS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
SEPARATOR = "|"  # in the sort key of a captured hold's record; no hold id holds it


def record_write(record: Record) -> Write:
    """The write that keeps a record. It has no condition and always the same effect."""
    item = record_item(record)
    key = record_key(record.started_s, record.hold_id, record.captured_scope)
    return Write(key, tuple(Put(name, value) for name, value in item.items()))


def record_item(record: Record) -> dict[str, Value]:
    """A record's attributes; what is not known is left out."""
    item: dict[str, Value] = {
        "started": record.started_s,
        "end": record.end,
        "tokens": record.charged.tokens,
        "cost_nanos": record.charged.cost_nanos,
        "requests": record.charged.requests,
        "estimated": int(record.estimated),
        "priced": int(record.priced),
        TTL: record.started_s + KEPT_S,
    }
    if record.failed != NOTHING:
        item["failed_tokens"] = record.failed.tokens
        item["failed_cost_nanos"] = record.failed.cost_nanos
    if record.scopes:
        scopes = {scope: [of.tokens, of.cost_nanos, of.requests] for scope, of in record.scopes.items()}
        item["scopes"] = _json(scopes)
    if record.tags:
        item["tags"] = _json(dict(record.tags))
    for name, field in _TEXTS.items():
        if (text := getattr(record, field)) is not None:
            item[name] = text
    for name in _COUNTS:
        if (count := getattr(record, name)) is not None:
            item[name] = count
    return item


def read_record(sk: str, item: Item) -> Record:
    """The record that an item holds; unknown attributes are ignored.

    Args:
        sk: its sort key, which begins with the hold id.
    """
    scopes = json.loads(str(item.get("scopes", "{}")))
    values: dict[str, Any] = {field: item.get(name) for name, field in _TEXTS.items()}
    values |= {name: item.get(name) for name in _COUNTS}
    return Record(
        hold_id=sk.partition(SEPARATOR)[0],
        started_s=int(item["started"]),
        scopes={scope: Amounts(*amounts) for scope, amounts in scopes.items()},
        charged=Amounts(int(item.get("tokens", 0)), int(item.get("cost_nanos", 0)), int(item.get("requests", 0))),
        end=str(item.get("end", "")),
        tags=json.loads(str(item.get("tags", "{}"))),
        estimated=bool(item.get("estimated", 0)),
        priced=bool(item.get("priced", 1)),
        failed=Amounts(int(item.get("failed_tokens", 0)), int(item.get("failed_cost_nanos", 0))),
        **values,
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
