"""OpenAI's own Python SDK against budgets: its exceptions, how often it asks, and that it never sleeps in vain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from rillgate.identity import keys
from tests.e2e.keyed import KeyedGateway
from tests.e2e.sdk import (
    DAYTIME_S,
    MIDNIGHT,
    MIDNIGHT_S,
    QUESTION,
    Naps,
    Sdk,
    asking,
    asynchronous,
    attempts,
    blocking,
    gateway,
)
from tests.fakes.gateway import GatewayInTest
from tests.fakes.ledger import FakeLedger
from tests.fakes.script import Chunk, Role, Stall, chat, runaway

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The loop is not the subject."""
    return "asyncio"


@pytest.fixture(params=[asynchronous, blocking])
def sdk(request: pytest.FixtureRequest) -> Sdk:
    """Either client."""
    client: Sdk = request.param
    return client


@pytest.fixture
async def naps(monkeypatch: pytest.MonkeyPatch) -> Naps:
    """Nobody in this process sleeps for real."""
    naps = Naps()
    naps.patch(monkeypatch)
    return naps


async def refusal_of(sdk: Sdk, gate: KeyedGateway, key: str, **fields: Any) -> openai.APIStatusError:
    """What the SDK raises."""
    with pytest.raises(openai.APIStatusError) as caught:
        await sdk(gate, key, asking(**fields))
    assert str(caught.value.request_id).startswith("req_")
    return caught.value


# What no second try would change


@dataclass(frozen=True)
class Refusal:
    """A case of which the SDK should tell at once.

    Attributes:
        prepare: makes what stands in the way and gives the key to come with.
        raises, code, kind: class, `.code` and `.type` of the exception.
        fields: of the request.
        settings: of the gateway.
        headers: that the answer has; None for one that it must not have.
        wall_s: when it happens.
        upstream: requests that the provider got while it was prepared.
    """

    prepare: Callable[[GatewayInTest], Awaitable[str]]
    raises: type[openai.APIStatusError]
    code: str
    kind: str
    fields: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str | None] = field(default_factory=dict)
    wall_s: float = DAYTIME_S
    upstream: int = 0


def new_key(*limits: str, **details: Any) -> Callable[[GatewayInTest], Awaitable[str]]:
    """A new key."""
    return lambda g: g.new_key(limits=limits, **details)


def used_key(*limits: str) -> Callable[[GatewayInTest], Awaitable[str]]:
    """A key with which one answer of 13 tokens has been got."""

    async def prepare(g: GatewayInTest) -> str:
        key = await g.new_key(limits=limits)
        async with AsyncOpenAI(base_url=f"{g.url}/v1", api_key=key) as client:
            await asking(max_tokens=10)(client)
        await g.settled()
        return key

    return prepare


async def blocked_key(g: GatewayInTest) -> str:
    """A key whose scope the operator blocked."""
    key = await g.new_key()
    await g.set_budget(f"key:{keys.parse(key)}", (), blocked="unpaid")
    return key


async def unknown_key(g: GatewayInTest) -> str:
    """Well formed, and not of this gateway."""
    return keys.new_key()


async def foreign_key(g: GatewayInTest) -> str:
    """A provider's."""
    return "sk-fake-key-of-somebody-else"


QUOTA, RATE = "insufficient_quota", "rate_limit_exceeded"
INVALID = "invalid_request_error"

