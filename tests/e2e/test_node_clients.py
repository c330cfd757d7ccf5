"""The official Node clients, as they are installed: `openai`, `@anthropic-ai/sdk`, and `ai` with its provider for
servers that speak OpenAI's dialect. Nothing is changed but the address, and that waits between tries take no time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from rillgate.identity import keys
from tests.e2e import node_clients
from tests.e2e.keyed import KeyedGateway
from tests.e2e.node_clients import Node
from tests.e2e.process import PATIENCE_S
from tests.e2e.sdk import MIDNIGHT, gateway
from tests.fakes import script_anthropic as native
from tests.fakes.exchange import Exchange, Script
from tests.fakes.script import (
    Chunk,
    Close,
    Delta,
    Done,
    Error,
    ErrorFrame,
    Finish,
    Role,
    Stall,
    ToolCall,
    UsageFrame,
    chat,
    runaway,
)

pytestmark = [pytest.mark.anyio, pytest.mark.slow]  # each starts a Node

CLIENTS: Final = ["openai", "responses", "ai", "anthropic"]
SDKS: Final = ["openai", "responses", "anthropic"]
OF_OPENAI: Final = ("openai", "responses")  # one SDK, two of its APIs
ARGUMENTS: Final = ['{"city"', ': "Köln', '"}']
CALLS: Final = [ToolCall("call_Ab1", "weather", ARGUMENTS), ToolCall("call_Cd2", "time", ["{", "}"])]
QUOTA: Final = {"error": {"message": "pay", "type": "insufficient_quota", "code": "insufficient_quota"}}

Run = Callable[..., Awaitable[Any]]
"""run(gate, client, scenario, …): what the client made of it, with a key that has room unless one is given."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The loop is not the subject."""
    return "asyncio"


@pytest.fixture(scope="module")
def node() -> Node:
    """The clients, installed."""
    node_clients.install()
    found = node_clients.executable()
    return lambda client, scenario, **options: node_clients.run(found, client, scenario, **options)


@pytest.fixture
def run(node: Node) -> Run:
    """One scenario at one gateway."""

    async def run(gate: KeyedGateway, client: str, scenario: str, **options: Any) -> Any:
        key = options.pop("key", None) or await gate.inside.new_key()
        return await node(client, scenario, url=gate.url, key=key, fields=options.pop("fields", {}), **options)

    return run


@asynccontextmanager
async def behind(kind: str = "openai") -> AsyncIterator[KeyedGateway]:
    """A gateway that asks for keys, in front of a provider of this kind."""
    async with gateway(providers__fake__kind=kind) as gate:
        yield gate


async def statuses(gate: KeyedGateway) -> list[int]:
    """Of each try that has reached the gateway."""
    return [(await gate.watch.visit()).status for _ in range(gate.watch.unseen)]


def text_of(client: str, seen: Any) -> str:
    """The text of a whole answer."""
    if client in ("ai", "responses"):
        return str(seen["text"])
    if client == "anthropic":
        return "".join(block["text"] for block in seen["message"]["content"])
    return str(seen["completion"]["choices"][0]["message"]["content"])


# Text -----------------------------------------------------------------------------------------------------------


async def test_openai_stream_reads_chunks_usage_and_the_requests_id(run: Run) -> None:
    """Piece by piece; and the helper puts the same together."""
    async with behind() as gate:
        gate.fake.script = chat(["Hel", "lo", "!"], model="m-2026-11")
        seen = await run(gate, "openai", "stream")
        assert (seen["texts"], seen["finish"], seen["error"]) == (["Hel", "lo", "!"], ["stop"], None)
        assert [(usage["prompt_tokens"], usage["completion_tokens"]) for usage in seen["usage"]] == [(9, 3)]
        assert seen["requestId"].startswith("req_")
        built = await run(gate, "openai", "helper")
        assert built["texts"] == ["Hel", "lo", "!"]
        assert text_of("openai", built) == "Hello!"
        assert (built["completion"]["model"], built["completion"]["usage"]["total_tokens"]) == ("m-2026-11", 12)


