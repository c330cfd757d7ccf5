"""Signed calls against a service on loopback that checks the signature as botocore would make it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import msgspec
import pytest

from rillgate.domain.errors import UpstreamError, UpstreamTimeout, UpstreamTruncated
from rillgate.domain.ports import AwsCalls
from rillgate.upstream.aws import AwsJsonCalls, Refusal, host_header, parse_refusal, service_url
from rillgate.upstream.aws_credentials import PAUSE_S, AwsCredentials
from rillgate.wire.sigv4 import Credentials, Signer
from tests.fakes.aws import FakeAws, ReroutedExchange, answer, aws_and_exchange, secret
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import Exchange as Seen
from tests.fakes.script import Close, EndBody, Head, Send, Stall

pytestmark = pytest.mark.anyio

TARGET = "DynamoDB_20120810.GetItem"
BODY = b'{"TableName":"t"}'
REGION = "eu-central-1"
LATE_S = 0.05


class Rotating:
    """Gives credentials ONE, then TWO, …"""

    names = ("ONE", "TWO", "THREE")

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self) -> Credentials:
        name = self.names[self.calls]
        self.calls += 1
        return Credentials(f"AKIA{name}", secret(name), f"token-{name}")


class World:
    """A service, its clock and what calls it."""

    def __init__(self, fake: FakeAws, exchange: ReroutedExchange, connect_timeout_s: float) -> None:
        self.fake = fake
        self.clock = FakeClock()
        self.source = Rotating()
        self.calls = AwsJsonCalls(
            exchange,
            AwsCredentials(self.source, self.clock),
            self.clock,
            service="dynamodb",
            region=REGION,
            endpoint_url=fake.url,
            connect_timeout_s=connect_timeout_s,
        )
        self.answers(b"{}")

    def answers(self, *arguments: Any) -> None:
        self.fake.routes["POST", "/"] = answer(*arguments)

    def refuses(self, code: str, message: str = "no", *, clock_ahead_s: float = 0, status: int = 400) -> None:
        headers = {"date": formatdate(self.clock.wall() + clock_ahead_s, usegmt=True)}
        self.answers({"__type": f"com.amazon.coral.service#{code}", "message": message}, status, headers)

    async def call(self, timeout_s: float = 5) -> tuple[int, bytes]:
        return await self.calls.call(TARGET, BODY, timeout_s)

    def key_of(self, number: int) -> str:
        return self.fake.others[number].headers["authorization"].partition("Credential=")[2].partition("/")[0]


@asynccontextmanager
async def a_world(connect_timeout_s: float = 600) -> AsyncIterator[World]:
    async with aws_and_exchange() as (fake, exchange):
        yield World(fake, exchange, connect_timeout_s)


def expected_signature(seen: Seen, name: str, at_s: float) -> str:
    signed = Signer("dynamodb", REGION).headers(
        Credentials(f"AKIA{name}", secret(name), f"token-{name}"),
        method=seen.method,
        host=seen.headers["host"],
        target=seen.path,
        headers=[("content-type", seen.headers["content-type"]), ("x-amz-target", seen.headers["x-amz-target"])],
        body=seen.body,
        at_s=at_s,
    )
    return dict(signed)["authorization"]


async def test_calls_send_what_the_service_expects() -> None:
    """One POST with the operation, the exact body, and a signature over what was really sent."""
    async with a_world() as world:
        port: AwsCalls = world.calls
        world.answers(b'{"Item":{}}')
        assert await port.call(TARGET, BODY, 5) == (200, b'{"Item":{}}')
        (seen,) = world.fake.others
        assert (seen.method, seen.path, seen.body) == ("POST", "/", BODY)
        assert seen.headers["x-amz-target"] == TARGET
        assert seen.headers["content-type"] == "application/x-amz-json-1.0"
        assert seen.headers["x-amz-security-token"] == "token-ONE"
        assert seen.headers["host"] == f"127.0.0.1:{world.fake.port}"
        assert seen.headers["authorization"] == expected_signature(seen, "ONE", world.clock.wall())
        assert (
            "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target,"
            in (seen.headers["authorization"])
        )


async def test_calls_use_one_connection_after_the_other() -> None:
    """Connections are kept, and many calls at a time take no more than the pool has."""
    async with a_world() as world:
        for _ in range(5):
            await world.call()
        assert world.fake.connections_opened == 1
        await asyncio.gather(*(world.call() for _ in range(40)))
        assert world.fake.connections_opened <= 4
        assert len(world.fake.others) == 45


async def test_calls_give_any_status_as_it_is() -> None:
    """A refused condition is an answer, not an error; nothing is repeated."""
    async with a_world() as world:
        body = msgspec.json.encode({"__type": "x#ConditionalCheckFailedException", "Item": {"a": {"N": "1"}}})
        world.answers(body, 400)
        assert await world.call() == (400, body)
        world.answers(b"<html>", 503)
        assert await world.call() == (503, b"<html>")
        assert len(world.fake.others) == 2
        assert world.source.calls == 1


async def test_calls_late_answer_is_an_error_and_its_connection_is_closed() -> None:
    """Whatever a late connection still says can never be taken for the answer to another call.

    The time for connecting does not count for an answer: it is minutes here.
    """
    async with a_world() as world, asyncio.timeout(60):
        await world.call()
        world.fake.routes["POST", "/"] = [Stall()]
        with pytest.raises(UpstreamTimeout, match=r"GetItem had no answer from 127\.0\.0\.1:\d+ within 0\.05 s"):
            await world.call(LATE_S)
        await world.fake.all_closed()
        world.answers(b"{}")
        await world.call()
        assert world.fake.connections_opened == 2


async def test_calls_late_body_is_an_error_and_its_connection_is_closed() -> None:
    """The same where the headers and half the body came in time."""
    async with a_world() as world:
        await world.call()
        world.fake.routes["POST", "/"] = [Head(200, {}, framing="length", length=100), Send(b"{"), Stall()]
        with pytest.raises(UpstreamTimeout):
            await world.call(LATE_S)
        await world.fake.all_closed()


async def test_calls_late_ones_lose_no_slot_of_the_pool() -> None:
    """After more late calls than the pool has connections, a call still finds one."""
    async with a_world() as world:
        world.fake.routes["POST", "/"] = [Stall()]
        late = await asyncio.gather(*(world.call(LATE_S) for _ in range(12)), return_exceptions=True)
        assert all(isinstance(each, UpstreamError) for each in late)
        await world.fake.all_closed()
        world.answers(b"{}")
        assert await world.call() == (200, b"{}")


async def test_calls_without_a_free_connection_are_not_sent() -> None:
    """A full pool is waited for as long as for a connection, and is the same kind of error."""
    async with a_world(connect_timeout_s=0.3) as world:
        arrived = asyncio.Semaphore(0)

        async def never(exchange: Seen) -> None:
            arrived.release()
            await exchange.stall()

        await world.call()  # what is made once is made: contexts, imports
        world.fake.routes["POST", "/"] = never
        running = [asyncio.ensure_future(world.call(600)) for _ in range(4)]
        for _ in running:
            await arrived.acquire()
        with pytest.raises(UpstreamError, match="was not sent: no free connection"):
            await world.call(600)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_calls_cancelled_close_their_connection() -> None:
    """A caller that goes away leaves nothing behind."""
    async with a_world() as world:
        arrived = asyncio.Event()

        async def never(exchange: Seen) -> None:
            arrived.set()
            await exchange.stall()

        world.fake.routes["POST", "/"] = never
        task = asyncio.ensure_future(world.call())
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await world.fake.all_closed()


async def test_calls_broken_answer_is_an_error() -> None:
    """Half an answer is none."""
    async with a_world() as world:
        world.fake.routes["POST", "/"] = [Head(200, {}, framing="length", length=100), Send(b"{"), Close()]
        with pytest.raises(UpstreamTruncated):
            await world.call()


async def test_calls_without_credentials_are_not_sent() -> None:
    """The source's own message reaches the caller."""

    async def none() -> Credentials:
        raise UpstreamError("set AWS_PROFILE")

    async with a_world() as world, aws_and_exchange() as (_, exchange):
        credentials = AwsCredentials(none, world.clock)
        calls = AwsJsonCalls(
            exchange,
            credentials,
            world.clock,
            service="dynamodb",
            region=REGION,
            endpoint_url=world.fake.url,
            connect_timeout_s=5,
        )
        with pytest.raises(UpstreamError, match="set AWS_PROFILE"):
            await calls.call(TARGET, BODY, 5)
        assert not world.fake.others


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"])
async def test_calls_refused_key_is_fetched_anew_for_the_next_call(code: str) -> None:
    """The refusal itself is given back; the next call signs with other credentials."""
    async with a_world() as world:
        world.refuses(code)
        status, _ = await world.call()
        assert status == 400
        world.answers(b"{}")
        world.clock.advance(PAUSE_S)
        await world.call()
        await world.call()
        assert [world.key_of(number) for number in range(3)] == ["AKIAONE", "AKIATWO", "AKIATWO"]


