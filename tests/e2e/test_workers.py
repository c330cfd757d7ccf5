"""`rillgate serve --workers 2`: two processes behind one address and on one ledger, and the one that keeps them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rillgate.app.embedded import EmbeddedModel
from rillgate.app.settings.types import LimitSettings
from rillgate.ledger.items import holds
from tests.e2e.ledgers import LedgerInTest, sqlite_ledger
from tests.e2e.process import PATIENCE_S, Served, command, environment, run, serving, variables_for
from tests.fakes import clients
from tests.fakes.clients import RawClient, Truncated, collect
from tests.fakes.gateway import CHAT
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, Finish, Role, UsageFrame, Wait

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc"),
]

STREAMS: Final = 200
SHARE_MIN: Final = 0.45  # of all streams, that either of two workers has
MODEL: Final = "gpt-4.1-mini"
MESSAGES: Final = [{"role": "user", "content": "hi"}]
PROMPT_TOKENS: Final = 8  # of MESSAGES, as the provider counts them and the gateway estimates them
CAP: Final = 64
TOTAL_S: Final = 15
GRACE_S: Final = 1


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop of this process is not the subject."""
    return "asyncio", {"use_uvloop": True}


def workers_of(served: Served) -> list[int]:
    """The processes that serve; the oldest first."""
    pid = served.process.pid
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def gone(pids: list[int]) -> None:
    """Wait until none of these processes is left."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), PATIENCE_S)
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)


async def scrape(served: Served) -> dict[str, float]:
    """Every sample without labels, and the sums over the labels of those that have some; but no buckets."""
    status, body = await served.get("/metrics")
    assert status == 200
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


async def both_ready(served: Served) -> list[int]:
    """Wait until both workers serve. Each question is a round trip, so this turns no faster than the gateway."""
    await served.ready()
    async with asyncio.timeout(PATIENCE_S):
        while (await scrape(served))["llm_workers"] != 2:
            pass
    return workers_of(served)


class Gate:
    """An answer that stops after its first piece of text until it is opened."""

    def __init__(self, fake: FakeProvider) -> None:
        self._open = asyncio.Event()
        fake.script = [
            *(Role(), Chunk(" a"), Wait(self._open), Chunk(" a")),
            *(Finish("stop"), UsageFrame(PROMPT_TOKENS, 2), Done()),
        ]

    def open(self) -> None:
        """From now on every stream goes on."""
        self._open.set()


async def begin(client: RawClient, key: str | None = None, **fields: Any) -> str:
    """Ask for a stream and read its first piece of text; its id."""
    body = {"model": MODEL, "messages": MESSAGES, "stream": True, "max_tokens": CAP, **fields}
    await client.request("POST", CHAT, json=body, headers={"authorization": f"Bearer {key}"} if key else {})
    assert await client.response() == 200
    while '"content":" a"' not in (await client.next_frame() or ""):
        pass
    return client.headers["x-request-id"]


async def finished(client: RawClient) -> bool:
    """Read a stream to its end: whether that was a proper one."""
    try:
        return collect(await client.read_stream()).done
    except (OSError, Truncated):
        return False


@asynccontextmanager
async def streams(served: Served, count: int, key: str | None = None) -> AsyncIterator[list[RawClient]]:
    """So many streams that have begun, all asked for at once."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(await served.client()) for _ in range(count)]
        await asyncio.gather(*(begin(client, key) for client in opened))
        yield opened


async def expired(ledger: LedgerInTest, scope: str) -> None:
    """Wait until every hold has expired and its grace is over.

    The one wait of this test, and in real time: whoever captures is a process with a clock of its own.
    """
    last = max((hold.expires_s for _, _, hold in holds(ledger.item(scope))), default=0)
    await asyncio.sleep(max(0.0, last + GRACE_S + 1 - time.time()))


