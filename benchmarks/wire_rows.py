"""What was measured near the wire as rows, with what the project promises."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.relay import Load, Measured, Outcome
from benchmarks.report import Beside, Row, spread_of
from benchmarks.ways import BARE, DIRECT, FULL, NAIVE, NGINX

Rounds = Mapping[str, Sequence[Measured]]
OURS = (FULL, BARE)
NGINX_FACTOR, NAIVE_FACTOR, GAP_FACTOR = 2.0, 0.25, 2.0
FIRST_TOKEN_MS, HUNDRED_P50_MS, HUNDRED_P95_MS = 2.0, 30.0, 100.0
BURST_MIN = 130_000


@dataclass(frozen=True)
class Found:
    """What one run found, by way.

    Attributes:
        short, paced, burst: every round of each load.
        first_ms: times to the first token of single streams.
        many_load, many: the largest load, what its clients saw, and processor seconds.
    """

    many_load: Load
    short: Rounds
    paced: Rounds
    burst: Rounds
    first_ms: Mapping[str, Sequence[float]]
    many: Mapping[str, tuple[Outcome, float]]


def rows_of(group: str, words: Mapping[str, str], found: Found, missing: Mapping[str, str]) -> Iterator[Row]:
    """Every row; what could not be gone here says why."""
    yield from _cpu_rows(group, words, found.paced)
    for name, why in missing.items():
        yield Row(f"{group}.cpu.{name}", f"CPU for each paced chunk, {words[name]}", None, "µs", note=why)
    yield from _burst_rows(group, words, found.burst)
    yield from _request_rows(group, words, found.short)
    yield from _single_rows(group, words, found.first_ms)
    yield from _hundred_rows(group, words, found.paced)
    yield from _gap_rows(group, words, found.paced)
    yield from _many_rows(group, words[FULL], found)


def _percentile(rounds: Sequence[Measured], share: str) -> float:
    """Of the time to the first token, in milliseconds."""
    return middle(rounds, lambda each: each.ttft_ms[share])


def middle(rounds: Sequence[Measured], value: Callable[[Measured], float]) -> float:
    """The median of the rounds."""
    return statistics.median(value(each) for each in rounds)


def _cpu_rows(group: str, words: Mapping[str, str], paced: Rounds) -> Iterator[Row]:
    cost = {name: middle(rounds, lambda each: each.cpu_us_per_chunk) for name, rounds in paced.items()}
    nginx, naive = cost.get(NGINX), cost.get(NAIVE)
    for name, value in cost.items():
        if name == DIRECT:
            continue
        promised = name == FULL and nginx
        yield Row(
            id=f"{group}.cpu.{name}",
            what=f"CPU for each paced chunk, {words[name]}",
            value=value,
            unit="µs",
            claim=f"at most {NGINX_FACTOR:g} × nginx's" if promised else "",
            beside=Beside("nginx", nginx) if nginx and name != NGINX else None,
            limit=NGINX_FACTOR * nginx if promised and nginx else None,
            samples=_chunks(paced[name]),
        )
    if naive:
        yield Row(
            id=f"{group}.cpu.{FULL}.{NAIVE}",
            what=f"CPU for each paced chunk, {words[FULL]}, beside the naive design",
            value=cost[FULL],
            unit="µs",
            claim=f"at most {NAIVE_FACTOR:g} × the naive design's",
            beside=Beside(words[NAIVE], naive),
            limit=NAIVE_FACTOR * naive,
            samples=_chunks(paced[FULL]),
        )


def _burst_rows(group: str, words: Mapping[str, str], burst: Rounds) -> Iterator[Row]:
    direct = middle(burst[DIRECT], lambda each: each.chunks_per_s)
    for name, rounds in burst.items():
        if name == DIRECT:
            continue
        ours = name in OURS
        own = middle(rounds, lambda each: each.chunks / each.cpu_s)
        yield Row(
            id=f"{group}.burst.{name}",
            what=f"Chunks through one process in a burst, {words[name]}",
            value=middle(rounds, lambda each: each.chunks_per_s),
            unit="chunks/s",
            claim=f"at least {BURST_MIN:,} a second on one core" if ours else "",
            beside=Beside("direct", direct),
            at_least=BURST_MIN if ours else None,
            samples=_chunks(rounds),
            note=f"{own:,.0f} for each second of its own CPU",
        )


def _request_rows(group: str, words: Mapping[str, str], short: Rounds) -> Iterator[Row]:
    cost = {name: middle(rounds, lambda each: each.cpu_ms_per_stream) for name, rounds in short.items()}
    for name, value in cost.items():
        yield Row(
            id=f"{group}.request.{name}",
            what=f"CPU for each request of one chunk, {words[name]}",
            value=value,
            unit="ms",
            beside=Beside("nginx", cost[NGINX]) if NGINX in cost and name != NGINX else None,
            samples=sum(each.streams for each in short[name]),
        )


def _single_rows(group: str, words: Mapping[str, str], first_ms: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    direct = spread_of(first_ms[DIRECT])[0]
    for name, samples in first_ms.items():
        if name == DIRECT:
            continue
        median, spread = spread_of(samples)
        bare = name == BARE
        yield Row(
            id=f"{group}.first_token.{name}",
            what=f"Time to first token, one stream, {words[name]}",
            value=median,
            unit="ms",
            claim=f"adds at most {FIRST_TOKEN_MS:g} ms at the median" if bare else "",
            spread={"p95": spread["p95"]},
            beside=Beside("direct", direct, ratio=False),
            limit=direct + FIRST_TOKEN_MS if bare else None,
            samples=len(samples),
        )


def _hundred_rows(group: str, words: Mapping[str, str], paced: Rounds) -> Iterator[Row]:
    promises = (("p50", HUNDRED_P50_MS), ("p95", HUNDRED_P95_MS))
    for name, rounds in paced.items():
        if name == DIRECT:
            continue
        for share, limit in promises:
            yield Row(
                id=f"{group}.first_token_at_once.{name}.{share}",
                what=f"Time to first token, all paced streams starting at once, {words[name]}, {share}",
                value=_percentile(rounds, share),
                unit="ms",
                claim=f"{share} at most {limit:g} ms" if name in OURS else "",
                beside=Beside("direct", _percentile(paced[DIRECT], share), ratio=False),
                limit=limit if name in OURS else None,
                samples=sum(each.streams for each in rounds),
            )


def _gap_rows(group: str, words: Mapping[str, str], paced: Rounds) -> Iterator[Row]:
    direct = middle(paced[DIRECT], lambda each: each.gap_ms["p99"])
    for name, rounds in paced.items():
        if name == DIRECT:
            continue
        ours = name in OURS
        yield Row(
            id=f"{group}.gap.{name}",
            what=f"Gap between paced chunks, p99, {words[name]}",
            value=middle(rounds, lambda each: each.gap_ms["p99"]),
            unit="ms",
            claim=f"at most {GAP_FACTOR:g} × direct" if ours else "",
            beside=Beside("direct", direct),
            limit=GAP_FACTOR * direct if ours else None,
            samples=_chunks(rounds),
        )


def _many_rows(group: str, words: str, found: Found) -> Iterator[Row]:
    load, (seen, cpu_s) = found.many_load, found.many[FULL]
    direct = found.many[DIRECT][0]
    yield Row(
        id=f"{group}.many.whole",
        what=f"Streams that came whole through one process, {words}: {load}",
        value=seen.done,
        unit="streams",
        claim="no failed stream",
        at_least=load.streams,
        samples=load.streams,
        note=", ".join(f"{number} × {reason}" for reason, number in seen.reasons.items()),
    )
    yield Row(
        id=f"{group}.many.gap",
        what=f"Gap between chunks, p99: {load}",
        value=seen.gap_ms["p99"],
        unit="ms",
        beside=Beside("direct", direct.gap_ms["p99"]),
        samples=seen.chunks,
    )
    yield Row(
        id=f"{group}.many.cpu",
        what=f"CPU for each chunk: {load}",
        value=cpu_s * 1e6 / seen.chunks,
        unit="µs",
        samples=seen.chunks,
        note=f"{cpu_s / seen.wall_s:.0%} of one core",
    )


def _chunks(rounds: Sequence[Measured]) -> int:
    return sum(each.chunks for each in rounds)
