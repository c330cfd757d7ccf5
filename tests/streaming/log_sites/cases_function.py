"""Cases of a function on Lambda, and of the layer under it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any

import anyio
import pytest

from lambda_asgi import runtime as layer_runtime
from lambda_asgi.answers import prelude
from lambda_asgi.clock import LoopClock
from lambda_asgi.cycle import Receive, Send
from lambda_asgi.failures import Failure
from lambda_asgi.http1 import Answer
from lambda_asgi.lifespan import Lifespan
from lambda_asgi.run import Run, _error_of
from lambda_asgi.runtime_api import RuntimeApiError
from lambda_asgi.settings import Settings
from lambda_asgi.sinks import StreamSink, _judge
from lambda_asgi.worker import Worker
from rillgate.app.on_lambda import compose
from rillgate.app.settings.load import SettingsError
from rillgate.telemetry import tracing
from rillgate.telemetry.logs import RequestRecord
from rillgate.telemetry.tracing import RequestTraces
from tests.fakes.runtime_api import FakeRuntimeApi, function_url_event
from tests.fakes.xray import SAMPLED
from tests.streaming.log_sites.world import CLIENT_KEY, PROMPT, PROVIDER_KEY, World, case, error_with_secrets, raises
from tests.unit.app.test_on_lambda import environ
from tests.unit.layers.runtime.support import Scope, serving

UNUSABLE = [
    {"RILLGATE_PROVIDERS__OPENAI__API_KEY": PROVIDER_KEY},
    {"RILLGATE_PROVIDERS__OPENAI__API_KEY": f"env:{PROVIDER_KEY}"},
    {"RILLGATE_PROVIDERS__OPENAI__HEADERS__X_KEY": f"{CLIENT_KEY}\x00"},
    {"RILLGATE_PROVIDERS__OPENAI__BASE_URL": f"http://user:{CLIENT_KEY}@host"},
    {"RILLGATE_LIMITS__STREAMS_MAX": CLIENT_KEY},
    {"RILLGATE_LOCAL_KEY": CLIENT_KEY},
    {f"RILLGATE_LIMITS__{CLIENT_KEY}": "1"},
]


@case("app/on_lambda.py compose configuration_unusable")
async def configuration_with_keys_in_wrong_places(world: World) -> None:
    """The line names the place and the remedy."""
    for wrong in UNUSABLE:
        with pytest.raises(SettingsError):
            compose(environ(**wrong))


@case("app/on_lambda.py compose configuration_notice")
async def configuration_with_keys_of_no_use(world: World) -> None:
    """Variables that are found and not used."""
    compose({"OPENAI_API_KEY": PROVIDER_KEY, "GEMINI_API_KEY": CLIENT_KEY, "AWS_BEARER_TOKEN_BEDROCK": CLIENT_KEY})


@case("telemetry/tracing.py RequestTraces.request tracing_failed")
async def tracer_that_fails(world: World) -> None:
    """What goes to X-Ray goes through here."""
    world.monkeypatch.setattr(tracing, "_tracer", raises)
    traces = RequestTraces("s", {})
    traces.begin(SAMPLED, 0.0)
    traces.request(RequestRecord(request_id="req_1", method="GET", route="/", model=PROMPT))


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    """An app."""
    raises()


@case("lambda_asgi/run.py Run._failure the_app_failed")
async def app_that_fails(world: World) -> None:
    """The layer reports it, and knows no more of it than its kind."""
    async with FakeRuntimeApi() as api, serving(failing, api, error_details="type"):
        post = api.invoke(function_url_event())
        await api.polled(2)
    assert PROMPT not in repr(post.trailers)


@case("lambda_asgi/worker.py Worker._refuse event_not_supported")
async def event_that_is_none(world: World) -> None:
    """Whatever invoked the function."""
    async with FakeRuntimeApi() as api, serving(failing, api, error_details="type"):
        for event in (
            {"requestContext": {"http": PROMPT}, "message": CLIENT_KEY},
            {"requestContext": {"http": {"method": "GET"}}, "headers": PROMPT},
            {"requestContext": {"http": {"method": "GET"}}, "body": f"{PROMPT}!", "isBase64Encoded": True},
            PROMPT,
        ):
            api.invoke(event)
        await api.polled(5)


@case(
    "lambda_asgi/run.py Run._failure work_after_the_response_was_cut_off",
    "lambda_asgi/run.py Run._failure the_app_did_not_complete_its_response_in_time",
    "lambda_asgi/run.py _error_of the_app_goes_on_after_it_was_cancelled,_and_is_waited_for_no_longer",
)
async def app_that_takes_too_long(world: World) -> None:
    """Before and after its answer; its task has a telling name."""
    task = asyncio.create_task(asyncio.Event().wait(), name=PROMPT)
    await anyio.wait_all_tasks_blocked()
    run = Run(details="type")

    class Cycle:
        complete = True

    class Sink:
        broken = ""

    run._failure(task, Cycle(), Sink(), "deadline")  # type: ignore[arg-type]
    Cycle.complete = False
    run._failure(task, Cycle(), Sink(), "deadline")  # type: ignore[arg-type]
    _error_of(task)  # type: ignore[arg-type]
    task.cancel()


@case("lambda_asgi/answers.py prelude response_headers_are_longer_than_API_Gateway_takes")
async def headers_that_are_too_long(world: World) -> None:
    """They hold whatever they hold."""
    prelude(200, [(b"x-made-up", PROMPT.encode() * 500)])


@case("lambda_asgi/lifespan.py Lifespan.shutdown lifespan_shutdown_failed")
async def lifespan_that_ends_badly(world: World) -> None:
    """By a message, and by an exception."""

    async def says(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": f"{PROMPT} {CLIENT_KEY}"})

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raises()

    for app in (says, fails):
        lifespan = Lifespan(app, "on")
        await lifespan.startup()
        await lifespan.shutdown()


@case("lambda_asgi/lifespan.py Lifespan._unsupported the_app_supports_no_lifespan")
async def lifespan_that_is_none(world: World) -> None:
    """An app that fails when it is asked for one."""
    logging.getLogger("lambda_asgi").setLevel(logging.DEBUG)
    await Lifespan(failing, "auto").startup()


@case("lambda_asgi/sinks.py StreamSink.fail failure_not_reported")
async def failure_that_reaches_nobody(world: World) -> None:
    """The connection to Lambda is gone, and says why."""

    class Api:
        async def stream(self, *args: Any) -> Any:
            raise OSError(5, f"{PROMPT} {CLIENT_KEY}")

    sink = StreamSink(Api(), None, lambda: None)  # type: ignore[arg-type]
    await sink.fail(Failure("Function.X", PROMPT))


@case(
    "lambda_asgi/sinks.py _judge response_not_delivered",
    "lambda_asgi/sinks.py _judge invocation_had_timed_out",
    "lambda_asgi/sinks.py _judge response_too_large",
    "lambda_asgi/sinks.py _judge response_refused",
)
async def response_that_is_not_taken(world: World) -> None:
    """Lambda's refusal may quote what it refuses."""
    _judge(None, f"{PROMPT} {CLIENT_KEY}")
    for status in (410, 413, 400):
        _judge(Answer(status, {}, f"{PROMPT} {CLIENT_KEY}".encode(), True), "")


