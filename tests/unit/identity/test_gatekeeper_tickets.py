"""From a key to a ticket, and from a ticket to a principal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from rillgate.domain.errors import AuthError, BudgetUnavailable, ClientError
from rillgate.domain.limits import UNLIMITED, Budget, Limit, Meter, Window
from rillgate.domain.principal import ANYBODY, Principal
from rillgate.identity import keys, tickets
from rillgate.identity.gatekeeper import Gatekeeper
from tests.fakes.clock import FakeClock
from tests.unit.identity.vault_support import SECRET, FakeVault

pytestmark = pytest.mark.anyio

BUDGET = Budget(limits=(Limit(Meter.TOKENS, Window.TOTAL, 1000),), streams_max=1)


class Issuing:
    """A gatekeeper with one key, and tickets of that key."""

    def __init__(self, *, stale_ok: bool = False) -> None:
        self.vault, self.clock = FakeVault(), FakeClock()
        self.gatekeeper = Gatekeeper(self.vault, self.clock, stale_ok=stale_ok)
        self.key = self.vault.issue(user="owner", team="core", models=("gpt-*",), tags={"app": "shop"})
        self.key_id = keys.parse(self.key)

    async def ticket(
        self,
        *,
        issuer: Principal | None = None,
        user: str | None = "ada",
        ttl_s: int = 60,
        models: Sequence[str] = (),
        budget: Budget = UNLIMITED,
        one_use: bool = False,
    ) -> str:
        """A ticket as the key's owner asks for one."""
        issuer = issuer or await self.gatekeeper.principal(self.key)
        return await self.gatekeeper.issue_ticket(
            issuer, user=user, ttl_s=ttl_s, models=models, budget=budget, one_use=one_use
        )


async def refusal(check: Callable[[str], Awaitable[Principal]], token: str) -> str | None:
    """The code that a ticket is refused with."""
    with pytest.raises(AuthError) as refused:
        await check(token)
    assert (refused.value.status, refused.value.should_retry) == (401, False)
    assert token not in refused.value.message
    return refused.value.code


async def test_ticket_gives_the_principal_of_its_user_under_its_key() -> None:
    """The ticket's user stands for the key's, both lists of models hold, tags are the key's, limits its own."""
    issuing = Issuing()
    token = await issuing.ticket(models=["gpt-5*"], budget=BUDGET)
    principal = await issuing.gatekeeper.principal(token)
    assert principal == Principal(
        key_id=issuing.key_id,
        user="ada",
        team="core",
        ticket_id=principal.ticket_id,
        models=(("gpt-*",), ("gpt-5*",)),
        tags={"app": "shop"},
        ticket_budget=BUDGET,
    )
    assert len(principal.ticket_id or "") == 16
    assert principal.owner == f"{issuing.key_id}/ada"


async def test_ticket_without_user_models_or_limits_is_as_its_key() -> None:
    """What a ticket does not say, its key says."""
    issuing = Issuing()
    principal = await issuing.gatekeeper.principal(await issuing.ticket(user=None))
    assert (principal.user, principal.team) == ("owner", "core")
    assert principal.models == (("gpt-*",),)
    assert principal.ticket_budget is None


async def test_tickets_have_ids_of_their_own() -> None:
    """Two tickets asked for alike are two."""
    issuing = Issuing()
    first, second = [await issuing.gatekeeper.principal(await issuing.ticket()) for _ in range(2)]
    assert first.ticket_id != second.ticket_id


async def test_ticket_may_be_used_again_until_it_expires() -> None:
    """A normal ticket is good for any number of requests within its time."""
    issuing = Issuing()
    token = await issuing.ticket(ttl_s=3600)
    for _ in range(3):
        await issuing.gatekeeper.principal(token)
        issuing.clock.advance(1199)
    issuing.clock.advance(3)
    assert await refusal(issuing.gatekeeper.principal, token) == "ticket_expired"


async def test_ticket_for_one_use_is_good_once_and_in_its_place_only() -> None:
    """It is refused as a bearer without being used up, taken once in its place, and then never again."""
    issuing = Issuing()
    token = await issuing.ticket(one_use=True)
    assert await refusal(issuing.gatekeeper.principal, token) == "invalid_ticket"
    assert (await issuing.gatekeeper.principal_for_one_use(token)).user == "ada"
    assert await refusal(issuing.gatekeeper.principal_for_one_use, token) == "ticket_used"


async def test_place_for_one_use_takes_nothing_else() -> None:
    """Addresses end up in logs: neither a key nor a ticket of longer life is accepted there."""
    issuing = Issuing()
    check = issuing.gatekeeper.principal_for_one_use
    assert await refusal(check, issuing.key) == "invalid_ticket"
    assert await refusal(check, await issuing.ticket()) == "invalid_ticket"
    assert await refusal(check, "sk-other") == "invalid_ticket"
    assert await refusal(check, "eyJhbGciOi.x") == "invalid_ticket"
    assert issuing.vault.used == set()


