"""How many tokens a stream has put out so far: exact, incremental, and only when it matters.

Place:  provider.decode → budget.count → budget.guard → dialect.encode, once per chunk. Pure: the encoding comes in.

No token crosses a cut of the encoding's own pre-tokenizer, so the text falls into pieces that can be counted each for
itself, and only the last ones may still change with what follows: an encoding looks ahead for the end of white space
(`\\s+(?!\\S)`), for a line break after white space, for a lower-case letter after capitals, and for a contraction
(`'s`, `'ll`) after a word. None of these reaches over more than two pieces; three are kept. What lies before them is
counted once and forgotten, the rest (the tail) is counted again with what follows it.

A stream far from its limit need not be counted at all: a token is at least one byte of UTF-8, so bytes are an upper
bound. Text waits uncounted until its bytes could bring the stream past the limit. As text has three to four bytes a
token, each count leaves about three quarters of the way that was left, and a stream of 500 tokens is counted some
twenty times.
"""

from __future__ import annotations

from tiktoken.model import encoding_name_for_model

from rillgate.domain.ports import Encoding

WAITING_BYTES_MAX = 4096
"""Bytes of text that wait at most. More is counted whether or not the limit is near, so that a later count does not
block the loop for long: 4 KiB take about a millisecond."""

WAITING_PIECES_MAX = 32
"""Strings that wait at most before they are joined: one for each token of 4 KiB would be 20 KB of objects a stream."""

BLOCK_CHARS = 4096
"""Characters that are cut and counted in one go, so that one huge chunk costs no more than its length."""

TAIL_CHARS = 64
"""A tail up to this length is kept as it is; a longer one is cut into pieces."""

ENDLESS_CHARS = 1024
"""A tail of at most three pieces that is longer than this is cut all the same, so that counting stays linear: a
million times "a" is one piece. No merge reaches over such a cut, so each may make the count differ by a token or two,
nearly always upwards."""

WINDOW_CHARS = 256
"""The end of a block in which the last pieces are looked for: cutting all of it costs five times its count."""

_WINDOW_TRIES = 8
_UNSETTLED_PIECES = 3

_EXACT_NAMES = {"o200k_base": "o200k_base", "cl100k_base": "cl100k_base", "o200k_harmony": "o200k_base"}
_FALLBACK_NAME = "o200k_base"


def encoding_for_model(model: str) -> tuple[str, bool]:
    """The encoding to count a model's text with, and whether it is the model's own.

    Shape:   "gpt-4o-mini" → ("o200k_base", True); "azure/gpt-4" → ("cl100k_base", True);
             "llama-3.1-8b" → ("o200k_base", False), an estimate.
    Args:    model: a model's name, alone or after a provider's and a slash.
    Source:  tiktoken's own table of models. `o200k_harmony` differs from `o200k_base` in special tokens only, which
             text has none of. Models of older encodings are long gone, so their encodings are not shipped.
    """
    for name in (model, model.rpartition("/")[2]):
        try:
            encoding = encoding_name_for_model(name)
        except KeyError:
            continue
        return _EXACT_NAMES.get(encoding, _FALLBACK_NAME), encoding in _EXACT_NAMES
    return _FALLBACK_NAME, False