@pytest.mark.slow
async def test_workers_of_which_one_is_killed_lose_its_streams_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others end properly, what was counted stays counted, and each stream that died is one hold over at most."""
    monkeypatch.setattr(clients, "TIMEOUT_S", PATIENCE_S)
    with sqlite_ledger() as ledger:
        key, scope = await ledger.new_key("tokens/total=1000000")
        async with AsyncExitStack() as stack:
            fake = await stack.enter_async_context(FakeProvider())
            gate = Gate(fake)
            served = await stack.enter_async_context(
                serving(
                    *("--workers", "2"),
                    **(ledger.variables | variables_for(fake)),
                    RILLGATE_TIMEOUTS__TOTAL_S=str(TOTAL_S),
                    RILLGATE_LEDGER__HOLD_GRACE_S=str(GRACE_S),
                )
            )
            killed, _ = await both_ready(served)
            opened = await stack.enter_async_context(streams(served, STREAMS, key))
            before = await scrape(served)
            assert (before["llm_active_streams"], before["llm_workers"]) == (STREAMS, 2)
            os.kill(killed, signal.SIGKILL)
            await served.says(rf"^Worker \d \(pid {killed}\) was ended by SIGKILL; another takes its place in 0.5 s\.$")
            one = await scrape(served)
            died = STREAMS - int(one["llm_active_streams"])
            gate.open()
            ends = await asyncio.gather(*map(finished, opened))
            assert ends.count(False) == died
            print(f"{died} of {STREAMS} streams died with their worker")  # noqa: T201
            assert SHARE_MIN * STREAMS <= died <= (1 - SHARE_MIN) * STREAMS
            await both_ready(served)
            after = await scrape(served)
            assert after["llm_streams_total"] == STREAMS - died
            assert after["llm_tokens_total"] == (STREAMS - died) * (PROMPT_TOKENS + 2)
            assert after["llm_time_to_first_token_seconds_count"] == STREAMS
            assert after["llm_active_streams"] == 0
            assert all(
                after[name] >= one[name] >= before[name] for name in before if name.endswith(("_total", "_count"))
            )

            assert ledger.live(scope) == died
            await expired(ledger, scope)
            async with asyncio.timeout(PATIENCE_S):
                more = 0
                while ledger.live(scope):
                    async with await served.client() as client:
                        await begin(client, key)
                        assert await finished(client)
                    more += 1
            served.signal(signal.SIGTERM)
            assert await served.ended() == 0
        spent = (STREAMS - died + more) * (PROMPT_TOKENS + 2) + died * (PROMPT_TOKENS + 1)
        counted = int(ledger.item(scope)["tT"])
        print(f"{spent} spent, {counted} counted: {(counted - spent) / died:.0f} over for each")  # noqa: T201
        assert spent <= counted <= spent + died * CAP
        assert (await ledger.command("audit"))["explained"]


async def test_workers_cancel_a_stream_wherever_it_runs() -> None:
    """Whichever worker is asked, 200 and the end in-band; by the client's own id too. What runs nowhere is 404."""
    with sqlite_ledger() as ledger:
        async with (
            FakeProvider() as fake,
            serving("--workers", "2", **ledger.variables, **variables_for(fake)) as served,
        ):
            Gate(fake)
            await both_ready(served)
            async with streams(served, 8) as opened:
                for client in opened:
                    request_id = client.headers["x-request-id"]
                    status, _ = await served.post(f"/v1/requests/{request_id}/cancel", {})
                    assert status == 200
                    answer = collect(await client.read_stream())
                    assert answer.error is not None
                    assert (answer.error["code"], answer.done) == ("cancelled", False)
                    assert (await served.post(f"/v1/requests/{request_id}/cancel", {}))[0] == 404
            async with await served.client() as client:
                await client.request(
                    "POST",
                    CHAT,
                    json={"model": MODEL, "messages": MESSAGES, "stream": True},
                    headers={"x-client-request-id": "mine"},
                )
                assert await client.response() == 200
                assert (await served.post("/v1/requests/mine/cancel", {}))[0] == 200
            found = await scrape(served)
            assert found["llm_streams_total"] == 9
            assert found["llm_active_streams_max"] == 2 * LimitSettings().streams_max, "of both together"
            assert 0 <= found["llm_loop_lag_seconds"] < PATIENCE_S, "the worse one's"


