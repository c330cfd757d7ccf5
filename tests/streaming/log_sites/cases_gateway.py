"""Cases of the gateway itself: what requests, providers and the ledger bring."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import anyio
from msgspec.structs import replace

from rillgate.app import encodings, gateway
from rillgate.app.aws_secrets import AGE_S_MAX, FetchedKey
from rillgate.app.context import RequestContext
from rillgate.app.encoders import Encoders
from rillgate.app.settings.secrets import Secret
from rillgate.app.settings.types import LedgerSettings, ProviderSettings
from rillgate.app.stores import DynamoDbOverHttp
from rillgate.budget.guard import Guard
from rillgate.budget.limit_text import parse_limits
from rillgate.domain.errors import UpstreamError
from rillgate.domain.limits import NOTHING, Budget
from rillgate.ledger.admin_budgets import budget_writes
from rillgate.ledger.keys import scope_key
from rillgate.ledger.writes import StoreUnavailable
from rillgate.pipeline.admit import Admission
from rillgate.pipeline.cancel_watch import LOOK_S
from rillgate.pipeline.extension import Extension
from rillgate.pipeline.hold import record_of, settle_hold
from rillgate.pipeline.place import Place
from rillgate.providers.openai import OpenAIStreamDecoder
from tests.fakes.aws import FakeAws, answer
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import CHAT, chat_body, gateway_for, settings_for
from tests.fakes.ledger import FakeLedger
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Error, chat, error
from tests.streaming.asking import ask
from tests.streaming.log_sites.world import (
    CLIENT_KEY,
    COMPLETION,
    PROMPT,
    PROVIDER_KEY,
    World,
    case,
    error_with_secrets,
    raises,
)
from tests.unit.app.test_aws_secrets import KEY, PARAMETER, keeping, parameter
from tests.unit.app.test_azure_location import PATH as ENTRA
from tests.unit.app.test_azure_location import located as located_at_azure
from tests.unit.app.test_bedrock_location import located
from tests.unit.cli.workers.test_link import GUARD_S, linked
from tests.unit.pipeline.call_support import make_call, make_services
from tests.unit.pipeline.test_cancel_watch import Flags, Watched
from tests.unit.pipeline.test_place import Remembering

QUOTING = error(f"cannot answer {PROMPT} with {PROVIDER_KEY}", PROMPT, f"{PROMPT} {CLIENT_KEY}")
CREDENTIALS = {"authorization": f"Bearer {CLIENT_KEY}", "x-api-key": CLIENT_KEY, "cookie": f"k={CLIENT_KEY}"}


def secret_chat(**fields: Any) -> dict[str, Any]:
    """A request full of secrets."""
    messages = [{"role": "system", "content": f"Never say {PROMPT}"}, {"role": "user", "content": PROMPT}]
    return chat_body(messages=messages, user=PROMPT, metadata={"note": PROMPT}, **fields)


@case("app/context.py RequestContext._tell log_request")
async def every_route_in_every_place(world: World) -> None:
    """Paths, queries, headers, bodies, models' names, answers, and what the provider says of its failures."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat(COMPLETION)
        fake.by_model["bad"] = [Error(400, QUOTING)]
        fake.by_model["broken"] = [Error(500, {"detail": PROMPT})]
        for model in ("m", "bad", "broken", PROMPT, CLIENT_KEY):
            for stream in (True, False):
                body = secret_chat(model=model, stream=stream)
                await ask(g, "POST", CHAT, json=body, headers={**CREDENTIALS, "traceparent": PROMPT})
        query = f"message=Unwin&model={CLIENT_KEY}&system_prompt=grandmother"
        for method, path in (
            ("GET", f"/chat?{query}"),
            ("GET", f"/chat/maiden%20Unwin-Featherstone?{query}"),
            ("GET", f"/Featherstone?{query}"),
            ("DELETE", f"/chat?{query}"),
            ("OPTIONS", f"/chat?{query}"),
            ("GET", f"/v1/models/{CLIENT_KEY}"),
            ("POST", f"/v1/requests/{CLIENT_KEY}/cancel"),
            ("POST", "/v1/messages"),
            ("POST", "/v1/messages/count_tokens"),
            ("POST", "/v1/tickets"),
        ):
            await ask(g, method, path, body=f'{{"model": "{PROMPT}"'.encode(), headers=CREDENTIALS)


@case("app/http_protocol.py GatewayHttpProtocol._answer_refusal request_refused")
async def request_that_is_no_http(world: World) -> None:
    """Its line and its headers hold everything."""
    async with FakeProvider() as fake, gateway_for(fake) as g, await g.client() as client:
        head = f"GET /chat?message=Unwin HTTP/1.1\r\nauthorization: Bearer {CLIENT_KEY}\r\nbroken {PROMPT}\r\n\r\n"
        await client.send(head.encode())
        assert await client.response() == 400


