"""Which providers there are, and which one answers when a request names no model.

Providers come from the `[providers]` table; without one they are found from the variables that the providers' own
tools read, and without those the embedded model is the only one.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from rillgate.app.settings.found import azure_resource, bedrock_base_url, found_providers, region_of, without_version
from rillgate.app.settings.rules import Misfit, shown
from rillgate.app.settings.schema import KINDS
from rillgate.app.settings.secrets import Secret, SecretName, read_secret
from rillgate.app.settings.sources import Place, SettingsError, Tree
from rillgate.app.settings.types import (
    ANTHROPIC_BASE_URL,
    BEARER_HEADER,
    GEMINI_BASE_URL,
    KEY_HEADERS,
    OLLAMA_BASE_URL,
    OLLAMA_PORT,
    OPENAI_BASE_URL,
    OPENAI_KINDS,
    DefaultModel,
    ProviderSettings,
)

BASE_URLS = {
    **dict.fromkeys(OPENAI_KINDS, OPENAI_BASE_URL),
    "anthropic": ANTHROPIC_BASE_URL,
    "ollama": OLLAMA_BASE_URL,
    "gemini": GEMINI_BASE_URL,
}

AZURE_KEYS = ["api_version", "tenant_id", "client_id", "client_secret"]
_ANY_BACKEND = f"set it to {', '.join(KINDS[:-1])} or {KINDS[-1]}"
_KEY_OF = {
    **dict.fromkeys(OPENAI_KINDS, "OPENAI_API_KEY"),
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
}


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
        providers, notices = found_providers(environ, backend)
        default = backend or next(iter(providers))
    model = environ.get("RILLGATE_MODEL", "").strip() or None
    return providers, DefaultModel(default, model, backend_named=backend is not None), notices


def _read_backend(environ: Mapping[str, str]) -> str | None:
    """The kind that RILLGATE_BACKEND names; None where it is unset or empty."""
    backend = environ.get("RILLGATE_BACKEND", "").strip()
    if not backend or backend in KINDS:
        return backend or None
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
    _check_keys(tree, name, kind)
    if kind == "embedded":
        return ProviderSettings(kind, found_in=found_in)
    region = (tree.value(*path, "region") or region_of(environ)) if kind == "bedrock" else None
    provider = ProviderSettings(
        kind,
        base_url=_base_url(tree, name, kind, environ, region),
        api_key=_secret(tree, (*path, "api_key"), environ, folder),
        headers=tuple(tree.values(*path, "headers").items()),
        region=region,
        trace_context=tree.value(*path, "trace_context") is not False,
        api_version=tree.value(*path, "api_version"),
        tenant_id=tree.value(*path, "tenant_id"),
        client_id=tree.value(*path, "client_id"),
        client_secret=_secret(tree, (*path, "client_secret"), environ, folder),
        found_in=found_in,
    )
    _check_credential(tree, name, provider)
    _check_client(tree, name, provider, environ)
    return replace(provider, ollama=kind == "ollama" or urlsplit(provider.base_url).port == OLLAMA_PORT)


def _check_keys(tree: Tree, name: str, kind: str) -> None:
    """Refuse keys that mean nothing to the kind."""
    of_no_use = ["base_url", "api_key", "headers", "trace_context"] if kind == "embedded" else []
    of_no_use += [] if kind == "bedrock" else ["region"]
    of_no_use += [] if kind == "azure" else AZURE_KEYS
    for key in of_no_use:
        if tree.node("providers", name, key):
            raise tree.error(("providers", name, key), f'is of no use to kind = "{kind}"', "take it out")


def _base_url(tree: Tree, name: str, kind: str, environ: Mapping[str, str], region: str | None) -> str:
    path = ("providers", name)
    given: str | None = tree.value(*path, "base_url")
    if kind == "azure":
        if given is None:
            remedy = 'add the resource\'s, such as base_url = "https://NAME.openai.azure.com"'
            raise tree.error(path, "has no base_url", remedy)
        return azure_resource(given)
    if kind != "bedrock":
        address = given or BASE_URLS[kind]
        return address if kind in OPENAI_KINDS else without_version(address)
    signed = tree.value(*path, "api_key") in (None, "none")
    if region is None and (given is None or signed):
        raise tree.error(path, "has no region", 'add one, such as region = "eu-central-1", or set AWS_REGION')
    return given or bedrock_base_url(environ, region or "")


def _secret(tree: Tree, path: Place, environ: Mapping[str, str], folder: Path) -> Secret | SecretName | None:
    reference = tree.value(*path)
    try:
        return None if reference is None else read_secret(reference, environ=environ, folder=folder)
    except Misfit as misfit:
        raise tree.error(path, misfit.problem, misfit.remedy) from None


def _check_credential(tree: Tree, name: str, provider: ProviderSettings) -> None:
    """One credential, and for OpenAI's, Anthropic's and Google's own hosts no less than one."""
    key_header = KEY_HEADERS.get(provider.kind, BEARER_HEADER)
    sent = {header.lower() for header, _ in provider.headers}
    by_header = sorted(sent & {BEARER_HEADER, key_header})
    path = ("providers", name)
    if by_header and provider.api_key is not None:
        problem = f"{by_header[0]} is what api_key sends already"
        if by_header[0] != key_header:
            problem = f"{by_header[0]} is a second credential beside api_key"
        raise tree.error((*path, "headers"), problem, "keep one of the two")
    if provider.own_host and provider.api_key is None and not by_header:
        problem = f"{provider.own_host} answers nobody without a key"
        raise tree.error(path, problem, f'add api_key = "env:{_KEY_OF[provider.kind]}"')


def _check_client(tree: Tree, name: str, provider: ProviderSettings, environ: Mapping[str, str]) -> None:
    """A client of Entra is no credential beside a key, and its secret is one of a certain client."""
    path = ("providers", name)
    given = next((key for key in AZURE_KEYS[1:] if tree.node(*path, key)), None)
    if given is not None and not provider.wants_token:
        raise tree.error((*path, given), "is of no use beside a key", "keep one of the two")
    for key, value in (("tenant_id", provider.tenant_id), ("client_id", provider.client_id)):
        if provider.client_secret is not None and not (value or environ.get(f"AZURE_{key.upper()}")):
            raise tree.error(path, f"has no {key} for its client", f"add {key}, or set AZURE_{key.upper()}")


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
