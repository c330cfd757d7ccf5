"""Scripts in which the fake provider speaks OpenAI's Responses API. openai-python's own types read what they send
(tests/clients).

fake.script = response(["Hel", "lo"], thoughts=["hm"], encrypted="gAAAA")    # a stream or one object, as asked
fake.queue([CREATED_EVENT, Event("response.output_text.delta", {…}), Reset()])  # event by event
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.fakes.exchange import CREATED, Exchange, Step
from tests.fakes.script import Error

Json = dict[str, Any]
ENCRYPTED = "gAAAAABpPDIU"
NO_TOOLS = (
    "Function tools with reasoning_effort are not supported for {model} in /v1/chat/completions. To use function "
    "tools, use /v1/responses or set reasoning_effort to 'none'."
)
NO_CHAT = "This model is only supported in v1/responses and not in v1/chat/completions."


@dataclass(frozen=True)
class Event:
    """One event of a stream, under its own name. `chunks`: of content, counted in `chunks_sent`."""

    type: str
    fields: Json = field(default_factory=dict)
    chunks: int = 0

    async def run(self, exchange: Exchange) -> None:
        said = {"type": self.type, "sequence_number": exchange.events_sent, **self.fields}
        exchange.events_sent += 1
        await exchange.frame(said, event=self.type, chunks=self.chunks)


@dataclass(frozen=True)
class Whole:
    """An event with the whole response in it: `response.created`, `response.completed`, …"""

    type: str
    status: str
    more: Json = field(default_factory=dict)

    async def run(self, exchange: Exchange) -> None:
        said = response_object(exchange, self.status, **self.more)
        await Event(self.type, {"response": said}).run(exchange)


@dataclass(frozen=True)
class Call:
    """A call: `arguments` in the pieces in which they are streamed. `encrypted`: the reasoning right before it."""

    call_id: str
    name: str
    arguments: Sequence[str] = ("{}",)
    encrypted: str = ""
    custom: bool = False


def usage(input_tokens: int = 9, output_tokens: int = 4, reasoning: int = 0, cached: int = 0) -> Json:
    """Counts as the API writes them."""
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": input_tokens + output_tokens,
    }


def response_object(exchange: Exchange, status: str, **more: Any) -> Json:
    """A Response that answers this request."""
    asked = exchange.json
    return {
        "id": f"resp_{exchange.number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": asked.get("max_output_tokens"),
        "metadata": asked.get("metadata") or {},
        "model": exchange.model,
        "output": [],
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": asked.get("store", True),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        **more,
    }


def at(index: int, item_id: str, **more: Any) -> Json:
    """What says to which item an event belongs."""
    return {"output_index": index, "item_id": item_id, **more}


def added(index: int, item: Json) -> Event:
    """An item begins."""
    return Event("response.output_item.added", {"output_index": index, "item": item})


def done(index: int, item: Json) -> Event:
    """An item is over."""
    return Event("response.output_item.done", {"output_index": index, "item": item})


def reasoning_item(index: int, thoughts: Sequence[str] = (), encrypted: str = "") -> Json:
    """Reasoning, with its summary where there is one."""
    summary = [{"type": "summary_text", "text": "".join(thoughts)}] if thoughts else []
    item: Json = {"id": f"rs_{index}", "type": "reasoning", "summary": summary}
    return {**item, "encrypted_content": encrypted} if encrypted else item


def message_item(index: int, content: Sequence[Json], status: str = "completed") -> Json:
    """A message."""
    return {"id": f"msg_{index}", "type": "message", "status": status, "role": "assistant", "content": list(content)}


def text_part(text: str) -> Json:
    """A part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(index: int, call: Call, status: str = "completed") -> Json:
    """A call."""
    said = "" if status == "in_progress" else "".join(call.arguments)
    if call.custom:
        named = {"call_id": call.call_id, "name": call.name, "input": said}
        return {"id": f"ctc_{index}", "type": "custom_tool_call", **named}
    named = {"call_id": call.call_id, "name": call.name, "arguments": said}
    return {"id": f"fc_{index}", "type": "function_call", "status": status, **named}


def reasoning(index: int, thoughts: Sequence[str], encrypted: str) -> Iterator[Event]:
    """A whole item of reasoning."""
    item_id = f"rs_{index}"
    yield added(index, reasoning_item(index, encrypted=encrypted))
    if thoughts:
        part = {"type": "summary_text", "text": ""}
        whole = {"type": "summary_text", "text": "".join(thoughts)}
        yield Event("response.reasoning_summary_part.added", at(index, item_id, summary_index=0, part=part))
        for thought in thoughts:
            said = at(index, item_id, summary_index=0, delta=thought)
            yield Event("response.reasoning_summary_text.delta", said, chunks=1)
        text = "".join(thoughts)
        yield Event("response.reasoning_summary_text.done", at(index, item_id, summary_index=0, text=text))
        yield Event("response.reasoning_summary_part.done", at(index, item_id, summary_index=0, part=whole))
    yield done(index, reasoning_item(index, thoughts, encrypted))


