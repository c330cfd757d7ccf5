"""What the services of compose.yaml run, run as processes: their commands, their environment, their mounted files.

Nothing but places is changed, and by one table (`Here.table`):

    in the containers               here
    /run/rillgate, /etc/…, /tmp/    folders of the test's own, with copies of what is mounted
    /data, /var/lib/rillgate        folders of the test's own
    /etc/prometheus, /etc/grafana   folders of the test's own, with copies of what is mounted
    dynamodb:8000, -port 8000       a free port on loopback
    ollama:11434                    a fake provider's port
    0.0.0.0, port 8000, 8080        loopback, a free port
    rillgate, python                the console script and the interpreter of this environment
    java -jar DynamoDBLocal.jar     the same version's jars from Maven, by the class that the jar names
    nginx                           the one installed here, with its configuration's path, which is the default there
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from tests.e2e.nginx import ROOT, SOCKET, Nginx, free_port, nginx, places_of, replaced
from tests.e2e.process import PATIENCE_S, Finished, Served, environment, run, serving
from tests.fakes.dynamodb_local import JARS

COMPOSE: Final = ROOT / "compose.yaml"
SERVER: Final = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"


def services(path: Path = COMPOSE) -> dict[str, dict[str, Any]]:
    """All services, anchors and merges resolved, variables at their defaults."""
    parsed: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(path.read_text())
    return parsed["services"]


@dataclass
class Here:
    """The places of one run of the services. `folder` is from `tests.e2e.nginx.shared_folder`."""

    folder: Path
    ollama_port: int
    dynamodb_port: int = field(default_factory=free_port)
    alone_port: int = field(default_factory=free_port)
    services: dict[str, dict[str, Any]] = field(default_factory=services)

    @property
    def table(self) -> dict[str, str]:
        """What stands for what."""
        return {
            **places_of(self.folder),
            "/data": f"{self.folder}/data",
            "/var/lib/rillgate": f"{self.folder}/lib",
            "/etc/prometheus": f"{self.folder}/prometheus",
            "/etc/grafana": f"{self.folder}/grafana",
            "dynamodb:8000": f"127.0.0.1:{self.dynamodb_port}",
            "ollama:11434": f"127.0.0.1:{self.ollama_port}",
            "0.0.0.0": "127.0.0.1",
        }

    def mount(self) -> None:
        """Put copies of all mounted files where they are mounted, and make the folders of the volumes."""
        for name in ("data", "lib"):
            (self.folder / name).mkdir()
        for service in self.services.values():
            for volume in service.get("volumes", ()):
                source, target = volume.split(":")[:2]
                if source.startswith("./") and "nginx" not in target:  # `nginx` sees to its own
                    path = Path(replaced(target, self.table))
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(replaced((ROOT / source).read_text(), self.table))

    def command(self, service: str) -> list[str]:
        """The words after the image's entry point."""
        return [replaced(word, self.table) for word in self.services[service]["command"]]

    def environment(self, service: str) -> dict[str, str]:
        """The variables of a service."""
        given: Mapping[str, Any] = self.services[service].get("environment", {})
        found = {name: replaced(str(value), self.table) for name, value in given.items()}
        if "RILLGATE_SERVER__PORT" in found:
            found["RILLGATE_SERVER__PORT"] = str(self.alone_port)
        return found

    # What is run

    @asynccontextmanager
    async def dynamodb(self) -> AsyncIterator[None]:
        """The service, from the moment at which its health check passes."""
        classes = {"-jar": "-cp", "DynamoDBLocal.jar": f"{JARS}/*", "8000": str(self.dynamodb_port)}
        words = [classes.get(word, word) for word in self.command("dynamodb")]
        words = [f"-Djava.library.path={JARS}" if "DynamoDBLocal_lib" in word else word for word in words]
        words.insert(words.index(f"{JARS}/*") + 1, SERVER)
        process = await asyncio.create_subprocess_exec(
            "java", *words, cwd=self.folder, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await self._passes("dynamodb"):
                    assert process.returncode is None, "DynamoDB Local ended"
                    await asyncio.sleep(0.05)
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def once(self, service: str) -> Finished:
        """Run a service that ends by itself."""
        return await run(*self.command(service), cwd=self.folder, **self.environment(service))

    async def inside(self, service: str, *arguments: str) -> Finished:
        """`docker compose exec SERVICE rillgate …`."""
        return await run(*arguments, cwd=self.folder, **self.environment(service))

    @asynccontextmanager
    async def gateway(self, service: str = "gateway") -> AsyncIterator[Served]:
        """A service of the gateway's image."""
        word, *arguments = self.command(service)
        assert word == "serve"
        async with serving(*arguments, port=None, cwd=self.folder, **self.environment(service)) as served:
            yield served

    @asynccontextmanager
    async def nginx(self) -> AsyncIterator[Nginx]:
        """The service, with the configuration that is mounted, in front of the gateway's socket."""
        upstream = replaced(SOCKET, self.table)
        async with nginx(upstream, self.folder, command=self.command("nginx")) as running:
            yield running

    async def healthy(self, service: str, port: int | None = None) -> bool:
        """Whether a service's health check passes; `port` stands for the one that it names."""
        return await self._passes(service, port)

    async def _passes(self, service: str, port: int | None = None) -> bool:
        kind, program, *words = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        there = {"8080": str(port), "/8000": f"/{self.dynamodb_port}"}
        words = [replaced(word, there) for word in words]
        process = await asyncio.create_subprocess_exec(
            sys.executable if program == "python" else program,
            *words,
            cwd=self.folder,
            env=environment(self.folder, **self.environment(service)),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
        )
        await process.communicate()  # each check has a timeout of its own
        return process.returncode == 0
