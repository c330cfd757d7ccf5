"""Providers from the variables that the providers' own tools read, where no `[providers]` table names any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from rillgate.app.settings.rules import Misfit, api_version, aws_region, http_url, is_ip_address, shown
from rillgate.app.settings.secrets import header_safe
from rillgate.app.settings.sources import SettingsError
from rillgate.app.settings.types import (
    ANTHROPIC_BASE_URL,
    GEMINI_BASE_URL,
    OLLAMA_BASE_URL,
    OLLAMA_PORT,
    OPENAI_BASE_URL,
    OPENAI_KINDS,
    ProviderSettings,
)
from rillgate.upstream import aws_sources

_T = TypeVar("_T")
Environ = Mapping[str, str]

# All that name a provider, or its key.
PROVIDER_VARIABLES = frozenset(
    {
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
        "OLLAMA_HOST",
        "AWS_BEARER_TOKEN_BEDROCK",
        "GOOGLE_API_KEY",
        "GEMINI_API_KEY",
        "GOOGLE_GEMINI_BASE_URL",
        "AZURE_OPENAI_ENDPOINT",
        "AZURE_OPENAI_API_KEY",
        "AZURE_OPENAI_AD_TOKEN",
        "OPENAI_API_VERSION",
    }
)
# What a kind needs to be found, for the refusal of a RILLGATE_BACKEND that is not.
_NEEDS = {
    **dict.fromkeys(OPENAI_KINDS, "OPENAI_API_KEY, or OPENAI_BASE_URL for a server without keys"),
    "anthropic": "ANTHROPIC_API_KEY, or ANTHROPIC_BASE_URL for a server without keys",
    "gemini": "GEMINI_API_KEY, or GOOGLE_GEMINI_BASE_URL for a server without keys",
    "azure": "AZURE_OPENAI_ENDPOINT, and AZURE_OPENAI_API_KEY unless there is an identity of Entra",
}
# Addresses on which a server listens to all; a client reaches it by the one on the right.
_REACHED_BY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # nothing listens here


def found_providers(environ: Environ, backend: str | None) -> tuple[dict[str, ProviderSettings], tuple[str, ...]]:
    """Providers by name, in a fixed order, and one line for each variable that is not used.

    The embedded model is there where it is asked for, or would be alone.

    Args:   backend: the kind that RILLGATE_BACKEND names, None for none.
    Raises: SettingsError: a variable cannot be used, or the backend lacks one.
    """
    notices: list[str] = []
    providers: dict[str, ProviderSettings] = {}
    for kind, find in _FINDERS.items():
        if kind == "openai" and backend == "openai_responses":
            continue  # its variables name the same server: all names would be ambiguous
        provider = find(environ, backend == kind, notices)
        if provider is not None:
            providers[kind] = provider
        elif backend == kind:
            remedy = "set one of them, or RILLGATE_BACKEND=embedded"
            raise SettingsError(f"RILLGATE_BACKEND: {kind!r} needs {_NEEDS[kind]}; {remedy}")
    if backend == "embedded" or not providers:
        providers["embedded"] = ProviderSettings("embedded", found_in="RILLGATE_BACKEND" if backend else "defaults")
    return providers, tuple(notices)


def ollama_base_url(host: str) -> str:
    """The server that OLLAMA_HOST names, read as Ollama's own client reads it.

    A host alone means Ollama's port; with a scheme, and without a port, the scheme's. An address that stands for
    all interfaces means this machine.

    Shape:  'box' → 'http://box:11434'; 'https://box' → 'https://box'; '0.0.0.0:80' → 'http://127.0.0.1:80'
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
    return without_version(f"{parts.scheme}://{address}{parts.path}")


def without_version(base_url: str) -> str:
    """An address without the /v1, or Gemini's /v1beta, that many write behind it, for kinds whose own tools want none.

    Shape: 'http://127.0.0.1:8080/v1/' → 'http://127.0.0.1:8080'
    """
    return base_url.rstrip("/").removesuffix("/v1").removesuffix("/v1beta").rstrip("/")


def azure_resource(base_url: str) -> str:
    """A resource's address without the path of its API, which Azure's own tools are given with or without it.

    Shape: 'https://r.openai.azure.com/openai/v1/' → 'https://r.openai.azure.com'
    """
    return without_version(base_url).removesuffix("/openai").rstrip("/")


def region_of(environ: Environ) -> str | None:
    """The region that AWS's own variables name.

    Raises: SettingsError: it is none.
    """
    region = aws_sources.aws_region(environ)
    return None if region is None else _checked("AWS_REGION", aws_region, region.strip())


def bedrock_base_url(environ: Environ, region: str) -> str:
    """Where Bedrock answers: its own address in the region, or the one that AWS's own variables give."""
    other = aws_sources.aws_endpoint_url(environ, "bedrock_runtime")
    if other is not None:
        return _checked("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", http_url, other)
    return f"https://bedrock-runtime.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def _openai(environ: Environ, named: bool, notices: list[str]) -> ProviderSettings | None:
    """OpenAI or a compatible server, by the two variables that OpenAI's own SDK reads."""
    return _by_key_and_url(environ, "openai", OPENAI_BASE_URL, "OPENAI_BASE_URL", ("OPENAI_API_KEY",))


