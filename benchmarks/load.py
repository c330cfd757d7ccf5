"""The load generator for machines without Go: opens streams, counts what comes, says it as JSON on standard output."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

import msgspec
from tests.fakes.clients import RawClient

from rillgate.app.listen import raise_open_files

CONTENT = b'"content":"'
NO_CONTENT = b'"content":""'
DONE = b"[DONE]"
KEPT_BYTES = 32  # of what was looked through: a marker may be cut


class Load:
    """So many streams, so many at once."""

    def __init__(self, port: int, path: str, body: dict[str, object]) -> None:
        self._port = port
        self._path = path
        self._body = body
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
                    await self._stream(client)
                except (OSError, TimeoutError) as error:
                    self.reasons[type(error).__name__] += 1
                    client = None
            if client is not None:
                client.close()

        await asyncio.gather(*(work() for _ in range(at_once)))

    async def _stream(self, client: RawClient) -> None:
        await client.request("POST", self._path, json=self._body)
        if await client.response() != 200:
            await client.read_body()
            self.reasons[f"status {client.status}"] += 1
            return
        kept, finished = b"", False
        while data := await client.read_some():
            text = kept + data
            self.chunks += _content(text) - _content(kept)
            kept = text[-KEPT_BYTES:]
            finished = finished or DONE in text
        if finished:
            self.done += 1
        else:
            self.reasons["truncated"] += 1


def _content(text: bytes) -> int:
    return text.count(CONTENT) - text.count(NO_CONTENT)


async def _main(options: argparse.Namespace) -> None:
    raise_open_files()
    address = urlsplit(options.url)
    load = Load(
        address.port or 80,
        address.path,
        {
            "model": options.model,
            "stream": True,
            "max_tokens": options.max_tokens,
            "messages": [{"role": "user", "content": "Tell me about rivers."}],
            "stream_options": {"include_usage": True},
        },
    )
    began = time.monotonic()
    await load.run(options.c, options.n)
    said = {
        "streams": options.n,
        "done": load.done,
        "failed": sum(load.reasons.values()),
        "reasons": load.reasons,
        "chunks": load.chunks,
        "wall_s": time.monotonic() - began,
    }
    sys.stdout.write(msgspec.json.encode(said).decode() + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Opens many streams at one address.")
    parser.add_argument("--url", required=True, help="of chat completions, on 127.0.0.1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--c", type=int, default=10, help="streams at once")
    parser.add_argument("--n", type=int, default=100, help="streams in all")
    parser.add_argument("--max-tokens", type=int, default=4096)
    asyncio.run(_main(parser.parse_args()))
