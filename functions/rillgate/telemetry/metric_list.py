"""The one list of what is measured: `/metrics`, CloudWatch's metrics and the alarms over them take names from here.

On `/metrics` labels may be many, since a scrape is free. In CloudWatch every combination of a name and its dimensions
is billed as a metric of its own, so there the one dimension is `service`, and what a client can choose (a model's
name) is never one. Sums that stay 0 are not sent at all.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

NAMESPACE: Final = "Rillgate"
DIMENSION: Final = "service"


class CloudWatchMetric(msgspec.Struct, frozen=True):
    """A metric's name there, and its unit as CloudWatch spells it."""

    name: str
    unit: Literal["Count", "Milliseconds", "None"]


class Metric(msgspec.Struct, frozen=True):
    """One thing that is measured.

    Attributes:
        name: as `/metrics` shows it, without the endings that the format adds; "" where it is not there.
        kind: its type on `/metrics`.
        text: what it says, in a sentence.
        labels: on `/metrics`.
        cloudwatch: what CloudWatch gets of it; nothing where it is not sent.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    cloudwatch: tuple[CloudWatchMetric, ...] = ()


INPUT_TOKENS: Final = CloudWatchMetric("InputTokens", "Count")
OUTPUT_TOKENS: Final = CloudWatchMetric("OutputTokens", "Count")
FIRST_TOKEN_MS: Final = CloudWatchMetric("TimeToFirstToken", "Milliseconds")
REQUESTS: Final = CloudWatchMetric("Requests", "Count")
FAILURES: Final = CloudWatchMetric("FailedRequests", "Count")
DENIALS: Final = CloudWatchMetric("BudgetDenials", "Count")
LEDGER_FAILURES: Final = CloudWatchMetric("LedgerFailures", "Count")
SETTLE_FAILURES: Final = CloudWatchMetric("SettleFailures", "Count")
HOLDS_CAPTURED: Final = CloudWatchMetric("HoldsCaptured", "Count")
SPEND_USD: Final = CloudWatchMetric("SpendUsd", "None")

TOKENS: Final = Metric(
    "llm_tokens",
    "counter",
    "Tokens of answered requests, by kind.",
    ("provider", "model", "kind"),
    (INPUT_TOKENS, OUTPUT_TOKENS),
)
TOKEN_LATENCY: Final = Metric(
    "llm_token_latency_seconds", "histogram", "Time between content chunks of a stream.", ("provider", "model")
)
FIRST_TOKEN: Final = Metric(
    "llm_time_to_first_token_seconds",
    "histogram",
    "Time from a request to its first content chunk.",
    ("provider", "model"),
    (FIRST_TOKEN_MS,),
)
ACTIVE_STREAMS: Final = Metric("llm_active_streams", "gauge", "Streams being served now.")
STREAMS: Final = Metric(
    "llm_streams", "counter", "Streams by the cause of their end.", ("provider", "end"), (REQUESTS, FAILURES)
)
BUDGET_DENIALS: Final = Metric(
    "llm_budget_denials", "counter", "Requests refused by a budget.", ("reason",), (DENIALS,)
)
UNACCOUNTED: Final = Metric(
    "llm_unaccounted_requests",
    "counter",
    "Requests served while the ledger failed.",
    cloudwatch=(LEDGER_FAILURES,),  # those that were refused for it are in there too
)
UNSETTLED: Final = Metric(
    "llm_settle_failures", "counter", "Holds that could not be settled.", cloudwatch=(SETTLE_FAILURES,)
)
BUDGET_WARNINGS: Final = Metric(
    "llm_budget_warnings", "counter", "Warning marks passed, by kind of scope.", ("scope", "percent")
)
CAPTURED: Final = Metric(
    "llm_holds_captured",
    "counter",
    "Holds of processes that had died, captured here.",
    cloudwatch=(HOLDS_CAPTURED,),
)
WORKERS: Final = Metric("llm_workers", "gauge", "Processes that serve, of those that share these numbers.")
SPEND: Final = Metric("", "counter", "What requests cost, where a price is known.", cloudwatch=(SPEND_USD,))

METRICS: Final = (
    TOKENS,
    TOKEN_LATENCY,
    FIRST_TOKEN,
    ACTIVE_STREAMS,
    STREAMS,
    BUDGET_DENIALS,
    UNACCOUNTED,
    UNSETTLED,
    BUDGET_WARNINGS,
    CAPTURED,
    WORKERS,
    SPEND,
)
