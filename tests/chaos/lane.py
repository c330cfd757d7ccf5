"""One of a thousand clients: it asks again and again, behaves as its scenario says, and tells what was wrong."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.answers import Wrong
from tests.chaos.client import CANCEL, Ask, ChaosClient, Got
from tests.chaos.plan import Plan
from tests.chaos.scenario import LYING, Scenario, Scenarios

STALL_S: Final = 6  # of the gateway; a stalled client sleeps a little longer
GUARD_S: Final = 150.0  # an answer that takes longer than this has no end
UNHEARD_S: Final = 60.0  # what a client that slept waits for the rest of its answer
RCVBUF: Final = 4096
BACK_OFF_S: Final = 1.0
TROUBLED: Final = ("503 budget_unavailable",)  # while the ledger cannot be written
LATE: Final = ("upstream_timeout", "deadline_exceeded")
# A connection that another answer left behind was reset under this request, too late to be sure that nobody works on
# it: it is not sent again, and its client is told.
NEIGHBOURS: Final = ("502 upstream_truncated", "error upstream_truncated")


@dataclass
class Seen:
    """What all lanes saw.

    Attributes:
        outcomes: how often each fault ended in what.
        manners: how often each manner.
        delivered: words by request id, of those that were read, but for providers who lie about what they made.
        late: answers that a deadline ended though nothing was wrong: this machine was too slow for all of it.
        wrong: every broken promise.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    manners: Counter[str] = field(default_factory=Counter)
    delivered: dict[str, int] = field(default_factory=dict)
    words: int = 0
    late: int = 0
    wrong: list[str] = field(default_factory=list)

    def note(self, scenario: Scenario, got: Got) -> None:
        """A request is over."""
        self.outcomes[got.ask.plan.fault, got.outcome] += 1
        self.manners[scenario.manner] += 1
        self.words += got.words
        if got.request_id and got.words and got.ask.plan.fault not in LYING:
            self.delivered[got.request_id] = got.words


