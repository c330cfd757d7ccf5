"""What a cold start on Lambda costs: imports, INIT, first byte, sizes; beside functions as others write them.

Nothing here is Lambda itself. Times are taken from outside, between a process's start and what it says to a Runtime API
on loopback; AWS's own emulator, which keeps a whole answer in memory, gives the time of a whole cold invocation. The
functions take turns, so that what else the machine does meets them all.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.e2e.rie import emulated, python_3_13
from tests.fakes.aws import FakeAws
from tests.fakes.dynamodb import FakeDynamoDb
from tests.fakes.exchange import Exchange
from tests.fakes.provider import FakeProvider
from tests.fakes.runtime_api import FakeRuntimeApi, function_url_event

from benchmarks import cold_functions as functions
from benchmarks.cold_functions import BARE, FASTAPI, OURS, STARLETTE, Function
from benchmarks.cold_imports import import_seconds, import_table, modules_of
from benchmarks.processes import BenchmarkError
from benchmarks.report import Beside, Row
from benchmarks.throttle import limited
from rillgate.domain.principal import VirtualKey
from rillgate.identity.keys import digest, new_key
from rillgate.identity.keys import parse as parse_key
from rillgate.ledger.keys import virtual_key_key
from rillgate.ledger.vault import key_item

MEMORY_MB = 1024  # the template's default; what the throttled starts get the processor time of
FORBIDDEN = (
    "boto3",
    "botocore",
    "pydantic",
    "fastapi",
    "openai",
    "anthropic",
    "uvicorn",
    "uvloop",
    "prometheus_client",
)
IMPORT_RATIO_MAX = 0.35
FUNCTION_MB_MAX, DEPENDENCIES_MB_MAX = 1.0, 12.0
PACKAGES = (
    *("standard library", "rillgate", "lambda_asgi", "anyio", "httpx2", "httptools", "starlette"),
    *("aws_lambda_powertools", "jmespath", "msgspec", "tiktoken"),
)
PATIENCE_S = 60.0
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
TIMES = {
    "init": "INIT: start of the process until it asks for its first event",
    "first_byte": "First byte: from the first event until the first byte of the answer",
    "start": "INIT and first byte together",
    "invocation": "The whole of a cold invocation under AWS's emulator",
}
ZIPS = {
    "GatewayFunction": ("The function, zipped", FUNCTION_MB_MAX),
    "DependenciesLayer": ("The layer of dependencies, zipped, rank files included", DEPENDENCIES_MB_MAX),
    "RuntimeLayer": ("The layer lambda_asgi, zipped", None),
}
IDS = (
    *(f"cold.zip.{target}" for target in ZIPS),
    *("cold.import", "cold.import.ratio", *(f"cold.import.{package}" for package in PACKAGES)),
    *(f"cold.{kind}.{name}" for kind in ("full", "throttled") for name in TIMES),
)


@dataclass
class Times:
    """Milliseconds of one function's starts, by the keys of `TIMES`."""

    of: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TIMES})

    def median(self, name: str) -> float:
        """Of one kind."""
        return statistics.median(self.of[name])


def rows(starts: int, imports: int) -> Iterator[Row]:
    """Everything, in processes of their own; what this machine lacks is a row with the reason."""
    taken = set()
    try:
        for row in _rows(starts, imports):
            taken.add(row.id)
            yield row
    except MissingError as missing:
        for row_id in IDS:
            if row_id not in taken:
                yield Row(row_id, f"Cold start: {row_id.removeprefix('cold.')}", None, "", note=str(missing))


class MissingError(Exception):
    """Something to measure with is not installed here."""


def _rows(starts: int, imports: int) -> Iterator[Row]:
    try:
        python = python_3_13()
    except pytest.skip.Exception as missing:
        raise MissingError(str(missing)) from None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare = functions.bare_python(python, folder / "python")
        sizes = functions.build(python, folder / "built")
        for target, (what, limit) in ZIPS.items():
            claim = "light" if limit is None else f"below {limit:g} MB"
            yield Row(f"cold.zip.{target}", what, sizes[target] / 1e6, "MB", claim, limit=limit)
        if not functions.packages().is_dir():
            raise MissingError(f"what it is compared with is not installed for Python 3.13: {functions.REMEDY}")
        yield from asyncio.run(_measured(bare, folder, starts, imports))


