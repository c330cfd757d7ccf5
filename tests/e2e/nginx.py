"""nginx as a process of its own, with the very configuration of infra/container/nginx.

Only places are changed, by one table: the container's folders become a folder of the test's, its ports free ones on
loopback, and the gateway's socket whatever is to be proxied. nginx runs as compose.yaml runs it, in one process for all
that it does; where tests run as root, as another user than the gateway, who shares nothing with it but a group.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import pytest
import trustme

from tests.e2e.process import PATIENCE_S
from tests.fakes.clients import RawClient

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "infra" / "container" / "nginx"
SOCKET: Final = "unix:/run/rillgate/gateway.sock"
PROGRAM: Final = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
FILES: Final = {  # where compose.yaml mounts them
    "nginx.conf": "/etc/nginx/nginx.conf",
    "upstream.conf": "/etc/nginx/rillgate/upstream.conf",
    "rillgate.conf": "/etc/nginx/rillgate/rillgate.conf",
}
USER: Final = 101  # nginx's own in its image
GROUP: Final = 10_001  # of the gateway and its socket

Changes = Mapping[str, str]


def need_nginx() -> None:
    """Skip the test where there is no nginx."""
    if PROGRAM is None:
        pytest.skip("there is no nginx")


def replaced(text: str, table: Changes) -> str:
    """The text with everything in the table replaced, longest first, and nothing replaced twice."""
    words = sorted(table, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, words)), lambda found: table[found[0]], text)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder with a short name, as paths of sockets must be short.

    `run/` in it is as compose.yaml makes the volume: for the gateway's group alone. Who runs as root gives the socket
    to the group by the folder's own mode, since a gateway in a test is not started under another user.
    """
    with tempfile.TemporaryDirectory(prefix="rg-") as name:
        folder = Path(name)
        for each in ("run", "tmp", "etc"):
            (folder / each).mkdir()
        if os.geteuid() == 0:
            folder.chmod(0o711)
            os.chown(folder / "run", 0, GROUP)
            (folder / "run").chmod(0o2750)
            os.chown(folder / "tmp", USER, GROUP)
        yield folder


