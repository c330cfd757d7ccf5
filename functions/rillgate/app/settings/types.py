"""What the configuration says, as frozen values that are handed down; read once, by `load.load_settings`.

Every public field without `repr=False` and outside `Settings` itself is a key of the configuration file, save those
that a comment names as found out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

from rillgate.app.settings.secrets import Secret, SecretName
from rillgate.domain.request import Endpoint, Timeouts

EMBEDDED_MODEL = "smollm2-135m"  # the alias of the one model that the kind `embedded` has
OPENAI_BASE_URL = "https://api.openai.com/v1"
OPENAI_KINDS = ("openai", "openai_responses")  # OpenAI's two APIs, at the same addresses
OPENAI_MODEL_DEFAULT = "gpt-6-luna"  # small, cheap, and open to every account; gpt-4.1-mini ends in January 2027
ANTHROPIC_BASE_URL = "https://api.anthropic.com"
ANTHROPIC_MODEL_DEFAULT = "claude-haiku-4-5"  # likewise
BEDROCK_MODEL_DEFAULT = "amazon.nova-lite-v1:0"  # likewise; Bedrock's own address lists none
BEDROCK_OWN_REGIONS = ("us-east-1", "us-gov-")  # how those begin that serve it themselves
BEDROCK_PROFILES = {"us": "us", "eu": "eu", "ap": "apac"}  # elsewhere: the inference profile of the region's geography
GEMINI_BASE_URL = "https://generativelanguage.googleapis.com"
GEMINI_MODEL_DEFAULT = "gemini-flash-lite-latest"  # likewise
OLLAMA_PORT = 11434
OLLAMA_BASE_URL = f"http://127.0.0.1:{OLLAMA_PORT}"
BEARER_HEADER = "authorization"
KEY_HEADERS = {
    "anthropic": "x-api-key",
    "gemini": "x-goog-api-key",
    "azure": "api-key",
}  # by kind; elsewhere a key is a bearer token
PATIENT_FIRST_TOKEN_S = 300.0  # first_token_s, where nothing sets it, for Ollama (it loads models) and for reasoning
ROUTE_RETRIES = 1
CHAT_OUTPUT_TOKENS_DEFAULT = 4096  # on /chat/*, when the client names none


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the gateway listens, and to whom it shows itself. With `unix_socket` host and port are not used.

    Attributes:
        trusted_proxies: networks whose word on forwarded addresses is believed, beside that over a unix socket.
        body_timeout_s: for a whole request body to come; only the time in which we wait for it counts.
        body_rate_min: bytes a second, on average, that a body has to come at.
        inherited: how many sockets a supervisor handed over, which then stand for all of these; found out, not a key.
        http_endpoint: host and port that AWS Lambda's Web Functions speak to, beside these; found out, not a key.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    unix_socket: Path | None = None
    cors_origins: tuple[str, ...] = ()
    metrics: Literal["loopback", "any", "off"] = "loopback"
    trusted_proxies: tuple[str, ...] = ()
    body_timeout_s: float = 300
    body_rate_min: int = 500
    inherited: int = 0
    http_endpoint: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """`required` as it was set; None where nothing sets it. What holds is `Settings.keys_required`."""

    required: bool | None = None


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One provider.

    Attributes:
        kind: the API family.
        base_url: without a trailing slash; "" for the embedded model, whose place is known when it has started.
        api_key: None for none; the name of one that is fetched when it is needed.
        headers: sent along with every call; they may hold credentials, so no repr shows them.
        region: of AWS, for Bedrock; it is part of each signature.
        trace_context: whether it is told each request's place in a distributed trace.
        api_version: of Azure's deployments; None for Azure's v1.
        tenant_id, client_id, client_secret: who asks Microsoft Entra ID for tokens, for Azure without a key; what is
            None is looked for where Azure's own tools look.
        found_in: the file or variable that names it; found out, not a key.
        ollama: whether Ollama answers, be it behind its OpenAI-compatible surface; found out, not a key.
        bearer: whether the key goes out as a bearer token where the kind has a header of its own; found out, not a key.
    """

    kind: str
    base_url: str = ""
    api_key: Secret | SecretName | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    region: str | None = None
    trace_context: bool = True
    api_version: str | None = None
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: Secret | SecretName | None = None
    found_in: str = ""
    ollama: bool = False
    bearer: bool = False

    @property
    def is_embedded(self) -> bool:
        """Whether it is the model that the gateway starts itself."""
        return self.kind == "embedded"

    @property
    def is_openai_itself(self) -> bool:
        """Whether OpenAI answers, by its own host or a region's (eu.api.openai.com), and not a compatible server."""
        host = urlsplit(self.base_url).hostname or ""
        return self.kind in OPENAI_KINDS and f".{host}".endswith(".api.openai.com")

    @property
    def is_anthropic_itself(self) -> bool:
        """Whether Anthropic's own host answers, and not one that is compatible with it."""
        return self.kind == "anthropic" and urlsplit(self.base_url).hostname == "api.anthropic.com"

    @property
    def is_gemini_itself(self) -> bool:
        """Whether Google's own host answers, and not one that speaks its API."""
        return self.kind == "gemini" and urlsplit(self.base_url).hostname == "generativelanguage.googleapis.com"

    @property
    def own_host(self) -> str | None:
        """The host of the company whose API this is, where it answers itself: it answers nobody without a key."""
        itself = self.is_openai_itself or self.is_anthropic_itself or self.is_gemini_itself
        return urlsplit(self.base_url).hostname if itself else None

    @property
    def is_signed(self) -> bool:
        """Whether each request is signed with the process's AWS credentials, since no key is given."""
        return self.kind == "bedrock" and self.api_key is None

    @property
    def wants_token(self) -> bool:
        """Whether each request carries a token of Microsoft Entra ID, since no key is given."""
        sent = {name.lower() for name, _ in self.headers}
        return self.kind == "azure" and self.api_key is None and not sent & {BEARER_HEADER, KEY_HEADERS["azure"]}

    @property
    def default_model(self) -> str | None:
        """What answers where no model is named, as far as that is known without asking the provider."""
        if self.is_openai_itself:
            return OPENAI_MODEL_DEFAULT
        if self.is_anthropic_itself:
            return ANTHROPIC_MODEL_DEFAULT
        if self.is_gemini_itself:
            return GEMINI_MODEL_DEFAULT
        if self.kind == "bedrock":
            return bedrock_default(self.region or "")
        return EMBEDDED_MODEL if self.kind == "embedded" else None

    def endpoint(self, fetched: Secret | None = None) -> Endpoint:
        """Where it answers and what every call carries. The result holds the key in the clear: never log it.

        Args:
            fetched: the key, where the configuration has only its name.
        """
        key = self.api_key if isinstance(self.api_key, Secret) else fetched
        if key is None:
            return Endpoint(self.base_url, self.headers)
        own = KEY_HEADERS.get(self.kind)
        credential = (own, key.reveal()) if own and not self.bearer else (BEARER_HEADER, f"Bearer {key.reveal()}")
        return Endpoint(self.base_url, (credential, *self.headers))


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """What clients ask for (a glob), and where it goes.

    Attributes:
        upstream: provider/model in failover order; * is the requested name.
        timeouts: those that stand on the route, by key, in seconds.
        retries: how many more rounds over them there may be, after failures that may pass.
    """

    model: str
    upstream: tuple[str, ...]
    timeouts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    retries: int = ROUTE_RETRIES


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Bounds for each request, each process and each client's address.

    Attributes:
        address_connections_max: connections, and requests at once, of one address; 0 for no limit.
        address_rate_max: requests a second of one address, on average; 0 for no limit.
        address_burst_max: requests that an address may send at once after a pause, where there is such a limit.
    """

    body_bytes_max: int = 8_388_608
    streams_max: int = 2000
    output_tokens_default: int = 16_384
    output_tokens_max: int = 32_768
    cut_notice: str = " [token budget exceeded]"
    address_connections_max: int = 0
    address_rate_max: float = 0
    address_burst_max: int = 2000

    @property
    def chat_output_tokens_default(self) -> int:
        """The cap on /chat/* when the client names none: lower than elsewhere, never higher."""
        return min(CHAT_OUTPUT_TOKENS_DEFAULT, self.output_tokens_default)


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """Where spending is kept, and what holds where it is not known.

    Attributes:
        url: the path of a SQLite file is absolute here.
        on_error: when the store fails.
        on_unknown_price: for requests under a money limit whose price is not known.
        quota_status: of an exhausted budget.
    """

    url: str = "sqlite:///rillgate.db"
    mode: Literal["strict", "elastic"] = "strict"
    on_error: Literal["deny", "allow"] = "deny"
    on_unknown_price: Literal["deny", "allow"] = "deny"
    quota_status: Literal[429, 403] = 429
    hold_grace_s: float = 60
    connect_timeout_ms: int = 250
    read_timeout_ms: int = 300


@dataclass(frozen=True, slots=True)
class PriceSettings:
    """US dollars per million tokens; None: cached input and cache writes as input, reasoning as output."""

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None


@dataclass(frozen=True, slots=True)
class DefaultModel:
    """What answers when a request names no model.

    Attributes:
        provider: the provider that RILLGATE_BACKEND names; the first one where it is unset.
        model: RILLGATE_MODEL; None where it is unset.
        backend_named: whether RILLGATE_BACKEND is set: a bare `model` then belongs to that provider.
    """

    provider: str
    model: str | None = None
    backend_named: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, checked.

    Attributes:
        keys_required: whether a request needs one of our keys.
        allow_unauthenticated: whether --allow-unauthenticated was given, which lifts the check of `Host` too.
        default: what answers when a request names no model.
        first_token_s_given: whether something sets timeouts.first_token_s, which then holds for everyone.
        file: the configuration file that was read.
        folder: where relative paths start: the file's folder, without a file the working directory.
        notices: one line each for what was found and is not used; to be printed at start.
    """

    default: DefaultModel
    providers: Mapping[str, ProviderSettings]
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    routes: tuple[RouteSettings, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: LimitSettings = LimitSettings()
    ledger: LedgerSettings = LedgerSettings()
    prices: Mapping[str, PriceSettings] = field(default_factory=lambda: MappingProxyType({}))
    keys_required: bool = False
    allow_unauthenticated: bool = False
    first_token_s_given: bool = False
    file: Path | None = None
    folder: Path = Path()
    notices: tuple[str, ...] = ()


def bedrock_default(region: str) -> str:
    """Bedrock's default as a region knows it: "eu-central-1" → "eu.amazon.nova-lite-v1:0".

    Source: Amazon Bedrock user guide, "Supported Regions and models for inference profiles", read 2026-11.
    """
    profile = BEDROCK_PROFILES.get(region.partition("-")[0])
    if profile is None or region.startswith(BEDROCK_OWN_REGIONS):
        return BEDROCK_MODEL_DEFAULT
    return f"{profile}.{BEDROCK_MODEL_DEFAULT}"
