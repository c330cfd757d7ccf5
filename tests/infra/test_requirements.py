"""What goes into the layer of dependencies: the versions that are tested, and no more than is imported."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.infra.cloudformation import ROOT

LAYER: Final = ROOT / "layers" / "dependencies"
TRACING: Final = ROOT / "layers" / "tracing"
NOT_IN_THE_LAYER: Final = {
    *("anthropic", "boto3", "botocore", "fastapi", "openai", "pydantic", "requests", "urllib3"),
    *("prometheus-client", "uvicorn", "uvloop", "aws-xray-sdk"),
}


def pins(text: str) -> dict[str, str]:
    """Versions by name."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def test_layer_has_the_versions_that_the_tests_run_with() -> None:
    """One lock is made under the other."""
    layer = pins((LAYER / "requirements.txt").read_text(encoding="utf-8"))
    tested = pins((ROOT / "requirements" / "serve.txt").read_text(encoding="utf-8"))
    assert layer.items() <= tested.items()


def test_layer_of_tracing_has_no_other_versions_than_the_tests() -> None:
    """Of whatever both have."""
    layer = pins((TRACING / "requirements.txt").read_text(encoding="utf-8"))
    tested = pins((ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8"))
    assert {name: tested.get(name, version) for name, version in layer.items()} == layer


def test_layer_of_tracing_repeats_nothing_of_the_layer_below() -> None:
    """And has no botocore, which would hide the runtime's own: in a function the SDK of X-Ray does without."""
    below = pins((LAYER / "requirements.txt").read_text(encoding="utf-8"))
    assert pins((TRACING / "requirements.txt").read_text(encoding="utf-8")).keys() == {"aws-xray-sdk", "wrapt"}
    assert below.keys() & {"aws-xray-sdk", "wrapt"} == set()


@pytest.mark.parametrize("folder", [LAYER, TRACING])
def test_layer_is_named_whole_and_locked_by_hash(folder: Path) -> None:
    """Nothing comes along that nobody named, and nothing that was not looked at."""
    named = re.findall(r"^([a-z0-9-]+)$", (folder / "requirements.in").read_text(encoding="utf-8"), re.MULTILINE)
    text = (folder / "requirements.txt").read_text(encoding="utf-8")
    assert sorted(named) == sorted(pins(text))
    for entry in re.split(r"\n(?=[a-z])", text):
        assert "--hash=sha256:" in entry


def test_layer_goes_without_servers_and_sdks() -> None:
    """Each would cost every cold start."""
    layer = pins((LAYER / "requirements.txt").read_text(encoding="utf-8"))
    assert layer.keys() & NOT_IN_THE_LAYER == set()
