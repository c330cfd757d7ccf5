"""What a provider can do to a request: one coroutine for each fault, over the raw bytes of its connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tests.chaos.apis import INPUT_TOKENS, Api
from tests.chaos.plan import Plan, endless_words
from tests.fakes.http import LAST_CHUNK, chunk

LATE_S: Final = 4.0  # times `at`
HUGE_BYTES: Final = 9 * 1024 * 1024  # a frame is 8 MiB at most
FOREIGN: Final = " foreign"  # a word that is in no answer


class Wire(Protocol):
    """One connection, from the provider's side. All raise ConnectionError once the gateway is gone."""

    requests: int

    async def send(self, data: bytes) -> None:
        """Write, waiting for room."""

    async def gone(self) -> None:
        """Wait until the gateway closes it."""

    def reset(self) -> None:
        """RST."""

    def close(self) -> None:
        """FIN, after what was written."""


@dataclass(frozen=True)
class Asked:
    """One request that came, and how it is answered as it should be."""

    plan: Plan
    api: Api
    stream: bool
    wire: Wire

    @property
    def pieces(self) -> list[str]:
        return self.plan.pieces

    def head(self, status: int = 200, content_type: str | None = None, framing: str | None = None) -> bytes:
        """Status line and headers."""
        kind = content_type or (self.api.content_type if self.stream else "application/json")
        return f"HTTP/1.1 {status} Chaos\r\nContent-Type: {kind}\r\n{framing or CHUNKED}\r\n".encode()

    def events(self) -> list[bytes]:
        """The answer, in the pieces in which it goes out."""
        if self.stream:
            return self.api.stream(self.pieces)
        return [self.api.whole(self.pieces, INPUT_TOKENS, len(self.pieces))]

    def whole(self) -> bytes:
        """All of the response's bytes."""
        return self.head() + b"".join(map(chunk, self.events())) + LAST_CHUNK

    async def send_events(self, events: Sequence[bytes]) -> None:
        """One chunk each, with the plan's gap between them."""
        for event in events:
            await self.wire.send(chunk(event))
            await self.gap()

    async def gap(self) -> None:
        """The time between two words."""
        if self.plan.gap_ms:
            await asyncio.sleep(self.plan.gap_ms / 1000)

    async def answer(self) -> None:
        """As it should be."""
        await self.wire.send(self.head())
        await self.send_events(self.events())
        await self.wire.send(LAST_CHUNK)

    async def answer_to(self, part: float) -> None:
        """As it should be, up to a part of the answer's events, the first one at least."""
        events = self.events()
        await self.wire.send(self.head())
        await self.send_events(events[: max(1, int(part * len(events)))])


CHUNKED: Final = "Transfer-Encoding: chunked\r\n"
Fault = Callable[[Asked], Awaitable[None]]
FAULTS: Final[dict[str, Fault]] = {}


def fault(do: Fault) -> Fault:
    """A fault, known by its name."""
    FAULTS[do.__name__] = do
    return do


# It answers


@fault
async def none(asked: Asked) -> None:
    await asked.answer()


@fault
async def late(asked: Asked) -> None:
    await asyncio.sleep(LATE_S * asked.plan.at)
    await asked.answer()


@fault
async def trickle(asked: Asked) -> None:
    """Byte by byte."""
    for byte in asked.whole():
        await asked.wire.send(bytes((byte,)))
        await asyncio.sleep(0)


@fault
async def hints(asked: Asked) -> None:
    """Interim responses first."""
    await asked.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 3)
    await asked.gap()
    await asked.wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nContent-Length: 7\r\n\r\n")
    await asked.answer()


@fault
async def until_close(asked: Asked) -> None:
    """The close of the connection ends the body."""
    await asked.wire.send(asked.head(framing="Connection: close\r\n"))
    for event in asked.events():
        await asked.wire.send(event)
        await asked.gap()
    asked.wire.close()


@fault
async def idle_reset(asked: Asked) -> None:
    """Answers, and resets the connection that is kept."""
    await asked.answer()
    await asyncio.sleep(asked.plan.at / 20)
    asked.wire.reset()


@fault
async def idle_close(asked: Asked) -> None:
    """Answers, and closes the connection that is kept, in the same breath."""
    await asked.answer()
    asked.wire.close()


