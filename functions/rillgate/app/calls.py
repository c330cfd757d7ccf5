"""From a parsed request to a call: who may answer it, at what price, and until when."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace
from starlette.requests import Request

from rillgate.app.auth import check_model
from rillgate.app.catalog import Catalog
from rillgate.app.context import journal_of
from rillgate.app.deadline import time_left
from rillgate.app.pricing import Pricing
from rillgate.app.settings.types import Settings
from rillgate.dialects import embeddings
from rillgate.domain.errors import ClientError
from rillgate.domain.ports import Clock, Dialect, Location, Provider
from rillgate.domain.principal import Principal
from rillgate.domain.request import ChatRequest, Target
from rillgate.pipeline.call import Call, Upstream


class Backend(msgspec.Struct, frozen=True):
    """A configured provider: how to translate for it and where it answers.

    Attributes:
        embedder: gives what makes its embeddings; None where it makes none.
        otherwise: as `Upstream` has it.
    """

    provider: Provider
    location: Location
    embedder: Callable[[], Provider | None] = lambda: None
    otherwise: Callable[[], Provider] | None = None


class Calls:
    """Makes calls of one app's requests."""

    def __init__(
        self, settings: Settings, catalog: Catalog, backends: dict[str, Backend], pricing: Pricing, clock: Clock
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._backends = backends
        self._pricing = pricing
        self._clock = clock

    async def call(
        self, request: Request, principal: Principal, dialect: Dialect, parsed: ChatRequest, *, plain: bool = False
    ) -> Call:
        """Route a parsed request; `plain` for the /chat routes, which have less time.

        Raises: ClientError: there is no such model, it is not this caller's, or it cannot do what is asked.
        """
        journal = journal_of(request.scope)
        journal.model = parsed.model
        journal.stream = parsed.stream
        journal.dialect = dialect.name
        asks_for_reasoning = parsed.fields.get("reasoning_effort") not in (None, "none")
        routed = await self._catalog.resolve(parsed.model, reasoning=asks_for_reasoning)
        target = routed.targets[0]
        if parsed.model is None:  # a name all the same: for what the key may ask for, and for the model's own budget
            parsed = replace(parsed, model=self._default_name(target))
        check_model(principal, parsed.model or target.model)
        journal.provider = target.provider
        journal.routed_model = target.model
        upstreams = self._upstreams(routed.targets, parsed)
        price, price_problem = self._pricing.dearest([each.target for each in upstreams], parsed)
        total_s = target.timeouts.chat_total_s if plain else target.timeouts.total_s
        return Call(
            request=parsed,
            upstreams=upstreams,
            retries=routed.retries,
            dialect=dialect,
            journal=journal,
            total_s=time_left(total_s, request.scope, self._clock.wall()),
            principal=principal,
            price=price,
            price_problem=price_problem,
        )

    async def counted_for(self, principal: Principal, parsed: ChatRequest) -> Target:
        """The model that would answer, whose tokens a prompt is counted in.

        Raises: ClientError: as `call`.
        """
        target = (await self._catalog.resolve(parsed.model)).targets[0]
        check_model(principal, parsed.model or self._default_name(target))
        return target

    def _upstreams(self, targets: Sequence[Target], parsed: ChatRequest) -> tuple[Upstream, ...]:
        """Who may answer; for embeddings those that make some.

        Raises: ClientError: none of them does.
        """
        found = tuple(filter(None, (self._upstream(each, parsed) for each in targets)))
        if not found:
            raise ClientError(
                f"Provider {targets[0].provider!r} makes no embeddings; ask a model of another one.",
                param="model",
                code="unsupported_parameter",
            )
        return found

    def _upstream(self, target: Target, parsed: ChatRequest) -> Upstream | None:
        backend = self._backends[target.provider]
        is_chat = parsed.dialect != embeddings.NAME
        provider = backend.provider if is_chat else backend.embedder()
        if provider is None:
            return None
        otherwise = backend.otherwise if is_chat else None
        price, _ = self._pricing.of(target, parsed)
        traced = self._settings.providers[target.provider].trace_context
        return Upstream(target, provider, backend.location, price, self._pricing.tiers(target), traced, otherwise)

    def _default_name(self, target: Target) -> str:
        """By which name the model answers that a request gets when it names none."""
        default = self._catalog.names.default
        return target.model if default is None else default.id
