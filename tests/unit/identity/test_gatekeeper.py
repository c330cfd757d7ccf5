"""From a key to a principal."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rillgate.domain.errors import AuthError, BudgetUnavailable
from rillgate.domain.ports import Gatekeeper as GatekeeperPort
from rillgate.domain.principal import Principal
from rillgate.identity import keys
from rillgate.identity.gatekeeper import Gatekeeper, looks_like_ours
from tests.fakes.clock import FakeClock
from tests.unit.identity.vault_support import FakeVault, choose_by

pytestmark = pytest.mark.anyio


def made(**options: Any) -> tuple[GatekeeperPort, FakeVault, FakeClock]:
    """A gatekeeper, the vault behind it, and its clock."""
    vault, clock = FakeVault(), FakeClock()
    return Gatekeeper(vault, clock, **options), vault, clock


async def refusal(gatekeeper: GatekeeperPort, credential: str) -> AuthError:
    """What a credential is refused with; never does it repeat the credential."""
    with pytest.raises(AuthError) as refused:
        await gatekeeper.principal(credential)
    error = refused.value
    assert (error.status, error.kind, error.should_retry) == (401, "invalid_request_error", False)
    assert len(credential) <= len(keys.PREFIX) or credential[:20] not in error.message
    assert len(credential) < 49 or credential[17:49] not in error.message
    return error


async def test_key_valid_gives_its_principal() -> None:
    """The principal is charged and restricted as the key says."""
    gatekeeper, vault, _ = made()
    key = vault.issue(user="ada", team="core", models=("gpt-*",), tags={"app": "shop"})
    key_id = keys.parse(key)
    assert await gatekeeper.principal(key) == Principal(
        key_id=key_id, user="ada", team="core", models=(("gpt-*",),), tags={"app": "shop"}
    )


async def test_key_without_more_gives_a_principal_without_more() -> None:
    """What a key does not say restricts nothing and charges nobody else."""
    gatekeeper, vault, _ = made()
    key = vault.issue()
    assert await gatekeeper.principal(key) == Principal(key_id=keys.parse(key))


@pytest.mark.parametrize("credential", ["", "sk-proj-abcdefghijklmnop", "AIzaSyA-fake", "none", "Bearer rill_x"])
async def test_credential_of_others_is_refused_with_what_is_needed(credential: str) -> None:
    """A provider's key, or nothing, hears that a key of this gateway is needed; the store hears nothing."""
    gatekeeper, vault, _ = made()
    error = await refusal(gatekeeper, credential)
    assert error.code == "invalid_api_key"
    assert "'rill_'" in error.message
    assert vault.reads == []


async def test_key_mistyped_is_refused_without_the_store() -> None:
    """A wrong checksum and a wrong form cost the store nothing."""
    gatekeeper, vault, _ = made()
    key = vault.issue()
    for wrong in (key[:-1], key[:-1] + ("0" if key[-1] != "0" else "1"), key + "0", "rill_"):
        assert (await refusal(gatekeeper, wrong)).code == "invalid_api_key"
    assert vault.reads == []


async def test_key_unknown_and_key_wrong_read_the_same() -> None:
    """Nobody learns which key ids exist: a made-up id and a made-up secret for a real id get the same words."""
    gatekeeper, vault, _ = made()
    key = vault.issue()
    unknown = await refusal(gatekeeper, keys.new_key(choose=choose_by(99)))
    wrong = await refusal(gatekeeper, keys.new_key(keys.parse(key), choose=choose_by(98)))
    assert unknown.code == wrong.code == "invalid_api_key"
    assert unknown.message == wrong.message


async def test_key_revoked_and_key_expired_say_so_by_key_id() -> None:
    """Whoever holds the right secret hears what happened to the key; revoked comes before expired."""
    gatekeeper, vault, clock = made()
    now_s = int(clock.wall())
    cases = [
        (vault.issue(1, revoked_s=now_s), "key_revoked"),
        (vault.issue(2, expires_s=now_s), "key_expired"),
        (vault.issue(3, expires_s=now_s - 1, revoked_s=now_s - 5), "key_revoked"),
    ]
    messages = set()
    for key, code in cases:
        error = await refusal(gatekeeper, key)
        assert error.code == code
        assert repr(keys.parse(key)) in error.message
        messages.add(error.message)
    assert len(messages) == 3


