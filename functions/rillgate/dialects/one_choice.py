"""What two encoders have in common: their dialects know one choice, end with the usage, and are no provider's own.

A subclass says how its dialect begins, what a delta becomes and what closes what stands open.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Final

from rillgate.domain.delta import Delta, FinishDelta, TextDelta
from rillgate.domain.ports import Frame, Report
from rillgate.domain.usage import Usage

NO_REPORT: Final[Report] = {}


class OneChoiceEncoder(ABC):
    """Most of a `domain.ports.Encoder`. What is said of other choices is left out."""

    def __init__(self) -> None:
        self._finish = "stop"
        self._report = NO_REPORT
        self._usage: Usage | None = None

    def open(self) -> bytes:
        """Nothing stands before the first event."""
        return b""

    def forward(self, frame: Frame) -> bytes:
        """Nothing: no provider's frames are in this dialect."""
        return b""

    def amend(self, frame: Frame, *, without_usage: bool, drop_choices: Collection[int], report: Report) -> bytes:
        """As `forward`."""
        return b""

    def encode(self, deltas: Sequence[Delta], report: Report) -> bytes:
        """Deltas as the dialect has them; a finish waits for the usage."""
        if len(deltas) == 1 and type(deltas[0]) is TextDelta:  # nearly every call
            return self._text(deltas[0])
        return b"".join(self._encode_one(delta, report) for delta in deltas)

    def cut(self, choice: int, notice: str, report: Report) -> bytes:
        """`notice` as text after what was said, then the end for reason "length" with the report."""
        if choice != 0:
            return b""
        said = self._begun() + (self._taken(TextDelta(0, notice)) if notice else b"")
        return said + self._finished("length", report)

    def usage(self, usage: Usage) -> bytes:
        """Kept for the end."""
        self._usage = usage
        return b""

    @abstractmethod
    def _begun(self) -> bytes:
        """What every stream begins with, once."""

    @abstractmethod
    def _taken(self, delta: Delta) -> bytes:
        """What one delta of the choice becomes."""

    @abstractmethod
    def _closed(self, reason: str) -> bytes:
        """The end of what stands open, for this finish reason."""

    @abstractmethod
    def _text(self, delta: TextDelta) -> bytes:
        """As `_encode_one`, in less time where text follows text."""

    def _encode_one(self, delta: Delta, report: Report) -> bytes:
        if getattr(delta, "choice", None) != 0:
            return b""
        if isinstance(delta, FinishDelta):
            return self._finished(delta.reason, report)
        return self._begun() + self._taken(delta)

    def _finished(self, reason: str, report: Report) -> bytes:
        self._finish, self._report = reason, report
        return self._begun() + self._closed(reason)
