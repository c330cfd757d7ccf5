"""Signed calls to Bedrock: what goes out is what was signed, each time anew, with credentials that are good."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from unittest.mock import patch

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from rillgate.app.bedrock_location import BedrockLocation
from rillgate.domain.errors import UpstreamError
from rillgate.domain.request import Endpoint, UpstreamRequest
from rillgate.upstream.aws_credentials import PAUSE_S
from rillgate.upstream.exchange import Exchange
from tests.fakes.aws import CONTAINER_PATH, FakeAws, answer
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import Exchange as Seen

KEY = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-real-secret"}
REGION = "us-east-1"
NOON_S = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
PATH = "/model/anthropic.claude-demo-v1%3A0/converse-stream"
ARN_PATH = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.x.y-v1%3A0/converse"
BODY = b'{"messages":[{"role":"user","content":[{"text":"hi"}]}]}'
HEADERS = (("content-type", "application/json"),)

pytestmark = pytest.mark.anyio


def request(path: str = PATH) -> UpstreamRequest:
    return UpstreamRequest("POST", path, (*HEADERS, ("accept", "application/vnd.amazon.eventstream")), BODY)


@asynccontextmanager
async def located(
    base_url: str = "https://bedrock-runtime.us-east-1.amazonaws.com",
    environ: dict[str, str] | None = None,
    clock: FakeClock | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> AsyncIterator[BedrockLocation]:
    clock = clock or FakeClock(wall=NOON_S)
    location = BedrockLocation(base_url, REGION, clock, KEY if environ is None else environ, headers=headers)
    try:
        yield location
    finally:
        await location.aclose()


@asynccontextmanager
async def exchanging() -> AsyncIterator[Exchange]:
    exchange = Exchange(connections_max=4, user_agent="rillgate/test")
    try:
        yield exchange
    finally:
        await exchange.aclose()


async def sent(exchange: Exchange, endpoint: Endpoint, outgoing: UpstreamRequest | None = None) -> int:
    """The status of one call."""
    async with exchange.open("aws", endpoint, outgoing or request(), connect_s=5) as response:
        await response.read()
        return response.status


def by_botocore(seen: Seen, url: str) -> str:
    """The signature that botocore would give the request that arrived, at the time that it carries."""
    signed = seen.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    incoming = AWSRequest("POST", f"{url}{seen.path}", data=seen.body)
    for name in signed:
        if name not in ("host", "x-amz-date", "x-amz-security-token"):
            incoming.headers[name] = seen.headers[name]
    at = datetime.strptime(seen.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    key = BotocoreCredentials(
        KEY["AWS_ACCESS_KEY_ID"], KEY["AWS_SECRET_ACCESS_KEY"], seen.headers.get("x-amz-security-token")
    )
    with patch("botocore.auth.get_current_datetime", lambda: at):
        SigV4Auth(key, "bedrock", REGION).add_auth(incoming)
    return str(incoming.headers["Authorization"])


async def test_bedrock_location_signs_the_published_request_as_published() -> None:
    """The reference's own vector: the path is encoded once more before it is signed."""
    async with located() as location:
        endpoint = await location.endpoint()
        assert endpoint.sign is not None
        signed = dict(endpoint.sign("POST", f"{endpoint.base_url}{PATH}", HEADERS, BODY))
    assert signed["host"] == "bedrock-runtime.us-east-1.amazonaws.com"
    assert signed["x-amz-date"] == "20261121T120000Z"
    assert signed["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/bedrock/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=aed573b30ad8671f681bfab23e07fee7962f929a8ab00bebc687d000cec1b591"
    )


@pytest.mark.parametrize("path", [PATH, ARN_PATH])
@pytest.mark.parametrize("token", [None, "a-session-token"])
async def test_bedrock_request_arrives_as_it_was_signed(path: str, token: str | None) -> None:
    """The path keeps its percent signs on the wire, and botocore signs what arrived in the same way."""
    environ = KEY | ({"AWS_SESSION_TOKEN": token} if token else {})
    async with FakeAws() as fake, exchanging() as exchange:
        fake.routes["POST", path] = answer({})
        async with located(fake.url, environ, headers=[("x-team", "a b")]) as location:
            assert await sent(exchange, await location.endpoint(), request(path)) == 200
        (seen,) = fake.chats + fake.others
        assert (seen.path, seen.body, seen.headers["x-team"]) == (path, BODY, "a b")
        assert seen.headers["host"] == f"127.0.0.1:{fake.port}"
        assert seen.headers.get("x-amz-security-token") == token
        assert seen.headers["authorization"] == by_botocore(seen, fake.url)
        assert "x-team" in seen.headers["authorization"]


