"""Where text and status stand on a terminal, and what goes where there is none."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.cli.talk import screen as screen_module
from rillgate.cli.talk.answer import Kind
from rillgate.cli.talk.screen import Screen, column_after
from tests.unit.cli.talk.terminal import Terminal, TerminalFile

TEXT = st.text(alphabet="ab \n日\té", max_size=25)


def on(terminal: Terminal) -> Screen:
    """A screen with both of its streams on one terminal."""
    file = TerminalFile(terminal)
    screen = Screen(file, file, {"TERM": "xterm"})
    screen._columns = lambda: terminal.columns  # type: ignore[method-assign]
    return screen


@given(pieces=st.lists(TEXT, max_size=12), columns=st.integers(4, 20), rows=st.integers(2, 6))
def test_screen_leaves_nothing_of_its_status_in_the_text(pieces: Sequence[str], columns: int, rows: int) -> None:
    """However text wraps and scrolls, what can be read afterwards is the text alone, as it stands without a status."""
    shown, plain = Terminal(columns, rows), Terminal(columns, rows)
    screen = on(shown)
    screen.status("waiting for the first token")
    for number, piece in enumerate(pieces):
        screen.write("text", piece)
        screen.status(f"{number} tokens, and a line that is too long")
        plain.feed(piece)
    screen.end()
    assert shown.lines == plain.lines


def test_screen_shows_its_status_below_the_text_and_rewrites_it() -> None:
    """One row, the newest count alone; the cursor stays where the text goes on."""
    terminal = Terminal(20, 4)
    screen = on(terminal)
    screen.status("waiting")
    assert terminal.lines == ["", "waiting"]
    screen.write("text", "Hello")
    screen.status("1 tokens")
    assert terminal.lines == ["Hello", "1 tokens"]
    screen.write("text", ",\nworld")
    screen.status("2 tokens")
    assert terminal.lines == ["Hello,", "world", "2 tokens"]
    assert (terminal.row, terminal.column) == (1, 5)
    screen.end()
    screen.say("9 tokens in")
    assert terminal.lines == ["Hello,", "world", "9 tokens in"]


def test_screen_at_the_bottom_scrolls_for_its_status() -> None:
    """The last row is the status's, the text moves up."""
    terminal = Terminal(20, 2)
    screen = on(terminal)
    screen.write("text", "one\ntwo")
    screen.status("2 tokens")
    assert ["".join(row).rstrip() for row in terminal.rows] == ["two", "2 tokens"]
    screen.write("text", " three")
    screen.end()
    assert terminal.lines == ["one", "two three"]


def test_screen_shows_reasoning_dim_and_apart_from_the_text() -> None:
    """On a terminal, with an empty line between."""
    terminal = Terminal()
    file = TerminalFile(terminal)
    screen = Screen(file, io.StringIO(), {})
    pieces: list[tuple[Kind, str]] = [("reasoning", "Hm"), ("reasoning", "m."), ("text", "Hello")]
    for kind, text in pieces:
        screen.write(kind, text)
    screen.end()
    assert terminal.lines == ["Hmm.", "", "Hello"]
    assert "\x1b[2mHm\x1b[0m" in file.wrote


def test_screen_escapes_what_could_steer_the_terminal() -> None:
    """A model's text moves no cursor and sets no title; off the terminal it stays as it came."""
    terminal = Terminal()
    on(terminal).write("text", "a\x1b[2Jb\x9b1mc\r\n\x07d")
    assert terminal.lines == ["a\\x1b[2Jb\\x9b1mc", "\\x07d"]
    out = io.StringIO()
    Screen(out, io.StringIO(), {}).write("text", "a\x1b[2Jb\r\n")
    assert out.getvalue() == "a\x1b[2Jb\r\n"


def test_screen_without_a_terminal_gives_the_text_alone() -> None:
    """No reasoning, no status, no newline added; lines about it on the other stream."""
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(out, err, {})
    screen.status("waiting")
    screen.write("reasoning", "Hmm.")
    screen.write("text", "Hello")
    screen.status("1 tokens")
    screen.end()
    screen.say("9 tokens in")
    assert (out.getvalue(), err.getvalue()) == ("Hello", "9 tokens in\n")


def test_screen_with_its_text_in_a_file_keeps_the_status_in_one_row() -> None:
    """`rillgate chat … > answer.txt` in a terminal."""
    terminal, out = Terminal(), io.StringIO()
    screen = Screen(out, TerminalFile(terminal), {})
    for number in (1, 2):
        screen.write("text", "Hello\n")
        screen.status(f"{number} tokens")
        assert terminal.lines == [f"{number} tokens"]
    screen.end()
    assert terminal.lines == []
    assert out.getvalue() == "Hello\nHello\n"


def test_screen_of_a_dumb_terminal_moves_nothing() -> None:
    """TERM=dumb, as editors have it: no sequence at all."""
    file = TerminalFile(Terminal())
    screen = Screen(file, file, {"TERM": "dumb"})
    screen.status("waiting")
    screen.write("reasoning", "Hm")
    screen.write("text", "Hello")
    screen.end()
    assert "\x1b" not in file.wrote


def test_screen_replaces_what_its_stream_cannot_say() -> None:
    """Half a surrogate pair, and letters that the locale's encoding lacks."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    Screen(out, io.StringIO(), {}).write("text", "é\ud83d!")
    assert raw.getvalue() == b"??!"
    out.close()


@pytest.mark.parametrize(
    ("column", "text", "after"),
    [
        (0, "abc", 3),
        (79, "x", 80),
        (80, "x", 1),
        (79, "日", 2),
        (5, "x\n", 0),
        (5, "\nab", 2),
        (3, "\t", 8),
        (78, "\t", 79),
        (4, "e\u0301", 5),
    ],
)
def test_column_after_follows_the_cursor(column: int, text: str, after: int) -> None:
    """Of 80 columns; 80 is the state in which the next character wraps."""
    assert column_after(column, text, 80) == after


def test_columns_of_no_terminal_are_the_usual_ones() -> None:
    """A stream without a file behind it."""
    assert Screen(io.StringIO(), io.StringIO(), {})._columns() == screen_module.COLUMNS
