"""What a client is told when its request is ended from our side, one error for each cause."""

from __future__ import annotations

from rillgate.domain.ends import End
from rillgate.domain.errors import RillgateError, StreamEnded, UpstreamTimeout


def error_of(end: End, provider: str) -> RillgateError:
    """The error that belongs to an end of ours; shown as a response before the first byte, in-band after it."""
    match end:
        case End.IDLE:
            return UpstreamTimeout(f"Provider {provider!r} sent nothing for too long.")
        case End.DEADLINE:
            return StreamEnded(
                "The time for this request is over (timeouts.total_s).",
                status=504,
                kind="timeout_error",
                code="deadline_exceeded",
            )
        case End.SHUTDOWN:
            return StreamEnded("This gateway is shutting down; try again.", code="shutting_down", retry_after_s=1)
        case End.CANCELLED:
            return StreamEnded(
                "This request was cancelled.", status=409, code="cancelled", kind="cancelled", should_retry=False
            )
        case End.STALLED:
            return StreamEnded("The client took nothing for too long (timeouts.stall_s).", code="client_stalled")
    return StreamEnded(f"The request ended: {end}.")
