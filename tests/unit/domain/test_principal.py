"""Who is asking, and for what."""

from __future__ import annotations

import pytest

from rillgate.domain.principal import ANYBODY, Principal


@pytest.mark.parametrize(
    ("models", "model", "allowed"),
    [
        ((), "anything", True),
        (((),), "anything", True),
        ((("gpt-*",),), "gpt-5", True),
        ((("gpt-*",),), "GPT-5", False),
        ((("gpt-*",),), "claude", False),
        ((("gpt-*", "claude"),), "claude", True),
        ((("gpt-*",), ("*-mini",)), "gpt-5-mini", True),
        ((("gpt-*",), ("*-mini",)), "gpt-5", False),
        ((("gpt-*",), ("*-mini",)), "o4-mini", False),
        ((("gpt-*",), ()), "gpt-5", True),
        ((("lab/*",),), "lab/some/model", True),
    ],
)
def test_principal_allows_a_model_that_every_list_allows(
    models: tuple[tuple[str, ...], ...], model: str, allowed: bool
) -> None:
    """Each list must have a glob that fits; an empty list, or none, restricts nothing. Case matters."""
    assert Principal(models=models).allows(model) is allowed


def test_anybody_may_ask_for_every_model() -> None:
    """Where keys are off and none is presented, nothing is restricted."""
    assert ANYBODY.allows("anything")


@pytest.mark.parametrize(
    ("principal", "owner"),
    [
        (ANYBODY, ""),
        (Principal(key_id="k", user="ada"), "k"),
        (Principal(key_id="k", user="ada", ticket_id="t"), "k/ada"),
        (Principal(key_id="k", ticket_id="t"), "k/"),
    ],
)
def test_principal_owner_is_the_key_or_one_user_of_its_tickets(principal: Principal, owner: str) -> None:
    """A key's streams are the key's; those of tickets belong to one user of the key, whichever ticket was presented."""
    assert principal.owner == owner
