"""POST /v1/embeddings is budgeted, failed over, ended and refused as everything else; over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rillgate.domain.limits import NOTHING, Amounts
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import Exchange
from tests.fakes.gateway import GatewayInTest, gateway_for
from tests.fakes.ledger import FakeLedger
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Error, Reset, Stall
from tests.fakes.script_embeddings import vectors
from tests.streaming.asking import Got, ask
from tests.streaming.test_budgets import budgeted, done, ends, metric

pytestmark = pytest.mark.anyio

PATH = "/v1/embeddings"
MODEL = "lab-embed"  # counted with an encoding that is always loaded
TEXTS = ["hello world", "hi"]  # three tokens


def body(**fields: Any) -> dict[str, Any]:
    """A small request."""
    return {"model": MODEL, "input": TEXTS, **fields}


async def embedded(g: GatewayInTest, key: str | None = None, **fields: Any) -> Got:
    """Its answer."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return await ask(g, "POST", PATH, json=body(**fields), headers=headers)


async def test_embeddings_are_held_for_their_prompt_and_charged_for_what_it_took() -> None:
    """Nothing is held for an answer; the provider's count is the truth, and the record says so."""
    async with budgeted(prices={"fake/*": {"input": 1.0, "output": 100.0}}) as (ledger, fake, g):
        fake.script = vectors()
        assert (await embedded(g)).status == 200
        await done(g)
        (granted,) = ledger.asks
        assert (granted.output_tokens, granted.choices, granted.strict) == (0, 1, True)
        assert 3 <= granted.input_tokens <= 3 + 2 + 32
        assert ledger.settled_once() == Amounts(4, 4000, 1)
        record = ledger.settles[0].record
        assert (record.input_tokens, record.output_tokens, record.end) == (4, 0, "finished")
        assert (record.estimated, record.model, record.provider) == (False, MODEL, "fake")
        assert ends(g) == {"finished": 1}