@dataclass
class Nginx:
    """A running nginx.

    Attributes:
        port, tls_port: where it listens, on 127.0.0.1; the latter is 0 without TLS.
        folder: `tmp/` in it is all that it may write to.
        process: its master.
        said: what it has written so far, to both of its outputs; whole once it has ended.
    """

    port: int
    tls_port: int
    folder: Path
    process: asyncio.subprocess.Process
    said: bytearray = field(default_factory=bytearray)

    async def client(self, *, rcvbuf: int | None = None) -> RawClient:
        """A new connection."""
        return await RawClient.open(self.port, rcvbuf=rcvbuf)

    def files(self) -> list[str]:
        """What its processes keep open under `tmp/`; a listing shows no files for bodies, which lose their names."""
        master = self.process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        links = [link for pid in (master, *children) for link in Path(f"/proc/{pid}/fd").iterdir()]
        place = str(self.folder / "tmp" / "_")[:-1]
        found = []
        for link in links:
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                found.append(os.readlink(link))
        return [path for path in found if path.startswith(place)]

    def unread(self) -> int:
        """Bytes that its clients' kernels hold for clients that do not read: how many is up to those kernels alone."""
        ports = {f"{port:04X}" for port in (self.port, self.tls_port) if port}
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(int(line[4].partition(":")[2], 16) for line in lines if line[2].partition(":")[2] in ports)

    def quit(self) -> None:
        """Stop as its image is told to: no new connections, and the end when the last stream has ended."""
        self.process.send_signal(signal.SIGQUIT)

    async def ended(self) -> int:
        """Wait until it has ended; the exit code."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    async def listens(self) -> None:
        """Wait until it accepts connections; each question is a round trip to the kernel."""
        async with asyncio.timeout(PATIENCE_S):
            while self.process.returncode is None:
                try:
                    (await self.client()).close()
                    return
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
        raise AssertionError(f"nginx ended: {self.said.decode()}")

    async def read(self, reading_end: IO[bytes]) -> None:
        """Take what it says until it has ended."""
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), reading_end
        )
        with contextlib.closing(transport):
            while data := await stream.read(65_536):
                self.said += data


@contextlib.asynccontextmanager
async def nginx(
    upstream: str,
    folder: Path,
    *,
    changed: Changes | None = None,
    certificate: trustme.LeafCert | None = None,
    group: int = GROUP,
    command: Sequence[str] = ("nginx", "-g", "daemon off;"),
) -> AsyncIterator[Nginx]:
    """nginx in front of `upstream`, from the moment at which it listens until the end of the block.

    Args:
        upstream: as nginx's `server` takes it: "127.0.0.1:8000" or "unix:/path".
        folder: from `shared_folder`.
        changed: settings that the test wants otherwise.
        certificate: for 127.0.0.1; with it, tls.conf is there.
        group: of its user, where tests run as root.
        command: as compose.yaml has it.
    """
    assert PROGRAM is not None
    port, tls_port = free_port(), free_port() if certificate else 0
    configuration = lay_out(folder, upstream, port, tls_port, changed or {})
    if certificate is not None:
        _write_secrets(certificate, folder / "secrets")
    words = [PROGRAM, *command[1:], "-c", str(configuration)]
    output, reading_end = _output(group)
    with output:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=DEVNULL, stdout=output, stderr=output, **_user(group)
        )
    running = Nginx(port, tls_port, folder, process)
    reading = asyncio.create_task(running.read(reading_end))
    try:
        await running.listens()
        yield running
    finally:
        if process.returncode is None:
            process.terminate()  # at once, its workers included
        await running.ended()
        await reading


def lay_out(folder: Path, upstream: str, port: int, tls_port: int, changed: Changes) -> Path:
    """Copy the configuration to where its places are this test's own; its main file. Without TLS `tls_port` is 0."""
    files = FILES | ({"tls.conf": "/etc/nginx/servers/tls.conf"} if tls_port else {})
    texts = {name: (SOURCE / name).read_text() for name in files}
    # A change that finds nothing to change would make a test of something else.
    assert all(before in "".join(texts.values()) for before in changed), changed
    listens = {"listen 8080": f"listen 127.0.0.1:{port}", "listen 8443": f"listen 127.0.0.1:{tls_port}"}
    places = {SOCKET: upstream, **places_of(folder), **listens}
    for name, mounted in files.items():
        text = texts[name]
        for before, after in changed.items():
            text = text.replace(before, after)
        path = Path(replaced(mounted, places))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(replaced(text, places))
    return Path(replaced(FILES["nginx.conf"], places))


def places_of(folder: Path) -> dict[str, str]:
    """The container's folders, and what stands for them here."""
    return {
        "/etc/nginx": f"{folder}/etc/nginx",
        "/etc/rillgate": f"{folder}/etc/rillgate",
        "/run/rillgate": f"{folder}/run",
        "/run/secrets": f"{folder}/secrets",
        "/tmp/": f"{folder}/tmp/",  # noqa: S108 (the container's own)
    }


def _output(group: int) -> tuple[IO[bytes], IO[bytes]]:
    """A pipe that it may open by its name, /dev/stdout: a container's belongs to the user whom it runs as."""
    reading_end, writing_end = os.pipe()
    if os.geteuid() == 0:
        os.fchown(writing_end, USER, group)
    return os.fdopen(writing_end, "wb", buffering=0), os.fdopen(reading_end, "rb", buffering=0)


def _user(group: int) -> dict[str, Any]:
    """As which user it runs: as in compose.yaml, where we may choose."""
    return {"user": USER, "group": group, "extra_groups": []} if os.geteuid() == 0 else {}


def _write_secrets(certificate: trustme.LeafCert, folder: Path) -> None:
    folder.mkdir()
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(folder / "tls_certificate"), append=number > 0)
    certificate.private_key_pem.write_to_path(str(folder / "tls_key"))
    if os.geteuid() == 0:
        for path in folder.iterdir():
            os.chown(path, USER, GROUP)
            path.chmod(0o440)
