"""The images that scripts/image-ci has built, run as a container engine runs them: read-only, as the image's user.

Namespaces and mounts are made here by unshare; the process is the first of its process namespace, as in a container.
The network is this machine's, so that a provider on loopback is reached, or one of the container's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.process import PATIENCE_S, Finished, Served

ROOT: Final = Path(__file__).parents[2]
BUILT: Final = ROOT / "build" / "container"
REMEDY: Final = "run scripts/image-ci as root"
UID: Final = 10001

# What a container engine does, in its order; arguments are the root, the data, the secrets and the command.
PREPARE: Final = """
set -e
root=$1 data=$2 secrets=$3
shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -m 750 "$root/run/rillgate"
chown 10001:10001 "$root/run/rillgate"
mkdir "$root/run/secrets"
mount --bind "$secrets" "$root/run/secrets"
mount -o remount,bind,ro "$root/run/secrets"
mount --bind "$data" "$root/var/lib/rillgate"
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot --userspec="$USERSPEC" --groups= "$root" "$@"
"""
# A network namespace begins with its loopback interface down: SIOCSIFFLAGS, IFF_UP | IFF_RUNNING (netdevice(7)).
LOOPBACK_UP: Final = (
    "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 0x41))"
)


@dataclass(frozen=True)
class Image:
    """An image whose root file system is mounted.

    Attributes:
        root: the mount; read-only for what runs, not for root on this machine.
        config: `config` of the image's configuration: Env, Entrypoint, Cmd, User, Healthcheck, …
        history: the instructions that made it, as everybody who has the image can read them.
        layers: compressed sizes in bytes, the base's first.
    """

    root: Path
    config: dict[str, Any]
    history: list[str]
    layers: list[int]

    @property
    def command(self) -> list[str]:
        """What is run where nothing else is asked for."""
        return [*self.config["Entrypoint"], *self.config["Cmd"]]

    @property
    def packages(self) -> Path:
        """Its folder of Python packages."""
        (found,) = self.root.glob("opt/rillgate/lib/python3*/site-packages")
        return found

    def words(self, words: list[str], variables: Mapping[str, str]) -> list[str]:
        """A command in the image's own environment and working directory."""
        folder = self.config["WorkingDir"]
        environment = [*self.config["Env"], *(f"{name}={value}" for name, value in variables.items())]
        return ["/usr/bin/env", "-i", "-C", folder, *environment, *words]


@contextlib.contextmanager
def mounted(target: str) -> Iterator[Image]:
    """The image of a target; skips the test where it was not built, or from other sources than these."""
    if os.geteuid() != 0 or not (BUILT / "buildah").exists() or not shutil.which("unshare"):
        pytest.skip(f"no image was built here: {REMEDY}")
    buildah = shlex.split((BUILT / "buildah").read_text(encoding="utf-8"))
    container = _said(*buildah, "from", "--pull-never", f"localhost/rillgate:{target}")
    try:
        image = _image(BUILT / target, Path(_said(*buildah, "mount", container)))
        if _sources(image.packages / "rillgate") != _sources(ROOT / "functions" / "rillgate"):
            pytest.skip(f"the image was built from other sources than these: {REMEDY}")
        yield image
    finally:
        _said(*buildah, "rm", container)


def _image(pushed: Path, root: Path) -> Image:
    manifest = json.loads((pushed / "manifest.json").read_text(encoding="utf-8"))
    document = json.loads((pushed / manifest["config"]["digest"].removeprefix("sha256:")).read_text(encoding="utf-8"))
    history = [str(step.get("created_by", "")) for step in document["history"]]
    return Image(root, document["config"], history, [layer["size"] for layer in manifest["layers"]])


