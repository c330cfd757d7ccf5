"""Which providers there are, and which one answers when a request names no model.

Providers come from the `[providers]` table; without one they are found from the variables that the providers' own
tools read, and without those the embedded model is the only one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from rillgate.app.settings.rules import Misfit, http_url, is_ip_address, shown
from rillgate.app.settings.schema import KINDS
from rillgate.app.settings.secrets import Secret, SecretName, header_safe, read_secret
from rillgate.app.settings.sources import SettingsError, Tree
from rillgate.app.settings.types import OLLAMA_PORT, OPENAI_BASE_URL, DefaultModel, ProviderSettings

_T = TypeVar("_T")

KINDS_READY = frozenset({"embedded", "openai"})

# Variables of kinds that are not there yet: found, said, and not used.
VARIABLES_NOT_YET = {
    "ANTHROPIC_API_KEY": "anthropic",
    "ANTHROPIC_AUTH_TOKEN": "anthropic",
    "AWS_BEARER_TOKEN_BEDROCK": "bedrock",
    "AZURE_OPENAI_API_KEY": "azure",
    "GEMINI_API_KEY": "gemini",
    "GOOGLE_API_KEY": "gemini",
}

_ANY_OPENAI = 'use kind = "openai" with the base_url of an OpenAI-compatible server'
_INSTEAD = {"ollama": f'use kind = "openai" with base_url = "http://127.0.0.1:{OLLAMA_PORT}/v1"'}
_ANY_BACKEND = "set it to embedded or openai"
_BACKEND_INSTEAD = {"ollama": "unset it and set OLLAMA_HOST, which is served by Ollama's OpenAI-compatible surface"}
# Addresses on which a server listens to all; a client reaches it by the one on the right.
_REACHED_BY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # nothing listens here


def read_providers(
    tree: Tree, environ: Mapping[str, str], folder: Path
) -> tuple[dict[str, ProviderSettings], DefaultModel, tuple[str, ...]]:
    """The providers by name, the default, and one line for each variable that is not used.

    Raises: SettingsError.
    """
    backend = _read_backend(environ)
    notices: tuple[str, ...] = ()
    if tree.names("providers"):
        providers = {name: _configured(tree, name, environ, folder) for name in tree.names("providers")}
        _check_one_embedded(tree, providers)
        default = _first_of_kind(tree, providers, backend)
    else:
        providers, notices = _found(environ, backend)
        default = backend or next(iter(providers))
    model = environ.get("RILLGATE_MODEL", "").strip() or None
    return providers, DefaultModel(default, model, backend_named=backend is not None), notices


def _read_backend(environ: Mapping[str, str]) -> str | None:
    """The kind that RILLGATE_BACKEND names; None where it is unset or empty."""
    backend = environ.get("RILLGATE_BACKEND", "").strip()
    if not backend or backend in KINDS_READY:
        return backend or None
    if backend in KINDS:
        remedy = _BACKEND_INSTEAD.get(backend, _ANY_BACKEND)
        raise SettingsError(f"RILLGATE_BACKEND: {backend!r} is not there yet; {remedy}")
    close = difflib.get_close_matches(backend.lower(), KINDS, n=1)
    remedy = f"did you mean {close[0]!r}?" if close else _ANY_BACKEND
    raise SettingsError(f"RILLGATE_BACKEND: unknown value {shown(backend)}; {remedy}")


def _configured(tree: Tree, name: str, environ: Mapping[str, str], folder: Path) -> ProviderSettings:
    """One provider of the `[providers]` table."""
    path = ("providers", name)
    found_in = tree.origin(*path).name
    kind = tree.value(*path, "kind")
    if kind is None:
        raise tree.error(path, "has no kind", 'add one, such as kind = "openai"')
    if kind not in KINDS_READY:
        raise tree.error((*path, "kind"), f"{kind!r} is not there yet", _INSTEAD.get(kind, _ANY_OPENAI))
    if kind == "embedded":
        for key in ("base_url", "api_key", "headers"):
            if tree.node(*path, key):
                raise tree.error((*path, key), 'is of no use to kind = "embedded"', "take it out")
        return ProviderSettings(kind, found_in=found_in)
    provider = ProviderSettings(
        kind,
        base_url=tree.value(*path, "base_url") or OPENAI_BASE_URL,
        api_key=_configured_key(tree, name, environ, folder),
        headers=tuple(tree.values(*path, "headers").items()),
        found_in=found_in,
    )
    _check_credential(tree, name, provider)
    return provider if urlsplit(provider.base_url).port != OLLAMA_PORT else _as_ollama(provider)


def _configured_key(tree: Tree, name: str, environ: Mapping[str, str], folder: Path) -> Secret | SecretName | None:
    path = ("providers", name, "api_key")
    reference = tree.value(*path)
    try:
        return None if reference is None else read_secret(reference, environ=environ, folder=folder)
    except Misfit as misfit:
        raise tree.error(path, misfit.problem, misfit.remedy) from None


def _check_credential(tree: Tree, name: str, provider: ProviderSettings) -> None:
    """One credential, and for OpenAI's own host no less than one."""
    by_header = any(header.lower() == "authorization" for header, _ in provider.headers)
    path = ("providers", name)
    if by_header and provider.api_key is not None:
        raise tree.error((*path, "headers"), "authorization is what api_key sends already", "keep one of the two")
    if provider.is_openai_itself and provider.api_key is None and not by_header:
        raise tree.error(path, "api.openai.com answers nobody without a key", 'add api_key = "env:OPENAI_API_KEY"')


