"""Figures behind nginx, as far as that needs no nginx."""

from __future__ import annotations

import pytest
from benchmarks import nginx
from benchmarks.nginx import WHAT, rows


def test_rows_without_nginx_name_every_figure_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing row would look like a figure that nobody promised."""
    monkeypatch.setattr(nginx, "PROGRAM", None)
    found = list(rows(1, 1))
    assert [row.id for row in found] == list(WHAT)
    assert {(row.value, row.note) for row in found} == {(None, "nginx is not installed")}
