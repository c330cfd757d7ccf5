"""The guard: every choice counted for itself, cut past its limit and never before it."""

from __future__ import annotations

import pytest

from rillgate.budget.guard import ESTIMATE_FACTOR, TOKEN_BYTES, Guard
from rillgate.domain.ports import Encoding
from tests.unit.pipeline.relay_support import WORDS


def words_until_cut(guard: Guard, choice: int = 0, most: int = 10_000) -> int:
    """How many words of one letter pass before one is refused."""
    for passed in range(most):
        if guard.passes(choice, " a"):
            return passed
    return most


@pytest.mark.parametrize("cap", [1, 2, 7, 500])
def test_guard_exact_lets_the_cap_through_and_no_token_more(cap: int) -> None:
    """With the model's own encoding the limit is the cap."""
    assert words_until_cut(Guard(cap, lambda: WORDS, exact=True)) == cap


@pytest.mark.parametrize("cap", [1, 2, 7, 500])
def test_guard_estimate_cuts_past_twice_the_cap(cap: int) -> None:
    """With another model's encoding an obedient provider is never cut by our error."""
    assert words_until_cut(Guard(cap, lambda: WORDS, exact=False)) == cap * ESTIMATE_FACTOR


def test_guard_counts_every_choice_for_itself() -> None:
    """The cap is that of a choice; what one says does not shorten another."""
    guard = Guard(5, lambda: WORDS, exact=True)
    assert words_until_cut(guard, 0) == 5
    assert words_until_cut(guard, 3) == 5
    assert guard.tokens() == 10


@pytest.mark.parametrize(("exact", "limit"), [(True, 5), (False, 10)])
def test_guard_tokens_are_what_was_let_through(exact: bool, limit: int) -> None:
    """What passes the limit is not delivered, and so not counted: usage never names more than the limit."""
    guard = Guard(5, lambda: WORDS, exact=exact)
    assert not guard.passes(0, "one two")
    assert guard.tokens() == 2
    assert guard.passes(0, " a" * 50)
    assert guard.tokens() == limit


def test_guard_pieces_of_one_word_are_one_token() -> None:
    """Text is counted as it reads when joined, not piece by piece."""
    guard = Guard(2, lambda: WORDS, exact=True)
    for piece in ("Hel", "l", "o", "", " ", "wor", "ld"):
        assert not guard.passes(0, piece)
    assert guard.tokens() == 2
    assert guard.passes(0, " more")


def test_guard_empty_text_never_passes() -> None:
    """A frame without text cannot bring a choice past its limit."""
    guard = Guard(1, lambda: WORDS, exact=True)
    assert not guard.passes(0, "word")
    assert not any(guard.passes(0, "") for _ in range(10))


def test_guard_without_encoding_counts_bytes_and_cuts_no_obedient_provider() -> None:
    """While the encoding is loaded bytes stand in: at four bytes a token, and at twice the cap even then."""
    guard = Guard(5, lambda: None, exact=True)
    assert not guard.passes(0, "x" * 5 * ESTIMATE_FACTOR * TOKEN_BYTES)
    assert guard.tokens() == 5
    assert guard.passes(0, "x")


@pytest.mark.parametrize("choice", [0, 1])
def test_guard_takes_the_encoding_as_soon_as_it_is_there(choice: int) -> None:
    """What came before is then counted too, in every choice, and the limit is the true one again."""
    loaded: list[Encoding] = []
    guard = Guard(3, lambda: loaded[0] if loaded else None, exact=True)
    assert not guard.passes(0, "wonderful words")
    assert not guard.passes(1, "wonderful words")
    loaded.append(WORDS)
    assert not guard.passes(choice, " here")
    assert guard.tokens() == 5
    assert guard.passes(choice, " now")


def test_guard_asks_for_the_encoding_no_more_once_it_has_it() -> None:
    """Looking it up is not part of the way of a chunk."""
    asked: list[None] = []

    def find() -> Encoding:
        asked.append(None)
        return WORDS

    guard = Guard(50, find, exact=True)
    for _ in range(20):
        guard.passes(0, " a")
    assert len(asked) == 1