async def test_key_revoked_with_a_wrong_secret_says_nothing_of_it() -> None:
    """That a key was revoked is told only to who holds it."""
    gatekeeper, vault, clock = made()
    key = vault.issue(revoked_s=int(clock.wall()))
    error = await refusal(gatekeeper, keys.new_key(keys.parse(key)))
    assert error.code == "invalid_api_key"
    assert keys.parse(key) not in error.message


async def test_key_expires_to_the_second_though_it_is_cached() -> None:
    """A cached key expires at its second, not when the cache looks again."""
    gatekeeper, vault, clock = made()
    key = vault.issue(expires_s=int(clock.wall()) + 5)
    await gatekeeper.principal(key)
    clock.advance(4.9)
    await gatekeeper.principal(key)
    clock.advance(0.1)
    assert (await refusal(gatekeeper, key)).code == "key_expired"
    assert len(vault.reads) == 1


async def test_key_revocation_is_seen_within_ten_seconds() -> None:
    """A revocation reaches a process that has the key in memory at most ten seconds later."""
    gatekeeper, vault, clock = made()
    key = vault.issue()
    await gatekeeper.principal(key)
    vault.change(key, revoked_s=int(clock.wall()))
    clock.advance(9.9)
    await gatekeeper.principal(key)
    clock.advance(0.1)
    assert (await refusal(gatekeeper, key)).code == "key_revoked"


async def test_key_rotated_is_good_at_once_and_the_old_one_until_its_grace_ends() -> None:
    """After a rotation the new key works at once, even where the old one is cached, and the old one for its grace."""
    gatekeeper, vault, clock = made()
    old = vault.issue()
    await gatekeeper.principal(old)
    new = keys.new_key(keys.parse(old))
    vault.change(
        old,
        digest=keys.digest(new),
        previous_digest=keys.digest(old),
        previous_until_s=int(clock.wall()) + 30,
    )
    clock.advance(1)
    principal = await gatekeeper.principal(new)
    assert await gatekeeper.principal(old) == principal
    assert len(vault.reads) == 2
    clock.advance(28.9)
    await gatekeeper.principal(old)
    clock.advance(0.2)
    assert (await refusal(gatekeeper, old)).code == "invalid_api_key"
    assert await gatekeeper.principal(new) == principal


async def test_key_rotated_without_grace_ends_the_old_one() -> None:
    """A previous digest without an end to its grace is not accepted."""
    gatekeeper, vault, _ = made()
    old = vault.issue()
    new = keys.new_key(keys.parse(old))
    vault.change(old, digest=keys.digest(new), previous_digest=keys.digest(old))
    assert (await refusal(gatekeeper, old)).code == "invalid_api_key"


async def test_key_guessed_at_asks_the_store_once_a_second() -> None:
    """Wrong secrets for a key id that exists do not hammer the store."""
    gatekeeper, vault, clock = made()
    key_id = keys.parse(vault.issue())
    for seed in range(100):
        await refusal(gatekeeper, keys.new_key(key_id, choose=choose_by(1000 + seed)))
        clock.advance(0.02)
    assert len(vault.reads) <= 3


async def test_key_checked_a_hundred_times_at_once_is_read_once() -> None:
    """A stampede on a cold cache is one read."""
    gatekeeper, vault, _ = made()
    key = vault.issue()
    principals = await asyncio.gather(*(gatekeeper.principal(key) for _ in range(100)))
    assert principals == [Principal(key_id=keys.parse(key))] * 100
    assert len(vault.reads) == 1


async def test_key_while_the_store_is_down_is_an_honest_503_or_goes_on() -> None:
    """Without leave to go on, 503; with it, a known key passes and its own expiry still holds."""
    for stale_ok in (False, True):
        gatekeeper, vault, clock = made(stale_ok=stale_ok)
        key = vault.issue(expires_s=int(clock.wall()) + 100)
        await gatekeeper.principal(key)
        vault.down = True
        clock.advance(60)
        if not stale_ok:
            with pytest.raises(BudgetUnavailable):
                await gatekeeper.principal(key)
            continue
        await gatekeeper.principal(key)
        with pytest.raises(BudgetUnavailable):
            await gatekeeper.principal(keys.new_key())
        clock.advance(40)
        assert (await refusal(gatekeeper, key)).code == "key_expired"


def test_credential_looks_like_ours_by_its_prefix() -> None:
    """Keys and tickets are ours whether or not they are good; nothing else is."""
    assert looks_like_ours("rill_")
    assert looks_like_ours("rillt_x")
    assert not any(looks_like_ours(other) for other in ("", "sk-rill_", "Rill_x", "rill", "rilltx", "none"))
