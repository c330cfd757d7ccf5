"""The one list of what is measured: `/metrics`, CloudWatch's metrics, dashboards and alarms take their names from here.

On `/metrics` labels may be many, since a scrape is free. In CloudWatch every combination of a name and its dimensions
is billed as a metric of its own: there everything has the one dimension `service`, a few have a second set
(`CLOUDWATCH_SPLITS`), and what a client can choose (a model's name) is bounded. Sums that stay 0 are not sent at all.

Names that begin with `gen_ai` are those of OpenTelemetry's semantic conventions, as Prometheus spells them; figures
that had a name before keep it (docs/adr/0023).
Source: OpenTelemetry, "Semantic conventions for generative AI metrics" and "… inference token metrics", and
"Prometheus and OpenMetrics compatibility"; read 2026-11-21.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

NAMESPACE: Final = "Rillgate"
DIMENSION: Final = "service"

# Seconds. From a fast provider's millisecond to a stream that pauses: most models send a token each 5 to 50 ms.
TOKEN_GAP_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Seconds. Up to 300, which a reasoning model or a cold local one may take.
FIRST_TOKEN_BOUNDS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
# The conventions' own, which end at 82 s; and what a long answer of a reasoning model takes.
DURATION_BOUNDS_S = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 300.0, 900.0)
# The conventions' own, and two below it: fast providers send hundreds of tokens a second.
OUTPUT_TOKEN_BOUNDS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
# Tokens; the conventions' own up to what a context holds.
TOKEN_BOUNDS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0)
# Seconds. SQLite answers within a millisecond, DynamoDB within ten; a settlement gives up after ten seconds.
LEDGER_BOUNDS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class CloudWatchMetric(msgspec.Struct, frozen=True):
    """A metric's name there, and its unit as CloudWatch spells it."""

    name: str
    unit: Literal["Count", "Milliseconds", "Bytes", "None"]


class Metric(msgspec.Struct, frozen=True):
    """One thing that is measured.

    Attributes:
        name: as `/metrics` shows it, without the endings that the format adds.
        kind: its type on `/metrics`.
        text: what it says, in a sentence.
        labels: on `/metrics`.
        cloudwatch: what CloudWatch gets of it; nothing where it is not sent.
        bounds: of a histogram's buckets, in its unit.
        over: what the value of several processes is: their sum, or the largest of them.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    cloudwatch: tuple[CloudWatchMetric, ...] = ()
    bounds: tuple[float, ...] = ()
    over: Literal["sum", "max"] = "sum"


INPUT_TOKENS: Final = CloudWatchMetric("InputTokens", "Count")
OUTPUT_TOKENS: Final = CloudWatchMetric("OutputTokens", "Count")
CACHED_TOKENS: Final = CloudWatchMetric("CachedInputTokens", "Count")
CACHE_WRITE_TOKENS: Final = CloudWatchMetric("CacheWriteTokens", "Count")
REASONING_TOKENS: Final = CloudWatchMetric("ReasoningTokens", "Count")
FIRST_TOKEN_MS: Final = CloudWatchMetric("TimeToFirstToken", "Milliseconds")
OUTPUT_TOKEN_MS: Final = CloudWatchMetric("TimePerOutputToken", "Milliseconds")
DURATION_MS: Final = CloudWatchMetric("RequestDuration", "Milliseconds")
STALL_MS: Final = CloudWatchMetric("StallTime", "Milliseconds")
PAUSE_MS: Final = CloudWatchMetric("PauseTime", "Milliseconds")
QUEUE_PEAK_BYTES: Final = CloudWatchMetric("QueuePeak", "Bytes")
LEDGER_MS: Final = CloudWatchMetric("LedgerLatency", "Milliseconds")
REQUESTS: Final = CloudWatchMetric("Requests", "Count")
FAILURES: Final = CloudWatchMetric("FailedRequests", "Count")
FAILOVER_COUNT: Final = CloudWatchMetric("Failovers", "Count")
RETRY_COUNT: Final = CloudWatchMetric("Retries", "Count")
COOLDOWN_COUNT: Final = CloudWatchMetric("Cooldowns", "Count")
DENIALS: Final = CloudWatchMetric("BudgetDenials", "Count")
WARNING_COUNT: Final = CloudWatchMetric("BudgetWarnings", "Count")
LEDGER_FAILURES: Final = CloudWatchMetric("LedgerFailures", "Count")
SETTLE_FAILURES: Final = CloudWatchMetric("SettleFailures", "Count")
HOLDS_CAPTURED: Final = CloudWatchMetric("HoldsCaptured", "Count")
SPEND_USD: Final = CloudWatchMetric("SpendUsd", "None")

# The ten that an account has free: what alarms stand on, and what anybody looks at first.
CLOUDWATCH_BASIC: Final = (
    *(REQUESTS, FAILURES, FIRST_TOKEN_MS, INPUT_TOKENS, OUTPUT_TOKENS, SPEND_USD, DENIALS, LEDGER_FAILURES),
    *(SETTLE_FAILURES, HOLDS_CAPTURED),
)


class Split(msgspec.Struct, frozen=True):
    """Some of CloudWatch's metrics once more, under further dimensions beside the service."""

    dimensions: tuple[str, ...]
    metrics: tuple[CloudWatchMetric, ...]