@fault
async def after_end(asked: Asked) -> None:
    """Goes on behind the end of the answer."""
    events = asked.events()
    await asked.wire.send(asked.head())
    await asked.send_events(events)
    await asked.wire.send(chunk(asked.api.word(FOREIGN)) + chunk(asked.api.ending() or asked.api.word(FOREIGN)))
    await asked.wire.send(LAST_CHUNK)


@fault
async def two_answers(asked: Asked) -> None:
    """A second response, which nobody asked for, right behind the first."""
    foreign = chunk(asked.api.opening() + asked.api.word(FOREIGN) + asked.api.finish(1, 1) + asked.api.ending())
    await asked.wire.send(asked.whole() + asked.head() + foreign + LAST_CHUNK)


@fault
async def no_usage(asked: Asked) -> None:
    await _counted(asked, INPUT_TOKENS, None)


@fault
async def zero_usage(asked: Asked) -> None:
    await _counted(asked, 0, 0)


@fault
async def wild_usage(asked: Asked) -> None:
    """Counts that are none."""
    drawn = random.Random(asked.plan.number)
    await _counted(asked, drawn.choice([-5, "many", None, 1.5, [], True]), drawn.choice([-7, 10**30, -(2**63)]))


async def _counted(asked: Asked, input_tokens: object, output_tokens: int | None) -> None:
    await asked.wire.send(asked.head())
    if asked.stream:
        api = asked.api
        opening = [api.opening(), *map(api.word, asked.pieces)]
        await asked.send_events([*filter(None, opening), api.finish(input_tokens, output_tokens)])
        if ending := api.ending():
            await asked.send_events([ending])
    else:
        await asked.send_events([asked.api.whole(asked.pieces, input_tokens, output_tokens)])
    await asked.wire.send(LAST_CHUNK)


# It does not


@fault
async def silent(asked: Asked) -> None:
    """Never a byte."""
    await asked.wire.gone()


@fault
async def stuck(asked: Asked) -> None:
    """Begins, and never goes on."""
    await asked.answer_to(asked.plan.at)
    await asked.wire.gone()


@fault
async def runaway(asked: Asked) -> None:
    """Knows no end and no cap."""
    await asked.wire.send(asked.head())
    await asked.send_events([*filter(None, [asked.api.opening()])])
    for word in endless_words(asked.plan.number):
        await asked.wire.send(chunk(asked.api.word(word)))
        await asked.gap()


async def _refuse(asked: Asked, status: int, *headers: str) -> None:
    body = asked.api.error(f"status {status}")
    lines = "".join(f"{header}\r\n" for header in headers)
    head = asked.head(status, "application/json", f"Content-Length: {len(body)}\r\n{lines}")
    await asked.wire.send(head + body)


def _refusal(name: str, status: int, *headers: str) -> None:
    async def refusal(asked: Asked) -> None:
        await _refuse(asked, status, *headers)

    FAULTS[name] = refusal


_refusal("status_400", 400)
_refusal("status_401", 401)
_refusal("status_429", 429)
_refusal("status_429_soon", 429, "Retry-After: 1")
_refusal("status_429_later", 429, "Retry-After: 3600")
_refusal("status_429_odd", 429, "Retry-After: -1e400")
_refusal("status_500", 500)
_refusal("status_503", 503)
_refusal("status_503_soon", 503, "Retry-After: 1")
_refusal("status_529", 529)
_refusal("status_302", 302, "Location: http://127.0.0.1:9/")
_refusal("status_999", 999)


# It breaks off


@fault
async def fin(asked: Asked) -> None:
    """A close after a part of the response's bytes."""
    await _part(asked)
    asked.wire.close()


@fault
async def rst(asked: Asked) -> None:
    """A reset after a part of the response's bytes."""
    await _part(asked)
    asked.wire.reset()


async def _part(asked: Asked) -> None:
    """Whole events with their gaps, up to a byte anywhere."""
    left = int(asked.plan.at * len(asked.whole()))
    for piece in (asked.head(), *map(chunk, asked.events()), LAST_CHUNK):
        if left <= 0:
            break
        await asked.wire.send(piece[:left])
        await asked.gap()
        left -= len(piece)