async def test_ai_stream_reads_text_reasoning_finish_and_usage(run: Run) -> None:
    """Part by part, in the order in which they must come."""
    async with behind() as gate:
        thoughts = [Delta({"reasoning_content": "Hm"}), Delta({"reasoning_content": "m."})]
        gate.fake.script = [Role(), *thoughts, Chunk("Hel"), Chunk("lo"), Finish(), UsageFrame(9, 4), Done()]
        seen = await run(gate, "ai", "stream")
    assert (seen["texts"], seen["reasoning"], seen["errors"]) == (["Hel", "lo"], ["Hm", "m."], [])
    assert (seen["finish"], seen["usage"]["inputTokens"], seen["usage"]["outputTokens"]) == ("stop", 9, 4)
    kinds = [kind for kind in seen["kinds"] if kind.startswith(("text", "reasoning"))]
    assert kinds == ["reasoning-start", "reasoning-delta", "reasoning-end", "text-start", "text-delta", "text-end"]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_anthropic_stream_reads_events_usage_and_the_requests_id(kind: str, run: Run) -> None:
    """From a provider of either family."""
    async with behind(kind) as gate:
        texts = ["Hel", "lo", "!"]
        gate.fake.script = chat(texts) if kind == "openai" else native.message(texts, output_tokens=3)
        seen = await run(gate, "anthropic", "stream")
        assert (seen["texts"], seen["error"]) == (texts, None)
        block = ["content_block_start", "content_block_delta", "content_block_stop"]
        events = [event for event in seen["events"] if event != "ping"]
        assert events == ["message_start", *block, "message_delta", "message_stop"]
        assert seen["requestId"].startswith("req_")
        built = await run(gate, "anthropic", "helper")
        message = built["message"]
        assert (built["texts"], text_of("anthropic", built), message["stop_reason"]) == (texts, "Hello!", "end_turn")
        assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (9, 3)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_responses_stream_reads_events_usage_and_the_requests_id(kind: str, run: Run) -> None:
    """From a provider of either family; the helper puts the same together, and parses what has a schema."""
    async with behind(kind) as gate:
        texts = ["Hel", "lo", "!"]
        gate.fake.script = chat(texts) if kind == "openai" else native.message(texts, output_tokens=3)
        seen = await run(gate, "responses", "stream")
        assert (seen["texts"], seen["error"]) == (texts, None)
        assert seen["numbers"] == list(range(len(seen["numbers"])))
        assert [seen["kinds"][0], seen["kinds"][-1]] == ["response.created", "response.completed"]
        assert seen["response"]["usage"]["total_tokens"] == 12
        assert seen["response"]["id"] == "resp_" + seen["requestId"].removeprefix("req_")
        built = await run(gate, "responses", "helper")
        assert (built["texts"], built["error"]) == (texts, None)
        assert built["response"]["output"][0]["content"][0]["text"] == "Hello!"
        city = ['{"name":', '"Köln"}']
        gate.fake.script = chat(city) if kind == "openai" else native.message(city)
        assert (await run(gate, "responses", "parse"))["parsed"] == {"name": "Köln"}


@pytest.mark.parametrize("client", CLIENTS)
async def test_client_without_streaming_reads_a_whole_answer(client: str, run: Run) -> None:
    """One request upstream, without a stream."""
    async with behind() as gate:
        seen = await run(gate, client, "answer")
        assert seen["error"] is None
        assert text_of(client, seen) == "Hello, world!"
        (exchange,) = gate.fake.chats
        assert not exchange.json.get("stream")
        if client != "ai":
            assert seen["requestId"].startswith("req_")


@pytest.mark.parametrize("client", ["openai", "anthropic"])
async def test_client_lists_models(client: str, run: Run) -> None:
    """Each in its own dialect's shape; also one whose id has a slash."""
    async with behind() as gate:
        gate.fake.model_ids = ["small", "org/model-7b"]
        assert (await run(gate, client, "models"))["ids"] == ["small", "org/model-7b"]


async def test_anthropic_counts_tokens(run: Run) -> None:
    """Without asking a provider for an answer."""
    async with behind() as gate:
        counted = await run(gate, "anthropic", "count")
        assert 3 <= counted["input_tokens"] <= 30
        assert gate.fake.chats == []


# Tools ----------------------------------------------------------------------------------------------------------


