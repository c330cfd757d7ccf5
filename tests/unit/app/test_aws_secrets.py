"""Keys that AWS keeps: fetched once, kept for minutes, and never shown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
import pytest

from rillgate.app.aws_secrets import AGE_S_MAX, PAUSES_S, RETRY_S, AwsSecrets, FetchedKey
from rillgate.app.settings.secrets import SecretName
from rillgate.app.settings.types import ProviderSettings
from rillgate.domain.errors import UpstreamError
from tests.fakes.aws import FakeAws, answer
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import Exchange

pytestmark = pytest.mark.anyio

PARAMETER = SecretName("ssm", "/rillgate/key")
ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:openai-AbCdEf"
SECRET = SecretName("secret", ARN)
KEY = "sk-fake-0123456789abcdef"
TRIES = len(PAUSES_S) + 1


def environ(fake: FakeAws, **more: str) -> Mapping[str, str]:
    """Of a function whose AWS is the fake."""
    return {
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "AKIAFAKE",
        "AWS_SECRET_ACCESS_KEY": "fake",
        "AWS_ENDPOINT_URL": fake.url,
        **more,
    }


@asynccontextmanager
async def keeping(**more: str) -> AsyncIterator[tuple[FakeAws, AwsSecrets, FakeClock]]:
    clock = FakeClock()
    async with FakeAws() as fake:
        secrets = AwsSecrets(clock, environ(fake, **more), sleep=_at_once)
        try:
            yield fake, secrets, clock
        finally:
            await secrets.aclose()


async def _at_once(seconds: float) -> None:
    assert 0 < seconds < 2


def parameter(value: str) -> dict[str, object]:
    """What Systems Manager answers."""
    return {"Parameter": {"Name": PARAMETER.name, "Type": "SecureString", "Value": value}}


async def test_secrets_parameter_is_asked_for_decrypted_and_signed() -> None:
    """One call, in the way that Systems Manager reads."""
    async with keeping() as (fake, secrets, _):
        fake.routes["POST", "/"] = answer(parameter(KEY))
        assert await secrets.text(PARAMETER) == KEY
        (asked,) = fake.others
        assert asked.headers["x-amz-target"] == "AmazonSSM.GetParameter"
        assert asked.headers["content-type"] == "application/x-amz-json-1.1"
        assert "/eu-central-1/ssm/aws4_request" in asked.headers["authorization"]
        assert msgspec.json.decode(asked.body) == {"Name": PARAMETER.name, "WithDecryption": True}


async def test_secrets_secret_is_asked_for_in_the_region_of_its_arn() -> None:
    """Wherever the function runs."""
    async with keeping() as (fake, secrets, _):
        fake.routes["POST", "/"] = answer({"SecretString": KEY, "ARN": ARN})
        assert await secrets.text(SECRET) == KEY
        (asked,) = fake.others
        assert asked.headers["x-amz-target"] == "secretsmanager.GetSecretValue"
        assert "/eu-west-1/secretsmanager/aws4_request" in asked.headers["authorization"]
        assert msgspec.json.decode(asked.body) == {"SecretId": ARN}


async def test_secrets_value_is_fetched_once_for_all_who_ask_at_once() -> None:
    """A burst of requests into a new environment is one call."""
    async with keeping() as (fake, secrets, _):
        fake.routes["POST", "/"] = answer(parameter(KEY))
        assert await asyncio.gather(*(secrets.text(PARAMETER) for _ in range(20))) == [KEY] * 20
        assert len(fake.others) == 1


async def test_secrets_value_is_taken_up_anew_after_its_age() -> None:
    """A rotated key needs no restart; until then nothing is asked."""
    async with keeping() as (fake, secrets, clock):
        fake.routes["POST", "/"] = answer(parameter("old"))
        assert await secrets.text(PARAMETER) == "old"
        fake.routes["POST", "/"] = answer(parameter("new"))
        clock.advance(AGE_S_MAX - 1)
        assert await secrets.text(PARAMETER) == "old"
        clock.advance(1)
        assert await secrets.text(PARAMETER) == "new"
        assert len(fake.others) == 2


async def test_secrets_value_goes_on_serving_where_it_cannot_be_renewed(caplog: pytest.LogCaptureFixture) -> None:
    """An outage of the store of keys is none of the gateway's; it is asked again, but not by every request."""
    async with keeping() as (fake, secrets, clock):
        fake.routes["POST", "/"] = answer(parameter(KEY))
        await secrets.text(PARAMETER)
        fake.routes["POST", "/"] = answer({"__type": "InternalServerError", "message": "later"}, 500)
        clock.advance(AGE_S_MAX)
        with caplog.at_level(logging.WARNING, "rillgate"):
            assert [await secrets.text(PARAMETER) for _ in range(5)] == [KEY] * 5
        assert len(fake.others) == 1 + TRIES
        assert [line.message for line in caplog.records] == ["secret_not_renewed"]
        clock.advance(RETRY_S)
        await secrets.text(PARAMETER)
        assert len(fake.others) == 1 + 2 * TRIES


