"""The generated table: what the script writes, and what the package it comes from says, model by model."""

from __future__ import annotations

import re
import runpy
from datetime import UTC, date, datetime, time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data import providers
from genai_prices.types import (
    ClauseEquals,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    Usage,
)

from rillgate.budget import price_table
from rillgate.budget.price_list import _Family, _family, listed_price
from rillgate.budget.price_table import DATA_DATE, FALLBACKS, FAMILIES, VALID_ON, VERSION
from rillgate.budget.prices import _HOST_FAMILIES
from rillgate.domain.usage import Usage as OurUsage

ROOT = Path(__file__).parents[3]
NANOS = 1_000_000_000
SERVED = [provider for provider in providers if provider.id in FAMILIES]
TEXT_KINDS = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "output_reasoning_mtok"}
DEARER_KINDS = {f"{kind}_{what}_mtok" for kind in ("input", "output") for what in ("image", "video")}

same_version = pytest.mark.skipif(version("genai-prices") != VERSION, reason="another version of genai-prices")


@same_version
def test_table_is_what_the_script_writes() -> None:
    """Nobody has edited it, and the script has not changed without it."""
    script = runpy.run_path(str(ROOT / "scripts" / "prices"))
    assert script["render"](date.fromisoformat(VALID_ON)) == Path(price_table.__file__).read_text(encoding="utf-8")


def test_table_says_where_it_comes_from() -> None:
    """Package, version, and days that can be read as such, in order."""
    assert price_table.__doc__ is not None
    assert f"genai-prices {VERSION}" in price_table.__doc__
    assert date.fromisoformat(DATA_DATE) <= date.fromisoformat(VALID_ON)


def test_every_line_of_the_table_can_be_read() -> None:
    """Rules, and prices that are whole numbers not below zero; a tier begins above the one before."""
    for name in FAMILIES:
        family = _family(name)
        assert len(family._tiers) == len(FAMILIES[name].strip("\n").splitlines()) > 1
        for tiers in family._tiers:
            starts = [above for above, _ in tiers]
            assert starts == sorted(set(starts))
            for _, price in tiers:
                kinds = (price.input, price.output, price.cached_input, price.cache_write, price.reasoning)
                assert all(kind is None or kind >= 0 for kind in kinds)


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("whole", 1),
        ("begins-with", 2),
        ("the-end", 3),
        ("in-the-middle-of", 4),
        ("7-digits", 5),
        ("both-1", 6),
        ("both-x", None),
        ("begins", None),
        ("known", None),
    ],
)
def test_family_takes_the_first_line_that_a_name_fits(name: str, output: int | None) -> None:
    """Each kind of rule, in the order of the lines: a whole name does not outrank an earlier rule, nor the reverse."""
    family = _Family(
        "=whole =other | 1 1\n^begins- ^whole | 1 2\n$-end | 1 3\n=begins-with =whole *middle | 1 4\n"
        r"~^\d-digits$ | 1 5" + "\n^both-&~\\d$ | 1 6\n=known | -"
    )
    tiers = family.find(name)
    assert (tiers[0][1].output if tiers else None) == output
    assert (tiers is None) == (name in ("both-x", "begins"))


def names_of(model: ModelInfo) -> list[str]:
    """All whole names of a model, and its id."""
    clauses = getattr(model.match, "or_", [model.match])
    return [model.id, *(clause.equals for clause in clauses if isinstance(clause, ClauseEquals))]


def package_nanos(price: ModelPrice, ours: OurUsage) -> int:
    """What the package makes of a usage, rounded up to nano-dollars."""
    usage = Usage(
        input_tokens=ours.input_tokens,
        output_tokens=ours.output_tokens,
        cache_read_tokens=ours.cached_input_tokens,
        cache_write_tokens=ours.cache_write_tokens,
        output_reasoning_tokens=ours.reasoning_tokens,
    )
    exact = price.calc_price(usage)["total_price"] * NANOS
    return int(exact) + (exact != int(exact))


def kinds_of(price: ModelPrice) -> set[str]:
    """Which kinds a price has."""
    return {kind for kind, value in vars(price).items() if value is not None}


