"""What the ledger adds to a request: a gateway with it in memory, beside one on a file and one on DynamoDB Local.

Nobody has a budget and keys are off, so every request is charged to `global`: two writes to that item, and one record.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.dynamodb_local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, DynamoDbLocal, running, unavailable

from benchmarks import first_token, ledger_parts
from benchmarks.client import Stream
from benchmarks.fakes import Fakes
from benchmarks.processes import Gateway, free_port, gateway, provider, server
from benchmarks.relay import Load, Measured, median, run
from benchmarks.report import Beside, Row, spread_of

LIGHT = "a ledger is a small part of a request"
MEMORY = "in memory"
WORDS = {"sqlite": "a SQLite file", "dynamodb": "DynamoDB Local"}
EMULATOR_TIMEOUT_MS = 30_000  # it is no measure of DynamoDB's own times
WARM_UP = 20
PAUSE_S = 0.02  # after each request: what it leaves to be settled must not slow the next one, at another gateway


@dataclass(frozen=True)
class Effort:
    """How often each figure is taken: requests one by one, and a load whose every stream is one chunk."""

    first_tokens: int = 300
    short: Load = field(default_factory=lambda: Load(400, 4, 1))
    repeats: int = 3
    calls: int = 2000


FULL = Effort()
QUICK = Effort(10, Load(20, 4, 1), 1, 100)


def rows(fakes: Fakes, effort: Effort) -> Iterator[Row]:
    """All of it; what needs DynamoDB Local names itself as left out where that cannot run."""
    why_not = unavailable()
    with ExitStack() as stack:
        local = None if why_not else stack.enter_context(running())
        yield from _gateway_rows(fakes, effort, local, why_not or "")
        yield from ledger_parts.rows(effort.calls, local, why_not or "")


def _gateway_rows(fakes: Fakes, effort: Effort, local: DynamoDbLocal | None, why_not: str) -> Iterator[Row]:
    with ExitStack() as stack:
        fake = stack.enter_context(provider())
        port = free_port()
        stack.enter_context(server(fakes.provider(port, effort.short.script), port))
        providers = {"fake": fake.base_url, "short": f"http://127.0.0.1:{port}/v1"}
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        gateways = {
            "memory": stack.enter_context(gateway(providers, ledger__url="memory:")),
            "sqlite": stack.enter_context(gateway(providers, ledger__url=f"sqlite:///{Path(folder) / 'ledger.db'}")),
        }
        if local is not None:
            gateways["dynamodb"] = stack.enter_context(_on_dynamodb(local, providers))
        for each in gateways.values():
            each.wait_ready()
        yield from _first_token_rows(gateways, effort.first_tokens, why_not)
        yield from _cpu_rows(fakes, gateways, effort, why_not)


def _on_dynamodb(local: DynamoDbLocal, providers: dict[str, str]) -> AbstractContextManager[Gateway]:
    return gateway(
        providers,
        environ={"AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY},
        ledger__url=local.ledger_url(local.new_table()),
        ledger__connect_timeout_ms=EMULATOR_TIMEOUT_MS,
        ledger__read_timeout_ms=EMULATOR_TIMEOUT_MS,
    )


def _first_token_rows(gateways: dict[str, Gateway], times: int, why_not: str) -> Iterator[Row]:
    """One stream at a time on warm connections, at each gateway once in every round, in any order."""
    clients = {name: Stream(each.port) for name, each in gateways.items()}
    for _ in range(WARM_UP):
        for client in clients.values():
            first_token.once(client, "fake/instant")
    samples: dict[str, list[float]] = {name: [] for name in clients}
    order = random.Random(times)
    for _ in range(times):
        for name in order.sample(list(clients), len(clients)):
            time.sleep(PAUSE_S)
            samples[name].append(first_token.once(clients[name], "fake/instant"))
    for client in clients.values():
        client.close()
    memory, memory_spread = spread_of(samples["memory"])
    for store, words in WORDS.items():
        what = f"Time to first token with the ledger on {words}"
        for name, reference in (("p50", memory), ("p95", memory_spread["p95"])):
            row_id, text = f"ledger.first_token.{store}.{name}", f"{what}, {name}"
            if store not in samples:
                yield Row(row_id, text, None, "ms", LIGHT, note=why_not)
                continue
            value, spread = spread_of(samples[store])
            value = value if name == "p50" else spread[name]
            beside = Beside(MEMORY, reference, ratio=False)
            yield Row(row_id, text, value, "ms", LIGHT, beside=beside, samples=times)


def _cpu_rows(fakes: Fakes, gateways: dict[str, Gateway], effort: Effort, why_not: str) -> Iterator[Row]:
    """Processor time of the gateway for each request; that of the emulator is not in it."""

    def measure(name: str) -> Measured:
        return run(fakes, gateways[name].port, "short/gpt-4o", effort.short, gateways[name].pid)

    for name in gateways:
        measure(name)  # connections are open and every path has been gone once
    rounds = [{name: measure(name) for name in gateways} for _ in range(effort.repeats)]
    found = {name: [each[name] for each in rounds] for name in gateways}
    memory = median(found["memory"]).cpu_ms_per_stream
    for store, words in WORDS.items():
        what = f"CPU for each request with the ledger on {words}: {effort.short}"
        if store not in found:
            yield Row(f"ledger.cpu.{store}", what, None, "ms", LIGHT, note=why_not)
            continue
        value = median(found[store]).cpu_ms_per_stream
        samples = effort.short.streams * effort.repeats
        yield Row(f"ledger.cpu.{store}", what, value, "ms", LIGHT, beside=Beside(MEMORY, memory), samples=samples)