async def _measured(python: Path, folder: Path, starts: int, imports: int) -> list[Row]:
    async with _world() as variables:
        built, gateway = folder / "built", {"LAMBDA_ASGI_PYTHON": str(python), **variables}
        mine = functions.ours(built, folder / "ours", gateway)
        bare = functions.ours(built, folder / "bare", gateway, byte_code=False)
        fastapi = functions.usual(FASTAPI, functions.FASTAPI_SOURCE, folder / "fastapi", python)
        starlette = functions.usual(STARLETTE, functions.STARLETTE_SOURCE, folder / "starlette", python)
        every = [mine, fastapi, starlette]
        found = await asyncio.to_thread(_imports, every, python, folder, variables, imports)
        for memory_mb in (None, MEMORY_MB):
            with limited(memory_mb or MEMORY_MB) as group:
                if memory_mb and group is None:
                    found += _not_limited()
                    continue
                launchers = _launchers([*every, bare], folder / str(memory_mb), group if memory_mb else None)
                times = await _starts(launchers, variables, starts)
                found += _start_rows(times, memory_mb)
    return found


@asynccontextmanager
async def _world() -> AsyncIterator[dict[str, str]]:
    """A provider, a DynamoDB and a key in it; gives the variables by which a function finds them."""
    table, key = FakeDynamoDb(), new_key()
    key_id = parse_key(key)
    place = virtual_key_key(key_id)
    item = key_item(VirtualKey(key_id, "cold", digest(key), created_s=int(time.time())))
    table.items[place.pk, place.sk] = {
        name: {"S": value} if isinstance(value, str) else {"N": str(value)} for name, value in item.items()
    }

    async def answer(exchange: Exchange) -> None:
        status, body = await table.call(exchange.headers["x-amz-target"], exchange.body, 1.0)
        await exchange.answer_json(body, status)

    async with FakeProvider() as provider, FakeAws() as aws:
        aws.routes["POST", "/"] = answer
        yield {
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "AKIAFAKE",
            "AWS_SECRET_ACCESS_KEY": "fake",
            "AWS_ENDPOINT_URL_DYNAMODB": aws.url,
            "AWS_LAMBDA_FUNCTION_NAME": "cold",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
            "OPENAI_API_KEY": "sk-fake",
            "OPENAI_BASE_URL": provider.base_url,
            "RILLGATE_LEDGER__URL": "dynamodb://cold",
            "PYTHONDONTWRITEBYTECODE": "1",  # a function's files are read-only
            "COLD_KEY": key,
        }


def _event(variables: Mapping[str, str]) -> dict[str, object]:
    event = function_url_event("/v1/chat/completions", method="POST", body=json.dumps(BODY))
    event["headers"] |= {"content-type": "application/json", "authorization": f"Bearer {variables['COLD_KEY']}"}
    return event


# Imports


def _imports(
    every: Sequence[Function], python: Path, folder: Path, variables: Mapping[str, str], times: int
) -> list[Row]:
    lists: dict[str, Path] = {}
    for function in every:
        modules = modules_of(function, python, _event(variables), variables)
        if function.name == OURS and (heavy := sorted({each.partition(".")[0] for each in modules} & set(FORBIDDEN))):
            raise BenchmarkError(f"imported for the first request: {', '.join(heavy)}")
        lists[function.name] = folder / f"{function.task_root.parent.name}-{function.task_root.name}.json"
        lists[function.name].write_text(json.dumps(modules))
    wall: dict[str, list[float]] = {function.name: [] for function in every}
    used: dict[str, list[float]] = {function.name: [] for function in every}
    for _ in range(times):
        for function in every:
            seconds = import_seconds(function, python, lists[function.name])
            wall[function.name].append(seconds[0] * 1000)
            used[function.name].append(seconds[1] * 1000)
    mine, theirs, light = (statistics.median(used[name]) for name in (OURS, FASTAPI, STARLETTE))
    share = statistics.median(one / other for one, other in zip(used[OURS], used[FASTAPI], strict=True))
    note = f"{STARLETTE} {light:.0f} ms; by the clock {_median(wall[OURS])} beside {_median(wall[FASTAPI])} ms"
    beside = Beside(FASTAPI, theirs)
    what = "Processor time of importing what a first streamed request needs"
    found = [Row("cold.import", what, mine, "ms", "light", beside=beside, samples=times, note=note)]
    claim, what = "at most 0.35 × of FastAPI + openai SDK", "The same as a share of the FastAPI function's"
    found.append(Row("cold.import.ratio", what, share, "×", claim, limit=IMPORT_RATIO_MAX, samples=times))
    tables = [import_table(every[0], python, lists[OURS]) for _ in range(min(times, 3))]
    for package in PACKAGES:
        own = statistics.median(table.get(package, 0) for table in tables) / 1000
        found.append(Row(f"cold.import.{package}", f"Import of {package}, as the interpreter counts", own, "ms"))
    return found


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f}"


