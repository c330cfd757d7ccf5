"""SECURITY.md names tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.infra.cloudformation import ROOT

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("path", "test"), NAMED)
def test_security_page_names_tests_that_exist(path: str, test: str) -> None:
    """What was renamed or taken out shows nothing any more."""
    text = (ROOT / path).read_text(encoding="utf-8")
    name = test or r"test_\w+"
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)


def test_security_page_shows_every_defence_by_a_test() -> None:
    """A row without one is a promise."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "threat |" not in line]
    defences = [row for row in rows if row.count("|") == 4]
    assert len(defences) > 25
    assert [row for row in defences if "`tests/" not in row] == []
