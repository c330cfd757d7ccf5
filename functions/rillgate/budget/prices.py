"""Which price applies: the configuration's first, then the built-in table.

Place:  naming → budget.prices → ledger.authorize, and again at settlement with the input tokens that were reported,
        since some models cost more above so many. Pure.

A family is whose price list applies: `openai`, `anthropic`, `aws`, … . It follows from the provider's kind and, where
many hosts speak the same protocol, from the host: a host that is not known has no price until [prices] gives one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Protocol

from rillgate.budget.price_list import listed_price
from rillgate.domain.price import FREE, Price, nanos_per_million

FREE_FAMILY = "free"

_KIND_FAMILIES = {
    "embedded": FREE_FAMILY,
    "ollama": FREE_FAMILY,
    # Whatever the host is, a private endpoint or a gateway of the customer's: nobody else speaks these.
    "azure": "azure",
    "bedrock": "aws",
    "gemini": "google",
}
_KIND_DEFAULTS = {
    "anthropic": "anthropic",
    "openai": "openai",
    "openai_responses": "openai",
}  # where the provider names no host
_HOST_FAMILIES = {
    "api.anthropic.com": "anthropic",
    "api.arcee.ai": "arcee",
    "api.avian.io": "avian",
    "api.cerebras.ai": "cerebras",
    "api.cloudflare.com": "cloudflare",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.doubleword.ai": "doubleword",
    "api.fireworks.ai": "fireworks",
    "api.groq.com": "groq",
    "api.meta.ai": "meta",
    "api.minimax.io": "minimax",
    "api.minimaxi.com": "minimax",
    "api.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshotai",
    "api.moonshot.cn": "moonshotai",
    "api.novita.ai": "novita",
    "api.openai.com": "openai",  # eu.api.openai.com and its like add a tenth for some models: not known
    "api.perplexity.ai": "perplexity",
    "api.quicksilverpro.io": "quicksilverpro",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.x.ai": "x-ai",
    "api.z.ai": "zai",
    "inference.baseten.co": "baseten",
    "oai.endpoints.kepler.ai.cloud.ovh.net": "ovhcloud",
    "open.bigmodel.cn": "zhipuai",
    "openrouter.ai": "openrouter",
}
_HOST_ENDINGS = {
    ".openai.azure.com": "azure",
    ".azure-api.net": "azure",
    ".cognitiveservices.azure.com": "azure",
    ".services.ai.azure.com": "azure",
    ".cloud.databricks.com": "databricks",
    ".azuredatabricks.net": "databricks",
    ".gcp.databricks.com": "databricks",
    ".googleapis.com": "google",
}
_BEDROCK_HOST = re.compile(r"bedrock-runtime\.[a-z0-9-]+\.amazonaws\.com")


class PriceOverride(Protocol):
    """One table of [prices]: US dollars per million tokens. None: as the kind it is part of."""

    @property
    def input(self) -> float:
        """Of input tokens."""

    @property
    def output(self) -> float:
        """Of output tokens."""

    @property
    def cached_input(self) -> float | None:
        """Of input that is read from the provider's cache."""

    @property
    def cache_write(self) -> float | None:
        """Of input that is written to it."""

    @property
    def reasoning(self) -> float | None:
        """Of reasoning tokens."""


class Prices:
    """Finds prices.

    Args:   overrides: [prices], glob of `provider/model` → prices, in the file's order.
    Raises: ValueError: an override is no price; the message names it.
    """

    def __init__(self, overrides: Mapping[str, PriceOverride] | None = None) -> None:
        self._overrides = [(glob, _override_price(glob, one)) for glob, one in (overrides or {}).items()]

    def find(self, provider_name: str, family: str | None, model: str, input_tokens: int) -> Price | None:
        """The price of a model; None where it is not known.

        Shape: find("openai", "openai", "gpt-4.1-2025-04-14", 900) → Price(input=2_000_000_000, …)
        Args:  provider_name: as configured.
               family: see `family_of`.
               model: the routed model, as the provider knows it.
               input_tokens: of the request, cached ones included: some models cost more above so many.
        """
        configured = self._override(provider_name, model)
        if configured is not None:
            return configured
        if family == FREE_FAMILY:
            return FREE
        return None if family is None else listed_price(family, model, input_tokens)

    def configured(self, provider_name: str, model: str) -> bool:
        """Whether [prices] gives the price, so that whoever runs the gateway vouches for it."""
        return self._override(provider_name, model) is not None

    def _override(self, provider_name: str, model: str) -> Price | None:
        name = f"{provider_name}/{model}"
        return next((price for glob, price in self._overrides if fnmatchcase(name, glob)), None)


def family_of(kind: str, host: str | None) -> str | None:
    """Whose price list applies to a provider; None where that is not known.

    Shape: ("openai", "api.groq.com") → "groq"; ("openai", "127.0.0.1") → None; ("ollama", …) → "free".
    Args:  kind: the provider's, as configured.
           host: of its base_url, without a port; None where it has none.
    """
    if kind in _KIND_FAMILIES:
        return _KIND_FAMILIES[kind]
    if host is None:
        return _KIND_DEFAULTS.get(kind)
    host = host.lower().rstrip(".")
    if host in _HOST_FAMILIES:
        return _HOST_FAMILIES[host]
    if _BEDROCK_HOST.fullmatch(host):
        return "aws"
    return next((family for ending, family in _HOST_ENDINGS.items() if host.endswith(ending)), None)


def price_problem(provider_name: str, model: str, field: str | None = None) -> str:
    """Why a request's price is not known, to follow "under a money limit …".

    Args: field: what `price_fields.price_changing` found; None where there is no price for the model.
    """
    name = f"{provider_name}/{model}"
    if field is not None:
        return f"the field {field!r} changes the price of {name!r} in a way that is not known; leave it out"
    return f"the price of {name!r} is not known; the gateway's operator can set it under [prices]"


def _override_price(glob: str, override: PriceOverride) -> Price:
    try:
        return Price(
            input=nanos_per_million(override.input),
            output=nanos_per_million(override.output),
            cached_input=_nanos(override.cached_input),
            cache_write=_nanos(override.cache_write),
            reasoning=_nanos(override.reasoning),
        )
    except ValueError as error:
        raise ValueError(f"[prices.{glob!r}]: {error}") from error


def _nanos(usd: float | None) -> int | None:
    return None if usd is None else nanos_per_million(usd)
