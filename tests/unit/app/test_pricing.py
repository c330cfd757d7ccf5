"""Which price a request gets, and what is said where none is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rillgate.app.pricing import Pricing
from rillgate.app.settings.load import load_settings
from rillgate.domain.price import FREE, Price
from rillgate.domain.request import ChatRequest, Target

HI = [{"role": "user", "content": "hi"}]
TIERED = "gemini-2.5-pro"  # dearer above 200,000 input tokens
PROVIDERS = {
    "RILLGATE_PROVIDERS__OPENAI__KIND": "openai",
    "RILLGATE_PROVIDERS__OPENAI__API_KEY": "env:K",
    "RILLGATE_PROVIDERS__GOOGLE__KIND": "openai",
    "RILLGATE_PROVIDERS__GOOGLE__BASE_URL": "https://generativelanguage.googleapis.com/v1beta/openai",
    "RILLGATE_PROVIDERS__LAB__KIND": "openai",
    "RILLGATE_PROVIDERS__LAB__BASE_URL": "http://127.0.0.1:9900/v1",
    "RILLGATE_PROVIDERS__LLAMA__KIND": "openai",
    "RILLGATE_PROVIDERS__LLAMA__BASE_URL": "http://127.0.0.1:11434/v1",
    "RILLGATE_PROVIDERS__TINY__KIND": "embedded",
    "K": "sk-fake",
}


def priced(provider: str, model: str, *, toml: str = "", **fields: Any) -> tuple[Price | None, str]:
    """What a request for a model costs."""
    environ = {**PROVIDERS, "RILLGATE_PRICES": '{"lab/*" = {input = 0.1, output = 0.4, reasoning = 0.5}}'}
    environ |= {"RILLGATE_LEDGER__ON_UNKNOWN_PRICE": "allow"} if toml == "allow" else {}
    settings = load_settings(config=None, flags={}, environ=environ, cwd=Path("/nowhere"))
    request = ChatRequest({"messages": HI, **fields}, model, stream=True)
    return Pricing(settings).of(Target(provider, model), request)


def test_price_of_a_known_host_is_the_built_in_one() -> None:
    """OpenAI's own host has OpenAI's prices."""
    price, problem = priced("openai", "gpt-4.1-mini")
    assert problem == ""
    assert price is not None
    assert (price.input, price.output) == (400_000_000, 1_600_000_000)


def test_price_that_is_configured_holds_for_its_glob() -> None:
    """[prices] names what nobody else can know."""
    assert priced("lab", "anything") == (Price(100_000_000, 400_000_000, reasoning=500_000_000), "")


@pytest.mark.parametrize(("provider", "model"), [("tiny", "smollm2-135m"), ("llama", "llama3")])
def test_price_of_what_runs_on_this_machine_is_nothing(provider: str, model: str) -> None:
    """The embedded model and Ollama bill nobody, whatever the request says."""
    assert priced(provider, model, service_tier="priority") == (FREE, "")


def test_price_that_is_not_known_is_said_with_the_remedy() -> None:
    """The name of provider and model, and where to set it."""
    price, problem = priced("openai", "no-such-model")
    assert price is None
    assert "'openai/no-such-model' is not known" in problem
    assert "[prices]" in problem


@pytest.mark.parametrize("provider", ["openai", "lab"])
def test_price_that_a_field_changes_is_not_known(provider: str) -> None:
    """A dearer tier is dearer also where the price was configured."""
    price, problem = priced(provider, "gpt-4.1-mini", service_tier="priority")
    assert price is None
    assert "'service_tier'" in problem


def test_price_unknown_and_allowed_is_no_problem() -> None:
    """Where the operator says so, the price that is known holds, and a request without one costs nothing."""
    assert priced("openai", "no-such-model", toml="allow") == (None, "")
    price, problem = priced("openai", "gpt-4.1-mini", toml="allow", service_tier="priority")
    assert problem == ""
    assert price is not None
    assert price.input == 400_000_000


def test_price_with_tiers_is_that_of_the_longest_the_prompt_can_be() -> None:
    """A prompt has no more tokens than bytes: a short one pays the first tier, a long one the last."""
    short, _ = priced("google", TIERED)
    longest, _ = priced("google", TIERED, messages=[{"role": "user", "content": "a" * 200_001}])
    assert short is not None
    assert longest is not None
    assert longest.input > short.input
    images = [{"type": "image_url", "image_url": {"url": "https://a.example/i.png"}}] * 200
    pictured, _ = priced("google", TIERED, messages=[{"role": "user", "content": images}])
    assert pictured == longest


def test_tiers_of_a_price_that_rises_with_the_prompt_are_looked_up_by_its_length() -> None:
    """What the provider counted decides, on either side of the tier; a price without tiers needs no look."""
    environ = {**PROVIDERS, "RILLGATE_PRICES": "{}"}
    pricing = Pricing(load_settings(config=None, flags={}, environ=environ, cwd=Path("/nowhere")))
    at = pricing.tiers(Target("google", TIERED))
    assert at is not None
    short, long = at(200_000), at(200_001)
    assert short is not None
    assert long is not None
    assert short.input < long.input
    assert pricing.tiers(Target("openai", "gpt-4.1-mini")) is None