async def test_workers_on_sigterm_all_drain_and_exit_0() -> None:
    """Streams in both workers go on to their proper ends; nothing new is taken; nobody is replaced."""
    with sqlite_ledger() as ledger:
        async with (
            FakeProvider() as fake,
            serving("--workers", "2", **ledger.variables, **variables_for(fake)) as served,
        ):
            gate = Gate(fake)
            pids = await both_ready(served)
            async with streams(served, 10) as opened:
                served.signal(signal.SIGTERM)
                for number in (1, 2):
                    await served.says(rf"^Worker {number}: Shutting down: [1-9]\d* running stream\(s\)")
                with pytest.raises(ConnectionRefusedError):
                    await served.client()
                gate.open()
                assert all(await asyncio.gather(*map(finished, opened)))
            assert await served.ended() == 0
            await gone(pids)
            assert not any("takes its place" in line for line in served.out)


async def test_workers_on_a_second_signal_end_their_streams_in_band() -> None:
    """As with one process, and exit code 0. A service manager's signal to each process is no second one."""
    with sqlite_ledger() as ledger:
        async with (
            FakeProvider() as fake,
            serving("--workers", "2", **ledger.variables, **variables_for(fake)) as served,
        ):
            Gate(fake)
            pids = await both_ready(served)
            async with streams(served, 4) as opened:
                for pid in [*pids, served.process.pid]:
                    os.kill(pid, signal.SIGTERM)
                for number in (1, 2):
                    await served.says(rf"^Worker {number}: Shutting down: [1-9]\d* running stream\(s\)")
                served.signal(signal.SIGTERM)
                for client in opened:
                    answer = collect(await client.read_stream())
                    assert answer.error is not None
                    assert answer.error["code"] == "shutting_down"
            assert await served.ended() == 0


async def test_workers_whose_supervisor_is_killed_end_too() -> None:
    """They drain: their streams end properly, then nothing is left, and the port is free."""
    with sqlite_ledger() as ledger:
        async with (
            FakeProvider() as fake,
            serving("--workers", "2", **ledger.variables, **variables_for(fake)) as served,
        ):
            gate = Gate(fake)
            pids = await both_ready(served)
            async with streams(served, 6) as opened:
                served.signal(signal.SIGKILL)
                await served.process.wait()
                await served.logs('"event":"supervisor_gone"')
                with pytest.raises(ConnectionRefusedError):
                    await served.client()
                gate.open()
                assert all(await asyncio.gather(*map(finished, opened)))
            await gone(pids)


async def test_workers_of_which_one_is_told_to_end_hand_over_without_a_word_lost() -> None:
    """A worker that got a SIGTERM of its own drains, is replaced, and what it had counted stays."""
    with sqlite_ledger() as ledger:
        async with (
            FakeProvider() as fake,
            serving("--workers", "2", **ledger.variables, **variables_for(fake)) as served,
        ):
            gate = Gate(fake)
            first, _ = await both_ready(served)
            async with streams(served, 6) as opened:
                os.kill(first, signal.SIGTERM)
                await served.says(r"^Worker \d: Shutting down: [1-9]\d* running stream\(s\)")
                async with streams(served, 3) as later:  # the other one takes them
                    gate.open()
                    assert all(await asyncio.gather(*map(finished, [*opened, *later])))
            await served.says(rf"^Worker \d \(pid {first}\) ended with exit code 0; another takes its place")
            assert first not in await both_ready(served)
            assert (await scrape(served))["llm_streams_total"] == 9


