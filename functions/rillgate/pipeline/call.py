"""One request that is ready to be served, and what every request is served with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rillgate.domain.ports import Clock, Dialect, Encoding, Location, Provider
from rillgate.domain.request import ChatRequest, Target
from rillgate.pipeline.journal import Journal
from rillgate.pipeline.streams import Streams
from rillgate.telemetry.metrics import Metrics
from rillgate.upstream.exchange import Exchange


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps in tokens, as the configuration names them."""

    output_tokens_default: int = 16384
    output_tokens_max: int = 32768


@dataclass(frozen=True, slots=True)
class Services:
    """What every request is served with. `encoding` gives a loaded encoding by name, or None until it is loaded."""

    clock: Clock
    exchange: Exchange
    streams: Streams
    metrics: Metrics
    limits: Limits
    encoding: Callable[[str], Encoding | None]


@dataclass(frozen=True, slots=True)
class Call:
    """One parsed and routed request. `total_s` is its deadline in seconds, 0 for none."""

    request: ChatRequest
    target: Target
    provider: Provider
    location: Location
    dialect: Dialect
    journal: Journal
    total_s: float

    def output_tokens_max(self, limits: Limits) -> int:
        """The cap that goes upstream: the smallest of what was asked (or the default) and the configured maximum."""
        asked = self.request.output_tokens_asked
        if asked is None:
            asked = self.request.output_tokens_default or limits.output_tokens_default
        return min(asked, limits.output_tokens_max)
