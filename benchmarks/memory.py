"""What clients that never read cost."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.client import Stream
from benchmarks.machine import rss_bytes
from benchmarks.processes import BenchmarkError, Gateway, Provider, gateway, get, provider
from benchmarks.report import Row
from rillgate.app.listen import raise_open_files

CLAIM = "1,000 cost less than 100 MB"
LIMIT_MB_EACH = 0.1
NEVER_S = 600  # no deadline of the gateway ends these streams
QUIET_S = 1.0
FILL_S = 180.0


def rows(clients: int) -> Iterator[Row]:
    """Memory with `clients` stalled streams, over the idle process that has its encoder and has served one stream."""
    raise_open_files()
    with provider() as fake, gateway({"fake": fake.base_url}, timeouts__stall_s=NEVER_S) as g:
        g.wait_ready()
        first = Stream(g.port)
        first.ask("instant")
        first.read_to_end(b"")
        first.close()
        idle = rss_bytes(g.pid)
        stalled = []
        try:
            for _ in range(clients):
                stalled.append(Stream(g.port))
                stalled[-1].ask("flood")
            _wait_until_still(fake, clients)
            active = _active(g)
            if active != clients:
                raise BenchmarkError(f"{active} of {clients} streams are active")
            full = rss_bytes(g.pid)
        finally:
            for client in stalled:
                client.reset()
    added = (full - idle) / 1e6
    yield Row("memory.idle", "Memory of an idle process, the encoder loaded", idle / 1e6, "MB", "light")
    yield Row(
        id="memory.stalled",
        what=f"Memory that {clients:,} clients that never read add to that",
        value=added,
        unit="MB",
        claim=CLAIM if clients == 1000 else f"{CLAIM} (in proportion)",
        limit=LIMIT_MB_EACH * clients,
        note=f"{added * 1000 / clients:,.0f} KB each",
    )


def _wait_until_still(fake: Provider, clients: int) -> None:
    """All streams have begun, and for a second nobody took anything."""
    while fake.wait("still", timeout_s=FILL_S)["streams"] < clients:
        pass
    while fake.says("still", within_s=QUIET_S):
        pass


def _active(g: Gateway) -> int:
    for line in get(g.port, "/metrics")[1].decode().splitlines():
        if line.startswith("llm_active_streams "):
            return int(float(line.split()[1]))
    raise BenchmarkError("/metrics has no llm_active_streams")
