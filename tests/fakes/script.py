"""Steps for scripts of the fake provider, and builders for the usual answers.

    fake.script = chat(["Hel", "lo"])                                   # the same for every request
    fake.queue([Head(), Chunk("Hel"), Pause(), Chunk("lo"), Done()])    # the next request only
    fake.by_model["broken"] = [Chunk("Hel"), Reset()]

A step before any `Head` sends the usual one first. A script that runs out has its body ended properly, so what is
missing is written down: leave `Done()` out for a stream without its terminal event, put `Close()` last for a bare end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes.exchange import CREATED, Exchange, Step

# What goes out


@dataclass(frozen=True)
class Head:
    """Status line and headers. `framing`: "chunked", "length" (with `length`) or "close"."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    framing: str = "chunked"
    length: int | None = None

    async def run(self, exchange: Exchange) -> None:
        await exchange.head(self.status, self.headers, framing=self.framing, length=self.length)


@dataclass(frozen=True)
class Send:
    """Bytes of the body, as one HTTP chunk."""

    data: bytes

    async def run(self, exchange: Exchange) -> None:
        await exchange.send(self.data)


@dataclass(frozen=True)
class Raw:
    """Bytes of the connection, with no framing around them."""

    data: bytes

    async def run(self, exchange: Exchange) -> None:
        await exchange.raw(self.data)


@dataclass(frozen=True)
class Frame:
    """One SSE event with any JSON value, or a string as it is."""

    payload: object
    event: str | None = None

    async def run(self, exchange: Exchange) -> None:
        await exchange.frame(self.payload, event=self.event)


@dataclass(frozen=True)
class Chunk:
    """A frame with a piece of text. Any length; counted in `chunks_sent`."""

    text: str
    choice: int = 0

    async def run(self, exchange: Exchange) -> None:
        await exchange.text(self.text, choice=self.choice)


@dataclass(frozen=True)
class Delta:
    """A frame with any delta: {"reasoning_content": "hm"}, {"refusal": "no"}, {"tool_calls": […]}."""

    delta: dict[str, Any]
    choice: int = 0
    chunks: int = 1

    async def run(self, exchange: Exchange) -> None:
        await exchange.delta(self.delta, choice=self.choice, chunks=self.chunks)


@dataclass(frozen=True)
class Role:
    """The first frame of a choice: role and empty text."""

    choice: int = 0

    async def run(self, exchange: Exchange) -> None:
        delta = {"role": "assistant", "content": "", "refusal": None}
        await exchange.delta(delta, choice=self.choice, chunks=0)


@dataclass(frozen=True)
class Finish:
    """The frame with the finish reason of a choice."""

    reason: str = "stop"
    choice: int = 0

    async def run(self, exchange: Exchange) -> None:
        await exchange.delta({}, choice=self.choice, finish=self.reason, chunks=0)


@dataclass(frozen=True)
class UsageFrame:
    """The frame with usage and no choices; only if the request asked for it, unless `unasked`."""

    input_tokens: int = 9
    output_tokens: int = 4
    unasked: bool = False

    async def run(self, exchange: Exchange) -> None:
        if exchange.wants_usage or self.unasked:
            await exchange.frame(exchange.envelope([], usage=usage(self.input_tokens, self.output_tokens)))


@dataclass(frozen=True)
class Done:
    """`data: [DONE]`."""

    async def run(self, exchange: Exchange) -> None:
        await exchange.done_marker()


@dataclass(frozen=True)
class ErrorFrame:
    """An error inside the stream: `data: {"error": {…}}`."""

    message: str = "the model fell over"
    kind: str = "server_error"
    code: str | int | None = None

    async def run(self, exchange: Exchange) -> None:
        await exchange.frame(error(self.message, self.kind, self.code))


@dataclass(frozen=True)
class Comment:
    """An SSE comment, a line of its own. `blank`: followed by an empty line, as most servers send it."""

    text: str = "ping"
    blank: bool = True

    async def run(self, exchange: Exchange) -> None:
        await exchange.send(f": {self.text}{exchange.newline * (2 if self.blank else 1)}".encode())