def times_of(model: ModelInfo) -> list[time]:
    """Times of day at which a price begins; midnight where it does not depend on them."""
    if isinstance(model.prices, ModelPrice):
        return [time(0)]
    constraints = [one.constraint for one in model.prices if one.constraint is not None]
    starts = [one.start_time for one in constraints if not isinstance(one, StartDateConstraint)]
    return [time(0), *(start.replace(tzinfo=None) for start in starts)]


@same_version
@pytest.mark.parametrize("provider", SERVED, ids=[provider.id for provider in SERVED])
def test_cost_by_the_table_is_the_package_s_for_every_name(provider: Provider) -> None:
    """Same model found, same cost to the nano-dollar; where the price depends on the hour, the dearest of the day."""
    day = date.fromisoformat(VALID_ON)
    compared = 0
    for name in {name for model in provider.models for name in names_of(model)}:
        found = provider.find_model(name, all_providers=list(providers))
        price = listed_price(provider.id, name, 1000)
        if found is None or price is None:
            continue
        dated = [found.get_prices(datetime.combine(day, at, UTC)) for at in times_of(found)]
        if any(kinds_of(one) & DEARER_KINDS for one in dated):
            continue  # see the next test
        for input_tokens in (1000, 300_000):
            usage = OurUsage(input_tokens, 70, cached_input_tokens=300, cache_write_tokens=200, reasoning_tokens=30)
            tiered = listed_price(provider.id, name, input_tokens)
            assert tiered is not None
            assert tiered.cost_nanos(usage) == max(package_nanos(one, usage) for one in dated), name
        compared += 1
    assert compared > 1


@same_version
def test_hosts_are_those_that_the_package_knows_the_provider_by() -> None:
    """No price list is applied to a host of somebody else."""
    patterns = {provider.id: provider.api_pattern for provider in SERVED}
    newer = {"api.together.ai"}  # the package has the older name only
    for host, family in _HOST_FAMILIES.items():
        urls = (f"https://{host}", f"https://{host}/client/v4/accounts/a/ai/v1")
        assert host in newer or any(re.match(patterns[family], url) for url in urls), host


@same_version
def test_cost_of_a_model_that_makes_images_is_never_below_the_package_s() -> None:
    """Whatever part of its tokens is text or image: the table has the dearest of both."""
    google = next(provider for provider in providers if provider.id == "google")
    model = google.find_model("gemini-3-pro-image")
    assert model is not None
    price = listed_price("google", "gemini-3-pro-image", 10)
    assert price is not None
    assert price.output == 120 * NANOS
    dated = model.get_prices(datetime.combine(date.fromisoformat(VALID_ON), time(0), UTC))
    for images in (0, 40, 100):
        exact = dated.calc_price(Usage(input_tokens=10, output_tokens=100, output_image_tokens=images))
        assert price.cost_nanos(OurUsage(10, 100)) >= int(exact["total_price"] * NANOS)


@same_version
@pytest.mark.parametrize("provider", SERVED, ids=[provider.id for provider in SERVED])
def test_model_without_a_price_in_the_table_has_a_reason(provider: Provider) -> None:
    """No tokens' prices, or something charged for each request: nothing is lost by accident."""
    at = datetime.combine(date.fromisoformat(VALID_ON), time(0), UTC)
    for model in provider.models:
        name = names_of(model)[-1]
        if provider.find_model(name) is not model or listed_price(provider.id, name, 1) is not None:
            continue
        kinds = kinds_of(model.get_prices(at))
        searches = any(word in name for word in ("sonar", "search-preview", "search-api", "deep-research"))
        assert searches or not {"input_mtok", "output_mtok"} <= kinds or "requests_kcount" in kinds, (name, kinds)


def test_fallbacks_are_the_package_s() -> None:
    """Whose models a family resells."""
    if version("genai-prices") == VERSION:
        theirs: dict[str, Any] = {one.id: tuple(one.fallback_model_providers or ()) for one in SERVED}
        assert {family: names for family, names in theirs.items() if names} == FALLBACKS
