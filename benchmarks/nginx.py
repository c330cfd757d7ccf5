"""What nginx, set up as in infra/container/nginx, does to streams: first tokens, closed tabs, clients that stall."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.nginx import PROGRAM, Changes, lay_out, shared_folder
from tests.e2e.process import serving, variables_for
from tests.e2e.proxied import TOKENS, WAYS, proxied, stands_still
from tests.fakes.clients import open_chat
from tests.fakes.provider import FakeProvider
from tests.fakes.script import flood

from benchmarks import cancel, first_token
from benchmarks.client import CONTENT, Stream
from benchmarks.processes import (
    START_S,
    BenchmarkError,
    Child,
    Provider,
    clean_environment,
    free_port,
    get,
    provider,
    server,
)
from benchmarks.report import Beside, Row, spread_of

LISTENS = "Rillgate listens on "
ALL_MB = 32
FRAME_BYTES = 200
STALLED_LIMIT_MB = 1.0
BEHIND = {"tcp": "behind nginx over TCP", "unix": "behind nginx over a unix socket"}
NOTHING_SET: Changes = {
    " sndbuf=16k": "",
    "proxy_buffering off;": "proxy_ignore_headers X-Accel-Buffering;",  # as though the gateway did not say it either
    "proxy_max_temp_file_size 0;": "",
}
STALLED: dict[str, tuple[str, str, Changes]] = {
    "tcp": (BEHIND["tcp"], "tcp", {}),
    "unix": (BEHIND["unix"], "unix", {}),
    "no_sndbuf": ("the same without `sndbuf`", "unix", {" sndbuf=16k": ""}),
    "buffering": ("the same with nginx's own defaults", "unix", NOTHING_SET),
}
FIRST_TOKEN = "nginx.first_token"
CANCEL = "nginx.cancel"
SENT = "nginx.stalled"
WHAT = {
    **{f"{FIRST_TOKEN}.{way}": f"Time to first token {words}" for way, words in BEHIND.items()},
    **{
        f"{CANCEL}.{state}.{way}": f"Client's close to the provider's {words}, {cancel.STATES[state][0]}"
        for way, words in BEHIND.items()
        for state in ("midstream", "blocked")
    },
    f"{SENT}.direct": "Sent by the provider for a client that reads nothing, at the gateway alone",
    **{
        f"{SENT}.{name}": f"Sent by the provider for a client that reads nothing, {words}"
        for name, (words, _, _) in STALLED.items()
    },
}


@dataclass(frozen=True)
class Place:
    """Somewhere to ask: the gateway itself, or nginx in front of it."""

    port: int


def rows(first_tokens: int, cancels: int) -> Iterator[Row]:
    """Delays and cancellations over TCP and a unix socket, and what is sent for clients that stall."""
    if PROGRAM is None:
        yield from (Row(name, what, None, "", note="nginx is not installed") for name, what in WHAT.items())
        return
    for way in WAYS:
        with (
            provider() as fake,
            shared_folder() as folder,
            _gateway(way, fake, folder) as upstream,
            _nginx(upstream, folder) as behind,
            _gateway("tcp", fake, folder) as beside,
        ):
            direct = Place(int(beside.rpartition(":")[2]))
            _wait_ready(behind, direct)
            yield _first_token(way, behind, direct, first_tokens)
            yield from _cancels(way, behind, fake, cancels)
    yield from _stalled()


def _first_token(way: str, behind: Place, direct: Place, times: int) -> Row:
    """One stream at a time on warm connections, directly and through nginx in turn."""
    through, beside = Stream(behind.port), Stream(direct.port)
    for _ in range(first_token.WARM_UP):
        first_token.once(through), first_token.once(beside)
    samples = [(first_token.once(through), first_token.once(beside)) for _ in range(times)]
    through.close(), beside.close()
    median, spread = spread_of([each[0] for each in samples])
    return Row(
        id=f"{FIRST_TOKEN}.{way}",
        what=WHAT[f"{FIRST_TOKEN}.{way}"],
        value=median,
        unit="ms",
        claim="nothing that people notice",
        spread=spread,
        beside=Beside("the gateway alone", spread_of([each[1] for each in samples])[0], ratio=False),
        samples=times,
    )


def _cancels(way: str, behind: Place, fake: Provider, times: int) -> Iterator[Row]:
    """As `cancel` has them, of the states in which a provider works: in mid-stream, and while a send is blocked."""
    states: dict[str, Callable[[], tuple[Stream, int]]] = {
        "midstream": lambda: _in_midstream(behind, fake),
        "blocked": lambda: _while_blocked(behind, fake),
    }
    for state, begin in states.items():
        _once(fake, begin)  # not counted: the first of its kind
        median, spread = spread_of([_once(fake, begin) for _ in range(times)])
        yield Row(
            id=f"{CANCEL}.{state}.{way}",
            what=WHAT[f"{CANCEL}.{state}.{way}"],
            value=median,
            unit="ms",
            claim=cancel.CLAIM,
            spread=spread,
            limit=cancel.LIMIT_MS,
            samples=times,
        )


def _once(fake: Provider, begin: Callable[[], tuple[Stream, int]]) -> float:
    client, number = begin()
    went_at = client.close()
    closed_at: float = fake.wait("closed", number=number)["at"]
    return (closed_at - went_at) * 1000


def _in_midstream(behind: Place, fake: Provider) -> tuple[Stream, int]:
    client = Stream(behind.port)
    client.ask("paced")
    client.read_until(CONTENT, times=3)
    return client, fake.wait("arrived")["number"]


def _while_blocked(behind: Place, fake: Provider) -> tuple[Stream, int]:
    client = Stream(behind.port, receive_bytes=cancel.SMALL_WINDOW_BYTES)
    client.ask("flood")
    number: int = fake.wait("arrived")["number"]
    fake.wait("still", number=number)
    return client, number


def _stalled() -> Iterator[Row]:
    """What a provider can send for a client that reads nothing, from its own socket to the client's."""
    yield _stalled_row("direct", asyncio.run(_swallowed_directly()))
    for name, (_, way, changed) in STALLED.items():
        yield _stalled_row(name, asyncio.run(_swallowed(way, changed)), bounded=not changed)


