"""`rillgate doctor` as its users run it: at a healthy gateway, behind a proxy that buffers, and at a function.

What it measures is real time, so here the provider takes some: the one place where a script of a test sleeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from rillgate.cli.doctor import LEFT_TOKENS
from tests.e2e.local_lambda import lambda_local
from tests.e2e.process import Served, run, serving, variables_for
from tests.fakes.exchange import Exchange
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, Finish, Role, Sleep, Stall, UsageFrame

pytestmark = pytest.mark.anyio

PIECES: Final = 40
ORIGIN: Final = "https://app.example"


@pytest.fixture
def anyio_backend() -> str:
    """The loop of this process is not the subject."""
    return "asyncio"


async def paced(exchange: Exchange) -> None:
    """Ten milliseconds for each piece; and the answer that doctor leaves never ends by itself."""
    pieces = [step for _ in range(PIECES) for step in (Chunk(" 7"), Sleep(0.01))]
    ending = [Stall()] if exchange.json["max_tokens"] == LEFT_TOKENS else [Finish("length"), UsageFrame(), Done()]
    for step in [Role(), *pieces, *ending]:
        await step.run(exchange)
    await exchange.end_body()


@contextlib.asynccontextmanager
async def gateway(fake: FakeProvider, cwd: Path, **variables: str) -> AsyncIterator[tuple[Served, str]]:
    """`rillgate serve` with keys, and one of them."""
    created = await run("keys", "create", "--name", "test", "--limit", "tokens/day=100000", "--json", cwd=cwd)
    assert created.code == 0, created.err
    more: dict[str, Any] = {"RILLGATE_AUTH__REQUIRED": "true", "RILLGATE_MODEL": "m", **variables}
    async with serving(cwd=cwd, **variables_for(fake), **more) as served:
        await served.ready()
        yield served, msgspec.json.decode(created.out)["key"]


async def examine(url: str, key: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Its exit code and what it found: check → finding."""
    ended = await run("doctor", "--url", url, *arguments, "--json", RILLGATE_KEY=key)
    assert "tokens of output" in ended.err
    assert key not in ended.out + ended.err
    report = msgspec.json.decode(ended.out)
    assert report["ok"] is (ended.code == 0)
    return ended.code, {finding["check"]: finding for finding in report["findings"]}


def verdicts(findings: dict[str, Any]) -> dict[str, str]:
    """Check → verdict."""
    return {check: finding["verdict"] for check, finding in findings.items()}


async def test_doctor_of_a_healthy_gateway_finds_nothing_bad(tmp_path: Path) -> None:
    """Each piece by itself, and the connection to the provider closes when doctor leaves; nothing else was spent."""
    origins = {"RILLGATE_SERVER__CORS_ORIGINS": f'["{ORIGIN}"]'}
    async with FakeProvider() as fake, gateway(fake, tmp_path, **origins) as (served, key):
        fake.script = paced
        code, findings = await examine(served.url, key, "--origin", ORIGIN)
        assert code == 0, findings
        assert set(verdicts(findings).values()) == {"ok"}
        assert findings["pacing"]["measured"]["pieces"] == PIECES
        assert "not" not in findings["keys"]["text"]
        await fake.closed()
        assert len(fake.chats) == 2


async def test_doctor_of_a_model_that_is_soon_done_does_not_praise_the_disconnect(tmp_path: Path) -> None:
    """Its answer would have been over anyway, so that it had stopped proves nothing."""
    async with FakeProvider() as fake, gateway(fake, tmp_path) as (served, key):
        fake.script = [Role(), *[step for _ in range(PIECES) for step in (Chunk(" 7"), Sleep(0.01))], Finish(), Done()]
        code, findings = await examine(served.url, key)
        assert code == 0, findings
        assert verdicts(findings)["disconnect"] == "note"


async def test_doctor_without_a_valid_key_spends_nothing(tmp_path: Path) -> None:
    """Its way in is closed: exit code 1, and no provider was asked. A page that is not listed is bad, too."""
    async with FakeProvider() as fake, gateway(fake, tmp_path) as (served, _):
        code, findings = await examine(served.url, "rill_none", "--origin", ORIGIN)
        assert code == 1
        assert verdicts(findings)["models"] == "bad"
        assert verdicts(findings)["cors"] == "bad"
        assert "pacing" not in findings
        assert fake.chats == []


async def test_doctor_behind_a_buffering_proxy_says_that_it_buffers(tmp_path: Path) -> None:
    """All pieces at once, at the end: flagged, with what may be the cause."""
    async with FakeProvider() as fake, gateway(fake, tmp_path) as (served, key), buffering(served.port) as port:
        fake.script = paced
        code, findings = await examine(f"http://127.0.0.1:{port}", key)
        assert code == 1
        assert verdicts(findings)["pacing"] == "bad"
        assert "buffers" in findings["pacing"]["text"]
        assert findings["pacing"]["measured"]["pieces"] == PIECES
        assert verdicts(findings)["disconnect"] == "skipped"
        assert len(fake.chats) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="lambda-local is looked at in /proc")
async def test_doctor_at_a_function_says_that_a_closed_tab_costs(tmp_path: Path) -> None:
    """The answer runs on, as Lambda has it: a note and no fault. Then doctor's own cancel ends it."""
    async with FakeProvider() as fake, lambda_local(fake, tmp_path, RILLGATE_MODEL="m") as served:
        fake.script = paced
        code, findings = await examine(served.url, served.key)
        assert code == 0, findings
        assert verdicts(findings)["pacing"] == "ok"
        assert verdicts(findings)["disconnect"] == "note"
        assert "still ran" in findings["disconnect"]["text"]
        assert "had stopped it after" in findings["cancel"]["text"]
        await fake.closed(len(fake.chats) - 1)  # each environment keeps its own connection, those before may be idle


@contextlib.asynccontextmanager
async def buffering(port: int) -> AsyncIterator[int]:
    """A proxy that reads each answer whole before it passes any of it on; the port where it listens."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n")[:-2] if not line.lower().startswith(b"connection:")]
        lengths = [int(line.partition(b":")[2]) for line in lines if line.lower().startswith(b"content-length:")]
        body = await reader.readexactly(sum(lengths))
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", port)
        upstream.write(b"\r\n".join([*lines, b"Connection: close", b"", body]))
        writer.write(await upstream_reader.read())
        for end in (upstream, writer):
            end.close()
            with contextlib.suppress(ConnectionError):
                await end.wait_closed()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
