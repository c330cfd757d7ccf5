"""What a request may cost: the price that holds for its provider, its model and its fields, or why none is known.

Place: naming → pricing → ledger.authorize. A price may rise with the length of the prompt, which only the provider
counts; so the price of the longest that it can be is held, and what the provider counted is charged by its own tier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from rillgate.app.settings.types import ProviderSettings, Settings
from rillgate.budget.estimate import prompt_bytes
from rillgate.budget.media import media_tokens
from rillgate.budget.price_fields import price_changing
from rillgate.budget.prices import Prices, family_of, price_problem
from rillgate.domain.price import FREE, Price, dearest
from rillgate.domain.request import ChatRequest, Target

LONGEST_TOKENS = 2**31  # beyond every prompt: the last tier of every price


class Pricing:
    """Prices of one configuration."""

    def __init__(self, settings: Settings) -> None:
        self._prices = Prices(settings.prices)
        self._families = {name: _family(provider) for name, provider in settings.providers.items()}
        self._on_unknown: Literal["deny", "allow"] = settings.ledger.on_unknown_price

    def of(self, target: Target, request: ChatRequest) -> tuple[Price | None, str]:
        """The dearest price that may hold, and why it is not known.

        Where unknown prices are allowed there is no problem: the price that is known holds, whatever the fields say,
        and a request without one costs nothing.
        """
        price = self._longest(target, request.fields)
        if self._on_unknown == "allow":
            return price, ""
        if price is None:
            return None, price_problem(target.provider, target.model)
        # Also where [prices] gives it: a tier or a search of the provider's changes that one too.
        field = None if price == FREE else price_changing(request.fields)
        return (price, "") if field is None else (None, price_problem(target.provider, target.model, field))

    def dearest(self, targets: Sequence[Target], request: ChatRequest) -> tuple[Price | None, str]:
        """A price that is nowhere lower than that of any of these, and why one is not known."""
        found = [self.of(target, request) for target in targets]
        problem = next((problem for _, problem in found if problem), "")
        prices = [price for price, _ in found if price is not None]
        return (dearest(prices) if prices and not problem else None), problem

    def tiers(self, target: Target) -> Callable[[int], Price | None] | None:
        """The price by the number of input tokens; None where all are the same."""
        if self._find(target, LONGEST_TOKENS) == self._find(target, 0):
            return None
        return lambda input_tokens: self._find(target, input_tokens)

    def _longest(self, target: Target, fields: Mapping[str, Any]) -> Price | None:
        """The price at the most input tokens that these fields can be."""
        price = self._find(target, LONGEST_TOKENS)
        if price is None or price == self._find(target, 0):
            return price
        return self._find(target, prompt_bytes(fields) + media_tokens(fields, target.model))

    def _find(self, target: Target, input_tokens: int) -> Price | None:
        return self._prices.find(target.provider, self._families[target.provider], target.model, input_tokens)


def _family(provider: ProviderSettings) -> str | None:
    host = urlsplit(provider.base_url).hostname
    return family_of("ollama" if provider.ollama else provider.kind, host)
