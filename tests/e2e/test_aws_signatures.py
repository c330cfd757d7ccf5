"""Signed calls, judged by an emulator that checks signatures as AWS does: right ones pass, wrong ones do not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from msgspec import structs

from rillgate.domain.request import Endpoint, UpstreamRequest
from rillgate.upstream.aws import AwsJsonCalls, parse_refusal
from rillgate.upstream.aws_credentials import ADVISORY_S, PAUSE_S, AwsCredentials
from rillgate.upstream.aws_sources import aws_sources
from rillgate.upstream.exchange import Exchange, UpstreamResponse
from rillgate.wire.sigv4 import Credentials
from tests.e2e.ministack import REGION, Ministack, ministack
from tests.fakes.aws import CONTAINER_PATH, FakeAws
from tests.fakes.clock import FakeClock

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

TIMEOUT_S = 30.0
TABLE = "ledger"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    """One emulator for this file, with the table."""
    with ministack(tmp_path_factory.mktemp("ministack")) as running:
        yield running


@pytest.fixture(scope="module")
def key(aws: Ministack) -> Credentials:
    """A key of its IAM."""
    return aws.new_key()


class TamperingExchange(Exchange):
    """Changes every body on its way, after it was signed."""

    @asynccontextmanager
    async def open(
        self, provider: str, endpoint: Endpoint, request: UpstreamRequest, **options: Any
    ) -> AsyncIterator[UpstreamResponse]:
        """As `Exchange.open`."""
        changed = structs.replace(request, body=request.body.replace(b"honest", b"forged"))
        async with super().open(provider, endpoint, changed, **options) as response:
            yield response


@asynccontextmanager
async def calling(
    aws: Ministack,
    credentials: Credentials | Callable[[Exchange], Callable[[], Awaitable[Credentials]]],
    *,
    clock: FakeClock | None = None,
    exchange: type[Exchange] = Exchange,
) -> AsyncIterator[AwsJsonCalls]:
    """Calls to the emulator's DynamoDB with these credentials, or with those of a source over the same exchange."""
    clock = clock or FakeClock(wall=time.time())
    carrier = exchange(connections_max=10, user_agent="rillgate/test")

    async def the_same() -> Credentials:
        assert isinstance(credentials, Credentials)
        return credentials

    source = AwsCredentials(the_same if isinstance(credentials, Credentials) else credentials(carrier), clock)
    try:
        yield AwsJsonCalls(
            carrier, source, clock, service="dynamodb", region=REGION, endpoint_url=aws.url, connect_timeout_s=TIMEOUT_S
        )
    finally:
        await source.aclose()
        await carrier.aclose()


async def call(calls: AwsJsonCalls, operation: str, **fields: Any) -> tuple[int, Any]:
    status, answer = await calls.call(f"DynamoDB_20120810.{operation}", msgspec.json.encode(fields), TIMEOUT_S)
    return status, msgspec.json.decode(answer)


async def put(calls: AwsJsonCalls, text: str = "honest") -> tuple[int, str]:
    """Write an item, making the table where it is missing; the status, and the error's code."""
    body = msgspec.json.encode({"TableName": TABLE, "Item": {"pk": {"S": "a"}, "text": {"S": text}}})
    for _ in range(2):
        status, answer = await calls.call("DynamoDB_20120810.PutItem", body, TIMEOUT_S)
        code = "" if status == 200 else parse_refusal(answer).code
        if code != "ResourceNotFoundException":
            break
        await call(
            calls,
            "CreateTable",
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )
    return status, code


async def get(calls: AwsJsonCalls) -> Any:
    _, answer = await call(calls, "GetItem", TableName=TABLE, Key={"pk": {"S": "a"}})
    return answer["Item"]["text"]["S"]


async def test_signed_calls_make_a_table_write_and_read(aws: Ministack, key: Credentials) -> None:
    """What is signed with the key's own secret is done."""
    async with calling(aws, key) as calls:
        assert await put(calls) == (200, "")
        assert await get(calls) == "honest"
        results = await asyncio.gather(*(put(calls) for _ in range(20)))
        assert set(results) == {(200, "")}


async def test_signed_calls_with_a_wrong_secret_are_refused(aws: Ministack, key: Credentials) -> None:
    """One character decides."""
    wrong = replace(key, secret_access_key=key.secret_access_key[:-1] + "!")
    async with calling(aws, wrong) as calls:
        status, code = await put(calls)
    assert status in (400, 403)
    assert code in ("InvalidSignatureException", "SignatureDoesNotMatch")