class Lane:
    """One client after the other, one at a time."""

    def __init__(
        self,
        port: int,
        headers: Mapping[str, str],
        scenarios: Scenarios,
        seen: Seen,
        troubled: Callable[[], bool],
    ) -> None:
        self._port = port
        self._headers = dict(headers)
        self._scenarios = scenarios
        self._seen = seen
        self._troubled = troubled

    async def run(self, until: float) -> None:
        """Ask until this moment of the monotonic clock."""
        while time.monotonic() < until:
            await self._one(self._scenarios.next())

    async def _one(self, scenario: Scenario) -> None:
        got = Got(scenario.ask)
        troubled = self._troubled()
        try:
            async with asyncio.timeout(GUARD_S):
                await getattr(self, f"_{scenario.manner}")(scenario, got)
        except Wrong as wrong:
            self._wrong(scenario, got, str(wrong))
        except TimeoutError:
            self._wrong(scenario, got, f"no end after {GUARD_S} s, {got.words} words")
        except OSError as error:
            self._wrong(scenario, got, f"{type(error).__name__}: {error}")
        else:
            self._seen.note(scenario, got)
            self._expect(scenario, got, troubled=troubled or self._troubled())
            if got.outcome in TROUBLED:
                await asyncio.sleep(BACK_OFF_S)  # as it was told to

    def _wrong(self, scenario: Scenario, got: Got, what: str) -> None:
        self._seen.wrong.append(f"{what} [{scenario.manner}, {got.request_id}, {got.status}, {scenario.ask}]")

    def _expect(self, scenario: Scenario, got: Got, *, troubled: bool) -> None:
        """Where nobody did anything wrong the answer is whole."""
        if scenario.manner not in ("read", "slow", "drip") or got.ask.plan.fault != "none":
            return
        if got.words == 0 and got.outcome in NEIGHBOURS:
            return
        if got.outcome.endswith(LATE):
            self._seen.late += 1
            return
        if got.outcome not in ("stop", "end_turn", "whole") and not (troubled and got.outcome in TROUBLED):
            self._wrong(scenario, got, f"{got.outcome} where nothing was wrong")

    # Manners

    async def _read(self, scenario: Scenario, got: Got) -> None:
        await self._ask(got)

    async def _slow(self, scenario: Scenario, got: Got) -> None:
        await self._ask(got, rcvbuf=RCVBUF, pause_s=0.2)

    async def _drip(self, scenario: Scenario, got: Got) -> None:
        client = await ChaosClient.open(self._port)
        try:
            for byte in got.ask.request(self._headers):
                await client.send(bytes((byte,)))
            await client.read(got)
        finally:
            client.close()

    async def _stall(self, scenario: Scenario, got: Got) -> None:
        """What had not been sent by then is followed by an error in-band; where even that is not taken, by a close."""
        client = await ChaosClient.open(self._port, rcvbuf=RCVBUF)
        try:
            await client.send(got.ask.request(self._headers))
            if not await client.read(got, bytes_max=0):
                await asyncio.sleep(1.5 * STALL_S)
                try:
                    async with asyncio.timeout(UNHEARD_S):
                        await client.finish(got)
                except Wrong as wrong:
                    if "ended before its end" not in str(wrong):
                        raise
                    got.outcome = "closed"
                except TimeoutError:  # the kernel gave the connection up (TCP_USER_TIMEOUT), which tells nobody
                    got.outcome = "given up"
        finally:
            client.close()

    async def _leave(self, scenario: Scenario, got: Got) -> None:
        client = await self._part(scenario, got)
        client.close()

    async def _reset(self, scenario: Scenario, got: Got) -> None:
        client = await self._part(scenario, got)
        client.reset()

    async def _half_close(self, scenario: Scenario, got: Got) -> None:
        """It has said goodbye, so its request ends; what is still on its way is right all the same."""
        client = await self._part(scenario, got)
        try:
            client.half_close()
            if got.outcome == "left" and got.status:
                await client.finish(got)
        except (Wrong, OSError) as error:
            if isinstance(error, Wrong) and "ended before its end" not in str(error):
                raise
        finally:
            client.close()

    async def _cancel(self, scenario: Scenario, got: Got) -> None:
        client = await ChaosClient.open(self._port)
        try:
            await client.send(got.ask.request(self._headers))
            if await client.read(got, bytes_max=scenario.at_bytes % 1500):
                return
            await self._cancelled(got.request_id)
            await client.finish(got)
        finally:
            client.close()

    async def _pipeline(self, scenario: Scenario, got: Got) -> None:
        """Three answers in the order of the questions. One that closes the connection leaves the rest unanswered."""
        asks = [got.ask, self._scenarios.ask("none", "pipeline"), self._scenarios.ask("none", "pipeline")]
        client = await ChaosClient.open(self._port)
        try:
            await client.send(b"".join(ask.request(self._headers) for ask in asks))
            for ask in asks:
                each = got if ask is got.ask else Got(ask)
                await client.read(each)
                if each is not got:
                    self._seen.note(scenario, each)
                if each.headers.get("connection", "").lower() == "close":
                    break
        finally:
            client.close()

    # Parts of them

    async def _ask(self, got: Got, *, rcvbuf: int | None = None, pause_s: float = 0.0) -> None:
        client = await ChaosClient.open(self._port, rcvbuf=rcvbuf)
        try:
            await client.send(got.ask.request({"connection": "close", **self._headers}))
            await client.read(got, pause_s=pause_s)
        finally:
            client.close()

    async def _part(self, scenario: Scenario, got: Got) -> ChaosClient:
        """An answer up to some byte of its body, or not even its head."""
        client = await ChaosClient.open(self._port)
        try:
            await client.send(got.ask.request(self._headers))
            if scenario.at_bytes > 400:
                await client.read(got, bytes_max=scenario.at_bytes)
        except BaseException:
            client.close()
            raise
        return client

    async def _cancelled(self, request_id: str) -> None:
        client = await ChaosClient.open(self._port)
        try:
            lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
            path = CANCEL.format(request_id)
            head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\nconnection: close\r\n{lines}\r\n"
            await client.send(head.encode())
            await client.head(Got(Ask(Plan(0))))
        finally:
            client.close()
