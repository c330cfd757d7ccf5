"""A terminal: as much of a VT102 as `rillgate chat` uses, with the deferred wrap that all of them have."""

from __future__ import annotations

import io
import re
import unicodedata

_TOKEN = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\x1b.|.", re.DOTALL)


class Terminal:
    """Rows of text and a cursor. What scrolls out at the top is kept in `gone`."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns = columns
        self.rows = [[" "] * columns for _ in range(rows)]
        self.gone: list[list[str]] = []
        self.row, self.column, self.wraps = 0, 0, False
        self._saved = (0, 0, False)

    def feed(self, text: str) -> None:
        """Take what a program wrote."""
        for token in _TOKEN.findall(text):
            if token[0] == "\x1b":
                self._escape(token[1:])
            elif token == "\n":  # the line discipline makes CR LF of it
                self.column, self.wraps = 0, False
                self._down()
            elif token == "\r":
                self.column, self.wraps = 0, False
            elif token == "\t":
                self.column = min(self.column + 8 - self.column % 8, self.columns - 1)
            else:
                self._put(token)

    @property
    def lines(self) -> list[str]:
        """All that can be read, scrolled out or not, without the empty rest."""
        lines = ["".join(row).rstrip() for row in [*self.gone, *self.rows]]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _put(self, char: str) -> None:
        width = 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if self.wraps or self.column + width > self.columns:
            self.column, self.wraps = 0, False
            self._down()
        self.rows[self.row][self.column] = char
        if width == 2:
            self.rows[self.row][self.column + 1] = ""
        self.column += width
        if self.column == self.columns:
            self.column, self.wraps = self.columns - 1, True

    def _down(self) -> None:
        if self.row < len(self.rows) - 1:
            self.row += 1
            return
        self.gone.append(self.rows.pop(0))
        self.rows.append([" "] * self.columns)

    def _escape(self, code: str) -> None:
        match code:
            case "D":
                self.wraps = False
                self._down()
            case "[A":
                self.row, self.wraps = max(self.row - 1, 0), False
            case "[B":
                self.row, self.wraps = min(self.row + 1, len(self.rows) - 1), False
            case "7":
                self._saved = (self.row, self.column, self.wraps)
            case "8":
                self.row, self.column, self.wraps = self._saved
            case "[K" | "[J":
                self.rows[self.row][self.column :] = [" "] * (self.columns - self.column)
                if code == "[J":
                    for row in self.rows[self.row + 1 :]:
                        row[:] = [" "] * self.columns
            case "[2m" | "[0m":
                pass  # dim and plain
            case _:
                raise AssertionError(f"a sequence that this terminal does not know: {code!r}")


class TerminalFile(io.StringIO):
    """A stream that is a terminal. `wrote` is all of it, as it came."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal
        self.wrote = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.wrote += text
        self._terminal.feed(text)
        return len(text)
