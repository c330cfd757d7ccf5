"""The load generator for machines without Go: opens streams, counts what comes, says it as JSON on standard output."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec
from tests.fakes.clients import RawClient

from rillgate.app.listen import raise_open_files

KEPT_BYTES = 32  # of what was looked through: a marker may be cut


@dataclass(frozen=True)
class Marks:
    """By what chunks with text, and the proper end, are known."""

    content: bytes
    no_content: bytes
    done: bytes

    def chunks(self, text: bytes) -> int:
        """How many chunks with text begin in these bytes."""
        return text.count(self.content) - text.count(self.no_content)


MARKS = {
    "openai": Marks(b'"content":"', b'"content":""', b"[DONE]"),
    "anthropic": Marks(b'"type":"text_delta"', b'"type":"text_delta","text":""', b'"type":"message_stop"'),
}


class Load:
    """So many streams, so many at once."""

    def __init__(self, port: int, path: str, body: dict[str, object], marks: Marks, *, key: str, abort: int) -> None:
        self._port = port
        self._path = path
        self._body = body
        self._marks = marks
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._abort = abort
        self.first_s: list[float] = []
        self.gaps_s: list[float] = []
        self.chunks = 0
        self.done = 0
        self.reasons: Counter[str] = Counter()

    async def run(self, at_once: int, streams: int) -> None:
        """All of them."""
        numbers = iter(range(streams))

        async def work() -> None:
            client = None
            for _ in numbers:
                try:
                    client = client or await RawClient.open(self._port)
                    if not await self._stream(client):
                        client.close()
                        client = None
                except (OSError, TimeoutError) as error:
                    self.reasons[type(error).__name__] += 1
                    client = None
            if client is not None:
                client.close()

        await asyncio.gather(*(work() for _ in range(at_once)))

    async def _stream(self, client: RawClient) -> bool:
        """One of them; whether its connection can serve again."""
        began = time.monotonic()
        await client.request("POST", self._path, headers=self._headers, json=self._body)
        if await client.response() != 200:
            await client.read_body()
            self.reasons[f"status {client.status}"] += 1
            return True
        times, aborted = Times(began), False
        kept, finished = b"", False
        while not aborted and (data := await client.read_some()):
            text = kept + data
            times.came(self._marks.chunks(text) - self._marks.chunks(kept))
            kept = text[-KEPT_BYTES:]
            finished = finished or self._marks.done in text
            aborted = 0 < self._abort <= times.chunks
        self.chunks += times.chunks
        self.first_s += times.first_s
        self.gaps_s += times.gaps_s
        if finished or aborted:
            self.done += 1
        else:
            self.reasons["truncated"] += 1
        return not aborted


class Times:
    """When the chunks of one stream came."""

    def __init__(self, began: float) -> None:
        self._last = began
        self.chunks = 0
        self.first_s: list[float] = []
        self.gaps_s: list[float] = []

    def came(self, chunks: int) -> None:
        """So many in one read: between them is no gap."""
        if not chunks:
            return
        now = time.monotonic()
        (self.gaps_s if self.chunks else self.first_s).append(now - self._last)
        self.gaps_s += [0.0] * (chunks - 1)
        self.chunks += chunks
        self._last = now


def percentiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds, as the generator in Go has them: {"p50": …, "p95": …, "p99": …, "max": …}."""
    ordered = sorted(seconds)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: ordered[int((len(ordered) - 1) * share)] * 1000 if ordered else 0.0 for name, share in shares.items()}


async def _main(options: argparse.Namespace) -> None:
    raise_open_files()
    address = urlsplit(options.url)
    body = {
        "model": options.model,
        "stream": True,
        "max_tokens": options.max_tokens,
        "messages": [{"role": "user", "content": "Tell me about rivers."}],
    }
    if options.dialect == "openai":
        body["stream_options"] = {"include_usage": True}
    marks = MARKS[options.dialect]
    load = Load(address.port or 80, address.path, body, marks, key=options.key, abort=options.abort)
    began = time.monotonic()
    await load.run(options.c, options.n)
    said = {
        "streams": options.n,
        "done": load.done,
        "failed": sum(load.reasons.values()),
        "reasons": load.reasons,
        "chunks": load.chunks,
        "wall_s": time.monotonic() - began,
        "ttft_ms": percentiles(load.first_s),
        "gap_ms": percentiles(load.gaps_s),
    }
    sys.stdout.write(msgspec.json.encode(said).decode() + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Opens many streams at one address.")
    parser.add_argument("--url", required=True, help="of chat completions or messages, on 127.0.0.1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--c", type=int, default=10, help="streams at once")
    parser.add_argument("--n", type=int, default=100, help="streams in all")
    parser.add_argument("--max-tokens", type=int, default=4096)
    parser.add_argument("--key", default="", help="bearer token")
    parser.add_argument("--abort", type=int, default=0, help="close after this many chunks with text, 0 for never")
    parser.add_argument("--dialect", choices=tuple(MARKS), default="openai", help="what the client speaks")
    asyncio.run(_main(parser.parse_args()))
