"""Where an answer is shown: its text on standard output, everything about it on standard error.

Where both are the terminal, a status line stands in the row below the text and is rewritten with every piece:

    index down, up again   makes that row, scrolling where there is none, and keeps the column
    save, down, write, restore
    erase below            before the next text, which may flow into that row

A row whose last column is taken has the terminal's cursor in a state of its own (the next character wraps first),
which moving about would lose: no status is drawn there until the next piece.
Source: ECMA-48 and DEC's VT102 (IND, CUU, CUD, EL, ED, DECSC, DECRC), which terminals and their multiplexers follow.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from typing import TextIO

from rillgate.cli.talk.answer import Kind

DIM, PLAIN = "\x1b[2m", "\x1b[0m"
MAKE_ROW_BELOW = "\x1bD\x1b[A"
SAVE, RESTORE, DOWN = "\x1b7", "\x1b8", "\x1b[B"
ERASE_ROW, ERASE_BELOW = "\r\x1b[K", "\x1b[J"
COLUMNS = 80  # where the terminal does not say
TAB_COLUMNS = 8

# What could steer the terminal: both ranges of control characters, but for line feed and tab.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Screen:
    """Two streams, one of which may be a terminal, or both, or none.

    Args:
        out: for the text. Where it is no terminal, nothing but the answer's own text goes there, as it came.
        err: for the status and the lines about an answer.
        environ: for TERM.
    """

    def __init__(self, out: TextIO, err: TextIO, environ: Mapping[str, str]) -> None:
        self._out = out
        self._err = err
        able = environ.get("TERM", "") != "dumb"
        self._terminal = out.isatty()
        self._dims = self._terminal and able
        self._live = err.isatty() and able
        self._kind: Kind | None = None
        self._column = 0
        self._status_shown = False

    def write(self, kind: Kind, text: str) -> None:
        """The next piece. Reasoning is for the terminal's reader alone."""
        if not self._terminal:
            if kind == "text":
                self._print(text)
            return
        if self._kind is not None and kind != self._kind:
            self._print("\n\n" if self._column else "\n")
            self._column = 0
        self._kind = kind
        text = _CONTROL.sub(lambda found: repr(found[0])[1:-1], text.replace("\r", ""))
        self._column = column_after(self._column, text, self._columns())
        self._print(f"{DIM}{text}{PLAIN}" if kind == "reasoning" and self._dims else text)

    def status(self, text: str) -> None:
        """Show this in the status line, where there is a terminal for it."""
        if not self._live:
            return
        columns = self._columns()
        text = text[: columns - 1]
        if self._terminal and self._column >= columns - 1:
            return
        self._status_shown = True  # before it is: a Ctrl-C may come in between
        if self._terminal:
            self._tell(f"{MAKE_ROW_BELOW}{SAVE}{DOWN}{ERASE_ROW}{DIM}{text}{PLAIN}{RESTORE}")
        else:
            self._tell(f"{ERASE_ROW}{text}")

    def end(self) -> None:
        """The answer is over: take the status away; on a terminal the next line begins."""
        self._clear()
        if self._terminal and self._column:
            self._print("\n")
        self._column, self._kind = 0, None

    def say(self, line: str) -> None:
        """A line about the answer."""
        self._clear()
        self._tell(f"{line}\n")

    def ask(self, prompt: str) -> str:
        """A line from whoever sits there.

        Raises: EOFError: there is none any more.
        """
        if self._terminal:
            return input(prompt)
        self._tell(prompt)  # input() would put it where the text alone goes
        return input()

    def _print(self, text: str) -> None:
        self._clear()
        encoding = self._out.encoding or "utf-8"  # half a character, which JSON can spell, is in none
        self._out.write(text.encode(encoding, "replace").decode(encoding))
        self._out.flush()

    def _clear(self) -> None:
        if self._status_shown:
            self._tell(ERASE_BELOW if self._terminal else ERASE_ROW)
            self._status_shown = False

    def _tell(self, text: str) -> None:
        encoding = self._err.encoding or "utf-8"
        self._err.write(text.encode(encoding, "replace").decode(encoding))
        self._err.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._err.fileno()).columns or COLUMNS
        except (OSError, ValueError):  # no terminal, no file
            return COLUMNS


def column_after(column: int, text: str, columns: int) -> int:
    """In which column a cursor stands after a text; `columns` where the last one is taken.

    Shape: (0, "abc", 80) → 3; (79, "x", 80) → 80; (80, "x", 80) → 1; (79, "日", 80) → 2.
    """
    _, line_feed, last = text.rpartition("\n")
    column = 0 if line_feed else column
    for char in last:
        if char == "\t":  # it stops at the last column and never wraps
            column = max(column, min(column + TAB_COLUMNS - column % TAB_COLUMNS, columns - 1))
            continue
        width = _width(char)
        column = width if column + width > columns else column + width
    return column


def _width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
