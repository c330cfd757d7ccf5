"""The form of virtual keys."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.errors import AuthError
from rillgate.identity import keys
from tests.unit.identity.vault_support import choose_by

seeds = st.integers(0, 2**32)


def code_of(call: Callable[[], object]) -> tuple[str | None, str]:
    """Code and message of the refusal that a call ends with."""
    with pytest.raises(AuthError) as refused:
        call()
    assert (refused.value.status, refused.value.kind) == (401, "invalid_request_error")
    assert refused.value.should_retry is False
    return refused.value.code, refused.value.message


@given(seed=seeds)
def test_key_new_has_the_form_and_parses_to_its_id(seed: int) -> None:
    """A new key is 55 characters that the scanners' pattern finds, and its id is what stands after the prefix."""
    key = keys.new_key(choose=choose_by(seed))
    assert len(key) == keys.KEY_CHARS == 55
    assert re.fullmatch(r"rill_[0-9A-Za-z]{50}", key)
    assert re.search(keys.KEY_PATTERN, f"api_key={key}\n")
    assert keys.parse(key) == key[5:17]


def test_key_new_without_chooser_is_another_each_time() -> None:
    """Real randomness stands behind keys: none comes twice, and every letter and digit comes."""
    made = {keys.new_key() for _ in range(100)}
    assert len(made) == 100
    assert {character for key in made for character in key[5:]} == set(keys.BASE62)


def test_key_rotated_keeps_its_id_and_changes_its_secret() -> None:
    """A key made for an id has that id, and a secret of its own."""
    first = keys.new_key()
    second = keys.new_key(keys.parse(first))
    assert keys.parse(second) == keys.parse(first)
    assert second[17:49] != first[17:49]


@given(seed=seeds, place=st.integers(0, 54), character=st.characters())
def test_key_with_any_character_changed_is_refused(seed: int, place: int, character: str) -> None:
    """One wrong character anywhere is known without asking anybody: CRC-32 finds every change of up to 32 bits."""
    key = keys.new_key(choose=choose_by(seed))
    changed = key[:place] + character + key[place + 1 :]
    if changed != key:
        assert code_of(lambda: keys.parse(changed))[0] == "invalid_api_key"


def test_key_with_every_single_change_is_refused() -> None:
    """The same, for all 3,355 ways in which one key can be mistyped by one character of base62."""
    key = keys.new_key(choose=choose_by(7))
    for place in range(5, len(key)):
        for character in set(keys.BASE62) - {key[place]}:
            with pytest.raises(AuthError, match="mistyped"):
                keys.parse(key[:place] + character + key[place + 1 :])


def test_key_checksum_stays_as_it_was() -> None:
    """The checksum is the CRC-32 of what stands before it, in base62 with digits first: keys once issued stay valid."""
    key = keys.new_key("0" * 12, choose=lambda alphabet: alphabet[0])
    assert key == "rill_" + "0" * 44 + "3PpYlG"
    assert keys.parse(key) == "0" * 12


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        ("", "key of its own"),
        ("sk-proj-0123456789", "key of its own"),
        ("Rill_" + "0" * 50, "key of its own"),
        ("rill_", "not whole"),
        ("rill_" + "0" * 49, "not whole"),
        ("rill_" + "0" * 51, "not whole"),
        ("rill_" + "0" * 49 + "\n", "not whole"),
        ("rill_" + "0" * 49 + "é", "not whole"),
        ("rill_" + "0" * 49 + "٠", "not whole"),
        ("rill_" + "0" * 50, "mistyped"),
    ],
)
def test_key_not_of_the_form_says_what_is_wrong(credential: str, said: str) -> None:
    """Each way of not being a key is told apart, and what was presented is never repeated."""
    code, message = code_of(lambda: keys.parse(credential))
    assert code == "invalid_api_key"
    assert said in message
    assert not credential or credential == "rill_" or credential not in message


def test_key_digest_is_sha256_of_the_whole_key() -> None:
    """What is stored can be computed by anybody who holds the key, and by nobody else."""
    key = keys.new_key()
    assert keys.digest(key) == hashlib.sha256(key.encode()).hexdigest()
    assert keys.digest(key) != keys.digest(keys.new_key(keys.parse(key)))


def test_digests_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is hmac's, over the whole digests."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return first == second

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert keys.same_digest("ab", "ab")
    assert not keys.same_digest("ab", "ac")
    assert compared == [(b"ab", b"ab"), (b"ab", b"ac")]