async def test_calls_other_refusals_fetch_nothing() -> None:
    """A refused condition, a throttle or a wrong secret says nothing about the source of credentials."""
    async with a_world() as world:
        for code in ("ConditionalCheckFailedException", "ThrottlingException", "InvalidSignatureException"):
            world.refuses(code)
            await world.call()
            world.clock.advance(PAUSE_S)
        assert world.source.calls == 1


@pytest.mark.parametrize(
    ("code", "message", "status"),
    [
        ("RequestTimeTooSkewed", "", 403),
        ("InvalidSignatureException", "Signature expired: 20261121T100000Z is now earlier than 20261121T101000Z", 400),
        ("InvalidSignatureException", "Signature not yet current: 20261121T100000Z is still later than", 400),
    ],
)
@pytest.mark.parametrize("ahead_s", [3600, -7200])
async def test_calls_wrong_clock_takes_over_the_services_time(
    code: str, message: str, status: int, ahead_s: int
) -> None:
    """A machine whose clock is off signs with the service's time from the next call on, and keeps to it."""
    async with a_world() as world:
        world.refuses(code, message, clock_ahead_s=ahead_s, status=status)
        await world.call()
        world.answers(b"{}")
        world.clock.advance(10)
        await world.call()
        _, second = world.fake.others
        signed_at = world.clock.wall() + ahead_s
        assert second.headers["authorization"] == expected_signature(second, "ONE", signed_at)


