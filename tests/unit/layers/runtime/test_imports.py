"""The layer brings nothing with it: no dependency can stand in the way of an app's own."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import lambda_asgi

MODULES = sorted(Path(lambda_asgi.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_module_imports_the_standard_library_and_the_layer_only(module: Path) -> None:
    """Wherever in the file the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module or "")
    assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names, "lambda_asgi"}


def test_modules_are_found() -> None:
    """The test above would pass with none."""
    assert len(MODULES) > 15