async def test_secrets_value_that_never_came_says_what_aws_said() -> None:
    """And the next request asks again."""
    async with keeping() as (fake, secrets, _):
        fake.routes["POST", "/"] = answer({"__type": "ParameterNotFound"}, 400)
        for _ in range(2):
            with pytest.raises(UpstreamError, match="ssm:/rillgate/key could not be read: ParameterNotFound"):
                await secrets.text(PARAMETER)
        assert len(fake.others) == 2


@pytest.mark.parametrize(
    ("refusal", "status"),
    [({"__type": "ThrottlingException"}, 400), ({"__type": "InternalServerError"}, 500), ({}, 503)],
)
async def test_secrets_call_that_came_too_often_is_tried_again(refusal: object, status: int) -> None:
    """A burst of new environments asks all at once, and each comes through."""
    async with keeping() as (fake, secrets, _):

        async def at_last(exchange: Exchange) -> None:
            last = len(fake.others) == TRIES
            await exchange.answer_json(parameter(KEY) if last else refusal, 200 if last else status)

        fake.routes["POST", "/"] = at_last
        assert await secrets.text(PARAMETER) == KEY
        assert len(fake.others) == TRIES


@pytest.mark.parametrize("content", [{"Parameter": {"Value": 5}}, [], {"SecretBinary": "AAAA"}, {}])
async def test_secrets_answer_without_a_text_is_an_error(content: object) -> None:
    """Whatever it is, it is not taken for a key."""
    async with keeping() as (fake, secrets, _):
        fake.routes["POST", "/"] = answer(content)
        with pytest.raises(UpstreamError):
            await secrets.text(PARAMETER)


async def test_secrets_parameter_without_a_region_says_what_to_set() -> None:
    """Outside Lambda nothing sets it by itself."""
    async with keeping(AWS_REGION="") as (_, secrets, _clock):
        with pytest.raises(UpstreamError, match="set AWS_REGION"):
            await secrets.text(PARAMETER)


@pytest.mark.parametrize("stored", [KEY, f"{KEY}\n", f'{{"OPENAI_API_KEY": "{KEY}"}}'])
async def test_fetched_key_stands_in_the_endpoint(stored: str) -> None:
    """As text, or as the one value of the table that Secrets Manager's console makes."""
    async with keeping() as (fake, secrets, _):
        fake.routes["POST", "/"] = answer({"SecretString": stored})
        provider = ProviderSettings("openai", "http://127.0.0.1:1/v1", SECRET, (("x-lab", "1"),))
        endpoint = await FetchedKey(provider, SECRET, secrets).endpoint()
        assert endpoint.base_url == "http://127.0.0.1:1/v1"
        assert endpoint.headers == (("authorization", f"Bearer {KEY}"), ("x-lab", "1"))


@pytest.mark.parametrize("stored", ["", "two words", '{"a": "1", "b": "2"}'])
async def test_fetched_key_that_no_header_carries_is_told_to_the_operator_alone(
    stored: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client learns that the gateway has no key; the log says which one, and shows nothing of it."""
    async with keeping() as (fake, secrets, _):
        fake.routes["POST", "/"] = answer({"SecretString": stored})
        provider = ProviderSettings("openai", "http://127.0.0.1:1/v1", SECRET)
        with caplog.at_level(logging.ERROR, "rillgate"), pytest.raises(UpstreamError) as refused:
            await FetchedKey(provider, SECRET, secrets).endpoint()
    assert ARN not in refused.value.message
    (line,) = caplog.records
    assert line.message == "provider_key_unavailable"
    assert stored == "" or stored not in str(vars(line))
