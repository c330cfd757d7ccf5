"""The composition root: settings in, an ASGI app out. The one place that constructs things."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from rillgate import __version__
from rillgate.app.access import AccessGuard
from rillgate.app.address_limits import connections_of, limited
from rillgate.app.addresses import Networks
from rillgate.app.answers import EXCEPTION_HANDLERS
from rillgate.app.aws_secrets import AwsSecrets, FetchedKey
from rillgate.app.backends import other_api_of, provider_of, signed_location, token_location
from rillgate.app.books import Books
from rillgate.app.calls import Backend, Calls
from rillgate.app.catalog import Catalog
from rillgate.app.context import App, RequestContext
from rillgate.app.embedders import embedder_of
from rillgate.app.encoders import Encoders
from rillgate.app.forwarded import Forwarded
from rillgate.app.operator_routes import OperatorHandlers
from rillgate.app.page_routes import page_routes
from rillgate.app.pricing import Pricing
from rillgate.app.readiness import Readiness
from rillgate.app.routes import Handlers
from rillgate.app.settings.secrets import SecretName
from rillgate.app.settings.types import ProviderSettings, Settings
from rillgate.app.told import told
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Clock, Ledger, Location, Siblings
from rillgate.domain.request import Endpoint
from rillgate.pipeline.call import Limits, Services
from rillgate.pipeline.streams import Streams
from rillgate.telemetry.clock import LoopClock
from rillgate.telemetry.logs import log_event
from rillgate.telemetry.loop_lag import LoopLag
from rillgate.telemetry.metric_list import LOOP_LAG, QUEUE_BYTES, STREAMS_MAX
from rillgate.telemetry.metrics import Metrics
from rillgate.upstream.exchange import Exchange

if TYPE_CHECKING:
    from rillgate.app.azure_location import AzureLocation
    from rillgate.app.bedrock_location import BedrockLocation
    from rillgate.app.embedded import EmbeddedModel

POOL_HEADROOM = 32  # for lists of models, beside the streams
EXPOSED_HEADERS = [
    "x-request-id",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-rillgate-output-tokens-max",
    "x-rillgate-upstream",
    "x-rillgate-estimated",
    "x-rillgate-scope",
    "x-rillgate-remaining-usd",
    "x-rillgate-reset",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "x-vercel-ai-ui-message-stream",
]
CORS_MAX_AGE_S = 86_400
SETTLED_WAIT_S = 6.0  # for holds to be settled at the end, within the server's patience for the whole of it


class Gateway:
    """A composed gateway. Nothing is opened or started before its lifespan begins.

    Args:
        settings: the configuration.
        clock, embedded, ledger: others than the usual ones, for tests.
        several: whether other processes serve on the same ledger, so that a cancel has to reach them.
        siblings: other processes behind the same socket, which a cancel and `/metrics` reach at once.
        encoder_delay_s: from the start until the tokenizer begins to load, whether or not it is asked for earlier.
        watches_loop: whether the event loop's lag is measured; not where the process is frozen between requests.

    Attributes:
        asgi: the app; its lifespan starts and ends everything below.
        streams: what runs, for the server's drain.
        catalog: names of models.
        embedded: the embedded model, where a provider is of that kind.
        books: ledger and keys.
        connections: those of each address, for the server that accepts them; None where they are not limited.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        embedded: EmbeddedModel | None = None,
        ledger: Ledger | None = None,
        several: bool = False,
        siblings: Siblings | None = None,
        encoder_delay_s: float = 0.0,
        watches_loop: bool = False,
    ) -> None:
        self._clock = clock = clock or LoopClock()
        limits = settings.limits
        self.settings = settings
        self.embedded = embedded or _embedded_of(settings)
        self.streams = Streams(limits.streams_max)
        self.metrics = Metrics(providers={name: provider.kind for name, provider in settings.providers.items()})
        self.metrics.watch(STREAMS_MAX, lambda: limits.streams_max)
        self.metrics.watch(QUEUE_BYTES, self.streams.queue_bytes)
        self._loop_lag = LoopLag(clock) if watches_loop else None
        if self._loop_lag is not None:
            self.metrics.watch(LOOP_LAG, self._loop_lag.worst_s)
        self._encoder_delay_s = encoder_delay_s
        self.encoders = Encoders(at_need=not encoder_delay_s)
        self.books = Books(settings, clock, os.environ, self._ledger_event, ledger, several=several)
        self.exchange = Exchange(
            connections_max=limits.streams_max + POOL_HEADROOM, user_agent=f"rillgate/{__version__}"
        )
        self.secrets = AwsSecrets(clock, os.environ)
        self._locations_to_close: list[AzureLocation | BedrockLocation] = []
        self.backends = {name: self._backend(name, provider) for name, provider in settings.providers.items()}
        self.catalog = Catalog(settings, self._list_models, clock, _log_no_list)
        self.on_started: list[Callable[[], None]] = []
        services = Services(
            clock=clock,
            exchange=self.exchange,
            streams=self.streams,
            metrics=self.metrics,
            limits=Limits(limits.output_tokens_default, limits.output_tokens_max),
            encoding=self.encoders.get,
            ledger=self.books.ledger,
            ledger_mode=settings.ledger.mode,
            on_ledger_error=settings.ledger.on_error,
            cancel_flags=self.books.cancel_flags,
            jitter=random.random,
        )
        calls = Calls(settings, self.catalog, self.backends, Pricing(settings), clock)
        handlers = Handlers(
            settings, services, self.catalog, calls, gatekeeper=self.books.gatekeeper, siblings=siblings
        )
        operators = OperatorHandlers(settings, self._readiness(), self.metrics, siblings=siblings)
        refused = self.metrics.budget_denied
        self.connections = connections_of(settings, refused)
        routed = limited(self._starlette([*handlers.routes(), *operators.routes()]), settings, clock, refused)
        proxies = Networks(settings.server.trusted_proxies)
        self.asgi = RequestContext(Forwarded(_guarded(settings, routed), proxies), clock)
        self.asgi.on_request.append(self.metrics.request)

    def _starlette(self, routes: Sequence[BaseRoute]) -> Starlette:
        return Starlette(  # routes are tried in their order: what is asked for most comes first
            routes=[*routes, *(told(route, quiet=True) for route in page_routes())],
            exception_handlers=EXCEPTION_HANDLERS,
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Starts what takes time without waiting for it: the gateway listens at once.

        Raises: StoreUnavailable: the ledger's file cannot be used.
        """
        async with AsyncExitStack() as ending:  # the other way round: the ledger closes when all holds are settled
            ending.push_async_callback(self.books.aclose)
            self.books.store.open()
            if self._loop_lag is not None:
                ending.callback(self._loop_lag.close)
                self._loop_lag.start()
            ending.push_async_callback(self.encoders.loaded)
            if self._encoder_delay_s:
                ending.callback(self._clock.call_later(self._encoder_delay_s, self.encoders.start).cancel)
            else:
                self.encoders.start()
            if self.embedded is not None:
                ending.push_async_callback(self.embedded.stop)
                await self.embedded.start()
            ending.push_async_callback(self.secrets.aclose)
            for location in self._locations_to_close:
                ending.push_async_callback(location.aclose)
            ending.push_async_callback(self.exchange.aclose)
            ending.push_async_callback(self._settled)
            for callback in self.on_started:
                callback()
            ending.push_async_callback(self.catalog.close)
            self.catalog.start()
            yield

    async def _settled(self) -> None:
        """Wait for the books of requests that have ended."""
        if not await self.streams.settled(SETTLED_WAIT_S):
            log_event("holds_left_unsettled", level="error")

    def _backend(self, name: str, provider: ProviderSettings) -> Backend:
        location: Location
        if provider.is_embedded and self.embedded is not None:
            location = self.embedded
        elif isinstance(provider.api_key, SecretName):
            location = FetchedKey(provider, provider.api_key, self.secrets)
        elif provider.is_signed:
            location = signed = signed_location(provider, self._clock, os.environ)
            self._locations_to_close.append(signed)
        elif provider.wants_token:
            location = with_token = token_location(provider, self._clock, os.environ, self.secrets.text)
            self._locations_to_close.append(with_token)
        else:
            location = _Configured(provider.endpoint())
        embedder = cache(lambda: embedder_of(name, provider))
        return Backend(provider_of(name, provider), location, embedder, other_api_of(name, provider))

    def _readiness(self) -> Readiness:
        conditions = {"encoder": self.encoders.ready, "shutdown": lambda: not self.streams.draining}
        if self.embedded is not None:
            conditions["embedded model"] = self._embedded_settled
        return Readiness(conditions)

    def _embedded_settled(self) -> bool:
        """Whether the embedded model answers; one that never will is not waited for where another provider serves."""
        model = self.embedded
        return model is None or model.is_ready() or (model.state == "dead" and len(self.backends) > 1)

    def _ledger_event(self, event: str, **fields: Any) -> None:
        """What the ledger tells an operator: one line, and one count."""
        log_event(event, level="warning", **fields)
        if event == "budget_warning":
            self.metrics.budget_warning(fields["scope"].partition(":")[0], fields["percent"])
        elif event == "hold_captured":
            self.metrics.hold_captured()

    async def _list_models(self, provider: str) -> list[str]:
        """Ids of a provider's models, as its own list says.

        Raises:
            UpstreamError: no list.
        """
        backend = self.backends[provider]
        listing = backend.provider.models_request()
        if listing is None:
            return []
        endpoint = await backend.location.endpoint()
        connect_s = self.settings.timeouts.connect_s
        async with self.exchange.open(provider, endpoint, listing, connect_s=connect_s) as response:
            if response.status != 200:
                raise UpstreamError(f"Provider {provider!r} answered {response.status} to GET {listing.path}.")
            body = await response.read()
        return backend.provider.decode_models(body)


class _Configured:
    """The location of a provider that is somebody else's process."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def endpoint(self) -> Endpoint:
        """At once."""
        return self._endpoint


def _log_no_list(provider: str, error: Exception) -> None:
    log_event("models_not_listed", level="warning", provider=provider, error=type(error).__name__)


def _embedded_of(settings: Settings) -> EmbeddedModel | None:
    if any(provider.is_embedded for provider in settings.providers.values()):
        from rillgate.app.embedded import EmbeddedModel  # noqa: PLC0415 (it is not in a function's package)

        return EmbeddedModel()
    return None


def _guarded(settings: Settings, app: App) -> App:
    """Strangers are refused first; CORS stands outside the routes, so that their errors carry it too.

    Where every request needs a key no guard is needed: a page of a stranger has none.
    """
    origins = settings.server.cors_origins
    if origins:
        app = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # reflected: the SDKs send eight headers of their own, and more with each release
            expose_headers=EXPOSED_HEADERS,
            max_age=CORS_MAX_AGE_S,
        )
    if settings.keys_required:
        return app
    return AccessGuard(app, origins=origins, allow_unauthenticated=settings.allow_unauthenticated)
