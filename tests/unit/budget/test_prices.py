"""Which price applies: the configuration's before the table's, by provider, host, model and size of the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from rillgate.budget.price_table import FALLBACKS, FAMILIES
from rillgate.budget.prices import (
    _HOST_ENDINGS,
    _HOST_FAMILIES,
    _KIND_DEFAULTS,
    _KIND_FAMILIES,
    Prices,
    family_of,
    price_problem,
)
from rillgate.domain.price import FREE, Price


@dataclass(frozen=True, slots=True)
class Override:
    """One table of [prices], as the configuration reads it."""

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None


def listed(family: str, model: str, input_tokens: int = 1000) -> Price | None:
    """A price without any configuration."""
    return Prices().find("name", family, model, input_tokens)


USD = 1_000_000_000


@pytest.mark.parametrize(
    ("family", "model", "expected"),
    [
        ("openai", "gpt-4o", Price(2_500_000_000, 10 * USD, 1_250_000_000)),
        ("openai", "gpt-4o-mini", Price(150_000_000, 600_000_000, 75_000_000)),
        ("openai", "gpt-4.1-mini", Price(400_000_000, 1_600_000_000, 100_000_000)),
        ("anthropic", "claude-opus-4-5", Price(5 * USD, 25 * USD, 500_000_000, 6_250_000_000)),
        ("google", "gemini-2.5-flash", Price(300_000_000, 2_500_000_000, 30_000_000)),
        ("aws", "amazon.nova-micro-v1:0", Price(35_000_000, 140_000_000, 8_750_000)),
        ("groq", "openai/gpt-oss-20b", Price(75_000_000, 300_000_000, 37_500_000)),
    ],
)
def test_listed_price_of_a_known_model_is_what_its_provider_publishes(family: str, model: str, expected: Price) -> None:
    """A few that everyone can look up."""
    assert listed(family, model) == expected


@pytest.mark.parametrize(
    ("family", "model", "same_as"),
    [
        ("openai", "gpt-4.1-2025-04-14", "gpt-4.1"),
        ("openai", "gpt-4.1-20250414", "gpt-4.1"),
        ("openai", "GPT-4.1", "gpt-4.1"),
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("aws", "arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-micro-v1:0", "amazon.nova-micro-v1:0"),
        ("aws", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ],
)
def test_listed_price_of_a_model_under_another_spelling_is_the_same(family: str, model: str, same_as: str) -> None:
    """Dates, region prefixes and capitals do not hide a model."""
    assert listed(family, model) == listed(family, same_as)
    assert listed(family, model) is not None


def test_listed_price_on_bedrock_is_dearer_in_a_region_than_worldwide() -> None:
    """The prefix of a model's id decides."""
    regional = listed("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    worldwide = listed("aws", "global.anthropic.claude-sonnet-4-5-20250929-v1:0")
    assert regional is not None
    assert worldwide is not None
    assert regional.input * 10 == worldwide.input * 11


def test_listed_price_of_a_model_of_another_family_is_found_where_it_is_resold() -> None:
    """Azure sells OpenAI's models at OpenAI's prices, where it has none of its own."""
    assert listed("azure", "gpt-4.1") == listed("openai", "gpt-4.1")
    assert listed("google", "claude-2") == listed("anthropic", "claude-2")


def test_listed_price_above_a_number_of_input_tokens_is_the_dearer_one() -> None:
    """Up to and with 200,000 tokens the lower price holds, for the whole request, above it the higher one."""
    assert listed("google", "gemini-2.5-pro", 200_000) == Price(1_250_000_000, 10 * USD, 125_000_000)
    assert listed("google", "gemini-2.5-pro", 200_001) == Price(2_500_000_000, 15 * USD, 250_000_000)


@pytest.mark.parametrize(
    ("family", "model", "input_usd"),
    [
        ("openai", "text-embedding-3-small", 0.02),
        ("azure", "text-embedding-3-large", 0.13),
        ("aws", "amazon.titan-embed-text-v2:0", 0.02),
        ("google", "gemini-embedding-001", 0.15),
    ],
)
def test_listed_price_of_embeddings_is_of_their_input_alone(family: str, model: str, input_usd: float) -> None:
    """They put nothing out, so nothing that they put out costs anything."""
    price = listed(family, model)
    assert price is not None
    assert (price.input, price.output) == (round(input_usd * USD), 0)


@pytest.mark.parametrize(
    ("family", "model"),
    [
        ("openai", "no-such-model"),
        ("openai", "my-gpt-4o"),
        ("openai", "gpt-4o-20259999"),
        ("openai", "my-text-embedding-3-small"),
        ("openai", ""),
        ("openrouter", "openai/gpt-4o:online"),
    ],
)
def test_listed_price_of_an_unknown_model_is_none(family: str, model: str) -> None:
    """No guess is made."""
    assert listed(family, model) is None


@pytest.mark.parametrize(
    ("family", "model"),
    [
        ("perplexity", "sonar-pro"),
        ("openrouter", "perplexity/sonar"),
        ("openai", "gpt-4o-mini-search-preview"),
        ("openai", "gpt-5-search-api"),
        ("openai", "o3-deep-research"),
    ],
)
def test_listed_price_of_a_model_that_charges_for_each_search_is_none(family: str, model: str) -> None:
    """Its tokens are not all it costs, so nothing may be held for it as if they were."""
    assert listed(family, model) is None


def test_listed_price_of_a_free_variant_is_zero_on_openrouter_only() -> None:
    """Its ending says so there, and means nothing elsewhere."""
    assert listed("openrouter", "some/model:free") == FREE
    assert listed("openai", "gpt-4o:free") is None


def test_price_without_a_family_is_none_and_of_one_s_own_models_is_zero() -> None:
    """An unknown host has no price; what runs on one's own machine costs nothing by the token."""
    assert Prices().find("lab", None, "gpt-4o", 1) is None
    assert Prices().find("local", family_of("ollama", "127.0.0.1"), "gpt-oss:20b", 1) == FREE


@pytest.mark.parametrize(
    ("kind", "host", "family"),
    [
        ("openai", "api.openai.com", "openai"),
        ("openai", "API.OpenAI.com.", "openai"),
        ("openai", None, "openai"),
        ("openai", "eu.api.openai.com", None),
        ("openai", "api.groq.com", "groq"),
        ("openai", "openrouter.ai", "openrouter"),
        ("openai", "mine.openai.azure.com", "azure"),
        ("openai", "openai.azure.com.evil.example", None),
        ("openai", "evilgoogleapis.com", None),
        ("openai", "us-central1-aiplatform.googleapis.com", "google"),
        ("openai", "bedrock-runtime.us-east-1.amazonaws.com", "aws"),
        ("openai", "127.0.0.1", None),
        ("openai", "", None),
        ("anthropic", None, "anthropic"),
        ("anthropic", "api.anthropic.com", "anthropic"),
        ("anthropic", "api.deepseek.com", "deepseek"),
        ("anthropic", "localhost", None),
        ("azure", "llm.corp.example", "azure"),
        ("bedrock", "vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com", "aws"),
        ("gemini", None, "google"),
        ("embedded", None, "free"),
        ("ollama", "gpu.lan", "free"),
        ("something", None, None),
    ],
)
def test_family_follows_from_kind_and_host(kind: str, host: str | None, family: str | None) -> None:
    """Where many speak a protocol the host decides; a host that is not known has no price list."""
    assert family_of(kind, host) == family


def test_family_of_every_known_host_is_one_of_the_table() -> None:
    """Every family that can be found can be looked up, and so can those that it falls back to."""
    found = {*_HOST_ENDINGS.values(), *_HOST_FAMILIES.values(), *_KIND_DEFAULTS.values(), *_KIND_FAMILIES.values()}
    assert found - {"free"} == set(FAMILIES)
    assert {one for several in FALLBACKS.values() for one in several} <= set(FAMILIES)
    assert all(urlsplit(f"https://{host}/").hostname == host for host in _HOST_FAMILIES)


def test_override_that_matches_wins_over_the_table_and_over_free() -> None:
    """Provider and model are matched together, by the provider's configured name, and the first match counts."""
    prices = Prices(
        {
            "main/gpt-4o*": Override(input=0.0375, output=0.1),
            "main/*": Override(input=1, output=2, cached_input=0.5, cache_write=1.25, reasoning=3),
            "*/gpt-4o": Override(input=9, output=9),
            "gpu/*": Override(input=0.02, output=0.04),
        }
    )
    assert prices.find("main", "openai", "gpt-4o-mini", 1) == Price(37_500_000, 100_000_000)
    assert prices.find("main", None, "a/b", 1) == Price(USD, 2 * USD, 500_000_000, 1_250_000_000, 3 * USD)
    assert prices.find("other", "openai", "gpt-4o", 1) == Price(9 * USD, 9 * USD)
    assert prices.find("gpu", "free", "m", 1) == Price(20_000_000, 40_000_000)
    assert prices.find("MAIN", "openai", "gpt-4.1", 1) == listed("openai", "gpt-4.1")
    assert prices.configured("main", "x")
    assert not prices.configured("mine", "x")


@pytest.mark.parametrize("override", [Override(-1, 1), Override(1, float("nan")), Override(1, 1, reasoning=1e9)])
def test_override_that_is_no_price_is_refused_by_its_name(override: Override) -> None:
    """No price is below zero, above any sense, or no number."""
    with pytest.raises(ValueError, match=r"prices\.'lab/\*'"):
        Prices({"lab/*": override})


def test_problem_names_the_model_or_the_field_and_a_way_out() -> None:
    """What a refusal under a money limit says."""
    assert "'lab/tiny'" in price_problem("lab", "tiny")
    assert "[prices]" in price_problem("lab", "tiny")
    assert "'service_tier'" in price_problem("openai", "gpt-4o", "service_tier")
