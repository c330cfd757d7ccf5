"""Scripts in which the fake provider speaks Ollama's own API.

fake.script = lines(["Hel", "lo"])                      # a stream or one object, as the request asks
fake.queue([Line(content="Hel"), Line(error="gone")])   # line by line
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.fakes.exchange import Exchange

CREATED_AT = "2026-11-21T10:00:00.{:09d}Z"
NDJSON = {"content-type": "application/x-ndjson"}


@dataclass(frozen=True)
class Line:
    """One line of a stream: with `error` nothing but that, else a message; `more` stands beside it."""

    content: str = ""
    thinking: str = ""
    tool_calls: Sequence[dict[str, Any]] = ()
    error: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    async def run(self, exchange: Exchange) -> None:
        if exchange.bytes_sent == 0:
            await exchange.head(200, NDJSON)
        text = msgspec.json.encode(self.fields(exchange)) + b"\n"
        await exchange.send(text, chunks=1 if self.content or self.thinking or self.tool_calls else 0)

    def fields(self, exchange: Exchange) -> dict[str, Any]:
        """The line's object."""
        if self.error:
            return {"error": self.error}
        said: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.thinking:
            said["thinking"] = self.thinking
        if self.tool_calls:
            said["tool_calls"] = list(self.tool_calls)
        head = {"model": exchange.model, "created_at": CREATED_AT.format(exchange.bytes_sent)}
        return {**head, "message": said, "done": False, **self.more}


def call(name: str, arguments: dict[str, Any], call_id: str = "") -> dict[str, Any]:
    """A tool call as a line holds it; older servers give it no id."""
    function = {"index": 0, "name": name, "arguments": arguments}
    return {"id": call_id, "function": function} if call_id else {"function": function}


def done(reason: str = "stop", input_tokens: int = 9, output_tokens: int = 4) -> Line:
    """The last line."""
    counts = {"prompt_eval_count": input_tokens, "eval_count": output_tokens}
    return Line(more={"done": True, "done_reason": reason, "total_duration": 905000000, **counts})


@dataclass(frozen=True)
class Answer:
    """The answer to a request, as lines or as one object, whichever was asked for. See `lines`."""

    texts: Sequence[str]
    thoughts: Sequence[str]
    calls: Sequence[dict[str, Any]]
    reason: str

    async def __call__(self, exchange: Exchange) -> None:
        ending = done(self.reason)
        if not exchange.wants_stream:
            whole = Line("".join(self.texts), "".join(self.thoughts), self.calls, more=ending.more)
            await exchange.answer_json(whole.fields(exchange))
            return
        for thought in self.thoughts:
            await Line(thinking=thought).run(exchange)
        for text in self.texts:
            await Line(text).run(exchange)
        for each in self.calls:
            await Line(tool_calls=[each]).run(exchange)
        await ending.run(exchange)
        await exchange.end_body()


def lines(
    texts: Sequence[str] = ("Hello",),
    *,
    thoughts: Sequence[str] = (),
    calls: Sequence[dict[str, Any]] = (),
    reason: str = "stop",
) -> Answer:
    """A whole answer: thinking, then text, then calls. Ollama says "stop" for calls too."""
    return Answer(tuple(texts), tuple(thoughts), tuple(calls), reason)
