"""The ways in which a stream ends. Each has a test and a timeline in docs/architecture.md."""

from __future__ import annotations

from enum import StrEnum


class End(StrEnum):
    """Why a stream ended; the first cause wins."""

    FINISHED = "finished"  # the provider's terminal event was passed on
    BUDGET = "budget"  # it met its limit and was cut, with finish_reason "length" and usage
    CLIENT_GONE = "client_gone"  # the client closed its connection
    STALLED = "stalled"  # the client took nothing for stall_s
    IDLE = "idle"  # the provider was silent for first_token_s or idle_s
    DEADLINE = "deadline"  # total_s was over
    UPSTREAM_ERROR = "upstream_error"  # the provider failed or said so
    TRUNCATED = "truncated"  # the provider's stream stopped without its terminal event
    CANCELLED = "cancelled"  # somebody asked for it
    SHUTDOWN = "shutdown"  # this process is going down and its grace is over