class LiveCount:
    """Counts the output of one choice as it comes.

    Shape:   add("Hel"); add("lo"); tokens() → 1.
    Args:    encoding: the tokenizer, None while it is still being loaded: bytes stand in until `use`.
             exact: whether the encoding is the model's own.

    Work is linear in the text; at most `WAITING_BYTES_MAX` of text are held beside the tail while `passes` is asked
    after each `add`.
    """

    __slots__ = (
        "_encoding",
        "_exact",
        "_settled_tokens",
        "_tail",
        "_tail_bytes",
        "_tail_tokens",
        "_waiting",
        "_waiting_bytes",
    )

    def __init__(self, encoding: Encoding | None, exact: bool = True) -> None:
        self._encoding = encoding
        self._exact = exact
        self._settled_tokens = 0  # of the pieces that cannot change any more
        self._tail = ""  # the pieces after them, counted
        self._tail_bytes = 0
        self._tail_tokens = 0
        self._waiting: list[str] = []  # text after the tail, not counted
        self._waiting_bytes = 0

    @property
    def exact(self) -> bool:
        """Whether `tokens` is the model's own count: False for another model's encoding, and while bytes stand in."""
        return self._exact and self._encoding is not None

    def use(self, encoding: Encoding) -> None:
        """Take the encoding once it is loaded. Harmless when there is one already."""
        if self._encoding is None:
            self._encoding = encoding

    def add(self, text: str) -> None:
        """Take the next text. Nothing is counted yet."""
        if text:
            if len(self._waiting) >= WAITING_PIECES_MAX:
                self._waiting = ["".join(self._waiting)]
            self._waiting.append(text)
            self._waiting_bytes += _utf8_bytes(text)

    def brings_past(self, text: str, limit: int) -> bool:
        """`add`, then `passes`: in one step for nearly every text of a stream, which is far from its limit."""
        if not text or len(self._waiting) >= WAITING_PIECES_MAX:
            self.add(text)
            return self.passes(limit)
        self._waiting.append(text)
        self._waiting_bytes = waiting_bytes = self._waiting_bytes + (len(text) if text.isascii() else _utf8_bytes(text))
        if waiting_bytes <= WAITING_BYTES_MAX and self._settled_tokens + self._tail_bytes + waiting_bytes <= limit:
            return False
        return self.passes(limit)

    def tokens(self) -> int:
        """Tokens of all the text so far; its bytes, an upper bound, while there is no encoding."""
        if self._waiting and self._encoding is not None:
            self._count(self._encoding)
        return self.upper_bound()

    def upper_bound(self) -> int:
        """What `tokens` is at most, at no cost: counted tokens, and bytes where text is not counted."""
        if self._waiting:
            # Text that follows may change how the tail is merged, so the tail is bounded by its bytes again.
            return self._settled_tokens + self._tail_bytes + self._waiting_bytes
        return self._settled_tokens + self._tail_tokens

    def passes(self, limit: int) -> bool:
        """Whether there are more than `limit` tokens. Counts only when there could be, or when too much text waits."""
        encoding = self._encoding
        if self.upper_bound() <= limit:
            if self._waiting_bytes > WAITING_BYTES_MAX and encoding is not None:
                self._count(encoding)
            return False
        if self._waiting and encoding is not None:
            self._count(encoding, enough=limit)
        return self._settled_tokens > limit or self.upper_bound() > limit

    def _count(self, encoding: Encoding, enough: int | None = None) -> None:
        """Count the waiting text; with `enough`, stop once more than so many tokens are settled."""
        text = self._tail + "".join(self._waiting)
        start, size = 0, len(text)
        self._tail, self._tail_bytes, self._tail_tokens = "", 0, 0
        self._waiting, self._waiting_bytes = [], 0
        while start < size:
            if enough is not None and self._settled_tokens > enough:
                self.add(text[start:])
                return
            block = text[start : start + BLOCK_CHARS]
            last = start + len(block) == size
            cut = _settled_chars(encoding, block) if len(block) > TAIL_CHARS else 0
            tokens = encoding.count(block)
            rest = block[cut:]
            rest_tokens = encoding.count(rest) if cut else tokens
            # The settled pieces are counted with what follows them: cut off, two pieces of white space are one.
            self._settled_tokens += tokens - rest_tokens
            start += cut
            if last:
                self._tail, self._tail_bytes, self._tail_tokens = rest, _utf8_bytes(rest), rest_tokens
                return


def _settled_chars(encoding: Encoding, block: str) -> int:
    """How many characters of a block belong to pieces that no further text can change."""
    start = _window_start(block)
    pieces = encoding.pieces(block[start:])
    if start and len(pieces) <= _UNSETTLED_PIECES:
        pieces = encoding.pieces(block)
    if len(pieces) > _UNSETTLED_PIECES:
        return len(block) - sum(len(piece) for piece in pieces[-_UNSETTLED_PIECES:])
    if len(block) < ENDLESS_CHARS:
        return 0
    return len(block) - len(pieces[-1]) if len(pieces) > 1 else len(block)


def _window_start(block: str) -> int:
    """Where a piece surely begins, not far before the block's end; 0 where no such place is found at once.

    In front of one space between what is no white space and a letter: in both encodings no piece reaches over it.
    """
    end = len(block) - WINDOW_CHARS
    for _ in range(_WINDOW_TRIES):
        at = block.rfind(" ", 0, max(end, 0))
        if at <= 0:
            return 0
        if not block[at - 1].isspace() and block[at + 1].isalpha():
            return at
        end = at
    return 0


def _utf8_bytes(text: str) -> int:
    """Length in UTF-8. A lone surrogate, which JSON can spell, counts as the U+FFFD that stands for it."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
