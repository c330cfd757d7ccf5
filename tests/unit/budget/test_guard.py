"""The guard: every choice counted for itself, cut past its limit and never before it."""

from __future__ import annotations

from collections.abc import Callable

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


# A soft limit


def marks(guard_of: Callable[[Callable[[], None]], Guard], words: int) -> list[int]:
    """After how many words each mark was told."""
    told: list[int] = []
    said: list[str] = []
    guard = guard_of(lambda: told.append(len(said)))
    for _ in range(words):
        said.append(" a")
        if guard.passes(0, said[-1]):
            break
    return told


@pytest.mark.parametrize("exact", [True, False])
def test_guard_soft_limit_cuts_at_the_cap_whatever_the_encoding(exact: bool) -> None:
    """No provider's cap stands before it, so the count itself is the limit."""
    assert words_until_cut(Guard(50, lambda: WORDS, exact=exact, soft=True)) == 50


def test_guard_soft_limit_without_encoding_counts_four_bytes_a_token() -> None:
    """Bytes stand in, at the usual four and no more."""
    guard = Guard(5, lambda: None, exact=True, soft=True)
    assert not guard.passes(0, "x" * 5 * TOKEN_BYTES)
    assert guard.passes(0, "x")


def test_guard_mark_is_told_once_at_sixty_percent() -> None:
    """In time to ask for more, and not again with each word after it."""
    assert marks(lambda tell: Guard(50, lambda: WORDS, exact=True, soft=True, on_mark=tell), 50) == [31]


def test_guard_mark_of_a_hard_limit_is_never_told() -> None:
    """What stands behind a provider's cap is not raised."""
    assert marks(lambda tell: Guard(50, lambda: WORDS, exact=True, on_mark=tell), 60) == []


def test_guard_mark_is_told_for_each_raise_and_by_any_choice() -> None:
    """A raised limit has a mark of its own; the choice that is furthest reaches it."""
    told: list[int] = []
    guard = Guard(10, lambda: WORDS, exact=True, soft=True, on_mark=lambda: told.append(1))
    assert not guard.passes(0, " a" * 5)
    assert not guard.passes(1, " a" * 7)
    assert len(told) == 1
    guard.raise_limit(20, soft=True)
    assert not guard.passes(1, " a" * 4)
    assert len(told) == 1
    assert not guard.passes(1, " a" * 2)
    assert len(told) == 2
    assert not guard.passes(1, " a" * 7)
    assert guard.passes(1, " a")
    assert guard.tokens() == 25


def test_guard_raised_within_the_mark_itself_is_not_cut_by_the_same_text() -> None:
    """One text may pass mark and limit at once: what is granted on the way counts."""
    guard = Guard(10, lambda: WORDS, exact=True, soft=True, on_mark=lambda: guard.raise_limit(20, soft=True))
    assert not guard.passes(0, " a" * 15)


def test_guard_one_text_past_mark_and_limit_tells_and_cuts() -> None:
    """Too late to be asked for; it is asked for all the same, since the next choice may need it."""
    told: list[int] = []
    guard = Guard(10, lambda: WORDS, exact=True, soft=True, on_mark=lambda: told.append(1))
    assert guard.passes(0, " a" * 15)
    assert told == [1]


def test_guard_raised_to_the_providers_own_cap_forgives_our_error_again() -> None:
    """Once the whole cap is held, the provider's cap stands in front, and another encoding gets its factor."""
    guard = Guard(10, lambda: WORDS, exact=False, soft=True)
    assert words_until_cut(guard) == 10
    guard = Guard(10, lambda: WORDS, exact=False, soft=True)
    guard.raise_limit(20, soft=False)
    assert words_until_cut(guard) == 20 * ESTIMATE_FACTOR


def test_guard_mark_waits_for_the_encoding_as_the_limit_does() -> None:
    """Its unit changes with the limit's when the encoding is there."""
    loaded: list[Encoding] = []
    told: list[int] = []
    guard = Guard(10, lambda: loaded[0] if loaded else None, exact=True, soft=True, on_mark=lambda: told.append(1))
    assert not guard.passes(0, "x" * 23)
    assert told == []
    loaded.append(WORDS)
    assert not guard.passes(0, " a" * 5)
    assert told == []
    assert not guard.passes(0, " a")
    assert told == [1]
