"""Figures as rows: one table for people, the same as JSON for programs.

A row keeps numbers and units, and only `Report` makes text of them. What could not be measured here is a row too,
with the reason: a missing row would look like a figure that nobody promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

HEADER = ("What", "Figure", "Beside", "Claim")


@dataclass(frozen=True)
class Beside:
    """A reference measured in the same run. `ratio` says whether the two are divided or subtracted."""

    name: str
    value: float
    ratio: bool = True


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        id: stays the same from version to version, such as "cancel.midstream.fin".
        what: in words.
        value: the figure; None where it was not measured, and `note` says why.
        spread: other figures of the same samples, such as {"p95": 3.1, "max": 7.4}; `value` is "p50" then.
        claim: what the project says, in words; "" where it says nothing.
        limit: the claim as a number that no value (nor `spread["max"]`) may pass; None where it is no number.
        samples: how many measurements the figure is made of.
        at_least: the claim as a number that the value must reach; None where it is no such number.
    """

    id: str
    what: str
    value: float | None
    unit: str
    claim: str = ""
    spread: dict[str, float] = field(default_factory=dict)
    beside: Beside | None = None
    limit: float | None = None
    samples: int | None = None
    note: str = ""
    at_least: float | None = None

    @property
    def kept(self) -> bool | None:
        """Whether the claim holds; None where it is no number or nothing was measured."""
        if self.value is None or (self.limit is None and self.at_least is None):
            return None
        below = self.limit is None or max(self.value, self.spread.get("max", self.value)) <= self.limit
        return below and (self.at_least is None or self.value >= self.at_least)


def spread_of(values: Sequence[float]) -> tuple[float, dict[str, float]]:
    """The median, and the rest: [1, 2, 3] → (2, {"p95": 3, "max": 3}). Nearest rank."""
    ordered = sorted(values)

    def rank(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return rank(0.5), {"p95": rank(0.95), "max": ordered[-1]}


class Report:
    """All rows of one run."""

    def __init__(self, machine: dict[str, str], options: dict[str, Any]) -> None:
        self.machine = machine
        self.options = options
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """One row more; an id names one row only."""
        if any(row.id == each.id for each in self.rows):
            raise ValueError(f"two rows are called {row.id!r}")
        self.rows.append(row)

    def as_json(self) -> dict[str, Any]:
        """For the results' file."""
        rows = [{**asdict(row), "kept": row.kept} for row in self.rows]
        return {"machine": self.machine, "options": self.options, "rows": rows}

    def as_table(self) -> str:
        """The machine and the rows, readable as text and as Markdown."""
        told = [*self.machine.items(), *self.options.items()]
        lines = [f"- {name}: {value}" for name, value in told]
        cells = [HEADER, *(_cells(row) for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER))]
        table = [_line(row, widths) for row in cells]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([*lines, "", table[0], rule, *table[1:]])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _cells(row: Row) -> tuple[str, str, str, str]:
    return row.what, _figure(row), _beside(row), _claim(row)


def _figure(row: Row) -> str:
    if row.value is None:
        return f"not measured: {row.note}"
    text = number(row.value)
    if row.spread:
        text = ", ".join([f"p50 {text}", *(f"{name} {number(value)}" for name, value in row.spread.items())])
    text = f"{text} {row.unit}"
    if row.samples is not None:
        text += f" (n={row.samples})"
    return f"{text}; {row.note}" if row.note else text


def _beside(row: Row) -> str:
    if row.beside is None or row.value is None:
        return ""
    reference = f"{row.beside.name} {number(row.beside.value)} {row.unit}"
    if not row.beside.ratio:
        more = row.value - row.beside.value
        return f"{reference}: {'' if more < 0 else '+'}{number(more)}"
    return f"{reference}: × {number(row.value / row.beside.value)}" if row.beside.value else reference


def _claim(row: Row) -> str:
    if row.kept is None:
        return row.claim
    return f"{row.claim}: {'kept' if row.kept else 'BROKEN'}"


def number(value: float) -> str:
    """Three digits, whole thousands with a separator: 0.00123 → "0.00123", 12345.6 → "12,346"."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 3
    size = abs(value)
    while size >= 1:
        size /= 10
        digits -= 1
    while size < 0.1:
        size *= 10
        digits += 1
    return f"{value:.{max(digits, 0)}f}"
