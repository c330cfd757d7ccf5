"""The plot that the README shows, as SVG written by hand: it follows the reader's light or dark scheme by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.report import Row, number
from benchmarks.ways import BARE, COPY, FULL, NAIVE, NGINX, STOCK

WIDTH, LEFT, RIGHT = 840, 268, 214
TOP, STEP, BAR = 66, 34, 20
FONT = "-apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
LABELS = {
    NGINX: "nginx, bytes alone",
    COPY: "Python, bytes alone",
    BARE: "Rillgate, no keys or books",
    FULL: "Rillgate, metered",
    STOCK: "… on stock httpx2",
    NAIVE: "FastAPI + SDK + queue",
}
OURS = (FULL, BARE)
STYLE = """
  .card { fill: #ffffff; stroke: #d1d9e0 } .text { fill: #1f2328 } .soft { fill: #59636e }
  .ours { fill: #0a7d6b } .other { fill: #a5afb9 } .line { stroke: #d1d9e0 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #3d444d } .text { fill: #f0f6fc } .soft { fill: #9198a1 }
    .ours { fill: #2fc4a8 } .other { fill: #56606b } .line { stroke: #3d444d }
  }"""


@dataclass(frozen=True)
class Bar:
    """One way: what a paced chunk costs it in µs, and how many chunks a second went through it in a burst."""

    name: str
    cpu_us: float
    burst: float | None


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    """Those that were measured, as the labels are ordered; none without the gateway itself."""
    found = {row.id: row.value for row in rows if row.value is not None}
    bars = [
        Bar(name, found[f"wire.cpu.{name}"], found.get(f"wire.burst.{name}"))
        for name in LABELS
        if f"wire.cpu.{name}" in found
    ]
    return bars if any(bar.name == FULL for bar in bars) else []


def svg(bars: Sequence[Bar], machine: Mapping[str, str]) -> str:
    """The whole drawing."""
    height = TOP + STEP * len(bars) + 44
    largest = max(bar.cpu_us for bar in bars)
    nginx = next((bar.cpu_us for bar in bars if bar.name == NGINX), None)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(_told(bars), {chr(34): "&quot;"})}" font-family="{FONT}">',
        f"<style>{STYLE}\n</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        _text(20, 30, "CPU for each streamed chunk, µs", size=16, weight=600),
        _text(20, 49, "100 streams at once, 50 chunks a second each, requests included", "soft", 12),
        _text(WIDTH - 20, 30, "at full speed", size=13, weight=600, anchor="end"),
        _text(WIDTH - 20, 49, "chunks a second", "soft", 12, anchor="end"),
    ]
    for at, bar in enumerate(bars):
        lines += _bar(bar, TOP + STEP * at, largest, nginx)
    bottom = TOP + STEP * len(bars) + 6
    lines.append(f'<line class="line" x1="20" x2="{WIDTH - 20}" y1="{bottom}" y2="{bottom}"/>')
    lines.append(_text(20, bottom + 22, _footer(machine), "soft", 12))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _bar(bar: Bar, top: int, largest: float, nginx: float | None) -> list[str]:
    width = max(2.0, bar.cpu_us / largest * (WIDTH - LEFT - RIGHT))
    baseline = top + STEP // 2 + 5
    ours = bar.name in OURS
    weight = 600 if ours else 400
    figure = number(bar.cpu_us)
    if nginx is not None and bar.name != NGINX:
        figure += f" · {number(bar.cpu_us / nginx)} × nginx"
    lines = [
        _text(20, baseline, LABELS[bar.name], size=14, weight=weight),
        f'<rect class="{"ours" if ours else "other"}" x="{LEFT - 50}" y="{top + (STEP - BAR) // 2}" '
        f'width="{width:.1f}" height="{BAR}" rx="3"/>',
        _text(LEFT - 42 + width, baseline, figure, size=13, weight=weight),
    ]
    if bar.burst is not None:
        lines.append(_text(WIDTH - 20, baseline, f"{bar.burst:,.0f}", size=13, weight=weight, anchor="end"))
    return lines


def _told(bars: Sequence[Bar]) -> str:
    """For those who hear the page."""
    return "CPU for each streamed chunk: " + ", ".join(f"{LABELS[bar.name]} {number(bar.cpu_us)} µs" for bar in bars)


def _footer(machine: Mapping[str, str]) -> str:
    date = machine.get("date", "").partition("T")[0]
    parts = (date, machine.get("processor", ""), machine.get("python", ""), "make bench")
    return " · ".join(part for part in parts if part)


def _text(
    x: float, y: float, text: str, kind: str = "text", size: int = 14, *, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