def _openai_responses(environ: Environ, named: bool, notices: list[str]) -> ProviderSettings | None:
    """The same by its other API, where that is asked for by name."""
    if not named:
        return None
    return _by_key_and_url(environ, "openai_responses", OPENAI_BASE_URL, "OPENAI_BASE_URL", ("OPENAI_API_KEY",))


def _anthropic(environ: Environ, named: bool, notices: list[str]) -> ProviderSettings | None:
    """Anthropic or a compatible server, by the variables that Anthropic's own SDK reads."""
    keys = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
    return _by_key_and_url(environ, "anthropic", ANTHROPIC_BASE_URL, "ANTHROPIC_BASE_URL", keys)


def _gemini(environ: Environ, named: bool, notices: list[str]) -> ProviderSettings | None:
    """Gemini, by the variables that Google's own SDK reads, in its order."""
    keys = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
    provider = _by_key_and_url(environ, "gemini", GEMINI_BASE_URL, "GOOGLE_GEMINI_BASE_URL", keys)
    both = [_read(environ, name) for name in keys]
    if provider is not None and all(both) and both[0] != both[1]:
        notices.append("GEMINI_API_KEY and GOOGLE_API_KEY are set and differ: the latter is used, as Google's SDK does")
    return provider


def _by_key_and_url(
    environ: Environ, kind: str, own_url: str, url_variable: str, key_variables: tuple[str, ...]
) -> ProviderSettings | None:
    key_variable = next((name for name in key_variables if _read(environ, name)), None)
    base_url = _read(environ, url_variable)
    if key_variable is None and not base_url:
        return None
    address = _checked(url_variable, http_url, base_url) if base_url else own_url
    provider = ProviderSettings(
        kind,
        base_url=address if kind in OPENAI_KINDS else without_version(address),
        api_key=_checked(key_variable, header_safe, environ[key_variable]) if key_variable else None,
        found_in=key_variable or url_variable,
        bearer=key_variable == "ANTHROPIC_AUTH_TOKEN",
    )
    if provider.own_host and provider.api_key is None:
        problem = f"{provider.own_host} answers nobody without a key"
        raise SettingsError(f"{url_variable}: {problem}; set {key_variables[0]}")
    return provider


def _ollama(environ: Environ, named: bool, notices: list[str]) -> ProviderSettings | None:
    """Ollama, where its variable is set; at its usual address where it is asked for by name alone."""
    if _read(environ, "OLLAMA_HOST"):
        base_url = _checked("OLLAMA_HOST", ollama_base_url, environ["OLLAMA_HOST"])
        return ProviderSettings("ollama", base_url, found_in="OLLAMA_HOST", ollama=True)
    return ProviderSettings("ollama", OLLAMA_BASE_URL, found_in="RILLGATE_BACKEND", ollama=True) if named else None


def _bedrock(environ: Environ, named: bool, notices: list[str]) -> ProviderSettings | None:
    """Bedrock, by its own key, or by name: AWS credentials alone are there for many other reasons."""
    key = _read(environ, "AWS_BEARER_TOKEN_BEDROCK")
    if not key and not named:
        return None
    region = region_of(environ)
    if region is None:
        if named:
            raise SettingsError("RILLGATE_BACKEND: 'bedrock' needs a region; set AWS_REGION, such as 'eu-central-1'")
        notices.append("AWS_BEARER_TOKEN_BEDROCK is set, but no region (AWS_REGION): it is not used")
        return None
    return ProviderSettings(
        "bedrock",
        bedrock_base_url(environ, region),
        api_key=_checked("AWS_BEARER_TOKEN_BEDROCK", header_safe, key) if key else None,
        region=region,
        found_in="AWS_BEARER_TOKEN_BEDROCK" if key else "RILLGATE_BACKEND",
    )


def _azure(environ: Environ, named: bool, notices: list[str]) -> ProviderSettings | None:
    """Azure OpenAI, by the variables that OpenAI's own SDK reads for it; without a key or a token, by an identity."""
    endpoint = _read(environ, "AZURE_OPENAI_ENDPOINT")
    keys = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")
    key_variable = next((name for name in keys if _read(environ, name)), None)
    if not endpoint:
        if key_variable is not None and not named:
            notices.append(f"{key_variable} is set, but no AZURE_OPENAI_ENDPOINT: it is not used")
        return None
    version = _read(environ, "OPENAI_API_VERSION")
    return ProviderSettings(
        "azure",
        azure_resource(_checked("AZURE_OPENAI_ENDPOINT", http_url, endpoint)),
        api_key=_checked(key_variable, header_safe, environ[key_variable]) if key_variable else None,
        api_version=_checked("OPENAI_API_VERSION", api_version, version) if version else None,
        found_in=key_variable or "AZURE_OPENAI_ENDPOINT",
        bearer=key_variable == "AZURE_OPENAI_AD_TOKEN",
    )


_FINDERS: Mapping[str, Callable[[Environ, bool, list[str]], ProviderSettings | None]] = {
    "openai": _openai,
    "openai_responses": _openai_responses,
    "anthropic": _anthropic,
    "ollama": _ollama,
    "bedrock": _bedrock,
    "gemini": _gemini,
    "azure": _azure,
}


def _read(environ: Environ, variable: str) -> str:
    return environ.get(variable, "").strip()


def _checked(variable: str, check: Callable[[str], _T], text: str) -> _T:
    try:
        return check(text)
    except Misfit as misfit:
        raise SettingsError(f"{variable}: {misfit.problem}; {misfit.remedy}") from None
