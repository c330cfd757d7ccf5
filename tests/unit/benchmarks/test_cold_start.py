"""Cold starts, as far as that needs no process."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import cold_start
from benchmarks.cold_functions import BARE, FASTAPI, OURS, STARLETTE, zipped_bytes
from benchmarks.cold_imports import STANDARD, grouped
from benchmarks.cold_start import IDS, TIMES, MissingError, Times, rows


def test_grouped_lines_are_sums_of_own_times_by_package() -> None:
    """The interpreter's own modules are one; its heading and other lines are no import."""
    lines = [
        "import time: self [us] | cumulative | imported package",
        "import time:       100 |        100 |   asyncio.events",
        "import time:        50 |        150 | json",
        "import time:        30 |        900 |     rillgate.domain.limits",
        "import time:       400 |       1300 |   rillgate",
        "a warning",
    ]
    assert grouped(lines) == {"rillgate": 430, STANDARD: 150}


def test_rows_without_what_is_needed_name_every_figure_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing row would look like a figure that nobody promised."""

    def nothing(starts: int, imports: int) -> None:
        raise MissingError("no Python 3.13")

    monkeypatch.setattr(cold_start, "_rows", nothing)
    found = list(rows(1, 1))
    assert [row.id for row in found] == list(IDS)
    assert {(row.value, row.note) for row in found} == {(None, "no Python 3.13")}


def test_start_rows_are_medians_beside_the_usual_function() -> None:
    """Without the emulator its row says so."""
    times = {name: Times() for name in (OURS, BARE, FASTAPI, STARLETTE)}
    for number, each in enumerate(times.values(), 1):
        for name in ("init", "first_byte", "start"):
            each.of[name] += [number * 10.0, number * 30.0, number * 20.0]
    found = {row.id: row for row in cold_start._start_rows(times, None)}
    assert set(found) == {f"cold.full.{name}" for name in TIMES}
    init = found["cold.full.init"]
    assert init.beside is not None
    assert (init.value, init.spread, init.beside.value) == (20.0, {"max": 30.0}, 60.0)
    assert init.note == f"{STARLETTE} 80 ms; {BARE} 40 ms"
    assert found["cold.full.invocation"].value is None


def test_zipped_bytes_grow_with_what_is_in_the_folder(tmp_path: Path) -> None:
    """Names count, repetition hardly does."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "zeros").write_bytes(bytes(100_000))
    assert 100 < zipped_bytes(tmp_path) < 1000
