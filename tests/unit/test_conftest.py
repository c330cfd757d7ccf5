"""The tests' own rules."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest

TESTS = {
    "test_whole.py": "import pytest\npytest.skip('no machine', allow_module_level=True)\n",
    "test_parts.py": """
import pytest

@pytest.mark.skip(reason="no browser")
def test_marked():
    pass

def test_inside():
    pytest.skip("no socket")

@pytest.mark.xfail(strict=True)
def test_expected_failure():
    assert False

def test_passes():
    pass
""",
}


@pytest.mark.parametrize(("no_skips", "code"), [("", 0), ("1", 1)])
def test_skip_where_none_is_allowed_fails_and_is_named(tmp_path: Path, no_skips: str, code: int) -> None:
    """With RILLGATE_NO_SKIPS each skip of any kind fails the run and is named; an expected failure does not."""
    shutil.copy(conftest.__file__, tmp_path / "conftest.py")
    for name, source in TESTS.items():
        (tmp_path / name).write_text(source)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "--continue-on-collection-errors", f"--rootdir={tmp_path}", tmp_path],
        env={**os.environ, "RILLGATE_NO_SKIPS": no_skips},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code, run.stdout
    last = run.stdout.splitlines()[-1]
    for reason in ("no machine", "no browser", "no socket"):
        assert reason in run.stdout
    if no_skips:
        assert "skipped" not in last
        assert "1 failed, 1 passed, 1 xfailed, 2 errors" in last
    else:
        assert "1 passed, 3 skipped, 1 xfailed" in last