CLOUDWATCH_SPLITS: Final = (
    Split(("provider", "model"), (REQUESTS, FAILURES, FIRST_TOKEN_MS, INPUT_TOKENS, OUTPUT_TOKENS, SPEND_USD)),
    Split(("end",), (REQUESTS,)),
    Split(("route", "dialect"), (REQUESTS,)),
)

# Labels of the conventions. The operation is always "chat"; `provider` is the configured name, theirs is its kind.
_GEN_AI: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "provider")

TOKENS: Final = Metric(
    "llm_tokens",
    "counter",
    "Tokens of answered requests, by kind.",
    ("provider", "model", "kind"),
    (INPUT_TOKENS, OUTPUT_TOKENS),
)
TOKEN_LATENCY: Final = Metric(
    "llm_token_latency_seconds",
    "histogram",
    "Time between content chunks of a stream.",
    ("provider", "model"),
    bounds=TOKEN_GAP_BOUNDS_S,
)
FIRST_TOKEN: Final = Metric(
    "llm_time_to_first_token_seconds",
    "histogram",
    "Time from a request to its first content chunk.",
    ("provider", "model"),
    (FIRST_TOKEN_MS,),
    FIRST_TOKEN_BOUNDS_S,
)
GEN_AI_FIRST_TOKEN: Final = Metric(
    "gen_ai_server_time_to_first_token_seconds",
    "histogram",
    "The same as llm_time_to_first_token_seconds, by the name of the semantic conventions.",
    _GEN_AI,
    bounds=FIRST_TOKEN_BOUNDS_S,
)
PER_OUTPUT_TOKEN: Final = Metric(
    "gen_ai_server_time_per_output_token_seconds",
    "histogram",
    "Time for each output token after the first, of streams that came whole.",
    _GEN_AI,
    (OUTPUT_TOKEN_MS,),
    OUTPUT_TOKEN_BOUNDS_S,
)
DURATION: Final = Metric(
    "gen_ai_server_request_duration_seconds",
    "histogram",
    "Time from a request to its last byte; error_type is the end of those that did not come whole.",
    (*_GEN_AI, "error_type"),
    (DURATION_MS,),
    DURATION_BOUNDS_S,
)
USAGE: Final = Metric(
    "gen_ai_client_token_usage",
    "histogram",
    "Tokens of one request.",
    (*_GEN_AI, "gen_ai_token_type"),
    bounds=TOKEN_BOUNDS,
)
CACHE_READ: Final = Metric(
    "gen_ai_client_inference_usage_cache_read_input_tokens",
    "counter",
    "Input tokens that were read from a provider's cache.",
    (*_GEN_AI, "gen_ai_token_modality"),
    (CACHED_TOKENS,),
)
CACHE_WRITE: Final = Metric(
    "gen_ai_client_inference_usage_cache_write_input_tokens",
    "counter",
    "Input tokens that were written to a provider's cache.",
    (*_GEN_AI, "gen_ai_token_modality"),
    (CACHE_WRITE_TOKENS,),
)
REASONING: Final = Metric(
    "gen_ai_client_inference_usage_reasoning_output_tokens",
    "counter",
    "Output tokens that were spent on reasoning.",
    (*_GEN_AI, "gen_ai_token_modality"),
    (REASONING_TOKENS,),
)
ACTIVE_STREAMS: Final = Metric("llm_active_streams", "gauge", "Streams being served now.")
STREAMS_MAX: Final = Metric(
    "llm_active_streams_max", "gauge", "Streams that may be served at once (limits.streams_max)."
)
QUEUE_BYTES: Final = Metric(
    "llm_queue_bytes", "gauge", "Bytes that wait for clients to read now.", cloudwatch=(QUEUE_PEAK_BYTES,)
)
STALL: Final = Metric(
    "llm_stall_seconds", "counter", "Time in which a send waited for its client.", ("provider",), (STALL_MS,)
)
PAUSE: Final = Metric(
    "llm_pause_seconds",
    "counter",
    "Time in which a provider was not read, for a client's sake.",
    ("provider",),
    (PAUSE_MS,),
)
FAILOVERS: Final = Metric(
    "llm_failovers", "counter", "Failed attempts that another upstream followed.", ("provider",), (FAILOVER_COUNT,)
)
RETRIES: Final = Metric(
    "llm_retries",
    "counter",
    "Attempts at an upstream that had failed the same request before.",
    ("provider",),
    (RETRY_COUNT,),
)
COOLDOWNS: Final = Metric(
    "llm_cooldowns", "counter", "Upstreams that were left alone for a while.", ("provider",), (COOLDOWN_COUNT,)
)
LEDGER_TIME: Final = Metric(
    "llm_ledger_duration_seconds",
    "histogram",
    "Time that a call of the ledger took, failed ones included.",
    ("operation",),
    (LEDGER_MS,),
    LEDGER_BOUNDS_S,
)
LOOP_LAG: Final = Metric(
    "llm_loop_lag_seconds",
    "gauge",
    "The longest that the event loop kept a timer waiting within the last minute.",
    over="max",
)
STREAMS: Final = Metric(
    "llm_streams", "counter", "Streams by the cause of their end.", ("provider", "end"), (FAILURES,)
)
REQUESTED: Final = Metric(
    "llm_requests",
    "counter",
    "Requests by the cause of their end; what never reached a provider is answered or refused.",
    ("route", "provider", "model", "dialect", "end", "status"),
    (REQUESTS,),
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
    "llm_budget_warnings", "counter", "Warning marks passed, by kind of scope.", ("scope", "percent"), (WARNING_COUNT,)
)
CAPTURED: Final = Metric(
    "llm_holds_captured",
    "counter",
    "Holds of processes that had died, captured here.",
    cloudwatch=(HOLDS_CAPTURED,),
)
WORKERS: Final = Metric("llm_workers", "gauge", "Processes that serve, of those that share these numbers.")
SPEND: Final = Metric(
    "llm_cost_usd",
    "counter",
    "What requests cost in US dollars, where a price is known.",
    ("provider", "model"),
    (SPEND_USD,),
)

METRICS: Final = (
    REQUESTED,
    STREAMS,
    ACTIVE_STREAMS,
    STREAMS_MAX,
    FIRST_TOKEN,
    GEN_AI_FIRST_TOKEN,
    TOKEN_LATENCY,
    PER_OUTPUT_TOKEN,
    DURATION,
    TOKENS,
    USAGE,
    CACHE_READ,
    CACHE_WRITE,
    REASONING,
    SPEND,
    QUEUE_BYTES,
    STALL,
    PAUSE,
    FAILOVERS,
    RETRIES,
    COOLDOWNS,
    LEDGER_TIME,
    BUDGET_DENIALS,
    BUDGET_WARNINGS,
    UNACCOUNTED,
    UNSETTLED,
    CAPTURED,
    LOOP_LAG,
    WORKERS,
)
