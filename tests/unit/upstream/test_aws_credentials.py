"""When credentials are fetched, by whom, and what happens when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from anyio import wait_all_tasks_blocked

from rillgate.domain.errors import UpstreamError
from rillgate.upstream.aws_credentials import ADVISORY_S, MANDATORY_S, PAUSE_S, AwsCredentials
from rillgate.wire.sigv4 import Credentials
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.anyio

LIFE_S = 3600.0


class FakeSource:
    """Gives key 1, 2, 3 … with an hour's life each; waits while `gate` is not set, and fails with `error`."""

    def __init__(self, clock: FakeClock, life_s: float | None = LIFE_S) -> None:
        self.clock = clock
        self.life_s = life_s
        self.calls = 0
        self.error: UpstreamError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Credentials:
        self.calls += 1
        number = self.calls
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        expires_s = None if self.life_s is None else self.clock.wall() + self.life_s
        return Credentials(f"AKIA{number}", f"secret-{number}", None, expires_s)


def made(
    life_s: float | None = LIFE_S, on_error: Callable[[UpstreamError], None] | None = None
) -> tuple[AwsCredentials, FakeSource, FakeClock]:
    clock = FakeClock()
    source = FakeSource(clock, life_s)
    return AwsCredentials(source, clock, on_error=on_error), source, clock


async def key(credentials: AwsCredentials) -> str:
    return (await credentials.current()).access_key_id


async def test_credentials_first_callers_share_one_fetch() -> None:
    """However many ask at once, the source is asked once."""
    credentials, source, _ = made()
    keys = await asyncio.gather(*(key(credentials) for _ in range(20)))
    assert set(keys) == {"AKIA1"}
    assert source.calls == 1


async def test_credentials_with_time_left_are_used_without_asking() -> None:
    """Until five minutes before the end nothing is fetched."""
    credentials, source, clock = made()
    await key(credentials)
    clock.advance(LIFE_S - ADVISORY_S)
    assert await key(credentials) == "AKIA1"
    await wait_all_tasks_blocked()
    assert source.calls == 1


async def test_credentials_without_an_end_are_fetched_once() -> None:
    """The key in the environment has no known end."""
    credentials, source, clock = made(life_s=None)
    await key(credentials)
    clock.advance(1e9)
    assert await key(credentials) == "AKIA1"
    assert source.calls == 1


async def test_credentials_near_their_end_are_refreshed_behind_the_callers_backs() -> None:
    """Below five minutes nobody waits, one fetch runs, and its result is used once it is there."""
    credentials, source, clock = made()
    await key(credentials)
    clock.advance(LIFE_S - ADVISORY_S + 1)
    source.gate.clear()
    assert [await key(credentials) for _ in range(5)] == ["AKIA1"] * 5
    await wait_all_tasks_blocked()
    assert source.calls == 2
    source.gate.set()
    await wait_all_tasks_blocked()
    assert await key(credentials) == "AKIA2"


async def test_credentials_at_their_end_make_callers_wait() -> None:
    """Below one minute the old ones are not handed out while new ones are on their way."""
    credentials, source, clock = made()
    await key(credentials)
    clock.advance(LIFE_S - MANDATORY_S + 1)
    source.gate.clear()
    waiting = asyncio.ensure_future(key(credentials))
    await wait_all_tasks_blocked()
    assert not waiting.done()
    source.gate.set()
    assert await waiting == "AKIA2"


async def test_credentials_refresh_failed_keeps_the_old_ones_to_their_end() -> None:
    """A source that is down costs nothing while the credentials hold, then the error says why."""
    told: list[str] = []
    credentials, source, clock = made(on_error=lambda error: told.append(error.message))
    await key(credentials)
    source.error = UpstreamError("the container endpoint answered 500")
    clock.advance(LIFE_S - MANDATORY_S + 1)
    assert await key(credentials) == "AKIA1"
    clock.advance(MANDATORY_S)
    with pytest.raises(UpstreamError, match="answered 500"):
        await credentials.current()
    assert told == ["the container endpoint answered 500"] * 2
    source.error = None
    clock.advance(PAUSE_S)
    assert await key(credentials) == "AKIA4"