async def test_openai_streams_parallel_calls_with_stable_ids_and_whole_arguments(run: Run) -> None:
    """Fragment by fragment, and put together."""
    async with behind() as gate:
        gate.fake.script = chat([], tools=CALLS)
        seen = await run(gate, "openai", "stream")
        fragments = seen["fragments"]
        assert [fragment["index"] for fragment in fragments] == sorted(fragment["index"] for fragment in fragments)
        assert [fragment["id"] for fragment in fragments if "id" in fragment] == ["call_Ab1", "call_Cd2"]
        assert seen["finish"] == ["tool_calls"]
        message = (await run(gate, "openai", "helper"))["completion"]["choices"][0]["message"]
        assert [
            (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in message["tool_calls"]
        ] == [
            ("call_Ab1", "weather", '{"city": "Köln"}'),
            ("call_Cd2", "time", "{}"),
        ]


async def test_openai_calls_functions_and_goes_on_with_their_results(run: Run) -> None:
    """`runTools`: two calls at once, both results back under their ids, then the answer."""
    async with behind() as gate:
        gate.fake.queue(chat([], tools=CALLS), chat(["Fine."]))
        seen = await run(gate, "openai", "tools")
        assert (seen["text"], seen["called"]) == ("Fine.", [["weather", {"city": "Köln"}], ["time", {}]])
        results_arrived(gate)


@pytest.mark.parametrize("streaming", [True, False])
async def test_ai_calls_tools_and_goes_on_with_their_results(streaming: bool, run: Run) -> None:
    """Two steps of one call: `streamText` and `generateText`."""
    async with behind() as gate:
        gate.fake.queue(chat([], tools=CALLS), chat(["Fine."]))
        seen = await run(gate, "ai", "tools", streaming=streaming)
        assert (seen["text"], seen["finish"]) == ("Fine.", ["tool-calls", "stop"])
        assert seen["called"] == [["call_Ab1", "weather", {"city": "Köln"}], ["call_Cd2", "time", {}]]
        results_arrived(gate)


async def test_responses_goes_on_with_the_results_of_its_calls(run: Run) -> None:
    """The items of the first answer go back as they came, with both results under their ids."""
    async with behind() as gate:
        gate.fake.queue(chat([], tools=CALLS), chat(["Fine."]))
        seen = await run(gate, "responses", "tools")
        assert (seen["text"], seen["called"]) == (
            "Fine.",
            [["call_Ab1", "weather", {"city": "Köln"}], ["call_Cd2", "time", {}]],
        )
        results_arrived(gate)


def results_arrived(gate: KeyedGateway) -> None:
    """The second request has the calls and their results, in order and under their ids."""
    _, called, *results = gate.fake.chats[1].json["messages"]
    assert [call["id"] for call in called["tool_calls"]] == ["call_Ab1", "call_Cd2"]
    assert [(result["role"], result["tool_call_id"]) for result in results] == [
        ("tool", "call_Ab1"),
        ("tool", "call_Cd2"),
    ]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_anthropic_streams_parallel_calls_with_stable_ids_and_whole_arguments(kind: str, run: Run) -> None:
    """One block each; a call without arguments is an empty object."""
    async with behind(kind) as gate:
        uses = [native.ToolUse("call_Ab1", "weather", ARGUMENTS), native.ToolUse("call_Cd2", "time")]
        gate.fake.script = chat([], tools=CALLS) if kind == "openai" else native.message([], tools=uses)
        message = (await run(gate, "anthropic", "helper"))["message"]
    assert message["stop_reason"] == "tool_use"
    assert [(block["type"], block["id"], block["name"], block["input"]) for block in message["content"]] == [
        ("tool_use", "call_Ab1", "weather", {"city": "Köln"}),
        ("tool_use", "call_Cd2", "time", {}),
    ]


# Errors and retries ---------------------------------------------------------------------------------------------

Case = tuple[Script, dict[str, str], int, int]
ERRORS: Final[dict[str, Case]] = {  # what the provider says; the class in each client; its status; tries
    "refused": ([Error(400)], {"openai": "BadRequestError", "anthropic": "BadRequestError"}, 400, 1),
    "no such model": ([Error(404)], {"openai": "NotFoundError", "anthropic": "NotFoundError"}, 404, 1),
    "too fast": ([Error(429)], {"openai": "RateLimitError", "anthropic": "RateLimitError"}, 429, 3),
    "unpaid": ([Error(429, QUOTA)], {"openai": "RateLimitError", "anthropic": "RateLimitError"}, 429, 1),
    "overloaded": ([Error(503)], {"openai": "InternalServerError", "anthropic": "ServiceUnavailableError"}, 503, 3),
    "a wrong key of ours": (
        [Error(401)],
        {"openai": "InternalServerError", "anthropic": "InternalServerError"},
        502,
        1,
    ),
}


@pytest.mark.parametrize("client", SDKS)
@pytest.mark.parametrize("what", ERRORS)
async def test_sdk_error_is_of_the_right_class_and_tried_again_only_where_that_may_help(
    what: str, client: str, run: Run
) -> None:
    """Status, the SDK's own class, the request's id; and how often the SDK, with its two retries, came."""
    script, names, status, tries = ERRORS[what]
    async with behind() as gate:
        gate.fake.script = script
        for scenario in ("answer", "stream"):
            error = (seen := await run(gate, client, scenario, maxRetries=2))["error"]
            assert (error["name"], error["status"]) == (names["openai" if client in OF_OPENAI else client], status)
            assert error["requestId"].startswith("req_")
            assert len(await statuses(gate)) == tries
            assert len([nap for nap in seen["napsMs"] if nap > 0]) == tries - 1


@pytest.mark.parametrize("scenario", ["answer", "stream"])
@pytest.mark.parametrize(("status", "tries"), [(400, 1), (404, 1), (429, 3), (503, 3)])
async def test_ai_error_has_status_and_says_whether_it_may_be_tried_again(
    status: int, tries: int, scenario: str, run: Run
) -> None:
    """`APICallError`, alone or as the last of a `RetryError`; it goes by the status and knows no `x-should-retry`."""
    async with behind() as gate:
        gate.fake.script = [Error(status)]
        seen = await run(gate, "ai", scenario, maxRetries=2)
        error = seen["error"] if scenario == "answer" else seen["errors"][0]
        assert (error["isCall"], error["status"], error["tries"], error["retryable"]) == (
            True,
            status,
            tries,
            tries > 1,
        )
        assert error["data"]["error"]["message"]
        assert len(await statuses(gate)) == tries


@pytest.mark.parametrize("client", CLIENTS)
async def test_client_without_a_key_of_ours_is_refused_once(client: str, run: Run) -> None:
    """401, and nobody tries the same key again."""
    async with behind() as gate:
        error = (await run(gate, client, "answer", key=keys.new_key(), maxRetries=2))["error"]
        assert error["status"] == 401
        assert error["name"] == {"ai": "AI_APICallError"}.get(client, "AuthenticationError")
        assert await statuses(gate) == [401]


@pytest.mark.parametrize("client", CLIENTS)
async def test_client_without_budget_is_refused_before_any_provider(client: str, run: Run) -> None:
    """429 with the code for quotas. The SDKs obey `x-should-retry: false`; `ai` does not know it and costs nothing."""
    async with behind() as gate:
        key = await gate.inside.new_key(limits=["requests/total=1"])
        assert (await run(gate, client, "answer", key=key))["error"] is None
        error = (await run(gate, client, "answer", key=key, maxRetries=2))["error"]
        assert error["status"] == 429
        assert await statuses(gate) == [200] + [429] * (3 if client == "ai" else 1)
        assert len(gate.fake.chats) == 1
        if client == "ai":
            assert error["data"]["error"]["code"] == "insufficient_quota"
        else:
            assert error["name"] == "RateLimitError"
        if client in OF_OPENAI:
            assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")


@pytest.mark.parametrize("client", CLIENTS)
async def test_client_whose_second_try_succeeds_sees_nothing_of_the_first(client: str, run: Run) -> None:
    """As long as the provider says when it may be tried again, or nothing at all."""
    async with behind() as gate:
        gate.fake.queue([Error(503, headers={"retry-after": "1"})])
        seen = await run(gate, client, "answer", maxRetries=2)
        assert seen["error"] is None
        assert await statuses(gate) == [503, 200]
        assert seen["napsMs"] == [1000]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("last", [ErrorFrame("the model fell over"), Close()], ids=["error", "close"])
async def test_client_raises_an_error_in_mid_stream_after_what_came(client: str, last: Any, run: Run) -> None:
    """Never a silent end; and it is not tried again, for half an answer has been seen."""
    async with behind() as gate:
        gate.fake.script = [Role(), Chunk("one"), Chunk(" two"), last]
        seen = await run(gate, client, "stream", maxRetries=2)
        assert seen["texts"] == ["one", " two"]
        if client == "ai":
            assert len(seen["errors"]) == 1
            assert seen["finish"] == "error"
        else:
            assert seen["error"]["name"] == "APIError"
            assert seen["error"]["message"]
            assert (await run(gate, client, "helper"))["error"]["name"] == "APIError"
        assert set(await statuses(gate)) == {200}


# Leaving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "scenario"),
    [
        ("openai", "abort"),
        ("openai", "abortHelper"),
        ("responses", "abort"),
        ("responses", "abortHelper"),
        ("ai", "abort"),
        ("anthropic", "abort"),
        ("anthropic", "abortHelper"),
    ],
)
async def test_client_that_aborts_closes_the_providers_connection(client: str, scenario: str, run: Run) -> None:
    """In mid-stream, while the client's process lives on: it ends only after the provider's connection has."""
    async with behind() as gate:
        gate.fake.script = [Role(), Chunk("one"), Stall()]
        gate.fake.models_script = when_closed(gate)
        seen = await run(gate, client, scenario, after=f"{gate.fake.base_url}/models")
        if client == "ai":
            assert seen["aborted"] is True
        elif scenario == "abort":
            assert seen["texts"] == ["one"]
        else:
            assert seen["error"]["name"] == "APIUserAbortError"
        await gate.inside.settled()
        assert gate.fake.chats[0].outcome == "peer gone"