# Starts


def _launchers(every: Sequence[Function], folder: Path, group: Path | None) -> list[tuple[Function, Path]]:
    """Each with a folder whose `bootstrap` starts it within a limit."""
    found = []
    for number, function in enumerate(every):
        launcher = folder / str(number)
        launcher.mkdir(parents=True)
        join = f"echo $$ >'{group}'\n" if group else ""
        (launcher / "bootstrap").write_text(f"#!/bin/sh\n{join}exec '{function.folder}/bootstrap' \"$@\"\n")
        (launcher / "bootstrap").chmod(0o755)
        found.append((function, launcher))
    return found


async def _starts(
    launchers: Sequence[tuple[Function, Path]], variables: Mapping[str, str], starts: int
) -> dict[str, Times]:
    times = {function.name: Times() for function, _ in launchers}
    for _ in range(starts):
        for function, launcher in launchers:
            await _first_byte(function, launcher, variables, times[function.name])
        for function, launcher in launchers:
            await _invocation(function, launcher, variables, times[function.name])
    return times


async def _first_byte(function: Function, launcher: Path, variables: Mapping[str, str], times: Times) -> None:
    """A process of its own beside the fake Runtime API."""
    async with FakeRuntimeApi() as api:
        env = {
            "PATH": os.environ["PATH"],
            "LAMBDA_TASK_ROOT": str(function.task_root),
            "_HANDLER": function.handler,
            "AWS_LAMBDA_RUNTIME_API": api.address,
            **variables,
            **function.variables,
        }
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(launcher / "bootstrap", env=env, stdin=DEVNULL, stdout=DEVNULL)
        try:
            await api.polled(1)
            asked = time.monotonic()
            # The stock loop's native client crashes without a content type.
            headers = {"Content-Type": "application/json"}
            post = api.invoke(_event(variables), deadline_s=time.time() + PATIENCE_S, headers=headers)
            await post.until(lambda: post.ended)
            answered = post.arrivals[0][0] if post.arrivals else time.monotonic()
            if b"[DONE]" not in post.body:
                raise BenchmarkError(f"{function.name} answered {post.body[:300]!r}")
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
    times.of["init"].append((asked - began) * 1000)
    times.of["first_byte"].append((answered - asked) * 1000)
    times.of["start"].append((answered - began) * 1000)


async def _invocation(function: Function, launcher: Path, variables: Mapping[str, str], times: Times) -> None:
    """Under the emulator, where it is installed."""
    given = {**variables, **function.variables}
    try:
        async with emulated(function.task_root, function.handler, layer=launcher, variables=given) as running:
            began = time.monotonic()
            status, answer = await running.invoke(_event(variables))
            took = time.monotonic() - began
            if status != 200 or b"[DONE]" not in answer:
                raise BenchmarkError(
                    f"{function.name} under the emulator: {status} {answer[:300]!r} {running.lines[-3:]}"
                )
    except pytest.skip.Exception:
        return
    times.of["invocation"].append(took * 1000)


def _start_rows(times: Mapping[str, Times], memory_mb: int | None) -> list[Row]:
    where = "a whole processor" if memory_mb is None else f"the processor time of {memory_mb} MB"
    kind = "full" if memory_mb is None else "throttled"
    found = []
    for name, text in TIMES.items():
        row_id, what = f"cold.{kind}.{name}", f"{text}, {where}"
        if not times[OURS].of[name]:
            found.append(Row(row_id, what, None, "ms", note="AWS's emulator is not installed"))
            continue
        beside = Beside(FASTAPI, times[FASTAPI].median(name))
        note = f"{STARLETTE} {times[STARLETTE].median(name):.0f} ms"
        if name == "init":
            note += f"; {BARE} {times[BARE].median(name):.0f} ms"
        values = times[OURS].of[name]
        found.append(
            Row(
                row_id,
                what,
                times[OURS].median(name),
                "ms",
                "light",
                {"max": max(values)},
                beside,
                None,
                len(values),
                note,
            )
        )
    return found


def _not_limited() -> list[Row]:
    note = "no control group can be made here"
    what = f", the processor time of {MEMORY_MB} MB"
    return [Row(f"cold.throttled.{name}", text + what, None, "ms", note=note) for name, text in TIMES.items()]


if __name__ == "__main__":
    for row in rows(3, 5):
        print(row)
