"""What `make build-RuntimeLayer` puts into the layer."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.runtime_api import FakeRuntimeApi, function_url_event
from tests.unit.layers.runtime.launch import LAYER, bootstrap

OWN_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def build(tmp_path: Path, version: str = OWN_VERSION) -> tuple[Path, str]:
    """Build as SAM does, in a copy of the folder; the layer's content and what make said."""
    source, target = tmp_path / "source", tmp_path / "layer"
    shutil.copytree(LAYER, source, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {
        "PATH": os.environ["PATH"],
        "ARTIFACTS_DIR": str(target),
        "LAMBDA_PYTHON": sys.executable,
        "LAMBDA_PYTHON_VERSION": version,
    }
    result = subprocess.run(
        ["make", "build-RuntimeLayer"], cwd=source, env=environment, capture_output=True, text=True, check=True
    )
    return target, result.stdout


def test_layer_holds_the_bootstrap_and_the_package_only(tmp_path: Path) -> None:
    """Unpacked to /opt it is /opt/bootstrap, to be executed, and /opt/python/lambda_asgi."""
    layer, _ = build(tmp_path)
    files = {str(path.relative_to(layer)) for path in layer.rglob("*") if path.is_file()}
    assert stat.S_IMODE((layer / "bootstrap").stat().st_mode) == 0o755
    rest = {name for name in files if not name.startswith("python/lambda_asgi/")}
    assert rest == {"bootstrap"}
    assert "python/lambda_asgi/__main__.py" in files
    assert "python/lambda_asgi/README.md" in files


def test_byte_code_is_not_checked_against_its_source(tmp_path: Path) -> None:
    """Unpacking changes times; a start that compiled would be slower."""
    layer, _ = build(tmp_path)
    sources = sorted((layer / "python" / "lambda_asgi").glob("*.py"))
    for source in sources:
        code = Path(importlib.util.cache_from_source(str(source))).read_bytes()
        assert int.from_bytes(code[4:8], "little") == 0b01, "hash-based, unchecked"
        assert str(tmp_path).encode() not in code, "paths in it are those of /opt"


def test_layer_without_a_python_for_byte_code_says_so(tmp_path: Path) -> None:
    """Nothing but sources then, which any Python takes; byte code of another version would only weigh."""
    layer, said = build(tmp_path, "9.99")
    assert "No Python 9.99 here" in said
    assert not list(layer.rglob("*.pyc"))


@pytest.mark.anyio
async def test_built_layer_serves(tmp_path: Path) -> None:
    """What was built runs as it is."""
    layer, _ = build(tmp_path)
    task_root = tmp_path / "task"
    task_root.mkdir()
    async with FakeRuntimeApi() as api, bootstrap(task_root, api.address, layer=layer):
        post = api.invoke(function_url_event())
        await api.polled(2)
    assert post.chunks[1] == b"first"