def _stalled_row(name: str, swallowed: tuple[int, bool], *, bounded: bool = True) -> Row:
    sent, over = swallowed
    return Row(
        id=f"{SENT}.{name}",
        what=WHAT[f"{SENT}.{name}"],
        value=sent / 1e6,
        unit="MB",
        claim=f"less than {STALLED_LIMIT_MB:g} MB" if bounded else "",
        limit=STALLED_LIMIT_MB if bounded else None,
        note="all there was" if over else "",
    )


async def _swallowed(way: str, changed: Changes) -> tuple[int, bool]:
    """Bytes, and whether they were all."""
    async with proxied(way, changed=changed) as through:
        through.fake.script = flood(ALL_MB, frame_bytes=FRAME_BYTES)
        async with await through.chat() as client:
            await client.response()
            exchange = await through.fake.request()
            sent = await stands_still(exchange)
            return sent, exchange.outcome == "finished"


async def _swallowed_directly() -> tuple[int, bool]:
    async with (
        FakeProvider() as fake,
        serving(RILLGATE_LIMITS__OUTPUT_TOKENS_MAX=str(TOKENS), **variables_for(fake)) as served,
    ):
        fake.script = flood(ALL_MB, frame_bytes=FRAME_BYTES)
        async with await open_chat(served.port, max_tokens=TOKENS) as client:
            await client.response()
            exchange = await fake.request()
            return await stands_still(exchange), exchange.outcome == "finished"


def _wait_ready(*places: Place) -> None:
    """Until every gateway has its encoder, whose loading would be in the first figures."""
    deadline = time.monotonic() + START_S
    while any(get(place.port, "/readyz")[0] != 200 for place in places):
        if time.monotonic() > deadline:
            raise BenchmarkError("a gateway did not become ready")
        time.sleep(0.01)


@contextmanager
def _gateway(way: str, fake: Provider, folder: Path) -> Iterator[str]:
    """A gateway that believes whoever asks; where nginx finds it."""
    variables = {"RILLGATE_PROVIDERS__FAKE__KIND": "openai", "RILLGATE_PROVIDERS__FAKE__BASE_URL": fake.base_url}
    words = ["serve", "--allow-unauthenticated"]
    if way == "unix":
        variables["RILLGATE_SERVER__UNIX_SOCKET"] = str(folder / "run" / "gateway.sock")
    else:
        words += ["--port", "0"]
    variables["RILLGATE_LEDGER__URL"] = "memory:"
    command = [sys.executable, "-m", "rillgate.cli.main", *words]
    child = Child(command, env=clean_environment(variables), cwd=folder)
    try:
        while not (line := child.line(START_S)[1]).startswith(LISTENS):
            pass
        yield line.removeprefix(LISTENS).removeprefix("http://")
    finally:
        child.stop()


@contextmanager
def _nginx(upstream: str, folder: Path) -> Iterator[Place]:
    """nginx as compose.yaml runs it, but for its user: one for both keeps the benchmark free of groups."""
    port = free_port()
    configuration = lay_out(folder, upstream, port, 0, {})
    user = " user root;" if os.geteuid() == 0 else ""
    with server([str(PROGRAM), "-g", f"daemon off;{user}", "-c", str(configuration)], port):
        yield Place(port)
