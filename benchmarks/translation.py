"""What translating costs: a paced load through a gateway that translates, and at once through one that does not.

The provider plays one script in every API, so the same texts come at the same times, are counted by the same tokenizer
and go to as many clients. What differs is the bytes around them, and what is done with those. Both loads run at the
same time: what else runs on a machine changes what a chunk costs by a third, and then it changes both. And the two
gateways take turns in translating, since two processes of one program are not equally quick either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from benchmarks.fakes import ClientDialect, Fakes
from benchmarks.machine import cpu_seconds
from benchmarks.processes import Gateway, free_port, gateway, server
from benchmarks.relay import MODEL, Load, Loads, Measured, Running
from benchmarks.report import Beside, Row

AT_MOST = 1.25
WARM_UP = 5  # streams of each way through each gateway, not counted
CLAIM = f"at most {AT_MOST} × the pass-through"


@dataclass(frozen=True)
class Way:
    """From a provider of one family to a client that speaks one dialect."""

    id: str
    provider: str
    client: ClientDialect
    words: str


PASSED = Way("pass_through", "openai", "openai", "OpenAI → OpenAI, passed through")
TRANSLATED = (
    Way("anthropic_openai", "anthropic", "openai", "Anthropic → OpenAI"),
    Way("ollama_openai", "ollama", "openai", "Ollama → OpenAI"),
    Way("bedrock_openai", "bedrock", "openai", "Bedrock → OpenAI"),
    Way("openai_messages", "openai", "anthropic", "OpenAI → Anthropic"),
)
BASE_PATHS = {"openai": "/v1", "anthropic": "", "ollama": "", "bedrock": ""}
AWS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "a-secret-for-nobody"}


@dataclass(frozen=True)
class Pair:
    """What was measured at the same time."""

    translated: Measured
    passed: Measured


def rows(fakes: Fakes, loads: Loads) -> Iterator[Row]:
    """Processor time of a paced chunk, one row for each way."""
    load = loads.paced
    with _running(fakes, load) as gateways:
        few = replace(load, streams=WARM_UP, at_once=WARM_UP)  # every path has been gone
        _together(fakes, few, [(each, way) for each in gateways for way in (PASSED, *TRANSLATED)])
        for way in TRANSLATED:
            yield row_of(way, load, _pairs(fakes, load, way, gateways, loads.repeats))


def _pairs(fakes: Fakes, load: Load, way: Way, gateways: Sequence[Gateway], repeats: int) -> list[Pair]:
    """Each gateway translates `repeats` times, while the other one passes through."""
    pairs = []
    for _ in range(repeats):
        for one, other in (gateways, reversed(gateways)):
            pairs.append(Pair(*_together(fakes, load, [(one, way), (other, PASSED)])))
    return pairs


def _together(fakes: Fakes, load: Load, tasks: Sequence[tuple[Gateway, Way]]) -> list[Measured]:
    """A load for each of these gateways, all at once."""
    before = [cpu_seconds(each.pid) for each, _ in tasks]
    with ExitStack() as stack:
        running = [
            stack.enter_context(Running(fakes, each.port, f"{way.provider}/{MODEL}", load, dialect=way.client))
            for each, way in tasks
        ]
        found = [each.finish() for each in running]
    cpu_s = [cpu_seconds(each.pid) - began for (each, _), began in zip(tasks, before, strict=True)]
    return [Measured(cpu, chunks, wall_s, load.streams) for cpu, (chunks, wall_s) in zip(cpu_s, found, strict=True)]


@contextmanager
def _running(fakes: Fakes, load: Load) -> Iterator[list[Gateway]]:
    """One provider that speaks every API, and two gateways to which it is a provider of every kind."""
    port = free_port()
    base_urls = {name: f"http://127.0.0.1:{port}{path}" for name, path in BASE_PATHS.items()}
    kinds = {name: name for name in BASE_PATHS}
    with ExitStack() as stack:
        stack.enter_context(server(fakes.provider(port, load.script), port))
        gateways = [
            stack.enter_context(gateway(base_urls, kinds=kinds, environ=AWS, providers__bedrock__region="us-east-1"))
            for _ in range(2)
        ]
        for each in gateways:
            each.wait_ready()
        yield gateways


def row_of(way: Way, load: Load, pairs: Sequence[Pair]) -> Row:
    """All chunks that were translated, beside all that were passed through meanwhile."""
    ours = _sum([pair.translated for pair in pairs])
    passed = _sum([pair.passed for pair in pairs])
    return Row(
        id=f"translation.{way.id}",
        what=f"CPU for each paced chunk, {way.words}: {load}",
        value=ours.cpu_us_per_chunk,
        unit="µs",
        claim=CLAIM,
        beside=Beside("passed through", passed.cpu_us_per_chunk),
        limit=AT_MOST * passed.cpu_us_per_chunk,
        samples=ours.chunks,
    )


def _sum(runs: Sequence[Measured]) -> Measured:
    return Measured(
        cpu_s=sum(each.cpu_s for each in runs),
        chunks=sum(each.chunks for each in runs),
        wall_s=sum(each.wall_s for each in runs),
        streams=sum(each.streams for each in runs),
    )
