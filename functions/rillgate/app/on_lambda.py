"""The gateway's home on Lambda: composed once at INIT, from variables and at most one configuration.

Keys are required here whatever the configuration says, since the function's URL is open to all, and there is no way to
switch that off. `/metrics` would show one environment of many, so CloudWatch gets the numbers instead.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
import time
from collections.abc import Coroutine, Mapping, MutableMapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from rillgate.app.aws_secrets import AwsSecrets
from rillgate.app.context import XRAY_HEADER, Receive, Send
from rillgate.app.deadline import EXTENSION
from rillgate.app.gateway import Gateway
from rillgate.app.settings.load import ConfigText, Settings, SettingsError, load_settings
from rillgate.app.settings.rules import MEMORY, Misfit
from rillgate.app.settings.secrets import SecretName, parameter_name
from rillgate.app.stores import check_store
from rillgate.domain.errors import AuthError, UpstreamError
from rillgate.domain.ports import Clock
from rillgate.domain.principal import VirtualKey
from rillgate.identity.keys import digest
from rillgate.identity.keys import parse as parse_key
from rillgate.ledger.keys import virtual_key_key
from rillgate.ledger.vault import key_changes
from rillgate.ledger.writes import StoreUnavailable, Write
from rillgate.telemetry.clock import LoopClock
from rillgate.telemetry.emf import EmfMetrics
from rillgate.telemetry.lambda_logs import configure_lambda_logs, tell_request
from rillgate.telemetry.logs import log_event
from rillgate.telemetry.tracing import HEADER_VARIABLE, RequestTraces

SERVICE_VARIABLE = "POWERTOOLS_SERVICE_NAME"  # Powertools' own; the template sets it to the stack's name
CONFIG_VARIABLE = "RILLGATE_CONFIG"
LOCAL_KEY_VARIABLE = "RILLGATE_LOCAL_KEY"
TRACING_VARIABLE = "RILLGATE_TRACING"  # "on" where the template's parameter Tracing is, and so the layer that it needs
SSM = "ssm:"
METRICS_VARIABLE = "RILLGATE_METRICS"  # "basic": only the ten metrics that an account has free; all of them otherwise
# Loading takes a third of a second of processor time, which INIT and the first request need themselves. By then the
# first request waits for its provider, as a rule; until it is loaded bytes stand in, as an upper bound.
ENCODER_DELAY_S = 0.3
SETTLED_WAIT_S = 5.0  # the longest that an invocation is kept for its books, and for those that end beside it

T = TypeVar("T")


class LambdaApp:
    """The gateway as one environment of a function serves it.

    Args:
        metrics: what CloudWatch gets.
        traces: what X-Ray is told by; None where it is told nothing.
        environ: where the stock runtime puts an invocation's trace.

    Attributes:
        gateway: what serves.
    """

    def __init__(
        self,
        gateway: Gateway,
        clock: Clock,
        metrics: EmfMetrics,
        traces: RequestTraces | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.gateway = gateway
        self._environ = environ
        self._clock = clock
        gateway.asgi.on_request.append(metrics.request)
        gateway.metrics.tell = metrics.count
        self._traces = traces
        if traces is not None:
            gateway.asgi.on_request.append(traces.request)
        self._cold = True

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI. Comes back when the books are closed: the environment may be frozen from then on."""
        if scope["type"] != "http":
            await self.gateway.asgi(scope, receive, send)
            return
        xray = _trace_header(scope) or self._environ.get(HEADER_VARIABLE)
        scope[XRAY_HEADER] = xray
        tell_request(
            function_request_id=_invocation(scope),
            cold_start=True if self._cold else None,
            xray_trace_id=self._traces.begin(xray, self._clock.wall()) if self._traces else None,
        )
        self._cold = False
        try:
            await self.gateway.asgi(scope, receive, send)
        finally:
            await self._books_closed(scope)

    async def _books_closed(self, scope: Mapping[str, Any]) -> None:
        """Wait for what outlives its request, and then for what the ledger does in the background; in all so long."""
        until_s = self._clock.now() + _time_for_books(scope, self._clock.wall())
        await self.gateway.streams.settled(until_s - self._clock.now())
        await self.gateway.books.quiet(max(0.0, until_s - self._clock.now()))