async def test_calls_other_refusals_leave_the_clock_alone() -> None:
    """A wrong secret is no question of time, whatever date comes with it; a broken date changes nothing."""
    async with a_world() as world:
        world.refuses("InvalidSignatureException", "The signature does not match", clock_ahead_s=3600)
        await world.call()
        world.answers({"__type": "x#RequestTimeTooSkewed"}, 403, {"date": "tomorrow"})
        await world.call()
        world.answers({"__type": "x#RequestTimeTooSkewed"}, 403)
        await world.call()
        last = world.fake.others[-1]
        assert last.headers["authorization"] == expected_signature(last, "ONE", world.clock.wall())


async def test_calls_show_no_secret_in_what_they_send_or_raise() -> None:
    """Neither the request's parts nor an error name the secret, the token or the signature."""
    async with a_world() as world:
        endpoint, request = world.calls._signed(Credentials("AKIAONE", "s-e-c-r-e-t", "t-o-k-e-n"), TARGET, BODY)
        shown = repr(endpoint) + repr(request)
        world.fake.routes["POST", "/"] = [Head(200, {}, framing="length", length=9), EndBody(), Close()]
        with pytest.raises(UpstreamError) as caught:
            await world.call()
        shown += repr(caught.value) + str(caught.value)
    for part in ("s-e-c-r-e-t", "t-o-k-e-n", "Signature=", secret("ONE"), "token-ONE"):
        assert part not in shown


def test_service_url_is_the_regions_own() -> None:
    """China's regions have a domain of their own."""
    assert service_url("dynamodb", "us-east-1") == "https://dynamodb.us-east-1.amazonaws.com"
    assert service_url("dynamodb", "cn-north-1") == "https://dynamodb.cn-north-1.amazonaws.com.cn"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://DynamoDB.us-east-1.amazonaws.com", "dynamodb.us-east-1.amazonaws.com"),
        ("https://example.org:443", "example.org"),
        ("https://example.org:80", "example.org:80"),
        ("http://127.0.0.1:8001/", "127.0.0.1:8001"),
        ("http://[::1]:8001", "[::1]:8001"),
    ],
)
def test_host_header_is_what_goes_on_the_wire(url: str, host: str) -> None:
    """The signed host has a port only where the scheme does not imply it."""
    assert host_header(url) == host


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b'{"__type":"com.amazonaws.dynamodb.v20120810#XException","message":"m"}', Refusal("XException", "m")),
        (b'{"__type":"XException:http://internal.amazon.com/coral/","Message":"m"}', Refusal("XException", "m")),
        (b'{"Message":null,"__type":null}', Refusal("", "")),
        (b"[]", Refusal("", "")),
        (b'{"__type":7}', Refusal("", "")),
        (b"\xff", Refusal("", "")),
        (b"", Refusal("", "")),
    ],
)
def test_parse_refusal_takes_code_and_message_from_whatever_came(body: bytes, refusal: Refusal) -> None:
    """An error answer may be in either spelling, or no JSON at all."""
    assert parse_refusal(body) == refusal