async def test_openai_that_aborts_before_any_answer_closes_the_providers_connection(run: Run) -> None:
    """While it waits for the headers."""
    async with behind() as gate:
        gate.fake.script = [Stall()]
        gate.fake.models_script = when_closed(gate)
        models = f"{gate.fake.base_url}/models"
        seen = await run(gate, "openai", "abortEarly", arrived=f"{models}?arrived", after=models)
        assert seen["error"]["name"] == "APIUserAbortError"


def when_closed(gate: KeyedGateway) -> Script:
    """A provider's list of models that comes when its first chat has arrived (`?arrived`), or is closed."""

    async def script(exchange: Exchange) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await (gate.fake.request() if exchange.query else gate.fake.closed())
        await exchange.answer_json({"object": "list", "data": []})

    return script


# The cut --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
async def test_client_cut_by_a_budget_sees_a_length_and_a_proper_end(client: str, run: Run) -> None:
    """Every token that was held and no exception, in each client's own word for the reason."""
    async with behind() as gate:
        key = await gate.inside.new_key(limits=["tokens/day=100"])
        gate.fake.script = runaway(5000)
        fields = {{"ai": "maxOutputTokens", "responses": "max_output_tokens"}.get(client, "max_tokens"): 500}
        seen = await run(gate, client, "stream", key=key, fields=fields)
        (cap,) = [exchange.json["max_tokens"] for exchange in gate.fake.chats]
        assert 60 <= cap < 100
        assert seen["texts"] == [" a"] * cap
        assert await statuses(gate) == [200]
        report = {"stop": "budget", "scope": f"key:{keys.parse(key)}", "reset": MIDNIGHT, "estimated": True}
        if client == "responses":
            assert (seen["kinds"][-1], seen["error"]) == ("response.incomplete", None)
            assert seen["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
            assert seen["response"]["rillgate"] == report
            assert seen["response"]["usage"]["output_tokens"] == cap
        elif client == "openai":
            assert (seen["finish"], seen["error"]) == (["length"], None)
            assert seen["extra"] == [report]
            assert seen["usage"][0]["completion_tokens"] == cap
        elif client == "ai":
            assert (seen["finish"], seen["errors"], seen["usage"]["outputTokens"]) == ("length", [], cap)
        else:
            assert seen["error"] is None
            assert seen["events"][-2:] == ["message_delta", "message_stop"]


async def test_anthropic_message_cut_by_a_budget_says_max_tokens(run: Run) -> None:
    """The helper builds it all the same."""
    async with behind() as gate:
        key = await gate.inside.new_key(limits=["tokens/day=100"])
        gate.fake.script = runaway(5000)
        built = await run(gate, "anthropic", "helper", key=key, fields={"max_tokens": 500})
    assert built["error"] is None
    assert built["message"]["stop_reason"] == "max_tokens"
    assert built["message"]["usage"]["output_tokens"] == len(built["texts"])
