"""How long a provider goes on working for a client that has gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.client import CONTENT, Stream
from benchmarks.processes import Gateway, Provider, gateway, provider
from benchmarks.report import Row, spread_of

CLAIM = "a closed tab stops the meter within 100 ms"
LIMIT_MS = 100.0
SMALL_WINDOW_BYTES = 4096
WAYS: dict[str, Callable[[Stream], float]] = {"close": Stream.close, "reset": Stream.reset}


def rows(times: int) -> Iterator[Row]:
    """Cancellation in three states of a stream, with a close and a reset each, `times` times one after the other."""
    with provider() as fake, gateway({"fake": fake.base_url}) as g:
        g.wait_ready()
        for state, (words, begin) in STATES.items():
            for way, end in WAYS.items():
                _once(g, fake, begin, end)  # not counted: the first of its kind
                took = [_once(g, fake, begin, end) for _ in range(times)]
                median, spread = spread_of(took)
                yield Row(
                    id=f"cancel.{state}.{way}",
                    what=f"Client's {way} to the provider's, {words}",
                    value=median,
                    unit="ms",
                    claim=CLAIM,
                    spread=spread,
                    limit=LIMIT_MS,
                    samples=times,
                )


Begin = Callable[[Gateway, Provider], tuple[Stream, int]]


def _once(g: Gateway, fake: Provider, begin: Begin, end: Callable[[Stream], float]) -> float:
    client, number = begin(g, fake)
    went_at = end(client)
    closed_at: float = fake.wait("closed", number=number)["at"]
    return (closed_at - went_at) * 1000


def _before_first_byte(g: Gateway, fake: Provider) -> tuple[Stream, int]:
    client = Stream(g.port)
    client.ask("silent")
    return client, fake.wait("arrived")["number"]


def _in_midstream(g: Gateway, fake: Provider) -> tuple[Stream, int]:
    client = Stream(g.port)
    client.ask("paced")
    client.read_until(CONTENT, times=3)
    return client, fake.wait("arrived")["number"]


def _while_blocked(g: Gateway, fake: Provider) -> tuple[Stream, int]:
    client = Stream(g.port, receive_bytes=SMALL_WINDOW_BYTES)
    client.ask("flood")
    number: int = fake.wait("arrived")["number"]
    fake.wait("still", number=number)
    return client, number


STATES: dict[str, tuple[str, Begin]] = {
    "before": ("before the first byte", _before_first_byte),
    "midstream": ("in mid-stream", _in_midstream),
    "blocked": ("while a send is blocked", _while_blocked),
}