async def test_credentials_background_failure_is_told() -> None:
    """A fetch that nobody waits for does not fail in silence."""
    told: list[str] = []
    credentials, source, clock = made(on_error=lambda error: told.append(error.message))
    await key(credentials)
    source.error = UpstreamError("down")
    clock.advance(LIFE_S - ADVISORY_S + 1)
    assert await key(credentials) == "AKIA1"
    await wait_all_tasks_blocked()
    assert told == ["down"]


async def test_credentials_source_that_fails_is_not_asked_by_every_request() -> None:
    """Between two fetches lies a pause, in which the same error is given."""
    credentials, source, clock = made()
    source.error = UpstreamError("nothing configured")
    for _ in range(5):
        with pytest.raises(UpstreamError, match="nothing configured"):
            await credentials.current()
    assert source.calls == 1
    clock.advance(PAUSE_S)
    source.error = None
    assert await key(credentials) == "AKIA2"


async def test_credentials_refused_by_a_service_are_fetched_anew() -> None:
    """The next call waits for others, once; what was replaced meanwhile cannot be refused any more."""
    credentials, source, clock = made()
    first = await credentials.current()
    clock.advance(PAUSE_S)
    credentials.refused(first)
    assert await key(credentials) == "AKIA2"
    clock.advance(PAUSE_S)
    credentials.refused(first)
    assert await key(credentials) == "AKIA2"
    assert source.calls == 2


async def test_credentials_refused_again_and_again_are_fetched_with_pauses() -> None:
    """A service that refuses everything does not turn every request into a fetch."""
    credentials, source, clock = made()
    for _ in range(10):
        credentials.refused(await credentials.current())
    assert source.calls == 1
    clock.advance(PAUSE_S)
    await key(credentials)
    assert source.calls == 2


async def test_credentials_that_come_expired_are_still_tried() -> None:
    """Our clock may be wrong, and metadata gives old credentials when AWS has trouble: the service decides."""
    credentials, source, clock = made(life_s=-10.0)
    assert await key(credentials) == "AKIA1"
    assert await key(credentials) == "AKIA1"
    assert source.calls == 1
    source.error = UpstreamError("down for a moment")
    clock.advance(PAUSE_S)
    with pytest.raises(UpstreamError, match="for a moment"):
        await credentials.current()
    source.error = None
    clock.advance(PAUSE_S)
    assert await key(credentials) == "AKIA3"


async def test_credentials_waiter_that_is_cancelled_does_not_stop_the_fetch() -> None:
    """One client that goes away takes nothing from the others."""
    credentials, source, _ = made()
    source.gate.clear()
    first, second = asyncio.ensure_future(key(credentials)), asyncio.ensure_future(key(credentials))
    await wait_all_tasks_blocked()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.gate.set()
    assert await second == "AKIA1"
    assert source.calls == 1


async def test_credentials_closed_while_fetching_leave_no_task_and_no_waiter() -> None:
    """Going down stops the fetch; who waits gets an error, not a cancellation of its own."""
    credentials, source, _ = made()
    source.gate.clear()
    waiting = asyncio.ensure_future(key(credentials))
    await wait_all_tasks_blocked()
    await credentials.aclose()
    with pytest.raises(UpstreamError, match="broken off"):
        await waiting


async def test_credentials_source_with_a_mistake_is_not_silent() -> None:
    """What is no UpstreamError reaches whoever waits."""

    async def fetch() -> Credentials:
        raise ZeroDivisionError

    credentials = AwsCredentials(fetch, FakeClock())
    with pytest.raises(ZeroDivisionError):
        await credentials.current()
