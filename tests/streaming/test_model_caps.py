"""A model that can put out less than our default: the client that named no cap is answered all the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.gateway import CHAT, GatewayInTest, chat_body, gateway_for
from tests.fakes.ledger import FakeLedger
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Error, chat
from tests.streaming.asking import Got, ask

pytestmark = pytest.mark.anyio

DEFAULT = 16_384
LIMIT = "The maximum tokens you requested exceeds the model limit of 10000."
CONTEXT = "maximum context length is 8192 tokens and your request has 30 input tokens (16384 > 8192 - 30)."


def refusal(message: str) -> Error:
    return Error(400, {"error": {"message": message, "type": "invalid_request_error", "param": "max_tokens"}})


def answer_of(*, stream: bool) -> Any:
    return chat(["Hello", " there"]) if stream else [Error(200, WHOLE)]


WHOLE = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}


def caps(fake: FakeProvider) -> list[int]:
    """What was asked for, request by request."""
    return [asked.json["max_tokens"] for asked in fake.chats]


async def asked(g: GatewayInTest, **fields: Any) -> Got:
    got = await ask(g, "POST", CHAT, json=chat_body(**fields))
    await g.settled()
    return got


@pytest.mark.parametrize("stream", [True, False])
async def test_default_that_a_model_refuses_is_lowered_to_what_it_can_do(stream: bool) -> None:
    """Once; the next request begins with it. Nothing is charged for what was refused."""
    ledger = FakeLedger()
    async with FakeProvider() as fake, gateway_for(fake, ledger=ledger) as g:
        fake.queue([refusal(LIMIT)], answer_of(stream=stream), answer_of(stream=stream))
        for _ in range(2):
            got = await asked(g, stream=stream)
            assert got.status == 200
            assert b"Hello" in got.body
            assert got.headers["x-rillgate-upstream"].endswith("attempt=1")
        assert caps(fake) == [DEFAULT, 10_000, 10_000]
        assert [settled.actual.tokens for settled in ledger.settles] == [11, 11]


@pytest.mark.parametrize("stream", [True, False])
async def test_default_that_the_context_does_not_leave_is_lowered_for_this_prompt(stream: bool) -> None:
    """The next prompt may leave more."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.queue([refusal(CONTEXT)], answer_of(stream=stream), answer_of(stream=stream))
        for _ in range(2):
            assert (await asked(g, stream=stream)).status == 200
        assert caps(fake) == [DEFAULT, 8_162, DEFAULT]


async def test_cap_of_the_clients_own_is_asked_for_as_it_is() -> None:
    """The refusal is its to read."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [refusal(LIMIT)]
        got = await asked(g, max_tokens=12_000)
        assert got.status == 400
        assert "model limit of 10000" in got.json["error"]["message"]
        assert caps(fake) == [12_000]


async def test_model_that_refuses_the_lower_cap_too_is_asked_no_third_time() -> None:
    """Its refusal is the answer."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = [refusal(LIMIT)]
        got = await asked(g)
        assert got.status == 400
        assert caps(fake) == [DEFAULT, 10_000]