async def test_embeddings_that_are_not_counted_are_charged_by_our_count() -> None:
    """Which the answer says, too."""
    async with budgeted() as (ledger, fake, g):
        fake.script = vectors(counted=False)
        got = await embedded(g)
        assert got.json["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        assert got.json["rillgate"] == {"estimated": True}
        await done(g)
        assert ledger.settled_once() == Amounts(3, 0, 1)
        assert ledger.settles[0].record.estimated


async def test_embeddings_of_token_ids_are_held_as_many() -> None:
    """They count themselves."""
    async with budgeted() as (ledger, fake, g):
        fake.script = vectors()
        assert (await embedded(g, input=[[5, 6, 7], [8]], model="text-embedding-3-small")).status == 200
        assert ledger.asks[0].input_tokens == 4


async def test_embeddings_of_openai_pass_byte_for_byte() -> None:
    """White space, order and fields that we do not know, of the request and of the answer."""
    sent = b'{ "object":"list", "data":[{"embedding":"AAAA","index":0}],  "usage":{"prompt_tokens":7}, "x":1 }\n'

    async def script(exchange: Exchange) -> None:
        await exchange.answer_json(sent)

    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = script
        got = await embedded(g, encoding_format="base64", new_field={"a": 1}, model="fake/other")
        assert got.body == sent
        assert fake.chats[0].json == {**body(encoding_format="base64", new_field={"a": 1}), "model": "other"}
        assert got.headers["x-rillgate-upstream"] == "fake/other; attempt=1"
        got.check_id()


@pytest.mark.parametrize("limit", ["tokens/day=40", "requests/day=1"])
async def test_embeddings_beyond_a_budget_are_refused_in_openais_shape(limit: str) -> None:
    """By the limit's name, once it is used up: a request without an answer has nothing to be lowered."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        fake.script = vectors()
        key = await g.new_key(limits=[limit])
        first = await embedded(g, key)
        assert first.status == 200
        await g.settled()
        again = await embedded(g, key)
        for _ in range(20):
            if again.status != 200:
                break
            await g.settled()
            again = await embedded(g, key)
        assert (again.status, again.error["code"], again.error["type"]) == (429, *["insufficient_quota"] * 2)
        await g.settled()
        assert (await embedded(g)).status == 401


async def test_embeddings_fail_over_to_the_next_upstream() -> None:
    """A provider that is down, then one that answers in another API, under the same name."""
    async with FakeProvider() as fake, FakeProvider() as other:
        more: dict[str, Any] = {
            "providers__local__kind": "ollama",
            "providers__local__base_url": other.base_url,
            "routes": [{"model": MODEL, "upstream": ["fake/a", "local/b"]}],
        }
        async with gateway_for(fake, **more) as g:
            fake.script = [Error(503)]
            other.script = vectors()
            got = await embedded(g)
            assert got.headers["x-rillgate-upstream"] == "local/b; attempt=2"
            assert [one["embedding"][0] for one in got.json["data"]] == [11.0, 2.0]
            assert got.json["model"] == "b"


async def test_embeddings_end_with_their_deadline_and_with_their_client() -> None:
    """The provider's connection is closed at once, and the end has its name."""
    clock = FakeClock()
    async with FakeProvider() as fake, gateway_for(fake, clock=clock) as g:
        fake.script = [Stall()]
        asking = asyncio.create_task(embedded(g))
        await fake.request(0)
        clock.advance(901)
        got = await asking
        assert got.status == 504
        await fake.closed(0)
        async with await g.client() as client:
            await client.request("POST", PATH, json=body())
            await fake.request(1)
        await fake.closed(1)
        await g.idle()
        assert ends(g) == {"deadline": 1, "client_gone": 1}
        assert metric(g, "llm_active_streams") == 0


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        ([Error(400, {"error": {"message": "bad", "code": "x", "param": "input"}})], 400, "x"),
        ([Error(401)], 502, "upstream_auth"),
        ([Reset()], 502, "upstream_truncated"),
    ],
)
async def test_error_of_the_provider_has_openais_shape(script: Any, status: int, code: str) -> None:
    """As for any other request."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = script
        got = await embedded(g)
        assert (got.status, got.error["code"]) == (status, code)


@pytest.mark.parametrize(
    "answer", [b"{}", b"[]", b"<html>", b'{"data": []}', b'{"error": {"message": "no", "code": 500}}']
)
@pytest.mark.parametrize("kind", ["openai", "azure", "ollama", "gemini", "bedrock"])
async def test_answer_without_vectors_is_an_error(kind: str, answer: bytes) -> None:
    """A 502 of our own, never half an answer."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer_json(answer)

    more: dict[str, Any] = {"providers__fake__region": "eu-central-1"} if kind == "bedrock" else {}
    async with FakeProvider() as fake:
        root = f"http://127.0.0.1:{fake.port}" if kind == "bedrock" else fake.base_url
        more["providers__fake__base_url"] = root
        async with gateway_for(fake, providers__fake__kind=kind, **more) as g:
            fake.script = script
            got = await embedded(g, model="amazon.titan-embed-text-v2:0", input="a")
            assert (got.status, got.error["type"]) == (502, "server_error")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 7]}, "input[1]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": [[-1]]}, "input[0]"),
        ({"input": [True]}, "input[0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "9"}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"user": 7}, "user"),
    ],
)
async def test_request_that_cannot_be_is_refused_by_its_field(fields: dict[str, Any], param: str) -> None:
    """400 with its name, and the provider is not asked."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        got = await embedded(g, **fields)
        assert (got.status, got.error["param"], got.error["type"]) == (400, param, "invalid_request_error")
        assert fake.chats == []


async def test_key_of_certain_models_may_ask_for_no_other() -> None:
    """Embeddings too."""
    async with FakeProvider() as fake, gateway_for(fake, auth__required=True) as g:
        fake.script = vectors()
        key = await g.new_key(models=["lab-*"])
        assert (await embedded(g, key)).status == 200
        assert (await embedded(g, key, model="other")).status == 403
        listed = await ask(g, "POST", PATH, body=msgspec.json.encode(body())[:-1], headers={"x-api-key": key})
        assert (listed.status, listed.error["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("answered", [0, 3])
async def test_one_of_many_requests_that_fails_charges_what_others_were_answered(answered: int) -> None:
    """Where any of them was answered all that was held is charged, as of any answer of Bedrock's that was left; where
    none was, nothing.
    """
    overrides: dict[str, Any] = {"providers__fake__kind": "bedrock", "providers__fake__region": "eu-central-1"}
    async with FakeProvider() as fake:
        root = f"http://127.0.0.1:{fake.port}"
        ledger = FakeLedger()
        async with gateway_for(fake, ledger=ledger, providers__fake__base_url=root, **overrides) as g:
            refused = Error(400, {"message": "bad"}, {"x-amzn-errortype": "ValidationException"})
            fake.queue(*[vectors()] * answered)
            fake.script = [refused]
            texts = ["hello world"] * 12
            got = await embedded(g, model="amazon.titan-embed-text-v2:0", input=texts)
            assert (got.status, got.error["message"]) == (400, "Provider 'fake': bad")
            await done(g)
            assert len(ledger.settles) == 1
            charged, asked = ledger.settles[0].actual, ledger.asks[0]
            assert charged.tokens == (asked.input_tokens if answered else 0)
            assert (charged == NOTHING) is not bool(answered)
            assert ledger.open_holds() == []
