"""Bedrock behind the whole gateway, over real sockets: its streams and errors in the clients' dialects."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.domain.ends import End
from tests.fakes import script_bedrock as sent
from tests.fakes.clients import collect
from tests.fakes.exchange import Exchange
from tests.fakes.gateway import GatewayInTest, gateway_for
from tests.fakes.provider import FakeProvider
from tests.streaming.test_ends import in_band_error, settled

pytestmark = pytest.mark.anyio

MODEL = "anthropic.claude-demo-v1:0"


def bedrock_for(fake: FakeProvider, **overrides: Any) -> Any:
    """The gateway in front of a Bedrock, with a key of Bedrock's own unless `overrides` say otherwise."""
    usual = {
        "providers__fake__kind": "bedrock",
        "providers__fake__region": "eu-central-1",
        "providers__fake__base_url": f"http://127.0.0.1:{fake.port}",
    }
    return gateway_for(fake, **{**usual, **overrides})


async def asked(g: GatewayInTest, **fields: Any) -> tuple[int, list[str]]:
    """Status and frames of a chat request."""
    async with await g.chat(model=MODEL, **fields) as client:
        status = await client.response()
        return status, await client.read_stream() if status == 200 else [(await client.read_body()).decode()]


async def test_bedrock_stream_comes_in_the_clients_dialect() -> None:
    """Text, finish and usage; the cap and the model are where Bedrock reads them, and the key is a bearer token."""
    async with FakeProvider() as fake, bedrock_for(fake) as g:
        fake.script = sent.bedrock(["Hel", "lo"])
        status, frames = await asked(g, max_tokens=7, stream_options={"include_usage": True})
        answer = collect(frames)
        assert (status, answer.text, answer.finish, answer.done) == (200, "Hello", "stop", True)
        assert answer.usage is not None
        assert (answer.usage["prompt_tokens"], answer.usage["completion_tokens"]) == (9, 4)
        (seen,) = fake.chats
        assert (seen.path, seen.model) == ("/model/anthropic.claude-demo-v1%3A0/converse-stream", MODEL)
        assert seen.json["inferenceConfig"] == {"maxTokens": 7}
        assert seen.headers["authorization"] == "Bearer sk-fake-key-of-the-tests"
        assert "x-amz-date" not in seen.headers
        await settled(g, fake, End.FINISHED)


async def test_bedrock_whole_answer_comes_in_the_clients_dialect() -> None:
    """Where no stream was asked for, none is."""
    async with FakeProvider() as fake, bedrock_for(fake) as g:
        fake.script = sent.bedrock(["Hel", "lo"], reason="max_tokens")
        async with await g.chat(model=MODEL, stream=False) as client:
            assert await client.response() == 200
            answer = msgspec.json.decode(await client.read_body())
        assert answer["choices"][0]["message"]["content"] == "Hello"
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"]["total_tokens"] == 13
        assert fake.chats[0].path.endswith("/converse")


async def test_bedrock_without_a_key_is_signed_with_the_process_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Lambda, where the role's credentials stand in the environment."""
    for name, value in (("ACCESS_KEY_ID", "AKIDEXAMPLE"), ("SECRET_ACCESS_KEY", "s"), ("SESSION_TOKEN", "t")):
        monkeypatch.setenv(f"AWS_{name}", value)
    async with FakeProvider() as fake, bedrock_for(fake, providers__fake__api_key="none") as g:
        fake.script = sent.bedrock(["Hi"])
        status, _ = await asked(g)
        assert status == 200
        headers = fake.chats[0].headers
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-central-1/bedrock/aws4_request" in headers["authorization"]
    assert "accept;content-type;host;x-amz-date;x-amz-security-token" in headers["authorization"]
    assert headers["x-amz-security-token"] == "t"


@pytest.mark.parametrize(
    ("status", "kind", "expected", "code"),
    [
        (400, "ValidationException", 400, "invalid_request"),
        (403, "AccessDeniedException", 502, "upstream_auth"),
        (429, "ThrottlingException", 429, "rate_limit_exceeded"),
        (503, "ServiceUnavailableException", 503, "upstream_overloaded"),
    ],
)
async def test_bedrock_error_before_the_stream_has_its_status(status: int, kind: str, expected: int, code: str) -> None:
    """As does an exception that is the stream's first event."""
    async with FakeProvider() as fake, bedrock_for(fake) as g:
        for script in (
            sent.refused(status, kind, "words"),
            sent.broken_off([], f"{kind[0].lower()}{kind[1:]}", "words"),
        ):
            fake.script = script
            found, frames = await asked(g)
            assert (found, msgspec.json.decode(frames[0])["error"]["code"]) == (expected, code)


async def test_bedrock_exception_in_the_stream_is_an_error_in_band() -> None:
    """After text has gone out, nothing else is honest; never a [DONE]."""
    async with FakeProvider() as fake, bedrock_for(fake) as g:
        fake.script = sent.broken_off(["Hel"], "modelStreamErrorException", "It broke.")
        status, frames = await asked(g)
        assert status == 200
        assert in_band_error(frames)["message"] == "It broke."
        assert collect(frames).text == "Hel"
        await settled(g, fake, End.UPSTREAM_ERROR)


async def test_bedrock_stream_with_a_wrong_checksum_is_an_error_in_band() -> None:
    """What came before it stands."""

    async def script(exchange: Exchange) -> None:
        await exchange.head(200, sent.EVENT_STREAM)
        await exchange.send(sent.start() + sent.text("Hel") + sent.text("lo")[:-1] + b"x")

    async with FakeProvider() as fake, bedrock_for(fake) as g:
        fake.script = script
        _, frames = await asked(g)
        assert "wrong checksum" in in_band_error(frames)["message"]
        assert collect(frames).text == "Hel"
        await settled(g, fake, End.UPSTREAM_ERROR)


async def test_bedrock_image_by_address_is_refused_and_nothing_is_asked() -> None:
    """Neither Bedrock nor the gateway fetches it."""
    part = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data/"}}
    async with FakeProvider() as fake, bedrock_for(fake) as g:
        status, frames = await asked(g, messages=[{"role": "user", "content": [{"type": "text", "text": "?"}, part]}])
        error = msgspec.json.decode(frames[0])["error"]
        assert (status, error["param"]) == (400, "messages[0].content[1].image_url.url")
        assert not fake.chats + fake.others
