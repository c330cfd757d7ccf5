"""The limit that stands behind the provider's own cap: every choice is counted live and cut when it passes.

Where the encoding is the model's own, the count is exact and the limit is the cap. Elsewhere the count is an
estimate, and the limit is twice the cap, so that a provider that keeps to its cap is never cut by our error. While
the encoding is still being loaded bytes are the estimate, at the usual four bytes a token.
"""

from __future__ import annotations

from collections.abc import Callable

from rillgate.budget.count import LiveCount
from rillgate.domain.ports import Encoding

ESTIMATE_FACTOR = 2
TOKEN_BYTES = 4


class Guard:
    """Counts the output of one stream, choice by choice.

    Args:
        output_tokens_max: the cap of each choice, in tokens.
        encoding: gives what counts; None while it is not loaded, when bytes stand in.
        exact: whether the encoding is the model's own.
    """

    def __init__(self, output_tokens_max: int, encoding: Callable[[], Encoding | None], *, exact: bool) -> None:
        self.exact = exact
        self._limit = output_tokens_max if exact else output_tokens_max * ESTIMATE_FACTOR
        self._limit_bytes = output_tokens_max * ESTIMATE_FACTOR * TOKEN_BYTES
        self._find_encoding = encoding
        self._encoding: Encoding | None = None
        self._counts: dict[int, LiveCount] = {}

    def passes(self, choice: int, text: str) -> bool:
        """Count `text`; True when it brings the choice past its limit, and then it must not be delivered."""
        count = self._counts.get(choice)
        if count is None:
            count = self._counts[choice] = LiveCount(self._encoding)
        if self._encoding is None:
            self._load()
        count.add(text)
        return count.passes(self._limit_bytes if self._encoding is None else self._limit)

    def tokens(self) -> int:
        """Output tokens of all choices that were delivered: what passes the limit is not. Bytes stand in as above."""
        return sum(min(count.tokens(), self._limit) for count in self._counts.values())

    def _load(self) -> None:
        self._encoding = self._find_encoding()
        if self._encoding is not None:
            for count in self._counts.values():
                count.use(self._encoding)
