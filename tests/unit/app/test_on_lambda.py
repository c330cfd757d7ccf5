"""The gateway's home on Lambda: what is required there, what it tells, and that it waits for its books."""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from rillgate.app.deadline import EXTENSION, MARGIN_S
from rillgate.app.on_lambda import ENCODER_DELAY_S, SETTLED_WAIT_S, LambdaApp, compose, read_settings
from rillgate.app.settings.load import SettingsError
from rillgate.identity.keys import new_key
from rillgate.ledger.writes import StoreUnavailable
from tests.fakes.aws import FakeAws, answer
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import Exchange
from tests.fakes.provider import FakeProvider
from tests.fakes.xray import PARENT_ID, SAMPLED, TRACE_ID
from tests.unit.app.lambda_support import ask
from tests.unit.telemetry.lambda_logging import logging_restored
from tests.unit.telemetry.tracing_support import traced

KEY = new_key()


@pytest.fixture(autouse=True)
def no_traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Logging and the trusted certificates are the process's own, and stay as they were."""
    monkeypatch.setenv("SSL_CERT_FILE", os.environ.get("SSL_CERT_FILE", ""))
    monkeypatch.delenv("SSL_CERT_FILE")
    with logging_restored() as buffer:
        yield buffer


def environ(base_url: str = "http://127.0.0.1:9/v1", **more: str) -> dict[str, str]:
    """Of a function with one provider and a ledger in memory."""
    return {
        "RILLGATE_LEDGER__URL": "memory:",
        "RILLGATE_LOCAL_KEY": KEY,
        "RILLGATE_PROVIDERS__OPENAI__KIND": "openai",
        "RILLGATE_PROVIDERS__OPENAI__BASE_URL": base_url,
        "RILLGATE_PROVIDERS__OPENAI__API_KEY": "none",
        "POWERTOOLS_SERVICE_NAME": "my-stack",
        **more,
    }