@case("app/context.py RequestContext._answer request_failed")
async def app_that_fails(world: World) -> None:
    """A fault of ours."""
    sent: list[Any] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": PROMPT.encode(), "headers": []}
    await RequestContext(raises, FakeClock())(scope, raises, send)
    assert sent[0]["status"] == 500


@case("pipeline/run.py Run._mapped request_failed")
async def decoder_that_fails(world: World) -> None:
    """Between the provider and the client."""
    world.monkeypatch.setattr(OpenAIStreamDecoder, "decode", raises)
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat(COMPLETION)
        await ask(g, "POST", CHAT, json=secret_chat())


@case("pipeline/stream_run.py StreamRun._write send_failed")
async def server_that_fails(world: World) -> None:
    """Where the client's bytes go."""
    async with FakeProvider() as fake:
        fake.script = chat(COMPLETION)
        composed = gateway.Gateway(settings_for(fake.base_url))
        messages: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": b'{"prompt": "Unwin"}', "more_body": False})
        path = "/chat/stream"
        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
        scope |= {"headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 5)}
        await composed.asgi(scope, messages.get, raises)
        await composed.streams.settled(5)
        await composed.exchange.aclose()
        await composed.books.aclose()


@case(
    "pipeline/attempts.py Attempts.after attempt_failed",
    "pipeline/attempts.py Attempts._note upstream_cools_down",
)
async def provider_whose_error_says_everything(world: World) -> None:
    """In its message, its kind and its code, and another one takes over."""
    async with (
        FakeProvider() as fake,
        gateway_for(
            fake,
            providers__other__kind="openai",
            providers__other__base_url=fake.base_url,
            providers__other__api_key="none",
            routes__0__model="m",
            routes__0__upstream=["fake/one", "other/two"],
        ) as g,
    ):
        fake.by_model["one"] = [Error(429, QUOTING, {"retry-after": "30"})]
        fake.by_model["two"] = chat(COMPLETION)
        got = await ask(g, "POST", CHAT, json=secret_chat(model="m"))
        assert got.status == 200


@case("pipeline/run.py Run._learned log_event")
async def model_that_refuses_our_cap(world: World) -> None:
    """Its refusal, which is learned from, quotes the prompt."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        refusal = f"{PROMPT} exceeds the model limit of 10000."
        fake.queue([Error(400, {"error": {"message": refusal}})], chat(COMPLETION))
        got = await ask(g, "POST", CHAT, json=secret_chat())
        assert got.status == 200
        assert '"learned":10000' in world.log.getvalue()


@case("app/gateway.py _log_no_list models_not_listed")
async def provider_that_lists_nothing(world: World) -> None:
    """Its answer is the body of an error."""
    async with FakeProvider() as fake:
        fake.models_script = [Error(500, {"detail": PROMPT, "key": PROVIDER_KEY})]
        async with gateway_for(fake) as g:
            await ask(g, "GET", "/v1/models")


@case("app/gateway.py Gateway._settled holds_left_unsettled")
async def books_that_stay_open(world: World) -> None:
    """A process that ends before they are closed."""
    world.monkeypatch.setattr(gateway, "SETTLED_WAIT_S", 0.0)
    composed = gateway.Gateway(settings_for("http://127.0.0.1:9/v1"))
    never = composed.streams.outlive(asyncio.Event().wait())
    never.set_name(PROMPT)
    await composed._settled()
    never.cancel()


@case("app/gateway.py Gateway._ledger_event log_event")
async def ledger_that_warns(world: World) -> None:
    """Of a budget that is nearly spent."""
    async with FakeProvider() as fake, gateway_for(fake) as g:
        fake.script = chat(COMPLETION)
        store = g.gateway.books.store
        limits, _ = parse_limits(["requests/day=2"])
        for write in budget_writes("global", 0, Budget(version=1, limits=limits, warn_percents=(50,))):
            await store.write(write)
        await ask(g, "POST", CHAT, json=secret_chat(), headers=CREDENTIALS)
        await g.settled()
        await g.gateway.books.quiet(5)


@case("app/encoders.py Encoders._load encoding_failed")
async def encoding_that_cannot_be_loaded(world: World) -> None:
    """Whatever the reason says."""
    world.monkeypatch.setattr(encodings, "load_encoding", raises)
    encoders = Encoders()
    encoders.start()
    await encoders.loaded()


@case(
    "app/aws_secrets.py AwsSecrets._renewed secret_not_renewed",
    "app/aws_secrets.py FetchedKey.endpoint provider_key_unavailable",
)
async def keys_that_aws_keeps(world: World) -> None:
    """AWS's own words are shown, since they say which right is missing; a key in them is not, nor one as it came."""
    provider = ProviderSettings("openai", "http://127.0.0.1:9/v1", PARAMETER)
    async with keeping() as (fake, secrets, clock):
        located_key = FetchedKey(provider, PARAMETER, secrets)
        for value in (f"{PROVIDER_KEY} with a space", f"{PROVIDER_KEY}\x00"):
            fake.routes["POST", "/"] = answer(parameter(value))
            await fails(located_key)
            clock.advance(AGE_S_MAX + 1)
        fake.routes["POST", "/"] = answer(parameter(KEY))
        await located_key.endpoint()
        clock.advance(AGE_S_MAX + 1)
        refusal = {"__type": "AccessDeniedException", "message": f"no right to read {PROVIDER_KEY}"}
        fake.routes["POST", "/"] = answer(refusal, 400)
        await located_key.endpoint()  # the one that is there goes on being used
    assert KEY not in world.log.getvalue()
    async with keeping() as (fake, secrets, _):
        fake.routes["POST", "/"] = answer(refusal, 400)
        await fails(FetchedKey(provider, PARAMETER, secrets))


async def fails(location: Any) -> None:
    """It cannot say where it is."""
    try:
        await location.endpoint()
    except UpstreamError:
        return
    raise AssertionError


@case("app/bedrock_location.py _log_no_credentials aws_credentials_failed")
async def bedrock_without_credentials(world: World) -> None:
    """What gives them fails, and says much."""
    async with FakeAws() as fake:
        fake.routes["GET", "/v2/credentials"] = answer({"AccessKeyId": CLIENT_KEY, "message": PROMPT}, 500)
        async with located(environ={"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{fake.url}/v2/credentials"}) as location:
            await fails(location)


@case("app/azure_location.py _log_no_token entra_token_failed")
async def azure_without_a_token(world: World) -> None:
    """Entra's own words are shown, as AWS's are; a key in them is not, nor is a token that no header can carry."""
    async with FakeAws() as fake, located_at_azure(fake, FakeClock(), Secret(CLIENT_KEY)) as location:
        fake.routes["POST", ENTRA] = answer({"error": "invalid_client", "error_description": f"no {CLIENT_KEY}"}, 401)
        await fails(location)
    async with FakeAws() as fake, located_at_azure(fake, FakeClock(), Secret(CLIENT_KEY)) as location:
        fake.routes["POST", ENTRA] = answer({"access_token": f"{PROVIDER_KEY}\n", "expires_in": 9}, 200)
        await fails(location)


@case("app/stores.py _log_no_credentials aws_credentials_failed")
async def ledger_without_credentials(world: World) -> None:
    """The same for the table."""
    async with FakeAws() as fake:
        fake.routes["GET", "/v2/credentials"] = answer({"SecretAccessKey": CLIENT_KEY, "message": PROMPT}, 500)
        environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{fake.url}/v2/credentials", "AWS_REGION": "eu-central-1"}
        store = DynamoDbOverHttp(LedgerSettings(url="dynamodb://table"), FakeClock(), environ)
        try:
            await store.read([scope_key("global")])
        except StoreUnavailable:
            pass
        await store.aclose()


@case("pipeline/cancel_watch.py CancelWatch._look_once cancel_watch_failed")
async def flags_that_fail(world: World) -> None:
    """Whatever the store says."""
    watched = Watched(Flags(error_with_secrets()))
    watched.watch.open()
    watched.clock.advance(LOOK_S)
    await anyio.wait_all_tasks_blocked()
    watched.watch.close()


@case("pipeline/place.py Place._watch_client receive_failed")
async def client_that_cannot_be_heard(world: World) -> None:
    """The server's `receive` fails."""

    async def receive() -> MutableMapping[str, Any]:
        raises()
        return {}

    place = Place(make_call(content=PROMPT), FakeClock(), Remembering())
    place.open(receive)
    await anyio.wait_all_tasks_blocked()
    place.close()


class FailingLedger(FakeLedger):
    """Says everything when it fails."""

    async def settle(self, *args: Any, **kwargs: Any) -> None:
        """Fails."""
        raises()

    async def extend(self, *args: Any, **kwargs: Any) -> bool:
        """Fails."""
        raises()
        return False


@case(
    "pipeline/hold.py settle_hold ledger_failed",
    "pipeline/hold.py settle_hold settle_failed",
    "pipeline/extension.py Extension._extend ledger_failed",
)
async def ledger_that_fails(world: World) -> None:
    """When a hold is settled, and when it is to grow."""
    ledger = FailingLedger()
    services = make_services(ledger, mode="elastic")
    call = make_call(content=PROMPT, output_tokens_asked=1000)
    admitted = await Admission(call, services).run()
    assert admitted is not None
    grant = replace(admitted.grant, output_tokens=10)
    extension = Extension(services, grant)
    extension.guard = Guard(10, lambda: None, exact=False, soft=True, on_mark=lambda: None)
    extension.ask()
    await services.streams.settled(5)
    await settle_hold(services, "req_1", grant, NOTHING, record_of(call, grant, None, None, NOTHING))


@case("cli/workers/link.py Link._alone supervisor_gone")
async def supervisor_that_has_gone(world: World) -> None:
    """A worker is alone."""
    async with linked() as found:
        found.supervisor.close()
        async with asyncio.timeout(GUARD_S):
            await found.link._ended.wait()