async def over_unix(path: Path, target: str) -> bytes:
    """All that is answered to one GET over a unix socket."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_workers_serve_on_a_unix_socket(tmp_path: Path) -> None:
    """The same address for all; its file goes with the supervisor, and only then."""
    path = tmp_path / "gateway.sock"
    with sqlite_ledger() as ledger:
        async with FakeProvider() as fake:
            variables = ledger.variables | variables_for(fake) | {"RILLGATE_SERVER__UNIX_SOCKET": str(path)}
            flags = ("--workers", "2", "--allow-unauthenticated")
            async with serving(*flags, port=None, **variables) as served:
                async with asyncio.timeout(PATIENCE_S):
                    while b"llm_workers 2.0" not in await over_unix(path, "/metrics"):
                        pass
                for _ in range(4):
                    assert b" 200 OK\r\n" in await over_unix(path, "/v1/models")
                killed = workers_of(served)[0]
                os.kill(killed, signal.SIGKILL)
                await served.says(rf"\(pid {killed}\) was ended by SIGKILL")
                assert path.exists()
                served.signal(signal.SIGTERM)
                assert await served.ended() == 0
            assert not path.exists()


# As a service manager does it: descriptor 3, and variables that name the process that they are for.
AS_SERVICE_MANAGER: Final = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)


async def test_workers_on_a_socket_that_was_passed_on_require_keys_as_their_supervisor_does(tmp_path: Path) -> None:
    """They see no such socket themselves, and by their own settings they would be on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", AS_SERVICE_MANAGER, str(sock.fileno())),
            *command("serve", "--workers", "2"),
            pass_fds=[sock.fileno()],
            cwd=tmp_path,
            env=environment(tmp_path, LISTEN_FDS="1", OPENAI_BASE_URL="http://127.0.0.1:9/v1"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            for _ in range(2):
                async with await RawClient.open(sock.getsockname()[1]) as client:
                    await client.request("GET", "/v1/models")
                    assert await client.response() == 401
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_workers_that_cannot_start_end_everything_with_their_reason(tmp_path: Path) -> None:
    """What they say on standard error, a line about each, their exit code, and no second try."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any(word.endswith('start.py') for word in sys.orig_argv):\n"
        "    os.write(2, b'why not\\n')\n"
        "    os._exit(3)\n"
    )
    variables: dict[str, Any] = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "PYTHONPATH": str(tmp_path)}
    done = await run("serve", "--port", "0", "--workers", "2", cwd=tmp_path, **variables)
    assert done.code == 3
    assert done.err == "why not\n" * 2
    first, second = done.out.splitlines()
    assert re.fullmatch(r"Worker \d \(pid \d+\) ended with exit code 3 before it was ready; the gateway ends\.", first)
    assert re.fullmatch(r"Worker \d \(pid \d+\) ended with exit code 3\.", second)


async def test_workers_with_a_ledger_in_memory_are_refused() -> None:
    """Each would have books of its own: one line that says so, and exit code 2."""
    done = await run("serve", "--port", "0", "--workers", "2", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"rillgate: --workers: a ledger in memory .*\n", done.err)


@pytest.mark.embedded
async def test_workers_share_one_embedded_model(tmp_path: Path) -> None:
    """One process of it beside two workers, both of which reach it; when the gateway ends it ends."""
    if not EmbeddedModel.available():
        pytest.skip("the wheels of the embedded model are not installed")
    async with serving("--workers", "2", cwd=tmp_path) as served:
        await served.says("^The embedded model smollm2-135m is ready")
        pids = await both_ready(served)
        assert len(pids) == 3
        for _ in range(2):  # the least busy is the one whose turn it is
            status, body = await served.post(CHAT, {"messages": MESSAGES, "max_tokens": 4})
            assert (status, b"choices" in body) == (200, True)
        assert (await scrape(served))["llm_streams_total"] == 2
        served.signal(signal.SIGTERM)
        assert await served.ended() == 0
        await gone(pids)
    assert sum("embedded model" in line for line in served.out) == 1