REFUSALS: dict[str, Refusal] = {
    "requests of the day": Refusal(
        used_key("requests/day=1"),
        openai.RateLimitError,
        QUOTA,
        QUOTA,
        headers={"retry-after": None, "x-rillgate-reset": MIDNIGHT, "x-ratelimit-remaining-requests": "0"},
        upstream=1,
    ),
    "tokens of the day": Refusal(
        used_key("tokens/day=115"),
        openai.RateLimitError,
        QUOTA,
        QUOTA,
        headers={"retry-after": None, "x-rillgate-reset": MIDNIGHT, "x-ratelimit-remaining-tokens": "102"},
        upstream=1,
    ),
    "dollars of the month": Refusal(
        used_key("usd/month=0.00018"),
        openai.RateLimitError,
        QUOTA,
        QUOTA,
        headers={"retry-after": None, "x-rillgate-reset": "2026-12-01T00:00:00Z"},
        upstream=1,
    ),
    "the day is over soon": Refusal(
        used_key("requests/day=1"),
        openai.RateLimitError,
        QUOTA,
        QUOTA,
        headers={"retry-after": "30", "x-rillgate-reset": MIDNIGHT},
        wall_s=MIDNIGHT_S - 30,
        upstream=1,
    ),
    "requests in total": Refusal(
        used_key("requests/total=1"),
        openai.RateLimitError,
        QUOTA,
        QUOTA,
        headers={"retry-after": None, "x-rillgate-reset": None},
        upstream=1,
    ),
    "quota as 403": Refusal(
        used_key("requests/total=1"),
        openai.PermissionDeniedError,
        QUOTA,
        QUOTA,
        settings={"ledger__quota_status": 403},
        upstream=1,
    ),
    "too large for the day": Refusal(
        new_key("tokens/day=100"),
        openai.RateLimitError,
        RATE,
        "tokens",
        fields={"messages": [{"role": "user", "content": "word " * 100}]},
    ),
    "too large for the minute": Refusal(
        new_key("tokens/minute=100"),
        openai.RateLimitError,
        RATE,
        "tokens",
        fields={"messages": [{"role": "user", "content": "word " * 100}]},
        headers={"retry-after": None, "retry-after-ms": None},
    ),
    "too dear": Refusal(new_key("usd/total=0.00001"), openai.RateLimitError, RATE, "cost"),
    "blocked": Refusal(blocked_key, openai.PermissionDeniedError, "permission_denied", "permission_error"),
    "unknown key": Refusal(unknown_key, openai.AuthenticationError, "invalid_api_key", INVALID),
    "foreign key": Refusal(foreign_key, openai.AuthenticationError, "invalid_api_key", INVALID),
    "expired key": Refusal(new_key(expires_s=DAYTIME_S - 1), openai.AuthenticationError, "key_expired", INVALID),
    "revoked key": Refusal(new_key(revoked_s=1), openai.AuthenticationError, "key_revoked", INVALID),
    "another model": Refusal(
        new_key(models=["gpt-*"]), openai.PermissionDeniedError, "model_not_allowed", "permission_error"
    ),
    "no price": Refusal(
        new_key("usd/day=1"), openai.BadRequestError, "price_unknown", INVALID, fields={"model": "unheard-of"}
    ),
    "no price of a tier": Refusal(
        new_key("usd/day=1"), openai.BadRequestError, "price_unknown", INVALID, fields={"service_tier": "priority"}
    ),
}


@pytest.mark.parametrize("streaming", [False, True], ids=["answer", "stream"])
@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS)
async def test_sdk_budget_refusal_is_raised_after_one_attempt_without_a_sleep(
    case: Refusal, sdk: Sdk, naps: Naps, *, streaming: bool
) -> None:
    """Class, code and type say which limit; the SDK neither asks again nor waits, and the provider hears nothing."""
    async with gateway(wall_s=case.wall_s, **case.settings) as gate:
        key = await case.prepare(gate.inside)
        await attempts(gate)
        refused = await refusal_of(sdk, gate, key, stream=streaming, **case.fields)
        assert (type(refused), refused.code, refused.type) == (case.raises, case.code, case.kind)
        assert await attempts(gate) == [("0", refused.status_code)]
        assert naps.asked_s == []
        assert {name: refused.response.headers.get(name) for name in case.headers} == case.headers
        assert len(gate.fake.chats) == case.upstream
        assert key not in str(refused)


# What a second try may change


@asynccontextmanager
async def running_stream(gate: KeyedGateway) -> AsyncIterator[tuple[str, openai.AsyncStream[ChatCompletionChunk]]]:
    """A key for one stream at a time, and that stream, which goes on until it is closed."""
    key = await gate.inside.new_key(limits=["streams=1"])
    gate.fake.script = [Role(), Chunk("one"), Stall()]
    async with (
        AsyncOpenAI(base_url=f"{gate.url}/v1", api_key=key) as other,
        await asking(stream=True)(other) as stream,
    ):
        await attempts(gate)
        yield key, stream


async def test_sdk_concurrency_refusal_is_tried_again_until_the_other_stream_has_ended(sdk: Sdk, naps: Naps) -> None:
    """The SDK waits the second that it is told, and is served once there is room; nobody has to catch anything."""
    async with gateway() as gate, running_stream(gate) as (key, stream):

        async def other_ends() -> None:
            gate.fake.script = chat()
            await stream.close()
            await gate.inside.settled()

        naps.meanwhile = other_ends
        answer = await sdk(gate, key, asking())
        assert answer.choices[0].message.content == "Hello, world!"
        assert naps.asked_s == [1.0]
        assert await attempts(gate) == [("0", 429), ("1", 200)]