def compose(environ: Mapping[str, str], clock: Clock | None = None) -> LambdaApp:
    """The app of a function.

    Args:
        environ: the function's variables.
        clock: another one than the usual, for tests.
    Raises: SettingsError, StoreUnavailable: one line that says what to change, which is in the log by then.
    """
    configure_lambda_logs()
    _use_packaged_certificates()
    try:
        settings = read_settings(environ)
        check_store(settings.ledger, environ)
        local_key = _local_key(environ, settings)
    except (SettingsError, StoreUnavailable) as error:
        log_event("configuration_unusable", level="critical", problem=str(error))
        raise
    for notice in settings.notices:
        log_event("configuration_notice", level="warning", notice=notice)
    clock = clock or LoopClock()
    gateway = Gateway(settings, clock=clock, several=True, encoder_delay_s=ENCODER_DELAY_S)
    service = environ.get(SERVICE_VARIABLE) or "rillgate"
    is_traced = environ.get(TRACING_VARIABLE) == "on"
    traces = RequestTraces(service, environ) if is_traced else None
    metrics = EmfMetrics(service, basic=environ.get(METRICS_VARIABLE) == "basic")
    app = LambdaApp(gateway, clock, metrics, traces, environ)
    if local_key is not None:
        app.gateway.on_started.append(lambda: _admit(app.gateway, local_key))
    return app


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The configuration of a function.

    Raises: SettingsError: it cannot be used; or it names the embedded model, which is not in the package.
    """
    settings = load_settings(
        config=_config_from_ssm(environ),
        flags={"auth.required": True, "server.metrics": "off"},
        environ=environ,
        cwd=Path(environ.get("LAMBDA_TASK_ROOT") or Path.cwd()),
    )
    embedded = next((name for name, provider in settings.providers.items() if provider.is_embedded), None)
    if embedded is not None:
        remedy = "configure another one (parameters ProviderBaseUrl and ProviderKeyParameter, or ConfigSource)"
        raise SettingsError(f"providers.{embedded}: the embedded model does not run on Lambda; {remedy}")
    return settings


def _use_packaged_certificates() -> None:
    """Trust the packaged authorities, whatever the runtime's image holds; a file that is named already wins."""
    package = importlib.util.find_spec("certifi")
    if package is not None and package.origin is not None:
        os.environ.setdefault("SSL_CERT_FILE", str(Path(package.origin).with_name("cacert.pem")))


def _local_key(environ: Mapping[str, str], settings: Settings) -> VirtualKey | None:
    """The key of a run under `sam local`, whose ledger has no other.

    Raises: SettingsError: it is none, or the ledger is one that lasts.
    """
    text = environ.get(LOCAL_KEY_VARIABLE, "")
    if not text:
        return None
    if settings.ledger.url != MEMORY:
        raise SettingsError(f"{LOCAL_KEY_VARIABLE}: it is for ledger.url = 'memory:' alone; use rillgate keys create")
    try:
        return VirtualKey(parse_key(text), "local", digest(text), created_s=int(time.time()))
    except AuthError as error:
        raise SettingsError(f"{LOCAL_KEY_VARIABLE}: {error.message}") from None


def _admit(gateway: Gateway, key: VirtualKey) -> None:
    """Put a key into a ledger in memory, which nothing ever waits for."""
    write = Write(virtual_key_key(key.key_id), key_changes(key))
    gateway.streams.outlive(gateway.books.store.write(write))


def _config_from_ssm(environ: Mapping[str, str]) -> ConfigText | None:
    """The configuration that a parameter of Systems Manager holds, where the variable names one."""
    source = environ.get(CONFIG_VARIABLE, "")
    if not source.startswith(SSM):
        return None
    try:
        name = parameter_name(source.removeprefix(SSM))
        return ConfigText(source, _apart(_fetched(AwsSecrets(LoopClock(), environ), name)))
    except Misfit as misfit:
        raise SettingsError(f"{CONFIG_VARIABLE}: {misfit}") from None
    except UpstreamError as error:
        raise SettingsError(f"{CONFIG_VARIABLE}: {error.message}") from error


async def _fetched(secrets: AwsSecrets, name: SecretName) -> str:
    try:
        return await secrets.text(name)
    finally:
        await secrets.aclose()


def _apart(work: Coroutine[Any, Any, T]) -> T:
    """Run something on a loop of its own, in a thread: a loop may be running in this one."""
    result: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            result.append(asyncio.run(work))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return result[0]


def _invocation(scope: Mapping[str, Any]) -> str | None:
    """Lambda's own id of the invocation, which its REPORT line carries."""
    return getattr(_context(scope), "aws_request_id", None)


def _trace_header(scope: Mapping[str, Any]) -> str | None:
    """The invocation's trace, as the layer tells it; the stock runtime leaves it to the environment."""
    return getattr(_context(scope), "trace_id", None)


def _context(scope: Mapping[str, Any]) -> Any:
    by_layer = scope.get("extensions", {}).get("lambda_asgi", {}).get("context")
    return by_layer or scope.get("aws.context")


def _time_for_books(scope: Mapping[str, Any], wall_s: float) -> float:
    deadline_s = scope.get("extensions", {}).get(EXTENSION, {}).get("deadline_s")
    if deadline_s is None:
        return SETTLED_WAIT_S
    return max(0.0, min(SETTLED_WAIT_S, float(deadline_s) - wall_s))