def message(index: int, texts: Sequence[str], refusal: str = "") -> Iterator[Event]:
    """A whole message of one part."""
    item_id, place = f"msg_{index}", {"content_index": 0}
    yield added(index, message_item(index, [], "in_progress"))
    if refusal:
        part: Json = {"type": "refusal", "refusal": refusal}
        yield Event("response.content_part.added", at(index, item_id, **place, part={**part, "refusal": ""}))
        yield Event("response.refusal.delta", at(index, item_id, **place, delta=refusal), chunks=1)
        yield Event("response.refusal.done", at(index, item_id, **place, refusal=refusal))
    else:
        part = text_part("".join(texts))
        yield Event("response.content_part.added", at(index, item_id, **place, part=text_part("")))
        for text in texts:
            said = at(index, item_id, **place, delta=text, logprobs=[], obfuscation="aFx9")
            yield Event("response.output_text.delta", said, chunks=1)
        whole = at(index, item_id, **place, text="".join(texts), logprobs=[])
        yield Event("response.output_text.done", whole)
    yield Event("response.content_part.done", at(index, item_id, **place, part=part))
    yield done(index, message_item(index, [part]))


def called(index: int, call: Call) -> Iterator[Event]:
    """A whole call."""
    item = call_item(index, call)
    kind, key = ("custom_tool_call_input", "input") if call.custom else ("function_call_arguments", "arguments")
    yield added(index, call_item(index, call, "in_progress"))
    for piece in call.arguments:
        yield Event(f"response.{kind}.delta", at(index, item["id"], delta=piece), chunks=1)
    yield Event(f"response.{kind}.done", at(index, item["id"], **{key: "".join(call.arguments)}))
    yield done(index, item)


CREATED_EVENT = Whole("response.created", "in_progress")
IN_PROGRESS = Whole("response.in_progress", "in_progress")


@dataclass(frozen=True)
class Response:
    """The answer to a request, as a stream or as one object, whichever was asked for. See `response`."""

    texts: Sequence[str]
    thoughts: Sequence[str]
    encrypted: str
    calls: Sequence[Call]
    refusal: str
    incomplete: str
    counts: Json

    async def __call__(self, exchange: Exchange) -> None:
        if not exchange.wants_stream:
            await exchange.answer_json(response_object(exchange, self._status(), **self._end()))
            return
        for step in self.steps():
            await step.run(exchange)
        await exchange.end_body()

    def steps(self) -> list[Step]:
        """The stream, event by event."""
        events: list[Step] = [CREATED_EVENT, IN_PROGRESS]
        for index, part in enumerate(self._parts()):
            events += list(part(index))
        return [*events, Whole(f"response.{self._status()}", self._status(), self._end())]

    def _parts(self) -> Iterator[Callable[[int], Iterator[Event]]]:
        if self.thoughts or self.encrypted:
            yield partial(reasoning, thoughts=self.thoughts, encrypted=self.encrypted)
        if self.texts or self.refusal:
            yield partial(message, texts=self.texts, refusal=self.refusal)
        for call in self.calls:
            if call.encrypted:
                yield partial(reasoning, thoughts=(), encrypted=call.encrypted)
            yield partial(called, call=call)

    def _status(self) -> str:
        return "incomplete" if self.incomplete else "completed"

    def _end(self) -> Json:
        items: list[Json] = []
        for index, part in enumerate(self._parts()):
            items.append(list(part(index))[-1].fields["item"])
        details = {"reason": self.incomplete} if self.incomplete else None
        return {"output": items, "usage": self.counts, "incomplete_details": details}


def response(
    texts: Sequence[str] = ("Hello",),
    *,
    thoughts: Sequence[str] = (),
    encrypted: str = "",
    calls: Sequence[Call] = (),
    refusal: str = "",
    incomplete: str = "",
    counts: Json | None = None,
) -> Response:
    """A whole answer: reasoning, then a message, then calls. `incomplete`: why it ends before its time."""
    return Response(tuple(texts), tuple(thoughts), encrypted, tuple(calls), refusal, incomplete, counts or usage())


def failed(code: str = "server_error", said: str = "The model fell over.") -> Whole:
    """A response that failed."""
    return Whole("response.failed", "failed", {"error": {"code": code, "message": said}})


def error(code: str | None = "server_error", said: str = "The model fell over.") -> Event:
    """An error inside the stream."""
    return Event("error", {"code": code, "message": said, "param": None})


def refuses_tools(model: str = "fake-model") -> Error:
    """What Chat Completions says of function tools, to models that reason."""
    said = {"message": NO_TOOLS.format(model=model), "type": "invalid_request_error"}
    return Error(400, {"error": {**said, "param": "reasoning_effort", "code": None}})


def refuses_chat() -> Error:
    """What Chat Completions says of models that it does not serve."""
    return Error(404, {"error": {"message": NO_CHAT, "type": "invalid_request_error", "param": "model", "code": None}})
