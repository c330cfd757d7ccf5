"""Tables, CSV and text for a terminal."""

from __future__ import annotations

import pytest

from rillgate.cli.output import csv_text, printable, table


def test_table_stands_in_columns_and_numbers_to_the_right() -> None:
    """Numbers have their thousands apart; what is not there is a dash."""
    assert table(("NAME", "TOKENS", "STATE"), [("a", 1234567, "on"), ("longer", None, None)]) == (
        "NAME       TOKENS  STATE\na       1,234,567  on\nlonger          -  -"
    )


def test_table_without_rows_is_its_headers() -> None:
    """No error."""
    assert table(("A", "B"), []) == "A  B"


def test_printable_text_is_escaped_where_a_terminal_would_obey() -> None:
    """Control characters, also those that turn the direction of text."""
    assert printable("a\x1b[2J\n\u202eb é") == "a\\x1b[2J\\n\\u202eb é"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_csv_text_that_a_spreadsheet_would_compute_is_made_text(cell: str) -> None:
    """Numbers of ours stay numbers."""
    assert csv_text(("name", "n"), [(cell, -5)]) == f"name,n\n'{cell},-5"
