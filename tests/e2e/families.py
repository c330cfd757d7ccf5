"""A gateway in front of a provider of one family or another, and that family's words for the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from rillgate.delivery.writer import WriterStats
from tests.fakes import script_anthropic as native
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import Exchange, Script, Step
from tests.fakes.gateway import GatewayInTest, gateway_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, ErrorFrame, Role, ToolCall, chat

KINDS = ["openai", "anthropic"]
PIECES = ['{"city"', ': "Köln', '"}']

B = TypeVar("B", bound="Behind")


class Behind:
    """A gateway with one provider of one family behind it, and that family's words for the same answers."""

    def __init__(self, kind: str, fake: FakeProvider, g: GatewayInTest) -> None:
        self.kind = kind
        self.fake = fake
        self.g = g

    def answer(self, *texts: str, finish: str = "stop", output_tokens: int = 4) -> Script:
        """Text."""
        if self.kind == "openai":
            return chat(texts, finish=finish, output_tokens=output_tokens)
        reason = {"stop": "end_turn", "length": "max_tokens"}[finish]
        return native.message(texts, stop_reason=reason, output_tokens=output_tokens)

    def tools(self) -> Script:
        """Two calls, of which the second has no arguments."""
        if self.kind == "openai":
            return chat([], tools=[ToolCall("call_1", "weather", PIECES), ToolCall("call_2", "time", ["{}"])])
        return native.message([], tools=[native.ToolUse("call_1", "weather", PIECES), native.ToolUse("call_2", "time")])

    def steps(self, *texts: str, last: Sequence[Step] = ()) -> list[Step]:
        """A stream that begins with these texts, step by step."""
        if self.kind == "openai":
            return [Role(), *map(Chunk, texts), *last]
        start: list[Step] = [native.MessageStart(native.usage()), native.text_block(0, [])[0]]
        return [*start, *(native.block_delta(0, "text_delta", text=text) for text in texts), *last]

    def broken(self) -> Step:
        """An error inside the stream."""
        return ErrorFrame("the model fell over") if self.kind == "openai" else native.error("api_error", "it fell over")


@asynccontextmanager
async def standing(make: type[B], kind: str, **overrides: Any) -> AsyncIterator[B]:
    """A gateway in front of a fake provider of this kind."""
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(FakeProvider())
        g = await stack.enter_async_context(gateway_for(fake, providers__fake__kind=kind, **overrides))
        yield make(kind, fake, g)


async def heartbeat(g: GatewayInTest, clock: FakeClock, exchange: Exchange) -> int:
    """Silence for long enough, then the provider's next step. Gives the number of heartbeats so far."""
    while not exchange.paused:
        await asyncio.sleep(0)
    (run,) = g.gateway.streams._running
    stage: Any = run.stage  # type: ignore[attr-defined]
    while stage.content_frames < exchange.chunks_sent or stage.writer._queue or stage.writer._sending:
        await asyncio.sleep(0)  # what is still on its way would begin the silence anew
    stats: WriterStats = stage.writer.stats
    sent = stats.heartbeats
    clock.advance(12)
    while stats.heartbeats == sent:
        await asyncio.sleep(0)
    exchange.allow()
    return stats.heartbeats