async def test_sdk_concurrency_refusal_is_raised_when_there_never_was_room(sdk: Sdk, naps: Naps) -> None:
    """Three tries, a second between them as told, then the class for rates with a type of its own."""
    async with gateway() as gate, running_stream(gate) as (key, _):
        refused = await refusal_of(sdk, gate, key)
        assert (type(refused), refused.code, refused.type) == (openai.RateLimitError, RATE, "concurrency")
        assert naps.asked_s == [1.0, 1.0]
        assert await attempts(gate) == [("0", 429), ("1", 429), ("2", 429)]


@pytest.mark.parametrize("limit", ["requests/minute=1", "tokens/minute=115"])
async def test_sdk_minute_rate_is_waited_for_until_the_next_minute(limit: str, sdk: Sdk, naps: Naps) -> None:
    """It sleeps exactly the seconds to the full minute, and is served then."""
    async with gateway() as gate:
        key = await used_key(limit)(gate.inside)
        await attempts(gate)

        async def minute_passes() -> None:
            gate.clock.advance(naps.asked_s[-1])

        naps.meanwhile = minute_passes
        answer = await sdk(gate, key, asking())
        assert answer.choices[0].finish_reason == "stop"
        assert naps.asked_s == [20.0]
        assert await attempts(gate) == [("0", 429), ("1", 200)]


async def test_sdk_minute_rate_that_stays_reached_is_raised_with_when_to_come_back(sdk: Sdk, naps: Naps) -> None:
    """The clock stands still here, so all three tries are refused alike."""
    async with gateway() as gate:
        key = await used_key("requests/minute=1")(gate.inside)
        await attempts(gate)
        refused = await refusal_of(sdk, gate, key)
        assert (type(refused), refused.code, refused.type) == (openai.RateLimitError, RATE, "requests")
        headers = refused.response.headers
        assert (headers["retry-after"], headers["retry-after-ms"]) == ("20", "20000")
        assert headers["x-ratelimit-reset-requests"] == "20s"
        assert "x-should-retry" not in headers
        assert naps.asked_s == [20.0, 20.0]
        assert await attempts(gate) == [("0", 429), ("1", 429), ("2", 429)]


async def test_sdk_store_that_fails_is_tried_again_and_raised_as_a_server_error(sdk: Sdk, naps: Naps) -> None:
    """503 budget_unavailable: three tries a second apart; a store that is back in time is not noticed at all."""
    ledger = FakeLedger()
    async with gateway(ledger=ledger) as gate:
        key = await gate.inside.new_key()
        ledger.failing.add("authorize")
        refused = await refusal_of(sdk, gate, key)
        assert (type(refused), refused.status_code) == (openai.InternalServerError, 503)
        assert (refused.code, refused.type) == ("budget_unavailable", "server_error")
        assert naps.asked_s == [1.0, 1.0]
        assert await attempts(gate) == [("0", 503), ("1", 503), ("2", 503)]

        async def store_is_back() -> None:
            ledger.failing.clear()

        naps.meanwhile = store_is_back
        answer = await sdk(gate, key, asking())
        assert answer.choices[0].message.content == "Hello, world!"
        assert await attempts(gate) == [("0", 503), ("1", 200)]
        assert len(gate.fake.chats) == 1


# The cut in mid-stream


class Greeting(BaseModel):
    """What the parsing helpers should make of an answer."""

    text: str


async def chunks_of(sdk: Sdk, gate: KeyedGateway, key: str, **fields: Any) -> list[ChatCompletionChunk]:
    """All chunks of a stream."""
    start = asking(stream=True, **fields)

    async def read(client: AsyncOpenAI) -> list[ChatCompletionChunk]:
        return [chunk async for chunk in await start(client)]

    def read_blocking(client: OpenAI) -> list[ChatCompletionChunk]:
        return list(start(client))

    chunks: list[ChatCompletionChunk] = await sdk(gate, key, read if sdk is asynchronous else read_blocking)
    return chunks


