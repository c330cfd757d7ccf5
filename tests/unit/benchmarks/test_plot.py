"""The plot of the README, as text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from benchmarks.plot import Bar, bars_of, svg
from benchmarks.report import Row

SVG = "{http://www.w3.org/2000/svg}"
BARS = [Bar("nginx", 20.0, 500_000.0), Bar("full", 40.0, 150_000.0), Bar("naive", 160.0, None)]
MACHINE = {"date": "2026-11-21T13:28:28Z", "processor": "2 × A & B", "python": "CPython 3.13.0"}


def test_bars_are_what_was_measured_in_the_order_of_the_labels() -> None:
    """Rows of other groups, and those that could not be measured, have no bar."""
    rows = [
        Row("wire.cpu.full", "", 40.0, "µs"),
        Row("wire.burst.full", "", 150_000.0, "chunks/s"),
        Row("wire.cpu.nginx", "", 20.0, "µs"),
        Row("wire.cpu.naive", "", None, "µs", note="missing"),
        Row("wire.cpu.full.naive", "", 40.0, "µs"),
        Row("micro.relay", "", 4.0, "µs"),
    ]
    assert bars_of(rows) == [Bar("nginx", 20.0, None), Bar("full", 40.0, 150_000.0)]


def test_bars_without_the_gateway_are_none() -> None:
    """A run of other groups leaves the plot as it is."""
    assert bars_of([Row("wire.cpu.nginx", "", 20.0, "µs"), Row("wire.failed", "", None, "")]) == []


def test_svg_bars_are_as_long_as_their_figures() -> None:
    """Lengths are in proportion, and the gateway's own bar is told apart."""
    drawn = ElementTree.fromstring(svg(BARS, MACHINE))  # noqa: S314 - our own
    bars = [each for each in drawn.iter(f"{SVG}rect") if each.get("class") != "card"]
    lengths = [float(each.get("width") or 0) for each in bars]
    assert lengths[1] / lengths[0] == pytest.approx(2.0, abs=0.01)
    assert lengths[2] / lengths[0] == pytest.approx(8.0, abs=0.02)
    assert [each.get("class") for each in bars] == ["other", "ours", "other"]


def test_svg_names_figures_machine_and_date_for_both_schemes() -> None:
    """Everything a reader needs stands in the drawing, whatever characters the machine's name has."""
    text = svg(BARS, MACHINE)
    said = " ".join(each.text or "" for each in ElementTree.fromstring(text).iter(f"{SVG}text"))  # noqa: S314
    for part in ("40.0 · 2.00 × nginx", "150,000", "2026-11-21", "2 × A & B", "CPython 3.13.0"):
        assert part in said
    assert "prefers-color-scheme: dark" in text