@case("lambda_asgi/runtime.py serve the_Runtime_API_refuses_to_go_on")
async def runtime_api_that_refuses(world: World) -> None:
    """With a text of its own."""

    async def refused(self: Any) -> None:
        raise RuntimeApiError(f"{PROMPT} {CLIENT_KEY}")

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})

    world.monkeypatch.setattr(Worker, "run", refused)
    settings = Settings(lifespan="off", error_details="type")
    environment = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9"}
    assert await layer_runtime.serve(app, settings, LoopClock(), environment) == layer_runtime.EXIT_FAILED


@case(
    "lambda_asgi/runtime.py _refuse initialization_failed",
    "lambda_asgi/runtime.py _refuse initialization_error_not_reported",
)
async def function_that_cannot_start(world: World) -> None:
    """Its module fails, and Lambda cannot be told."""
    world.monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1")
    error = error_with_secrets()
    await layer_runtime._refuse(Failure.of(error, details="type", kind="Runtime.ImportModuleError"), error)


@case("lambda_asgi/runtime.py main AWS_LAMBDA_RUNTIME_API_is_not_set:_this_runs_in_Lambda_or_an_emulator")
async def layer_without_lambda(world: World) -> None:
    """It configures its own logging first, in its own shape."""
    world.monkeypatch.delenv("AWS_LAMBDA_RUNTIME_API", raising=False)
    world.monkeypatch.setenv("_HANDLER", CLIENT_KEY)
    assert layer_runtime.main(str(world.tmp_path)) == layer_runtime.EXIT_FAILED
