"""Who is asked next when an upstream has failed, and when: nothing of it once a client has got the first event.

A round goes over the upstreams of the route in their order, without waiting; those that cool down are passed over as
long as others are left. Where a whole round has failed, those whose failure may pass are tried again in the next round,
after a wait that doubles, is spread by chance, and is never shorter than what a provider asked for. A provider that
wants a longer wait than a client has patience for gets none: the client is told when to come back.

The fault decides: what a provider or our own credentials did wrong may go better elsewhere; what the client did wrong
does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from rillgate.domain.errors import ClientError, RillgateError, UpstreamError
from rillgate.domain.ports import Clock
from rillgate.pipeline.call import Upstream
from rillgate.pipeline.cooldown import Cooldowns
from rillgate.pipeline.journal import word_of
from rillgate.telemetry.logs import log_event
from rillgate.telemetry.metrics import Metrics

PASSING = frozenset({408, 409, 429})
WAIT_S = 0.5  # before the first retry
WAIT_S_MAX = 8.0
RETRY_AFTER_S_MAX = 10.0  # the longest that a client is kept waiting because a provider asked for it


class Attempts:
    """The attempts of one request.

    Args:
        upstreams: in order.
        retries: rounds beyond the first.
        cooldowns: which are left alone.
        clock: when.
        jitter: a random number from 0 to 1.
        request_id: for log lines.
        metrics: counts failovers, retries and cooldowns.

    Attributes:
        number: how many attempts were begun.
        refusal: the last error that was no client's.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        *,
        retries: int,
        cooldowns: Cooldowns,
        clock: Clock,
        jitter: Callable[[], float],
        request_id: str,
        metrics: Metrics,
    ) -> None:
        self._metrics = metrics
        self._cooldowns = cooldowns
        self._clock = clock
        self._jitter = jitter
        self._request_id = request_id
        self._retries_left = retries
        self._round = 0
        self._waiting = deque(self._in_order(upstreams))
        self._again: list[Upstream] = []
        self._again_after_s = 0.0
        self.refusal: RillgateError | None = None
        self._retried = False
        self.number = 0

    def begin(self) -> Upstream:
        """The next attempt, which there must be: the first, or one that `after` has promised."""
        self.number += 1
        return self._waiting.popleft()

    @property
    def others(self) -> int:
        """How many other upstreams are still to be asked in this round."""
        return len(self._waiting)

    def may_follow(self, error: RillgateError) -> bool:
        """Whether another attempt may follow one that fails like this."""
        if not isinstance(error, ClientError) and not fails_over(error):
            return False
        return bool(self._waiting or ((self._again or _passes(error)) and self._retries_left))

    def after(self, upstream: Upstream, error: RillgateError, span_id: str | None = None) -> float | None:
        """An attempt has failed: seconds to wait before the next one; None where there is none.

        `span_id` is that of its call, for the log.
        """
        self._note(upstream, error)
        if not isinstance(error, ClientError) and not fails_over(error):
            return None
        wait_s: float | None = 0.0
        if not self._waiting:
            wait_s = self._next_round()
            if wait_s is not None:
                self._metrics.retried(self._waiting[0].target.provider)
        else:
            self._metrics.failed_over(upstream.target.provider)
        if wait_s is not None:
            log_event(
                "attempt_failed",
                level="warning",
                request_id=self._request_id,
                attempt=self.number,
                upstream=upstream.name,
                error=word_of(error),
                next=self._waiting[0].name,
                wait_ms=round(wait_s * 1000),
                upstream_span_id=span_id,
            )
        return wait_s

    def succeeded(self, upstream: Upstream) -> None:
        """It answers."""
        self._cooldowns.succeeded(upstream.target.provider, upstream.target.model)

    def last_word(self, error: RillgateError) -> RillgateError:
        """The error that the client is told at the end: of a provider that was asked, where one was.

        Where retries were spent here, the client's own would multiply them.
        """
        told = self.refusal if isinstance(error, ClientError) and self.refusal is not None else error
        if self._retried and told.should_retry is None and told.retry_after_s is None:
            told.should_retry = False
        return told

    def _note(self, upstream: Upstream, error: RillgateError) -> None:
        if not isinstance(error, ClientError):
            self.refusal = error
        if not isinstance(error, UpstreamError) or not fails_over(error):
            return
        target = upstream.target
        if self._cooldowns.failed(target.provider, target.model, self._clock.now(), error.retry_after_s):
            self._metrics.cools_down(target.provider)
            log_event("upstream_cools_down", level="warning", upstream=upstream.name, error=word_of(error))
        if _passes(error):
            self._again.append(upstream)
            self._again_after_s = max(self._again_after_s, error.retry_after_s or 0.0)

    def _next_round(self) -> float | None:
        if not self._retries_left or not self._again or self._again_after_s > RETRY_AFTER_S_MAX:
            return None
        grown_s = min(WAIT_S * float(2**self._round), WAIT_S_MAX)
        wait_s = max(grown_s * (0.5 + 0.5 * self._jitter()), self._again_after_s)
        self._round += 1
        self._retries_left -= 1
        self._retried = True
        self._waiting = deque(self._again)
        self._again, self._again_after_s = [], 0.0
        return wait_s

    def _in_order(self, upstreams: Sequence[Upstream]) -> list[Upstream]:
        """The route's own order without those that cool down; all of them, the soonest ready first, where all do."""
        now_s = self._clock.now()
        cooling = {
            upstream.name: self._cooldowns.cooling_s(upstream.target.provider, upstream.target.model, now_s)
            for upstream in upstreams
        }
        ready = [upstream for upstream in upstreams if not cooling[upstream.name]]
        return ready or sorted(upstreams, key=lambda upstream: cooling[upstream.name])


def fails_over(error: RillgateError) -> bool:
    """Whether another upstream may do better: everything but what the client did wrong."""
    return error.status in PASSING or error.status >= 500


def _passes(error: RillgateError) -> bool:
    """Whether the same upstream may do better a moment later."""
    return fails_over(error) and getattr(error, "retryable", True)