@pytest.mark.parametrize(
    ("change", "code"), [("revoked_s", "key_revoked"), ("expires_s", "key_expired"), ("", "invalid_ticket")]
)
async def test_ticket_of_a_dead_key_is_dead_and_not_used_up(change: str, code: str) -> None:
    """A ticket lives no longer than its key: revoked, expired or gone, within ten seconds."""
    issuing = Issuing()
    normal, once = await issuing.ticket(), await issuing.ticket(one_use=True)
    if change:
        issuing.vault.change(issuing.key, **{change: int(issuing.clock.wall())})
    else:
        issuing.vault.keys.clear()
    issuing.clock.advance(10)
    assert await refusal(issuing.gatekeeper.principal, normal) == code
    assert await refusal(issuing.gatekeeper.principal_for_one_use, once) == code
    assert issuing.vault.used == set()


async def test_ticket_of_a_rotated_key_stays_good() -> None:
    """A rotation replaces the secret of a key, not what it issued."""
    issuing = Issuing()
    token = await issuing.ticket()
    issuing.vault.change(issuing.key, digest=keys.digest(keys.new_key(issuing.key_id)))
    issuing.clock.advance(10)
    assert (await issuing.gatekeeper.principal(token)).user == "ada"


async def test_ticket_of_another_gateway_is_refused() -> None:
    """Whoever signs with another secret is a stranger, whatever key the ticket names."""
    issuing = Issuing()
    now_s = int(issuing.clock.wall())
    forged = tickets.sign(tickets.Ticket("t" * 16, issuing.key_id, now_s, now_s + 60), bytes(32))
    assert await refusal(issuing.gatekeeper.principal, forged) == "invalid_ticket"
    assert issuing.vault.reads == []


async def test_ticket_not_of_the_form_does_not_ask_for_the_secret() -> None:
    """Junk costs the store nothing."""
    issuing = Issuing()
    for junk in ("rillt_", "rillt_x.y", "rillt_" + "x" * 5000):
        assert await refusal(issuing.gatekeeper.principal, junk) == "invalid_ticket"
    assert issuing.vault.secret_calls == 0


async def test_ticket_cannot_issue_tickets() -> None:
    """A browser cannot give itself another user, more time or no limits."""
    issuing = Issuing()
    holder = await issuing.gatekeeper.principal(await issuing.ticket())
    with pytest.raises(AuthError) as refused:
        await issuing.ticket(issuer=holder)
    assert (refused.value.status, refused.value.code) == (403, "permission_denied")


async def test_nobody_cannot_issue_tickets() -> None:
    """Where keys are off, a ticket still needs a key that it can be charged to."""
    issuing = Issuing()
    with pytest.raises(AuthError) as refused:
        await issuing.ticket(issuer=ANYBODY)
    assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("ttl_s", "one_use", "good"),
    [
        (1, False, True),
        (3600, False, True),
        (3601, False, False),
        (0, False, False),
        (-1, False, False),
        (60, True, True),
        (61, True, False),
        (0, True, False),
    ],
)
async def test_ticket_lives_within_its_bounds(ttl_s: int, one_use: bool, good: bool) -> None:
    """An hour at most, a minute for one use: more is refused to who asks, with the field's name."""
    issuing = Issuing()
    if good:
        assert await issuing.ticket(ttl_s=ttl_s, one_use=one_use)
        return
    with pytest.raises(ClientError) as refused:
        await issuing.ticket(ttl_s=ttl_s, one_use=one_use)
    assert (refused.value.status, refused.value.param) == (400, "ttl_s")


@pytest.mark.parametrize("user", ["", "u" * 257])
async def test_ticket_user_out_of_bounds_is_refused(user: str) -> None:
    """A user becomes part of a primary key, which no store takes at any length."""
    issuing = Issuing()
    with pytest.raises(ClientError) as refused:
        await issuing.ticket(user=user)
    assert (refused.value.status, refused.value.param) == (400, "user")


async def test_ticket_while_the_store_is_down_goes_on_only_if_it_may_be_used_again() -> None:
    """With leave to go on, normal tickets of a known key pass; whether one for one use was used, nobody can say."""
    issuing = Issuing(stale_ok=True)
    normal, once = await issuing.ticket(), await issuing.ticket(one_use=True)
    issuing.clock.advance(20)
    issuing.vault.down = True
    with pytest.raises(BudgetUnavailable):
        await issuing.gatekeeper.principal(normal)  # this vault forgets the secret; the real one keeps it
    issuing.vault.ticket_secret = _secret  # type: ignore[method-assign]
    assert (await issuing.gatekeeper.principal(normal)).user == "ada"
    with pytest.raises(BudgetUnavailable):
        await issuing.gatekeeper.principal_for_one_use(once)


async def _secret() -> bytes:
    return SECRET
