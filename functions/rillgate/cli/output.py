"""How the control plane prints: tables for people, one JSON document or CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

NOTHING = "-"  # in a table, of what is not there

# What spreadsheets take for the start of a formula. Names of models and users come from clients.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Cell = str | int | None


def table(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Columns as wide as they need be; numbers stand to the right. Nothing in them can steer a terminal."""
    rows = list(rows)
    cells = [[_shown(cell) for cell in row] for row in (headers, *rows)]
    columns = zip(*rows, strict=True) if rows else ((),) * len(headers)
    numeric = [any(column) and all(isinstance(cell, int | None) for cell in column) for column in columns]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def json_text(value: Any) -> str:
    """One JSON document."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def csv_text(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """CSV with a line of headers. What a spreadsheet would compute is made text by an apostrophe before it."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows([_defused(cell) for cell in row] for row in rows)
    return file.getvalue().removesuffix("\n")


def time_text(at_s: int | None) -> str | None:
    """A moment in UTC, 2026-11-21T00:00:00Z; None for never."""
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def printable(text: str) -> str:
    """Text with everything escaped that is not printed as it stands."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _shown(cell: Cell) -> str:
    if cell is None or cell == "":
        return NOTHING
    return f"{cell:,}" if isinstance(cell, int) else printable(cell)


def _defused(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