@asynccontextmanager
async def started(app: LambdaApp) -> AsyncIterator[LambdaApp]:
    """With its lifespan."""
    to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    life = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}}, to_app.get, from_app.put))
    to_app.put_nowait({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    try:
        yield app
    finally:
        to_app.put_nowait({"type": "lifespan.shutdown"})
        await life


def lines(text: str) -> list[dict[str, Any]]:
    """Each line is one JSON object."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.anyio
async def test_lambda_app_streams_and_tells_its_log_and_its_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    """One request: chunks as they come, one log line with Lambda's id, one line of metrics."""
    async with FakeProvider() as fake, started(compose(environ(fake.base_url))) as app:
        answered = await ask(app, KEY, {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True})
        assert answered.status == 200
        assert answered.body.endswith(b"data: [DONE]\n\n")
        cold, warm = answered, await ask(app, KEY, {"model": "m", "messages": [{"role": "user", "content": "hi"}]})
        assert (cold.status, warm.status) == (200, 200)
    written = lines(capsys.readouterr().out)
    logged = [line for line in written if line.get("event") == "request"]
    measured = [line for line in written if "_aws" in line]
    assert [line.get("cold_start") for line in logged] == [True, None]
    assert {line["function_request_id"] for line in logged} == {"aws-1"}
    assert [line["service"] for line in measured] == ["my-stack"] * 2
    assert {line["request_id"] for line in measured} == {line["request_id"] for line in logged}
    assert measured[0]["TimeToFirstToken"][0] > 0
    assert measured[0]["LedgerLatency"][0] > 0
    assert (measured[0]["end"], measured[0]["route"]) == ("finished", "/v1/chat/completions")


@pytest.mark.anyio
async def test_lambda_app_sends_only_what_is_free_where_that_was_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    """RILLGATE_METRICS=basic."""
    async with FakeProvider() as fake, started(compose(environ(fake.base_url, RILLGATE_METRICS="basic"))) as app:
        await ask(app, KEY, {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True})
    (line,) = [line for line in lines(capsys.readouterr().out) if "_aws" in line]
    assert len(line["_aws"]["CloudWatchMetrics"]) == 1
    assert "LedgerLatency" not in line


@pytest.mark.anyio
async def test_lambda_app_goes_on_with_the_trace_of_x_ray(capsys: pytest.CaptureFixture[str]) -> None:
    """Log and provider know the trace by the id that X-Ray has for it, whether or not subsegments are told."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with FakeProvider() as fake, started(compose(environ(fake.base_url, _X_AMZN_TRACE_ID=SAMPLED))) as app:
        assert (await ask(app, KEY, body)).status == 200
        told = fake.chats[0].headers["traceparent"]
    trace_id = TRACE_ID.removeprefix("1-").replace("-", "")
    (line,) = [line for line in lines(capsys.readouterr().out) if line.get("event") == "request"]
    assert line["trace_id"] == trace_id
    assert told == f"00-{trace_id}-{line['upstream_span_id']}-03"


@pytest.mark.anyio
@pytest.mark.parametrize("setting", [{"RILLGATE_AUTH__REQUIRED": "false"}, {"RILLGATE_SERVER__HOST": "127.0.0.1"}, {}])
async def test_lambda_app_answers_nobody_without_a_key(setting: dict[str, str]) -> None:
    """Whatever the configuration says: a function's URL is open to all."""
    async with started(compose(environ(**setting))) as app:
        assert (await ask(app, None, {"messages": []})).status == 401
        assert (await ask(app, "sk-somebody-elses", {"messages": []})).status == 401
        assert (await ask(app, None, path="/metrics", method="GET")).status == 404


@pytest.mark.anyio
async def test_lambda_app_ends_a_stream_in_band_before_the_deadline() -> None:
    """A provider that goes on and on is cut with an error event, and the hold is settled when the app comes back."""
    clock = FakeClock()
    async with FakeProvider() as fake, started(compose(environ(fake.base_url), clock)) as app:
        fake.script = _never_ending
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        extensions = {EXTENSION: {"deadline_s": clock.wall() + 30}}
        asking = asyncio.create_task(ask(app, KEY, body, extensions=extensions))
        exchange = await fake.request(0)
        await exchange.reached(1)
        clock.advance(30 - MARGIN_S - 0.1)
        assert not asking.done()
        clock.advance(0.1)
        answered = await asking
        assert answered.status == 200
        assert b'"code":"deadline_exceeded"' in answered.body
        assert not answered.body.endswith(b"data: [DONE]\n\n")
        assert app.gateway.streams.running() == 0
        assert await app.gateway.streams.settled(0)


async def _never_ending(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.text("a")
    await asyncio.Event().wait()


@pytest.mark.anyio
async def test_lambda_app_refuses_what_could_only_be_broken_off() -> None:
    """No provider is asked when the function is about to end."""
    async with FakeProvider() as fake, started(compose(environ(fake.base_url))) as app:
        body = {"model": "openai/m", "messages": [{"role": "user", "content": "hi"}]}
        answered = await ask(app, KEY, body, extensions={EXTENSION: {"deadline_s": time.time() + 1}})
        assert answered.status == 503


@pytest.mark.anyio
async def test_lambda_app_comes_back_when_the_books_are_closed() -> None:
    """The environment may be frozen from then on, so nothing is left for later."""
    async with FakeProvider() as fake, started(compose(environ(fake.base_url))) as app:
        done: list[str] = []

        async def book() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            done.append("booked")

        app.gateway.streams.outlive(book())
        assert (await ask(app, None, path="/healthz", method="GET")).status == 200
        assert done == ["booked"]


@pytest.mark.anyio
@pytest.mark.parametrize(("left_s", "wait_s"), [(60.0, SETTLED_WAIT_S), (1.5, 1.5), (-1.0, 0.0)])
async def test_lambda_app_waits_for_the_ledgers_background_within_the_same_time(
    monkeypatch: pytest.MonkeyPatch, left_s: float, wait_s: float
) -> None:
    """A void or a capture would stand still in the freeze; but the platform's end is never waited for."""
    clock, waited = FakeClock(), list[float]()

    async def quiet(wait_s: float) -> bool:
        waited.append(wait_s)
        return False

    async with FakeProvider() as fake, started(compose(environ(fake.base_url), clock)) as app:
        monkeypatch.setattr(app.gateway.books, "quiet", quiet)
        extensions = {EXTENSION: {"deadline_s": clock.wall() + left_s}}
        assert (await ask(app, None, path="/healthz", method="GET", extensions=extensions)).status == 200
    assert waited == [wait_s]


@pytest.mark.anyio
async def test_lambda_app_comes_back_when_the_ledger_is_quiet() -> None:
    """What it does in the background is done when the environment may be frozen."""
    async with FakeProvider() as fake, started(compose(environ(fake.base_url))) as app:
        done: list[str] = []

        async def void() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            done.append("voided")

        app.gateway.books._own._later(void())
        assert (await ask(app, None, path="/healthz", method="GET")).status == 200
        assert done == ["voided"]


@pytest.mark.anyio
async def test_lambda_app_tells_xray_of_a_sampled_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it was, what it took and what it cost, under the invocation's trace; the log line names the trace."""
    with traced(monkeypatch) as daemon:
        async with FakeProvider() as fake, started(compose(environ(fake.base_url, RILLGATE_TRACING="on"))) as app:
            body = {"model": "m", "messages": [{"role": "user", "content": "a secret prompt"}], "stream": True}
            for header in (SAMPLED, SAMPLED.replace("Sampled=1", "Sampled=0")):
                context = SimpleNamespace(aws_request_id="aws-1", trace_id=header)
                answered = await ask(app, KEY, body, extensions={"lambda_asgi": {"context": context}})
                assert answered.status == 200
        wait, request = daemon.documents()
    assert (request["trace_id"], request["parent_id"], wait["parent_id"]) == (TRACE_ID, PARENT_ID, request["id"])
    assert request["annotations"].items() >= {"service": "my-stack", "status": 200, "end": "finished"}.items()
    assert request["start_time"] <= wait["end_time"] <= request["end_time"] <= time.time()
    assert request["metadata"]["rillgate"]["output_tokens"] > 0
    assert "secret" not in json.dumps([wait, request])
    assert KEY not in json.dumps([wait, request])
    logged = [line for line in lines(capsys.readouterr().out) if line.get("event") == "request"]
    assert [line.get("xray_trace_id") for line in logged] == [TRACE_ID, None]
    assert logged[0]["request_id"] == request["annotations"]["request_id"]


@pytest.mark.anyio
async def test_lambda_app_tells_xray_nothing_unless_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda may sample on its own; without the layer there is nothing to tell it with."""
    with traced(monkeypatch) as daemon:
        async with FakeProvider() as fake, started(compose(environ(fake.base_url))) as app:
            context = SimpleNamespace(aws_request_id="aws-1", trace_id=SAMPLED)
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            answered = await ask(app, KEY, body, extensions={"lambda_asgi": {"context": context}})
            assert answered.status == 200
        assert daemon.documents() == []


@pytest.mark.anyio
async def test_lambda_app_loads_no_tokenizer_before_its_time() -> None:
    """INIT and a first request have the processor for themselves, though the request asks for the tokenizer."""
    clock = FakeClock()
    async with FakeProvider() as fake, started(compose(environ(fake.base_url), clock)) as app:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        assert (await ask(app, KEY, body)).status == 200
        clock.advance(ENCODER_DELAY_S - 0.01)
        await app.gateway.encoders.loaded()
        assert not app.gateway.encoders.ready()
        clock.advance(0.01)
        await app.gateway.encoders.loaded()
        assert app.gateway.encoders.ready()


def problem(given: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> str:
    """Why nothing can be composed, as the log has it."""
    with pytest.raises((SettingsError, StoreUnavailable)) as refused:
        compose(given)
    (line,) = lines(capsys.readouterr().out)
    assert (line["event"], line["level"]) == ("configuration_unusable", "critical")
    assert line["problem"] == str(refused.value)
    return str(line["problem"])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"RILLGATE_LEDGER__URL": "dynamodb://table"}, "RILLGATE_LOCAL_KEY: it is for ledger.url = 'memory:' alone"),
        ({"RILLGATE_LOCAL_KEY": "rill_short"}, "RILLGATE_LOCAL_KEY: "),
        ({"RILLGATE_PROVIDERS__OPENAI__KIND": "nothing"}, "RILLGATE_PROVIDERS__OPENAI__KIND: "),
        ({"RILLGATE_PROVIDERS__OPENAI__KIND": "embedded"}, "RILLGATE_PROVIDERS__OPENAI__BASE_URL: "),
        ({"RILLGATE_CONFIG": "missing.toml"}, "RILLGATE_CONFIG: 'missing.toml' does not exist"),
        ({"RILLGATE_CONFIG": "ssm:no-path"}, "RILLGATE_CONFIG: 'ssm:' takes a parameter's full name"),
    ],
)
def test_compose_of_what_cannot_be_used_says_so_in_one_line(
    changed: dict[str, str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lambda's own report of a failed INIT may not show the message; the log does."""
    given = environ(AWS_REGION="eu-central-1", **changed) if "RILLGATE_LEDGER__URL" not in changed else {}
    given = given or {**environ(), "AWS_REGION": "eu-central-1", **changed}
    assert problem(given, capsys).startswith(expected)


def test_compose_without_a_provider_says_what_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    """Elsewhere the embedded model answers then; it is not in the package."""
    given = {"RILLGATE_LEDGER__URL": "memory:"}
    assert "the embedded model does not run on Lambda" in problem(given, capsys)


@pytest.mark.anyio
async def test_configuration_from_ssm_is_read_before_anything_else() -> None:
    """The parameter's text stands for the file, keys stay required, and a loop that runs does no harm."""
    text = '[providers.lab]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n[auth]\nrequired = false\n'
    async with FakeAws() as fake:
        fake.routes["POST", "/"] = answer({"Parameter": {"Value": text}})
        given = {
            "RILLGATE_CONFIG": "ssm:/rillgate/config",
            "RILLGATE_LEDGER__URL": "memory:",
            "AWS_REGION": "eu-central-1",
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "AWS_ACCESS_KEY_ID": "AKIAFAKE",
            "AWS_SECRET_ACCESS_KEY": "fake",
            "AWS_ENDPOINT_URL_SSM": fake.url,
        }
        settings = await asyncio.to_thread(read_settings, given)
        assert list(settings.providers) == ["lab"]
        assert settings.keys_required
        assert msgspec.json.decode(fake.others[0].body)["Name"] == "/rillgate/config"
        fake.routes["POST", "/"] = answer({"__type": "AccessDeniedException", "message": "no"}, 400)
        with pytest.raises(SettingsError, match="RILLGATE_CONFIG: ssm:/rillgate/config could not be read: AccessDen"):
            await asyncio.to_thread(read_settings, given)
