"""What the gateway adds to the time until the first token."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.client import Stream
from benchmarks.processes import gateway, provider
from benchmarks.report import Beside, Row, spread_of

FIRST = b"Hello"
MODEL = "instant"
WARM_UP = 20


def rows(times: int) -> Iterator[Row]:
    """One stream at a time on warm connections, directly and through the gateway in turn."""
    with provider() as fake, gateway({"fake": fake.base_url}) as g:
        g.wait_ready()
        direct, through = Stream(fake.port), Stream(g.port)
        for _ in range(WARM_UP):
            once(direct), once(through)
        samples = [(once(direct), once(through)) for _ in range(times)]
        direct.close(), through.close()
    beside, beside_spread = spread_of([each[0] for each in samples])
    median, spread = spread_of([each[1] for each in samples])
    for name, value, reference in (("p50", median, beside), ("p95", spread["p95"], beside_spread["p95"])):
        yield Row(
            id=f"first_token.{name}",
            what=f"Time to first token through the gateway, {name}",
            value=value,
            unit="ms",
            claim="nothing that people notice",
            beside=Beside("direct", reference, ratio=False),
            samples=times,
        )


def once(client: Stream, model: str = MODEL, first: bytes = FIRST) -> float:
    """Milliseconds from a request's first byte to the text `first`."""
    began = client.ask(model)
    found = client.read_until(first)
    took = client.read_at - began
    client.read_to_end(found)
    return took * 1000