def _sources(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout.strip()


@dataclass(frozen=True)
class Volumes:
    """Folders of this machine that a container sees: its ledger's, and its secrets'."""

    data: Path
    secrets: Path

    @classmethod
    def under(cls, folder: Path) -> Volumes:
        """New ones, owned as Docker owns them: a volume by the image's user, a secret by root."""
        volumes = cls(folder / "data", folder / "secrets")
        volumes.data.mkdir(mode=0o750)
        os.chown(volumes.data, UID, UID)
        volumes.secrets.mkdir(mode=0o755)
        return volumes

    def secret(self, name: str, value: str, *, mode: int = 0o444) -> str:
        """A secret's file; the reference to it, for `api_key`."""
        path = self.secrets / name
        path.write_text(value, encoding="utf-8")
        path.chmod(mode)
        return f"file:/run/secrets/{name}"


class Container(Served):
    """A gateway in a container; `process` is unshare, which ends as the gateway ends.

    Attributes:
        image: what runs.
        variables: what its environment has beside the image's.
    """

    image: Image
    variables: dict[str, str]

    @property
    def pid(self) -> int:
        """The gateway's process, as this machine numbers it."""
        (child,) = _children(self.process)
        return child

    @property
    def status(self) -> dict[str, list[str]]:
        """What the kernel tells about that process, by the names that proc(5) has."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}

    def signal(self, number: signal.Signals) -> None:
        """Send the gateway a signal, as an engine does."""
        os.kill(self.pid, number)

    async def exec(self, *words: str) -> Finished:
        """Run a command beside it, in all that it is in, as `docker exec` does."""
        uid, _, gid = self.image.config["User"].partition(":")
        inside = ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--root"]
        return await _finished(
            [*inside, "--setgid", gid, "--setuid", uid, *self.image.words([*words], self.variables)], env=None
        )


@contextlib.asynccontextmanager
async def running(
    image: Image, volumes: Volumes, *, own_network: bool = False, says: str = "Rillgate listens on", **variables: str
) -> AsyncIterator[Container]:
    """The image's own command with more variables, from the line that `says` names until the end of the block.

    Args:
        own_network: a network namespace that has only loopback; otherwise it is this machine's.
    """
    words, env = _contained(image, volumes, image.command, variables, own_network=own_network)
    process = await asyncio.create_subprocess_exec(*words, env=env, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    container = Container(process)
    container.image, container.variables = image, variables
    readers = [
        asyncio.create_task(container._read(process.stdout, container.out)),
        asyncio.create_task(container._read(process.stderr, container.err)),
    ]
    try:
        await container.says(says)
        yield container
    finally:
        await _end(process)
        await asyncio.gather(*readers)


async def run(image: Image, volumes: Volumes, *words: str, **variables: str) -> Finished:
    """Run the entry point with other words to its end, as `docker run --rm` does, without any network."""
    command = [*image.config["Entrypoint"], *words]
    return await _finished(*_contained(image, volumes, command, variables, own_network=True))


async def run_program(image: Image, volumes: Volumes, *words: str) -> Finished:
    """Run another program than the entry point, as `docker run --rm --entrypoint` does, without any network."""
    return await _finished(*_contained(image, volumes, [*words], {}, own_network=True))


def _contained(
    image: Image, volumes: Volumes, command: list[str], variables: Mapping[str, str], *, own_network: bool
) -> tuple[list[str], dict[str, str]]:
    prepare = f'{shlex.quote(sys.executable)} -c "{LOOPBACK_UP}"\n{PREPARE}' if own_network else PREPARE
    unshare = ["unshare", "--mount", "--pid", "--fork", *(["--net"] if own_network else [])]
    folders = [str(folder) for folder in (image.root, volumes.data, volumes.secrets)]
    words = [*unshare, "sh", "-c", prepare, "sh", *folders, *image.words(command, variables)]
    return words, {"PATH": os.environ["PATH"], "USERSPEC": image.config["User"]}


async def _finished(words: list[str], env: dict[str, str] | None) -> Finished:
    process = await asyncio.create_subprocess_exec(*words, env=env, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
    finally:
        await _end(process)
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


def _children(process: asyncio.subprocess.Process) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text(encoding="utf-8").split()]


async def _end(process: asyncio.subprocess.Process) -> None:
    """End unshare by ending what it waits for. Its own --kill-child is undone by the change of the user."""
    if process.returncode is None:
        for pid in _children(process):
            os.kill(pid, signal.SIGKILL)
        process.kill()
    await process.wait()
