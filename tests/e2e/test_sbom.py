"""The bills of materials that `make sbom` writes, beside the locks and beside what `sam build` has built."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from rillgate.app.encodings import NAMES
from tests.e2e.sam_build import host
from tests.infra.cloudformation import ROOT

pytestmark = pytest.mark.slow

LOCKS: Final = {
    "image-gateway": ("requirements/serve.txt",),
    "image-embedded": ("requirements/serve.txt", "requirements/embedded.txt"),
    "DependenciesLayer": ("layers/dependencies/requirements.txt",),
    "TracingLayer": ("layers/tracing/requirements.txt",),
    "RuntimeLayer": (),
    "GatewayFunction": ("layers/dependencies/requirements.txt",),
    "BufferedFunction": ("layers/dependencies/requirements.txt",),
}
PRUNED: Final = {"setuptools", "mangum", "aws-lambda-powertools"}
ELSEWHERE: Final = {"colorama", "httpx2-jsfetch"}  # on Windows, and in a browser
LEFT_OUT: Final = {"image-gateway": PRUNED | ELSEWHERE, "image-embedded": PRUNED | ELSEWHERE}
REGISTRIES: Final = re.compile(r"p[y]pi\.org|p[y]thonhosted|n[p]mjs|docker\.io|ghcr\.io|https?://")


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every one, as text."""
    folder = tmp_path_factory.mktemp("sbom")
    words = [sys.executable, "scripts/sbom.py", "all", str(folder), "--lambda-machine", host()]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {path.name.removesuffix(".cdx.json"): path.read_text(encoding="utf-8") for path in folder.iterdir()}


def locked(*files: str) -> dict[str, tuple[str, set[str]]]:
    """Version and hashes by name."""
    found = {}
    for file in files:
        for entry in re.split(r"\n(?=[a-z])", (ROOT / file).read_text(encoding="utf-8")):
            if pin := re.match(r"([a-z0-9-]+)==(\S+)", entry):
                found[pin[1]] = (pin[2], set(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)))
    return found


def packages(bill: str) -> dict[str, dict[str, Any]]:
    """The wheels in a bill."""
    components = json.loads(bill)["components"]
    return {each["name"]: each for each in components if each.get("purl", "").startswith("pkg:pypi/")}


def test_bills_are_valid_and_name_no_registry(bills: dict[str, str]) -> None:
    """By the published schema, strictly."""
    assert set(bills) == set(LOCKS)
    for name, text in bills.items():
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None, name
        assert REGISTRIES.search(text) is None, name


@pytest.mark.parametrize("name", LOCKS)
def test_bill_has_what_is_locked_with_a_hash_that_is_locked(bills: dict[str, str], name: str) -> None:
    """Every package and no other, at its version; the hash is one of those that pip accepts."""
    wanted = {key: pin for key, pin in locked(*LOCKS[name]).items() if key not in LEFT_OUT.get(name, ())}
    found = packages(bills[name])
    assert set(found) == set(wanted)
    for key, (version, hashes) in wanted.items():
        assert found[key]["version"] == version
        assert found[key]["hashes"][0]["content"] in hashes


def test_bills_have_model_and_rank_files_where_they_are(bills: dict[str, str]) -> None:
    """The model in the image that has it; the rank files wherever tokens are counted."""
    for name, text in bills.items():
        kinds = {each["name"]: each["type"] for each in json.loads(text)["components"]}
        assert ("SmolLM2-135M-Instruct" in kinds) is (name == "image-embedded")
        ranks = {f"{encoding}.tiktoken" for encoding in NAMES}
        assert (ranks & set(kinds) == ranks) is (name not in ("TracingLayer", "RuntimeLayer"))


@pytest.mark.parametrize("layer", ["DependenciesLayer", "TracingLayer"])
def test_bill_of_a_layer_is_of_what_is_built(bills: dict[str, str], layer: str, tmp_path: Path) -> None:
    """The packages that lie in it, by their own word, after its own Makefile has built it as `sam build` has it."""
    words = ["make", "-C", str(ROOT / "layers" / layer.removesuffix("Layer").lower()), f"build-{layer}"]
    variables = {"ARTIFACTS_DIR": str(tmp_path), "RILLGATE_ARCH": host(), "RILLGATE_PYTHON": sys.executable}
    done = subprocess.run(words, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "python"
    there = {
        re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(): each.version
        for each in distributions(path=[str(folder)])
    }
    assert {name: each["version"] for name, each in packages(bills[layer]).items()} == there


def test_bills_are_the_same_again(bills: dict[str, str], tmp_path: Path) -> None:
    """Made anew, byte for byte."""
    words = [sys.executable, "scripts/sbom.py", "all", str(tmp_path), "--lambda-machine", host()]
    subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    again = {path.name.removesuffix(".cdx.json"): path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert again == bills
