"""How many tokens an answer has so far, for people: an estimate that costs nobody a wait."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rillgate.budget.count import LiveCount
from rillgate.domain.ports import Encoding

USUAL = "o200k_base"


def load_encoding(name: str) -> Encoding:
    """As `app.encodings` does; other commands do without its imports.

    Raises: RuntimeError: it is not there.
    """
    from rillgate.app import encodings  # noqa: PLC0415

    return encodings.load_encoding(name)


class TokenCount:
    """Counts with the usual encoding once it is loaded, in a thread while the answer is waited for; until then pieces
    stand in, which most providers make of a token each.

    Args: load: gives the encoding.
    """

    def __init__(self, load: Callable[[str], Encoding] = load_encoding) -> None:
        self._load = load
        self._encoding: Encoding | None = None

    def start(self) -> None:
        """Begin to load."""
        threading.Thread(target=self._run, daemon=True).start()

    def answer(self) -> AnswerCount:
        """The count of one answer."""
        return AnswerCount(lambda: self._encoding)

    def _run(self) -> None:
        try:
            self._encoding = self._load(USUAL)
        except RuntimeError:
            pass  # pieces go on standing in


class AnswerCount:
    """Of one answer.

    Attributes: pieces: how many there were.
    """

    def __init__(self, encoding: Callable[[], Encoding | None]) -> None:
        self._encoding = encoding
        self._count = LiveCount(None, exact=False)
        self.pieces = 0

    def add(self, text: str) -> None:
        """The next piece."""
        self._count.add(text)
        self.pieces += 1

    def tokens(self) -> int:
        """Of all so far."""
        encoding = self._encoding()
        if encoding is None:
            return self.pieces
        self._count.use(encoding)
        return self._count.tokens()
