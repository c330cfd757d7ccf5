"""A gateway that is killed a hundred times in the middle of its streams: nothing that was spent is forgotten.

Two lanes start one gateway after the other on one ledger, give each some streams at once, and kill it at a moment that
is drawn beforehand: when so many requests were sent, have reached the provider, when so many chunks have come to the
clients, or so many streams have ended and are just being settled. What the dead ones held is captured by those that
come later, most of it after the last kill.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from rillgate.ledger.admin_records import Resolved, Span, records_of, resolved
from rillgate.ledger.items import holds
from rillgate.pipeline.admit import LIFETIME_SLACK_S
from tests.e2e.ledgers import LEDGERS, LedgerInTest, OpenLedger
from tests.e2e.process import Served, serving, variables_for
from tests.fakes import clients
from tests.fakes.clients import RawClient, Truncated
from tests.fakes.exchange import Exchange
from tests.fakes.gateway import CHAT
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Repeat, chat

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KILLS: Final = 100
LANES: Final = 2
STREAMS: Final = 6  # at once, in each gateway
CAP_MIN, CAP_MAX = 64, 320
PROMPT_TOKENS: Final = 8  # of MESSAGES, as the provider counts them and the gateway estimates them
MESSAGES: Final = [{"role": "user", "content": "hi"}]
MODEL: Final = "gpt-4.1-mini"  # its encoding is known, so both count the same
LIMIT: Final = 100_000_000  # far away: every hold is for the whole cap

TOTAL_S: Final = 5
GRACE_S: Final = 2
REQUESTS_MAX: Final = KILLS * STREAMS  # to capture what is left; it takes far fewer
PATIENCE_S: Final = 120.0  # a guard against hanging tests, never what a test waits for


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop of this process is not the subject."""
    return "asyncio", {"use_uvloop": True}


@dataclass
class Stream:
    """One request of a client's.

    Attributes:
        name: goes through to the provider in the field `user`.
        cap: asked for; `length` is what the provider will make of it.
        hold_id: once headers have come.
        ended: the client has read its proper end.
    """

    name: str
    cap: int
    length: int
    hold_id: str | None = None
    ended: bool = False

    @property
    def held(self) -> int:
        """Tokens."""
        return PROMPT_TOKENS + self.cap


@dataclass
class Life:
    """One gateway's, up to the moment that was drawn for its end.

    Attributes:
        kind, number: the moment: the so-manieth "sent", "arrived", "chunk" or "ended".
        seen: what has happened so far.
    """

    streams: list[Stream]
    kind: str
    number: int
    gateway: Served | None = None
    killed: bool = False
    seen: Counter[str] = field(default_factory=Counter)

    def saw(self, kind: str) -> None:
        """One more of a kind; at the moment that was drawn the gateway is killed, before anything else happens here."""
        self.seen[kind] += 1
        if kind == self.kind and self.seen[kind] == self.number:
            self.kill()

    def kill(self) -> None:
        """Now, unless it was done."""
        if self.gateway is not None and not self.killed:
            self.killed = True
            self.gateway.signal(signal.SIGKILL)


def lives(seed: str) -> list[Life]:
    """What each gateway will see; the same in each run."""
    drawn = random.Random(seed)
    found = []
    for number in range(KILLS):
        streams = []
        for each in range(STREAMS):
            cap = drawn.randint(CAP_MIN, CAP_MAX)
            streams.append(Stream(f"{number}-{each}", cap, drawn.randint(1, cap)))
        chunks = sum(stream.length for stream in streams)
        kind = drawn.choices(("sent", "arrived", "chunk", "ended"), weights=(1, 1, 6, 2))[0]
        at = drawn.randint(1, chunks if kind == "chunk" else STREAMS)
        found.append(Life(streams, kind, at))
    return found


class Kills:
    """The story of one ledger."""

    def __init__(self, ledger: LedgerInTest, fake: FakeProvider, key: str) -> None:
        self.lives = lives(ledger.url.partition(":")[0])
        self._next: Iterator[Life] = iter(self.lives)
        self._life_of = {stream.name: life for life in self.lives for stream in life.streams}
        self._stream_of = {stream.name: stream for life in self.lives for stream in life.streams}
        self._fake = fake
        self._key = key
        self._variables = {
            **ledger.variables,
            **variables_for(fake),
            "RILLGATE_TIMEOUTS__TOTAL_S": str(TOTAL_S),
            "RILLGATE_LEDGER__HOLD_GRACE_S": str(GRACE_S),
        }
        fake.script = self._answer

    async def run(self) -> None:
        """All kills."""
        async with asyncio.TaskGroup() as lanes:
            for _ in range(LANES):
                lanes.create_task(self._lane())

    def gateway(self) -> Any:
        """One more gateway, for a block."""
        return serving(**self._variables)

    async def ask(self, gateway: Served, stream: Stream, life: Life | None = None) -> None:
        """One stream, read as far as it comes."""
        body = {"model": MODEL, "messages": MESSAGES, "stream": True, "max_tokens": stream.cap, "user": stream.name}
        try:
            async with await RawClient.open(gateway.port) as client:
                await client.request("POST", CHAT, json=body, headers={"authorization": f"Bearer {self._key}"})
                _saw(life, "sent")
                assert await client.response() == 200
                stream.hold_id = client.headers["x-request-id"].removeprefix("req_")
                while (data := await client.next_frame()) is not None:
                    if '"content":" a"' in data:
                        _saw(life, "chunk")
                    stream.ended = stream.ended or data == "[DONE]"
        except (OSError, Truncated):
            pass  # the gateway was killed
        if stream.ended:
            _saw(life, "ended")

    async def _lane(self) -> None:
        for life in self._next:
            async with self.gateway() as gateway:
                await gateway.ready()
                life.gateway = gateway
                await asyncio.gather(*(self.ask(gateway, stream, life) for stream in life.streams))
                life.kill()  # where its moment has not come: streams that others cut off bring no more
                assert await gateway.ended() == -signal.SIGKILL

    async def _answer(self, exchange: Exchange) -> None:
        """As many tokens as were drawn, one in each frame; the provider keeps to its cap."""
        name = exchange.json["user"]
        _saw(self._life_of.get(name), "arrived")
        length = self._stream_of[name].length if name in self._stream_of else 1
        assert length <= exchange.json["max_tokens"]
        answer = chat(Repeat(" a", length), input_tokens=PROMPT_TOKENS, output_tokens=length)
        await answer(exchange)


