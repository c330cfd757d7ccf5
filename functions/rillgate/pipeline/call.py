"""One request that is ready to be served, and what every request is served with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec.structs import replace

from rillgate.domain.ports import CancelFlags, Clock, Dialect, Encoding, Ledger, Location, Provider
from rillgate.domain.price import Price
from rillgate.domain.principal import ANYBODY, Principal
from rillgate.domain.request import ChatRequest, Target
from rillgate.domain.usage import Usage
from rillgate.pipeline.cooldown import Cooldowns
from rillgate.pipeline.journal import Journal
from rillgate.pipeline.model_apis import ModelApis
from rillgate.pipeline.model_caps import ModelCaps
from rillgate.pipeline.streams import Streams
from rillgate.telemetry.metrics import Metrics
from rillgate.upstream.exchange import Exchange


class Limits(msgspec.Struct, frozen=True):
    """Caps in tokens, as the configuration names them."""

    output_tokens_default: int = 16384
    output_tokens_max: int = 32768


class Services(msgspec.Struct, frozen=True):
    """What every request is served with.

    Attributes:
        encoding: gives a loaded encoding by name, or None until it is loaded.
        ledger: where budgets are held.
        ledger_mode, on_ledger_error: as the configuration names them.
        cancel_flags: reach requests of other processes; None where there are none.
        cooldowns: which upstreams are left alone for a while.
        model_caps: what models can put out at most, as far as they have said so.
        model_apis: which models want the other of their provider's APIs, likewise.
        jitter: a random number from 0 to 1, which spreads retries.
    """

    clock: Clock
    exchange: Exchange
    streams: Streams
    metrics: Metrics
    limits: Limits
    encoding: Callable[[str], Encoding | None]
    ledger: Ledger
    ledger_mode: Literal["strict", "elastic"] = "strict"
    on_ledger_error: Literal["deny", "allow"] = "deny"
    cancel_flags: CancelFlags | None = None
    cooldowns: Cooldowns = msgspec.field(default_factory=Cooldowns)
    model_caps: ModelCaps = msgspec.field(default_factory=ModelCaps)
    model_apis: ModelApis = msgspec.field(default_factory=ModelApis)
    jitter: Callable[[], float] = lambda: 1.0


class Upstream(msgspec.Struct, frozen=True):
    """A provider and a model of its that may answer one request.

    Attributes:
        price: the dearest that may apply to this request there; None where none is known.
        price_at: the price of a prompt of so many tokens, as the provider counted them: a longer one may cost more
            for each token. None where that changes nothing.
        traced: whether it is told the request's place in a distributed trace.
        otherwise: gives what asks the same provider by its other API, for requests that it refuses by the first; None
            where there is only one.
    """

    target: Target
    provider: Provider
    location: Location
    price: Price | None = None
    price_at: Callable[[int], Price | None] | None = None
    traced: bool = True
    otherwise: Callable[[], Provider] | None = None

    @property
    def name(self) -> str:
        """As clients and logs are told of it, "lab/fast"."""
        return f"{self.target.provider}/{self.target.model}"

    def by_other_api(self) -> Upstream | None:
        """The same, asked by its other API; None where there is none."""
        return None if self.otherwise is None else replace(self, provider=self.otherwise(), otherwise=None)

    def price_of(self, usage: Usage) -> Price | None:
        """The price of what was used."""
        if self.price is None or self.price_at is None or usage.input_tokens is None:
            return self.price
        return self.price_at(usage.input_tokens) or self.price


class Call(msgspec.Struct, frozen=True):
    """One parsed and routed request.

    Attributes:
        upstreams: who may answer, in the order in which they are tried; at least one.
        retries: how many more rounds over them there may be.
        total_s: its deadline in seconds, 0 for none.
        principal: who asks.
        price: the dearest of all upstreams, which is held; None where one is not known.
        price_problem: why there is none, for the refusal under a money limit; empty where such requests may pass.
    """

    request: ChatRequest
    upstreams: tuple[Upstream, ...]
    dialect: Dialect
    journal: Journal
    total_s: float
    retries: int = 0
    principal: Principal = ANYBODY
    price: Price | None = None
    price_problem: str = ""

    @property
    def first(self) -> Upstream:
        """Who is tried first."""
        return self.upstreams[0]

    @property
    def asked_model(self) -> str:
        """The name that the client asked for; where it named none, the routed model."""
        return self.request.model or self.first.target.model

    def output_tokens_max(self, limits: Limits) -> int:
        """The cap that goes upstream: the smallest of what was asked (or the default) and the configured maximum."""
        asked = self.request.output_tokens_asked
        if asked is None:
            asked = self.request.output_tokens_default or limits.output_tokens_default
        return min(asked, limits.output_tokens_max)