@dataclass(frozen=True)
class Error:
    """A whole JSON answer with an error status, in OpenAI's shape unless `body` says otherwise."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    async def run(self, exchange: Exchange) -> None:
        body = self.body if self.body is not None else error(f"status {self.status}", "server_error", None)
        await exchange.answer_json(body, self.status, self.headers)


@dataclass(frozen=True)
class EndBody:
    """End the body properly."""

    async def run(self, exchange: Exchange) -> None:
        await exchange.end_body()


# How it goes out


@dataclass(frozen=True)
class Newline:
    """From here on SSE lines end with `text`: LF, CRLF or CR."""

    text: Literal["\n", "\r\n", "\r"]

    async def run(self, exchange: Exchange) -> None:
        exchange.newline = self.text


@dataclass(frozen=True)
class Split:
    """From here on the body is cut into HTTP chunks of `length` bytes, whatever they cut; 0 stops that."""

    length: int

    async def run(self, exchange: Exchange) -> None:
        exchange.split = self.length


@dataclass(frozen=True)
class Together:
    """Several steps in one HTTP chunk and one write."""

    steps: Iterable[Step]

    async def run(self, exchange: Exchange) -> None:
        async def work() -> None:
            for step in self.steps:
                await step.run(exchange)

        await exchange.together(work)


# When it goes out, and when it stops


@dataclass(frozen=True)
class Wait:
    """Until an event is set."""

    event: asyncio.Event

    async def run(self, exchange: Exchange) -> None:
        await self.event.wait()


@dataclass(frozen=True)
class Pause:
    """Until `exchange.allow()` or `fake.allow()` gives one permit: lock-step."""

    async def run(self, exchange: Exchange) -> None:
        await exchange.pause()


@dataclass(frozen=True)
class Sleep:
    """Seconds of real time: for demonstrations and measurements, not for tests."""

    seconds: float

    async def run(self, exchange: Exchange) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True)
class Stall:
    """For ever: until the client goes or the fake is closed."""

    async def run(self, exchange: Exchange) -> None:
        await exchange.stall()


@dataclass(frozen=True)
class Reset:
    """RST."""

    async def run(self, exchange: Exchange) -> None:
        exchange.reset()


@dataclass(frozen=True)
class Close:
    """FIN after what was sent, without the end of the body; both directions."""

    async def run(self, exchange: Exchange) -> None:
        exchange.close()


@dataclass(frozen=True)
class HalfClose:
    """FIN after what was sent, without the end of the body; the other direction stays open."""

    async def run(self, exchange: Exchange) -> None:
        exchange.half_close()


# Whole answers


@dataclass(frozen=True)
class ToolCall:
    """A function call: `arguments` in the pieces in which they are streamed."""

    call_id: str
    name: str
    arguments: Sequence[str] = ("{}",)


UsageWish = bool | Literal["every", "with_finish"]


@dataclass(frozen=True)
class Chat:
    """The answer to a chat request, as a stream or as one JSON body, whichever was asked for. See `chat`."""

    texts: Iterable[str]
    model: str | None
    finish: str | None
    usage: UsageWish
    unasked: bool
    role_first: bool
    done: bool
    newline: Literal["\n", "\r\n", "\r"]
    n: int
    tools: Sequence[ToolCall]
    input_tokens: int
    output_tokens: int | None
    as_json: bool
    per_write: int
    lockstep_after: int | None

    async def __call__(self, exchange: Exchange) -> None:
        if self.model is not None:
            exchange.model = self.model
        if not exchange.wants_stream or self.as_json:
            await exchange.answer_json(self._answer(exchange))
            return
        exchange.newline = self.newline
        exchange.usage_null = bool(self.usage)
        await self._stream(exchange)
        await exchange.end_body()

    async def _stream(self, exchange: Exchange) -> None:
        if self.role_first:
            for choice in range(self.n):
                await Role(choice).run(exchange)
        batch: list[Step] = []
        count = -1
        for count, text in enumerate(self.texts):
            if self.lockstep_after is not None and count >= self.lockstep_after:
                await exchange.pause()
            batch.append(_Text(self, text, count))
            if len(batch) == self.per_write:
                await self._flush(exchange, batch)
                batch = []
        await self._flush(exchange, batch)
        await self._send_tools(exchange)
        await self._send_end(exchange, count + 1)

    async def _flush(self, exchange: Exchange, batch: list[Step]) -> None:
        if len(batch) > 1:
            await Together(batch).run(exchange)
        elif batch:
            await batch[0].run(exchange)

    async def _send_tools(self, exchange: Exchange) -> None:
        for index, call in enumerate(self.tools):
            opening = {"index": index, "id": call.call_id, "type": "function"}
            await exchange.delta(
                {"content": None, "tool_calls": [opening | {"function": {"name": call.name, "arguments": ""}}]}
            )
            for piece in call.arguments:
                await exchange.delta({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})

    async def _send_end(self, exchange: Exchange, texts: int) -> None:
        wanted = bool(self.usage) and (exchange.wants_usage or self.unasked)
        counts = usage(self.input_tokens, self._output_tokens(texts))
        finish = self._finish()
        if finish is not None:
            more = {"usage": counts} if wanted and self.usage in ("every", "with_finish") else {}
            for choice in range(self.n):
                await exchange.delta({}, choice=choice, finish=finish, chunks=0, **more)
        if wanted and self.usage != "with_finish":
            await exchange.frame(exchange.envelope([], usage=counts))
        if self.done:
            await exchange.done_marker()

    async def send_text(self, exchange: Exchange, text: str, position: int) -> None:
        """One piece of text to each choice."""
        more: dict[str, Any] = {}
        if self.usage == "every" and (exchange.wants_usage or self.unasked):
            more["usage"] = usage(self.input_tokens, position + 1)
        role = {"role": "assistant"} if position == 0 and not self.role_first else {}
        for choice in range(self.n):
            await exchange.delta({**role, "content": text}, choice=choice, **more)

    def _finish(self) -> str | None:
        return "tool_calls" if self.tools and self.finish == "stop" else self.finish

    def _output_tokens(self, texts: int) -> int:
        return self.output_tokens if self.output_tokens is not None else texts * self.n

    def _answer(self, exchange: Exchange) -> dict[str, Any]:
        texts = list(self.texts)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts), "refusal": None}
        if self.tools:
            message["content"] = message["content"] or None
            message["tool_calls"] = [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": "".join(call.arguments)},
                }
                for call in self.tools
            ]
        choices = [
            {"index": choice, "message": message, "logprobs": None, "finish_reason": self._finish()}
            for choice in range(self.n)
        ]
        answer = {"id": exchange.id, "object": "chat.completion", "created": CREATED, "model": exchange.model}
        answer["choices"] = choices
        if self.usage:
            answer["usage"] = usage(self.input_tokens, self._output_tokens(len(texts)))
        return answer


@dataclass(frozen=True)
class _Text:
    chat: Chat
    text: str
    position: int

    async def run(self, exchange: Exchange) -> None:
        await self.chat.send_text(exchange, self.text, self.position)


def chat(
    texts: Iterable[str] = ("Hello", ", ", "world", "!"),
    *,
    model: str | None = None,
    finish: str | None = "stop",
    usage: UsageWish = True,
    unasked: bool = False,
    role_first: bool = True,
    done: bool = True,
    newline: Literal["\n", "\r\n", "\r"] = "\n",
    n: int = 1,
    tools: Sequence[ToolCall] = (),
    input_tokens: int = 9,
    output_tokens: int | None = None,
    as_json: bool = False,
    per_write: int = 1,
    lockstep_after: int | None = None,
) -> Chat:
    """A whole answer.

    Args:
        texts: one frame each; also a function's endless supply, if it makes a new iterator each time (`range`-like).
        model: the reported model; None repeats the request's.
        finish: the finish reason ("tool_calls" by itself when there are `tools`); None sends none.
        usage: True: a frame of its own; "with_finish": in the finish frame; "every": in every frame; False: never.
        unasked: send usage even to a request that did not ask for it.
        role_first: a role frame before the text, or the role within the first text frame.
        done: send `[DONE]`.
        n: choices, interleaved.
        output_tokens: what usage claims; None counts `texts` once for each choice.
        as_json: answer a stream request with one JSON body.
        per_write: text frames in one HTTP chunk and one write.
        lockstep_after: each text from this number on waits for a permit of `allow`.
    """
    return Chat(
        texts=texts,
        model=model,
        finish=finish,
        usage=usage,
        unasked=unasked,
        role_first=role_first,
        done=done,
        newline=newline,
        n=n,
        tools=tools,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        as_json=as_json,
        per_write=per_write,
        lockstep_after=lockstep_after,
    )


@dataclass(frozen=True)
class Repeat:
    """The same text so many times, without keeping it so many times."""

    text: str
    times: int

    def __iter__(self) -> Any:
        return (self.text for _ in range(self.times))


def runaway(tokens: int, *, lockstep_after: int | None = None, per_write: int = 1) -> Chat:
    """An answer of `tokens` frames of one token each (" a", in every encoding of OpenAI's), whatever the cap was."""
    return chat(Repeat(" a", tokens), lockstep_after=lockstep_after, per_write=per_write, finish="length")


def flood(megabytes: int, *, frame_bytes: int = 16_384) -> Chat:
    """An answer of at least so many MiB in text frames of about `frame_bytes`."""
    return chat(Repeat("x" * frame_bytes, megabytes * 1_048_576 // frame_bytes))


def comment_storm(count: int, text: str = "ping") -> list[Step]:
    """So many comments in one write."""
    return [Together([Comment(text)] * count)]


def usage(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    """A usage object in OpenAI's shape."""
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def error(message: str, kind: str, code: str | int | None) -> dict[str, Any]:
    """An error object in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