def _saw(life: Life | None, kind: str) -> None:
    if life is not None:
        life.saw(kind)


async def expired(ledger: LedgerInTest, scopes: tuple[str, ...]) -> None:
    """Wait until every hold has expired and its grace is over.

    The one wait of this test, and in real time: the gateways that captured are processes with clocks of their own.
    """
    last = max((hold.expires_s for scope in scopes for _, _, hold in holds(ledger.item(scope))), default=0)
    assert last <= time.time() + TOTAL_S + LIFETIME_SLACK_S
    await asyncio.sleep(max(0.0, last + GRACE_S + 1 - time.time()))


def dead_holds(ledger: LedgerInTest, scope: str) -> int:
    """How many are past their grace."""
    return sum(hold.expires_s + GRACE_S < time.time() for _, _, hold in holds(ledger.item(scope)))


async def captured(kills: Kills, ledger: LedgerInTest, scopes: tuple[str, ...]) -> list[Stream]:
    """Ask until no dead hold is left, of which each request captures some; gives what was asked."""
    asked: list[Stream] = []
    async with kills.gateway() as gateway, asyncio.timeout(PATIENCE_S):
        await gateway.ready()
        while left := {scope: dead for scope in scopes if (dead := dead_holds(ledger, scope))}:
            assert len(asked) < REQUESTS_MAX, f"no request captures what is left: {left}"
            stream = Stream(f"more-{len(asked)}", CAP_MIN, 1)
            await kills.ask(gateway, stream)
            asked.append(stream)
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
    assert all(stream.ended for stream in asked)
    return asked


def all_records(ledger: LedgerInTest) -> list[Resolved]:
    """What was recorded, by hold."""
    today = datetime.now(UTC).date()
    return resolved(records_of(ledger.store, Span(today - timedelta(days=1), today).days()))


@pytest.mark.parametrize("open_ledger", LEDGERS)
async def test_gateway_killed_a_hundred_times_forgets_nothing(
    open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted is what was made, and at most one hold more for each stream that died; the audit explains all of it."""
    monkeypatch.setattr(clients, "TIMEOUT_S", PATIENCE_S)
    with open_ledger() as ledger:
        ledger.set_limits("global", f"tokens/total={LIMIT}")
        key, own_scope = await ledger.new_key(f"tokens/total={LIMIT}")
        scopes = ("global", own_scope)
        async with AsyncExitStack() as stack:
            fake = await stack.enter_async_context(FakeProvider())
            kills = Kills(ledger, fake, key)
            began = time.monotonic()
            await kills.run()
            left, took = [ledger.live(scope) for scope in scopes], time.monotonic() - began
            await expired(ledger, scopes)
            more = await captured(kills, ledger, scopes)
            await fake.all_closed()
            made = {each.json["user"]: PROMPT_TOKENS + each.chunks_sent for each in fake.chats}
        streams = [stream for life in kills.lives for stream in life.streams]
        records = all_records(ledger)
        print(f"{took:.0f} s for {KILLS} kills, {left} holds left, {len(more)} more requests")  # noqa: T201
        for scope in scopes:
            item = ledger.item(scope)
            dead = {hold.hold_id for hold in records if scope in hold.captured}
            died = [stream for stream in streams if not stream.ended or stream.hold_id in dead]
            spent, counted, requests = sum(made.values()), int(item["tT"]), int(item["rT"])
            over_max = sum(stream.held - made.get(stream.name, 0) for stream in died)
            print(  # noqa: T201
                f"{scope}: {len(streams)} streams, {len(died)} died, {len(dead)} captured, {spent} spent, "
                f"{counted} counted: {(counted - spent) / max(1, len(dead)):.0f} over for each"
            )
            assert spent <= counted <= spent + over_max
            assert len(made) <= requests <= len(streams) + len(more)
            assert len(dead) <= len(died)
            assert ledger.live(scope) == 0
        assert (await ledger.command("audit"))["explained"]