def _check_one_embedded(tree: Tree, providers: Mapping[str, ProviderSettings]) -> None:
    embedded = [name for name, provider in providers.items() if provider.is_embedded]
    if len(embedded) > 1:
        problem = f"{embedded[0]!r} is the embedded model already"
        raise tree.error(("providers", embedded[1], "kind"), problem, "keep one of the two")


def _first_of_kind(tree: Tree, providers: Mapping[str, ProviderSettings], backend: str | None) -> str:
    """The first provider of the kind that RILLGATE_BACKEND names; the first of all where it is unset."""
    for name, provider in providers.items():
        if backend in (None, provider.kind):
            return name
    origin = tree.origin("providers").name
    remedy = f'add one with kind = "{backend}" under [providers], or unset RILLGATE_BACKEND'
    raise SettingsError(f"RILLGATE_BACKEND: {origin} has no provider of kind {backend!r}; {remedy}")


def _found(environ: Mapping[str, str], backend: str | None) -> tuple[dict[str, ProviderSettings], tuple[str, ...]]:
    """Providers from the usual variables, in a fixed order; the embedded model where it is asked for or alone."""
    providers: dict[str, ProviderSettings] = {}
    openai = _found_openai(environ)
    if openai is not None:
        providers["openai"] = openai
    elif backend == "openai":
        problem = "'openai' needs OPENAI_API_KEY, or OPENAI_BASE_URL for a server without keys"
        raise SettingsError(f"RILLGATE_BACKEND: {problem}; set one of them, or RILLGATE_BACKEND=embedded")
    if environ.get("OLLAMA_HOST", "").strip():
        base_url = _checked("OLLAMA_HOST", ollama_base_url, environ["OLLAMA_HOST"])
        providers["ollama"] = _as_ollama(ProviderSettings("openai", base_url, found_in="OLLAMA_HOST"))
    if backend == "embedded" or not providers:
        providers["embedded"] = ProviderSettings("embedded", found_in="RILLGATE_BACKEND" if backend else "defaults")
    notices = [
        f"{variable} is set, but providers of kind {kind!r} are not there yet: it is not used"
        for variable, kind in VARIABLES_NOT_YET.items()
        if environ.get(variable, "").strip()
    ]
    return providers, tuple(notices)


def _found_openai(environ: Mapping[str, str]) -> ProviderSettings | None:
    """OpenAI or a compatible server, by the two variables that OpenAI's own SDK reads."""
    key, base_url = (environ.get(name, "").strip() for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"))
    if not key and not base_url:
        return None
    provider = ProviderSettings(
        "openai",
        base_url=_checked("OPENAI_BASE_URL", http_url, base_url) if base_url else OPENAI_BASE_URL,
        api_key=_checked("OPENAI_API_KEY", header_safe, key) if key else None,
        found_in="OPENAI_API_KEY" if key else "OPENAI_BASE_URL",
    )
    if provider.is_openai_itself and provider.api_key is None:
        raise SettingsError("OPENAI_BASE_URL: api.openai.com answers nobody without a key; set OPENAI_API_KEY")
    return provider


def ollama_base_url(host: str) -> str:
    """The OpenAI-compatible surface of the server that OLLAMA_HOST names, read as Ollama's own client reads it.

    A host alone means Ollama's port; with a scheme, and without a port, the scheme's. An address that stands for
    all interfaces means this machine.

    Shape:  'box' → 'http://box:11434/v1'; 'https://box' → 'https://box/v1'; '0.0.0.0:80' → 'http://127.0.0.1:80/v1'
    Raises: Misfit: it is no such address.
    """
    text = host.strip().strip("\"'").strip()
    scheme, separator, rest = text.rpartition("://")
    if is_ip_address(rest) and ":" in rest:
        rest = f"[{rest}]"
    if rest.startswith(":"):
        rest = f"127.0.0.1{rest}"
    try:
        parts = urlsplit(http_url(f"{scheme or 'http'}://{rest}"))
    except Misfit as misfit:
        problem = misfit.problem if "@" in text else f"expected the address of a server, got {shown(text)}"
        raise Misfit(problem, "give it as 'host', 'host:port' or 'http://host:port'") from None
    name = _REACHED_BY.get(parts.hostname or "", parts.hostname or "")
    port = parts.port or (None if separator else OLLAMA_PORT)
    address = (f"[{name}]" if ":" in name else name) + (f":{port}" if port else "")
    return f"{parts.scheme}://{address}{parts.path.rstrip('/').removesuffix('/v1')}/v1"


def _as_ollama(provider: ProviderSettings) -> ProviderSettings:
    return replace(provider, ollama=True)


def _checked(variable: str, check: Callable[[str], _T], text: str) -> _T:
    try:
        return check(text)
    except Misfit as misfit:
        raise SettingsError(f"{variable}: {misfit.problem}; {misfit.remedy}") from None