@fault
async def dead_kept(asked: Asked) -> None:
    """A connection that was kept is reset by the request that comes on it; a new one is served."""
    if asked.wire.requests > 1:
        asked.wire.reset()
    else:
        await asked.answer()


@fault
async def dead_kept_late(asked: Asked) -> None:
    """The same, after a time in which the request may have been worked on."""
    if asked.wire.requests > 1:
        await asyncio.sleep(0.7)
        asked.wire.reset()
    else:
        await asked.answer()


@fault
async def error_event(asked: Asked) -> None:
    """An error in the midst of the answer; what it looks like is the API's own."""
    await asked.answer_to(asked.plan.at)
    body = asked.api.error("the model fell over")
    event = {"openai": b"data: " + body + b"\n\n", "anthropic": b"event: error\ndata: " + body + b"\n\n"}
    await asked.wire.send(chunk(event.get(asked.api.name, body + b"\n")))
    await asked.wire.send(LAST_CHUNK)


# It lies


@fault
async def length_short(asked: Asked) -> None:
    """A length that is less than what follows it."""
    body = b"".join(asked.events())
    await asked.wire.send(asked.head(framing=f"Content-Length: {int(asked.plan.at * len(body))}\r\n") + body)


@fault
async def length_long(asked: Asked) -> None:
    """A length that is more than what follows it, and then the end."""
    body = b"".join(asked.events())
    await asked.wire.send(asked.head(framing=f"Content-Length: {len(body) + 100}\r\n") + body)
    asked.wire.close()


@fault
async def length_never(asked: Asked) -> None:
    """A length that is more than what follows it, and then nothing."""
    body = b"".join(asked.events())
    await asked.wire.send(asked.head(framing=f"Content-Length: {len(body) + 100}\r\n") + body)
    await asked.wire.gone()


@fault
async def page(asked: Asked) -> None:
    """A page, with a status that says that all is well."""
    body = b"<html><body>Please log in: data: [DONE]\n\n</body></html>"
    await asked.wire.send(asked.head(200, "text/html", f"Content-Length: {len(body)}\r\n") + body)


@fault
async def stream_as_json(asked: Asked) -> None:
    """A stream that is said to be one JSON value."""
    await asked.wire.send(asked.head(content_type="application/json"))
    await asked.send_events(asked.events())
    await asked.wire.send(LAST_CHUNK)


@fault
async def json_as_stream(asked: Asked) -> None:
    """One JSON value that is said to be a stream."""
    body = asked.api.whole(asked.pieces, INPUT_TOKENS, len(asked.pieces))
    await asked.wire.send(asked.head(content_type=asked.api.content_type) + chunk(body) + LAST_CHUNK)


@fault
async def compressed(asked: Asked) -> None:
    await asked.wire.send(asked.head(framing=CHUNKED + "Content-Encoding: gzip\r\n") + chunk(b"\x1f\x8b") + LAST_CHUNK)


@fault
async def broken_chunk(asked: Asked) -> None:
    """A chunk whose size is none."""
    await asked.answer_to(asked.plan.at)
    await asked.wire.send(b"zz\r\n" + asked.api.word(FOREIGN) + b"\r\n")
    await asked.wire.gone()


@fault
async def broken_event(asked: Asked) -> None:
    """An event that is none."""
    await asked.answer_to(asked.plan.at)
    await asked.wire.send(chunk(asked.api.broken))
    await asked.send_events(asked.events()[-1:])
    await asked.wire.send(LAST_CHUNK)


@fault
async def huge_event(asked: Asked) -> None:
    """An event above the bound."""
    await asked.answer_to(asked.plan.at)
    data = chunk(asked.api.huge(HUGE_BYTES))
    for at in range(0, len(data), 65536):
        await asked.wire.send(data[at : at + 65536])
    await asked.wire.send(LAST_CHUNK)


@fault
async def head_bomb(asked: Asked) -> None:
    """Headers without end."""
    await asked.wire.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        await asked.wire.send(f"X-{number}: {'x' * 900}\r\n".encode())


@fault
async def no_http(asked: Asked) -> None:
    await asked.wire.send(b"SSH-2.0-OpenSSH_9.6\r\n")
    await asked.wire.gone()


@fault
async def upgraded(asked: Asked) -> None:
    await asked.wire.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n")
    await asked.wire.gone()
