"""How long a start takes, from the process's first moment."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.processes import gateway, provider
from benchmarks.report import Row, spread_of
from rillgate.app.embedded import EmbeddedModel

EMBEDDED_START_S = 120.0
LISTENING = "Start until it listens"
READY = "Start until /readyz is 200: a configured provider"
EMBEDDED = "Start until /readyz is 200: the embedded model"


def rows(times: int, times_embedded: int) -> Iterator[Row]:
    """Starts of the whole program, one after the other."""
    listening, ready = [], []
    with provider() as fake:
        for _ in range(times):
            with gateway({"fake": fake.base_url}) as g:
                ready.append(g.wait_ready())
                listening.append(g.listening_s)
    yield _row("start.listening", LISTENING, listening, "it listens at once")
    yield _row("start.ready", READY, ready, "light")
    yield _embedded(times_embedded)


def _embedded(times: int) -> Row:
    claim = "a real model within a minute"
    if not EmbeddedModel.available():
        return Row("start.embedded", EMBEDDED, None, "s", claim, note="its wheels are not installed")
    ready = []
    for _ in range(times):
        with gateway({}, embedded=True) as g:
            ready.append(g.wait_ready(EMBEDDED_START_S))
    return _row("start.embedded", EMBEDDED, ready, claim, limit=60.0)


def _row(row_id: str, what: str, seconds: list[float], claim: str, limit: float | None = None) -> Row:
    median, spread = spread_of(seconds)
    return Row(row_id, what, median, "s", claim, {"max": spread["max"]}, limit=limit, samples=len(seconds))
