"""What the steps of one chunk cost by themselves, without sockets: the quickest of several rounds, in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

from benchmarks.report import Beside, Row
from rillgate.app.encodings import load_encoding
from rillgate.budget.count import LiveCount
from rillgate.budget.guard import Guard
from rillgate.dialects.chat_completions import ChatCompletions
from rillgate.domain.ports import Encoding
from rillgate.domain.request import ChatRequest, Endpoint, Target
from rillgate.pipeline.call import Call, Upstream
from rillgate.pipeline.journal import Journal
from rillgate.pipeline.relay import Relay
from rillgate.pipeline.settle import Timing
from rillgate.providers.openai import OpenAIProvider
from rillgate.telemetry.clock import LoopClock
from rillgate.telemetry.metrics import Metrics
from rillgate.wire.sse import SseReader

WORDS = (" river", " strea", " water", " token", " flow ", " gate ", " reply")
MODEL = "gpt-4o"
ENCODING = "o200k_base"
READ_BYTES = 16_384  # a read of a provider that is faster than its reader
FAR = 32_768
NEAR_CHUNKS, NEAR = 380, 512  # a stream that comes close to its cap without meeting it

METERED = "metering is a small part of a chunk's cost"


class _Nowhere:
    """A location that nobody asks."""

    async def endpoint(self) -> Endpoint:
        raise NotImplementedError


def rows(chunks: int, rounds: int) -> Iterator[Row]:
    """The parser, the relay with all it does, the live count, the metrics; `chunks` in each of `rounds` rounds."""
    frames = [_frame(number) for number in range(chunks)]
    encoding = load_encoding(ENCODING)
    yield from _parser_rows(frames, rounds)
    yield _relay_row(frames, encoding, rounds)
    yield from _count_rows(chunks, encoding, rounds)
    yield _metrics_row(chunks, rounds)


def _parser_rows(frames: list[bytes], rounds: int) -> Iterator[Row]:
    whole = b"".join(frames)
    reads = [whole[at : at + READ_BYTES] for at in range(0, len(whole), READ_BYTES)]
    for row_id, words, pieces in (("single", "one a read", frames), ("many", "16 KiB a read", reads)):

        def parse(pieces: list[bytes] = pieces) -> None:
            feed = SseReader().feed
            for piece in pieces:
                feed(piece)

        yield Row(
            id=f"micro.sse.{row_id}",
            what=f"SSE parser, for each frame of {len(frames[0])} bytes, {words}",
            value=_best(rounds, parse)[0] / len(frames) * 1e9,
            unit="ns",
            claim=METERED,
            samples=len(frames) * rounds,
        )


def _relay_row(frames: list[bytes], encoding: Encoding, rounds: int) -> Row:
    payloads = [frame[6:-2] for frame in frames]

    def relay() -> None:
        feed = _relay(encoding).feed
        for frame in frames:
            feed(frame)

    def reference() -> None:
        for payload in payloads:
            json.loads(payload)

    ours, theirs = _best(rounds, relay, reference)
    return Row(
        id="micro.relay",
        what="Relay: parse, decode, count, time, forward, for each frame",
        value=ours / len(frames) * 1e6,
        unit="µs",
        claim=METERED,
        beside=Beside("json.loads of the frame", theirs / len(frames) * 1e6),
        samples=len(frames) * rounds,
    )


def _relay(encoding: Encoding) -> Relay:
    """As `pipeline.serve` makes it, for a client and a provider of the same dialect."""
    provider, dialect, clock = OpenAIProvider("lab", own_host=False), ChatCompletions(), LoopClock()
    call = Call(
        request=ChatRequest(fields={}, model=MODEL, stream=True),
        upstreams=(Upstream(Target("lab", MODEL), provider, _Nowhere()),),
        dialect=dialect,
        journal=Journal(request_id="req_bench", method="POST", began_s=clock.now()),
        total_s=0,
    )
    timing = Timing(clock, Metrics(), call)
    timing.begin()
    return Relay(
        provider="lab",
        reader=provider.reader(),
        decoder=provider.decoder(),
        encoder=dialect.encoder("req_bench", MODEL, 0),
        same_dialect=True,
        guard=Guard(FAR, lambda: encoding, exact=True),
        choices=1,
        include_usage=False,
        prompt_tokens=0,
        cut_notice="",
        cut_report=dict,
        length_report={},
        on_content=timing.content,
    )


def _count_rows(chunks: int, encoding: Encoding, rounds: int) -> Iterator[Row]:
    for row_id, number, limit in (("far", chunks, FAR), ("near", NEAR_CHUNKS, NEAR)):
        words = [WORDS[each % len(WORDS)] for each in range(number)]
        text = "".join(words)

        def count(words: list[str] = words, limit: int = limit) -> None:
            live = LiveCount(encoding)
            for word in words:
                live.add(word)
                live.passes(limit)
            live.tokens()

        def reference(text: str = text) -> None:
            encoding.count(text)

        ours, theirs = _best(rounds, count, reference)
        yield Row(
            id=f"micro.count.{row_id}",
            what=f"Live count, for each of {number} chunks with a cap of {limit:,} tokens",
            value=ours / number * 1e6,
            unit="µs",
            claim=METERED,
            beside=Beside("the whole text once", theirs / number * 1e6),
            samples=number * rounds,
        )


def _metrics_row(chunks: int, rounds: int) -> Row:
    metrics = Metrics().for_stream("lab", MODEL)
    metrics.first_token(0.2)

    def gaps() -> None:
        for _ in range(chunks):
            metrics.gap(0.021)

    value = _best(rounds, gaps)[0] / chunks * 1e9
    return Row("micro.metrics.gap", "Metrics, for each gap", value, "ns", METERED, samples=chunks * rounds)


def _best(rounds: int, *works: Callable[[], None]) -> list[float]:
    """Seconds of processor time of each work's quickest round: what disturbs a round only ever makes it longer."""
    found: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, times in zip(works, found, strict=True):  # in turn: what lasts, both meet
            began = time.thread_time()
            work()
            times.append(time.thread_time() - began)
    return [min(times) for times in found]


def _frame(number: int) -> bytes:
    text = json.dumps(WORDS[number % len(WORDS)])
    return (
        b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1795000000,"model":"gpt-4o",'
        b'"system_fingerprint":null,"choices":[{"index":0,"delta":{"content":%b},"logprobs":null,'
        b'"finish_reason":null}]}\n\n' % text.encode()
    )