async def test_bedrock_request_that_is_tried_again_is_signed_again() -> None:
    """With the time of that try, by the same endpoint."""
    clock = FakeClock(wall=NOON_S)
    async with FakeAws() as fake, exchanging() as exchange, located(fake.url, clock=clock) as location:
        fake.routes["POST", PATH] = answer({})
        endpoint = await location.endpoint()
        await sent(exchange, endpoint)
        clock.advance(7)
        await sent(exchange, endpoint)
        first, second = (seen.headers for seen in fake.chats + fake.others)
    assert (first["x-amz-date"], second["x-amz-date"]) == ("20261121T120000Z", "20261121T120007Z")
    assert first["authorization"] != second["authorization"]


async def test_bedrock_refusal_about_the_time_sets_the_clock_right() -> None:
    """The next call carries AWS's time; a refusal at the right time changes nothing."""
    clock = FakeClock(wall=NOON_S)
    async with FakeAws() as fake, exchanging() as exchange, located(fake.url, clock=clock) as location:
        for off_s, expected in ((7200, "20261121T140000Z"), (7300, "20261121T140000Z"), (0, "20261121T120000Z")):
            date = format_datetime(datetime.fromtimestamp(NOON_S + off_s, UTC), usegmt=True)
            fake.routes["POST", PATH] = answer({}, 403, {"date": date, "x-amzn-errortype": "InvalidSignatureException"})
            endpoint = await location.endpoint()
            assert await sent(exchange, endpoint) == 403
            await sent(exchange, endpoint)
            assert (fake.chats + fake.others)[-1].headers["x-amz-date"] == expected
        fake.routes["POST", PATH] = answer({}, 403, {"date": "yesterday"})
        assert await sent(exchange, endpoint) == 403


@pytest.mark.parametrize("kind", ["ExpiredTokenException:http://x/", "UnrecognizedClientException"])
async def test_bedrock_refused_key_has_others_fetched(kind: str) -> None:
    """One call fails, the next is signed with what the source gives then."""
    clock = FakeClock(wall=NOON_S)
    async with FakeAws() as fake, exchanging() as exchange:
        environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": fake.url + CONTAINER_PATH}
        fake.serve_container(document("AKIDOLD"))
        fake.routes["POST", PATH] = answer({}, 403, {"x-amzn-errortype": kind})
        async with located(fake.url, environ, clock) as location:
            assert await sent(exchange, await location.endpoint()) == 403
            fake.serve_container(document("AKIDNEW"))
            fake.routes["POST", PATH] = answer({})
            clock.advance(PAUSE_S)
            assert await sent(exchange, await location.endpoint()) == 200
        keys = [seen.headers["authorization"] for seen in fake.chats + fake.others if seen.method == "POST"]
    assert ["AKIDOLD" in keys[0], "AKIDNEW" in keys[1]] == [True, True]


def document(key_id: str) -> dict[str, Any]:
    return {"AccessKeyId": key_id, "SecretAccessKey": "not-a-real-secret"}


async def test_bedrock_without_credentials_says_so_to_the_operator_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Another provider may answer; where credentials were looked for is nobody's business."""
    async with located(environ={"AWS_LAMBDA_FUNCTION_NAME": "f"}) as location:
        with pytest.raises(UpstreamError) as raised:
            await location.endpoint()
    assert (raised.value.message, raised.value.code) == (
        "The gateway has no AWS credentials for this provider.",
        "provider_key",
    )
    assert raised.value.retryable
    assert [record.message for record in caplog.records] == ["aws_credentials_failed"]


async def test_bedrock_endpoint_shows_no_secret() -> None:
    """A repr ends in logs."""
    async with located(headers=[("x-key", "hidden")]) as location:
        shown = repr(await location.endpoint())
    assert "not-a-real-secret" not in shown
    assert "hidden" not in shown
