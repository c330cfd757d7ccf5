"""Read the configuration once, at start: file, environment and flags in, one frozen `Settings` out.

Precedence: defaults, then the TOML file, then RILLGATE_SECTION__KEY, then flags. Whatever cannot be used (an unknown
key, a wrong type, a missing secret, a feature that is not there yet) is a `SettingsError` of one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rillgate.app.naming import Names
from rillgate.app.settings.places import http_endpoint, inherited_sockets, is_local, reachable_by
from rillgate.app.settings.providers import read_providers
from rillgate.app.settings.rules import SQLITE, is_loopback, shown
from rillgate.app.settings.schema import TIMEOUTS
from rillgate.app.settings.secrets import Secret
from rillgate.app.settings.sources import ConfigText, SettingsError, Tree, read_sources
from rillgate.app.settings.types import (
    EMBEDDED_MODEL,
    ROUTE_RETRIES,
    AuthSettings,
    DefaultModel,
    LedgerSettings,
    LimitSettings,
    PriceSettings,
    ProviderSettings,
    RouteSettings,
    ServerSettings,
    Settings,
)
from rillgate.domain.errors import ClientError
from rillgate.domain.request import Timeouts

__all__ = [
    "EMBEDDED_MODEL",
    "AuthSettings",
    "ConfigText",
    "DefaultModel",
    "LedgerSettings",
    "LimitSettings",
    "PriceSettings",
    "ProviderSettings",
    "RouteSettings",
    "Secret",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "is_loopback",
    "load_settings",
]

ALLOW_FLAG = "allow_unauthenticated"


def load_settings(
    *, config: Path | ConfigText | None, flags: Mapping[str, Any], environ: Mapping[str, str], cwd: Path
) -> Settings:
    """Read and check the whole configuration.

    Args:
        config: the file that --config names, or a text that stands for it; None for RILLGATE_CONFIG, else
            ./rillgate.toml if it is there.
        flags: dotted keys, {"server.port": 9000}, and "allow_unauthenticated"; None counts as not given.
        environ: the environment.
        cwd: the working directory.
    Raises: SettingsError: one line that names source, key and remedy, and no secret.
    """
    allowed = flags.get(ALLOW_FLAG) is True
    keys = {key: value for key, value in flags.items() if key != ALLOW_FLAG}
    tree, misspelt = read_sources(config=config, flags=keys, environ=environ, cwd=cwd)
    folder = tree.file.parent if tree.file else cwd
    server = _server(tree, folder, environ)
    keys_required = _keys_required(tree, server, allowed=allowed)
    providers, default, unused = read_providers(tree, environ, folder)
    settings = Settings(
        default=default,
        providers=MappingProxyType(providers),
        server=server,
        auth=AuthSettings(**tree.values("auth")),
        routes=_routes(tree, providers),
        timeouts=Timeouts(**tree.values("timeouts")),
        limits=_limits(tree),
        ledger=_ledger(tree, folder),
        prices=MappingProxyType({name: _price(tree, name) for name in tree.names("prices")}),
        keys_required=keys_required,
        allow_unauthenticated=allowed,
        first_token_s_given=tree.node("timeouts", "first_token_s") is not None,
        file=tree.file,
        folder=folder,
        notices=misspelt + unused,
    )
    _check_default(settings)
    return settings


def _server(tree: Tree, folder: Path, environ: Mapping[str, str]) -> ServerSettings:
    """Where to listen. Host and port beat a unix socket that a lower source gives, and the other way round."""
    values = tree.values("server")
    values["inherited"] = inherited_sockets(environ)
    values["http_endpoint"] = http_endpoint(environ)
    path = values.pop("unix_socket", None)
    if path is None:
        return ServerSettings(**values)
    by_socket = tree.rank("server", "unix_socket")
    by_address = max(tree.rank("server", "host"), tree.rank("server", "port"))
    if by_address == by_socket:
        remedy = "give host and port, or unix_socket"
        raise tree.error(("server", "unix_socket"), "host or port stands beside it", remedy)
    return ServerSettings(unix_socket=folder / path if by_socket > by_address else None, **values)


def _keys_required(tree: Tree, server: ServerSettings, *, allowed: bool) -> bool:
    """Whether requests need a key: as it is set, else wherever others than this machine can ask."""
    if allowed:
        return False
    local = is_local(server)
    required: bool | None = tree.value("auth", "required")
    if required is False and not local:
        remedy = "take it out, or pass --allow-unauthenticated, the one way to serve others without keys"
        raise tree.error(("auth", "required"), f"false, but {reachable_by(server)} may be reached by others", remedy)
    return not local if required is None else required


def _ledger(tree: Tree, folder: Path) -> LedgerSettings:
    """The ledger, with the path of a SQLite file made absolute."""
    ledger = LedgerSettings(**tree.values("ledger"))
    if not ledger.url.startswith(SQLITE):
        return ledger
    return replace(ledger, url=f"{SQLITE}{folder.absolute() / ledger.url.removeprefix(SQLITE)}")


def _price(tree: Tree, name: str) -> PriceSettings:
    values = tree.values("prices", name)
    for key in ("input", "output"):
        if key not in values:
            raise tree.error(("prices", name), f"has no {key}", "give both input and output, such as 0.1 and 0.4")
    return PriceSettings(**values)


def _routes(tree: Tree, providers: Mapping[str, ProviderSettings]) -> tuple[RouteSettings, ...]:
    routes: list[RouteSettings] = []
    for index in range(tree.count("routes")):
        path = ("routes", index)
        values = tree.values(*path)
        for key, example in (("model", 'model = "bench-*"'), ("upstream", 'upstream = ["lab/*"]')):
            if not values.get(key):
                raise tree.error(path, f"has no {key}", f"add one, such as {example}")
        model, upstream = values["model"], values["upstream"]
        taken = next((number for number, route in enumerate(routes) if route.model == model), None)
        if taken is not None:
            problem = f"{shown(model)} stands at routes[{taken}] already, and the first match wins"
            raise tree.error((*path, "model"), problem, "take one of the two out")
        for each in upstream:
            _check_upstream(tree, index, each, providers)
        if len(set(upstream)) < len(upstream):
            problem = "names an upstream twice"
            raise tree.error((*path, "upstream"), problem, "give each once; `retries` asks it again")
        timeouts = {key: value for key, value in values.items() if key in TIMEOUTS}
        retries = values.get("retries", ROUTE_RETRIES)
        routes.append(RouteSettings(model, tuple(upstream), MappingProxyType(timeouts), retries))
    return tuple(routes)


def _check_upstream(tree: Tree, index: int, upstream: str, providers: Mapping[str, ProviderSettings]) -> None:
    path = ("routes", index, "upstream")
    provider, _, model = upstream.partition("/")
    if not provider or not model:
        raise tree.error(path, f"{shown(upstream)} is not provider/model", "give one, such as 'lab/*'")
    if provider not in providers:
        remedy = f"add [providers.{provider}], or use one of {', '.join(providers)}"
        raise tree.error(path, f"{shown(upstream)} names no provider", remedy)
    if providers[provider].is_embedded and model != EMBEDDED_MODEL and "*" not in model:
        problem = f"{shown(upstream)} is no model of the embedded provider"
        raise tree.error(path, problem, f"give {f'{provider}/{EMBEDDED_MODEL}'!r}")


def _limits(tree: Tree) -> LimitSettings:
    """The limits. Where nothing sets the default cap it is lowered to the largest; where something does it must fit."""
    values = tree.values("limits")
    limits = LimitSettings(**values)
    if limits.output_tokens_default <= limits.output_tokens_max:
        return limits
    if "output_tokens_default" in values:
        problem = f"{limits.output_tokens_default} is more than output_tokens_max ({limits.output_tokens_max})"
        raise tree.error(("limits", "output_tokens_default"), problem, "lower it, or raise output_tokens_max")
    return LimitSettings(**values, output_tokens_default=limits.output_tokens_max)


def _check_default(settings: Settings) -> None:
    """Refuse a RILLGATE_MODEL that no provider can have, where that is known without asking one."""
    names = Names(settings)
    if settings.default.model is None or names.needs_lists(None):
        return
    try:
        names.resolve(None)
    except ClientError:
        problem = f"no provider has a model {shown(settings.default.model)}"
        remedy = f"give provider/model, or unset it (the embedded model is {EMBEDDED_MODEL!r})"
        raise SettingsError(f"RILLGATE_MODEL: {problem}; {remedy}") from None