@pytest.mark.parametrize("usage", [False, True], ids=["", "usage"])
async def test_sdk_stream_cut_by_a_budget_ends_as_a_length_and_says_whose_limit_it_was(
    sdk: Sdk, naps: Naps, *, usage: bool
) -> None:
    """No exception while iterating: every token that was held, finish "length", the field `rillgate`, and usage."""
    async with gateway() as gate:
        key = await gate.inside.new_key(limits=["tokens/day=100"])
        gate.fake.script = runaway(5000)
        wish: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
        chunks = await chunks_of(sdk, gate, key, model="gpt-4o", max_tokens=500, **wish)
        choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
        delivered = [choice.delta.content for choice in choices if choice.delta.content]
        (cap,) = [exchange.json["max_tokens"] for exchange in gate.fake.chats]
        assert 64 <= cap < 100
        assert delivered == [" a"] * cap
        assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["length"]
        (last,) = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
        scope = f"key:{keys.parse(key)}"
        report = {"stop": "budget", "scope": scope, "reset": MIDNIGHT, "estimated": True}
        assert last.model_extra == {"rillgate": report}
        assert [chunk for chunk in chunks if chunk is not last and chunk.model_extra] == []
        usages = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage]
        assert usages == ([cap] if usage else [])
        assert await attempts(gate) == [("0", 200)]
        assert naps.asked_s == []


async def test_sdk_helpers_that_parse_raise_length_at_an_answer_cut_by_a_budget(sdk: Sdk, naps: Naps) -> None:
    """`.stream()` and `.parse()` never make an object of half an answer: LengthFinishReasonError, as for any length."""
    async with gateway() as gate:
        key = await gate.inside.new_key(limits=["tokens/day=400"])
        wanted: dict[str, Any] = {"messages": QUESTION, "max_tokens": 500, "response_format": Greeting}

        async def stream(client: AsyncOpenAI) -> None:
            async with client.chat.completions.stream(model="gpt-4o", **wanted) as helper:
                await helper.get_final_completion()

        def stream_blocking(client: OpenAI) -> None:
            with client.chat.completions.stream(model="gpt-4o", **wanted) as helper:
                helper.get_final_completion()

        gate.fake.script = chat(['{"text": "', *[" a"] * 5000])  # the helper parses what has come so far
        with pytest.raises(openai.LengthFinishReasonError) as cut:
            await sdk(gate, key, stream if sdk is asynchronous else stream_blocking)
        (cap,) = [exchange.json["max_tokens"] for exchange in gate.fake.chats]
        content = cut.value.completion.choices[0].message.content
        assert content is not None
        assert content.startswith('{"text": " a')
        assert cap - 10 < content.count(" a") < cap
        # The whole answer comes from a provider that stops at its cap by itself.
        key = await gate.inside.new_key(limits=["tokens/day=400"])
        gate.fake.script = chat(['{"text": "Hel'], finish="length")
        with pytest.raises(openai.LengthFinishReasonError) as short:
            await sdk(gate, key, lambda client: client.chat.completions.parse(model="gpt-4o", **wanted))
        extra = short.value.completion.model_extra
        scope = f"key:{keys.parse(key)}"
        assert extra == {"rillgate": {"stop": "budget", "scope": scope, "reset": MIDNIGHT}}
        assert await attempts(gate) == [("0", 200)] * 2
        assert naps.asked_s == []


# Headers


@pytest.mark.parametrize("streaming", [False, True], ids=["answer", "stream"])
async def test_sdk_raw_response_says_how_much_is_left(sdk: Sdk, naps: Naps, *, streaming: bool) -> None:
    """`with_raw_response` has what agents pace themselves by: limit, rest net of this request's hold, and reset."""
    async with gateway() as gate:
        key = await gate.inside.new_key(limits=["tokens/day=10000", "requests/minute=3", "usd/total=2"])

        def call(client: Any) -> Any:
            create = client.chat.completions.with_raw_response.create
            return create(model="fake-model", messages=QUESTION, max_tokens=100, stream=streaming)

        raw = await sdk(gate, key, call)
        headers = raw.headers
        assert headers["x-ratelimit-limit-tokens"] == "10000"
        assert 10_000 - 100 - 60 <= int(headers["x-ratelimit-remaining-tokens"]) < 10_000 - 100
        assert headers["x-ratelimit-reset-tokens"] == "12h0m20s"
        assert headers["x-ratelimit-limit-requests"] == "3"
        assert headers["x-ratelimit-remaining-requests"] == "2"
        assert headers["x-ratelimit-reset-requests"] == "20s"
        assert 1.999 < float(headers["x-rillgate-remaining-usd"]) < 2
        assert headers["x-rillgate-scope"] == f"key:{keys.parse(key)}"
        assert raw.retries_taken == 0