async def test_signed_calls_with_an_unknown_key_are_refused(aws: Ministack) -> None:
    """A key that nobody gave out."""
    async with calling(aws, Credentials("AKIAIOSFODNN7EXAMPLE", "a-secret")) as calls:
        status, code = await put(calls)
    assert (status, code) in ((400, "UnrecognizedClientException"), (403, "UnrecognizedClientException"))


async def test_signed_calls_changed_on_the_way_are_refused(aws: Ministack, key: Credentials) -> None:
    """The body is under the signature: what was written before stays."""
    async with calling(aws, key) as calls:
        await put(calls)
    async with calling(aws, key, exchange=TamperingExchange) as calls:
        status, code = await put(calls)
    assert status in (400, 403)
    assert code in ("InvalidSignatureException", "SignatureDoesNotMatch")
    async with calling(aws, key) as calls:
        assert await get(calls) == "honest"


async def test_signed_calls_with_a_session_need_its_own_token(aws: Ministack, key: Credentials) -> None:
    """Temporary credentials work with their token, and with no other."""
    session = await asyncio.to_thread(aws.session, key)
    async with calling(aws, session) as calls:
        assert await put(calls) == (200, "")
    async with calling(aws, replace(session, session_token="another")) as calls:
        status, _ = await put(calls)
        assert status in (400, 403)


@pytest.mark.parametrize("off_s", [7200, -7200])
async def test_signed_calls_with_a_wrong_clock_are_refused_once(aws: Ministack, key: Credentials, off_s: int) -> None:
    """The refusal's own date sets the clock right for all that follow."""
    async with calling(aws, key, clock=FakeClock(wall=time.time() + off_s)) as calls:
        status, code = await put(calls)
        assert status in (400, 403)
        assert code in ("InvalidSignatureException", "RequestTimeTooSkewed")
        assert [await put(calls) for _ in range(3)] == [(200, "")] * 3


def container(fake: FakeAws) -> Callable[[Exchange], Callable[[], Awaitable[Credentials]]]:
    environment = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": fake.url + CONTAINER_PATH}
    return lambda exchange: aws_sources(environment, exchange)


def as_document(credentials: Credentials) -> dict[str, Any]:
    document = {"AccessKeyId": credentials.access_key_id, "SecretAccessKey": credentials.secret_access_key}
    if credentials.session_token:
        document["Token"] = credentials.session_token
    if credentials.expires_s:
        document["Expiration"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(credentials.expires_s))
    return document


async def test_signed_calls_go_on_with_credentials_rotated_before_their_end(aws: Ministack) -> None:
    """The container endpoint's new credentials are taken in time: no call fails, and the old key can go."""
    clock = FakeClock(wall=time.time())
    old = replace(await asyncio.to_thread(aws.new_key), expires_s=clock.wall() + ADVISORY_S + 10)
    new = await asyncio.to_thread(aws.session, await asyncio.to_thread(aws.new_key))
    async with FakeAws() as fake:
        fake.serve_container(as_document(old))
        async with calling(aws, container(fake), clock=clock) as calls:
            assert await put(calls) == (200, "")
            fake.serve_container(as_document(new))
            clock.advance(20)
            results = [await put(calls) for _ in range(10)]
            await asyncio.to_thread(aws.delete_key, old)
            results += [await put(calls) for _ in range(10)]
        assert set(results) == {(200, "")}
        assert len(fake.others) == 2


async def test_signed_calls_go_on_after_a_key_that_was_withdrawn(aws: Ministack) -> None:
    """A key that ends without notice costs the call that finds out, and no other."""
    clock = FakeClock(wall=time.time())
    old = await asyncio.to_thread(aws.new_key)
    new = await asyncio.to_thread(aws.new_key)
    async with FakeAws() as fake:
        fake.serve_container(as_document(old))
        async with calling(aws, container(fake), clock=clock) as calls:
            assert await put(calls) == (200, "")
            await asyncio.to_thread(aws.delete_key, old)
            fake.serve_container(as_document(new))
            clock.advance(PAUSE_S)
            status, code = await put(calls)
            assert status in (400, 403)
            assert code == "UnrecognizedClientException"
            assert [await put(calls) for _ in range(5)] == [(200, "")] * 5
