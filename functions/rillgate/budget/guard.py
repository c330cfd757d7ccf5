"""The limit that stands behind the provider's own cap: every choice is counted live and cut when it passes.

Where the encoding is the model's own, the count is exact and the limit is the cap. Elsewhere the count is an
estimate, and the limit is twice the cap, so that a provider that keeps to its cap is never cut by our error. While
the encoding is still being loaded bytes are the estimate, at the usual four bytes a token.

A soft limit is one that no provider's cap stands in front of (a slice, in elastic mode): there the count itself is
the limit, exact or not. Near its end `on_mark` is told, once for each slice, so that it can be raised in time.
"""

from __future__ import annotations

from collections.abc import Callable

from rillgate.budget.count import LiveCount
from rillgate.domain.ports import Encoding

ESTIMATE_FACTOR = 2
TOKEN_BYTES = 4
MARK_PERCENT = 60  # of a slice: where the next one is asked for


class Guard:
    """Counts the output of one stream, choice by choice.

    Args:
        output_tokens_max: the cap of each choice, in tokens.
        encoding: gives what counts; None while it is not loaded, when bytes stand in.
        exact: whether the encoding is the model's own.
        soft: whether no provider's cap stands in front of this one.
        on_mark: called once when a choice has used `MARK_PERCENT` of a soft limit, and again after each raise.
    """

    def __init__(
        self,
        output_tokens_max: int,
        encoding: Callable[[], Encoding | None],
        *,
        exact: bool,
        soft: bool = False,
        on_mark: Callable[[], None] | None = None,
    ) -> None:
        self.exact = exact
        self._find_encoding = encoding
        self._on_mark = on_mark
        self._encoding: Encoding | None = None
        self._counts: dict[int, LiveCount] = {}
        self.raise_limit(output_tokens_max, soft=soft)

    def raise_limit(self, output_tokens_max: int, *, soft: bool) -> None:
        """From here on the cap of each choice is this; a soft one has its own mark."""
        self._limit = output_tokens_max if self.exact or soft else output_tokens_max * ESTIMATE_FACTOR
        self._limit_bytes = output_tokens_max * TOKEN_BYTES * (1 if soft else ESTIMATE_FACTOR)
        self._marked = soft and self._on_mark is not None
        self._set_next()

    def passes(self, choice: int, text: str) -> bool:
        """Count `text`; True when it brings the choice past its limit, and then it must not be delivered."""
        count = self._counts.get(choice)
        if count is None:
            count = self._counts[choice] = LiveCount(self._encoding)
        if self._encoding is None:
            self._load()
        return count.brings_past(text, self._next) and self._passed_next(count)

    def tokens(self) -> int:
        """Output tokens of all choices that were delivered: what passes the limit is not. Bytes stand in as above."""
        return sum(min(count.tokens(), self._limit) for count in self._counts.values())

    def _passed_next(self, count: LiveCount) -> bool:
        """The mark or the limit is passed: only here, so that a chunk on its way there costs one comparison."""
        if self._marked and self._on_mark is not None:
            self._marked = False
            self._set_next()
            self._on_mark()
        return count.passes(self._current_limit())

    def _current_limit(self) -> int:
        return self._limit_bytes if self._encoding is None else self._limit

    def _set_next(self) -> None:
        limit = self._current_limit()
        self._next = limit * MARK_PERCENT // 100 if self._marked else limit

    def _load(self) -> None:
        self._encoding = self._find_encoding()
        if self._encoding is not None:
            for count in self._counts.values():
                count.use(self._encoding)
            self._set_next()
