"""Deltas of one response as output items: messages of text and refusals, reasoning, function calls.

An item is numbered where it begins. Text and reasoning are over when anything else begins, a call when another item
begins and its arguments are whole JSON, and everything at the end. Calls that a provider writes at once stand open
beside each other, which this protocol allows: each event names its item.

Reasoning is said as a summary, which is what clients of this API show. What its family wants back with it (a signature,
data that only it can read) goes into `encrypted_content` together with the text, since the proof is of that very text:
see `responses_reasoning`.
Source: wire formats, section 9.2; recorded streams of OpenAI's, read 2026-11.
"""

from __future__ import annotations

from typing import Any

from rillgate.dialects.responses_reasoning import sealed
from rillgate.dialects.tool_calls import ToolCalls, is_whole, made_up_ids
from rillgate.dialects.whole import Opaque, Thought
from rillgate.domain.delta import (
    Delta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
)

Json = dict[str, Any]

COMPLETED, INCOMPLETE, IN_PROGRESS = "completed", "incomplete", "in_progress"
CUT_SHORT = frozenset({"length", "content_filter"})


class Item:
    """One output item.

    Attributes:
        index: its place in the output.
        status: in the words of the API.
    """

    prefix = ""

    def __init__(self, index: int, request_id: str) -> None:
        self.index = index
        self.item_id = f"{self.prefix}_{request_id.removeprefix('req_')}_{index}"
        self.status = IN_PROGRESS

    @property
    def gives_way(self) -> bool:
        """Whether it is over once another item has begun."""
        return True

    def added(self) -> Json:
        """The event that begins it."""
        return {"type": "response.output_item.added", "output_index": self.index, "item": self.object()}

    def done(self, status: str) -> list[Json]:
        """The events that end it."""
        self.status = status
        return [*self._last(), {"type": "response.output_item.done", "output_index": self.index, "item": self.object()}]

    def object(self) -> Json:
        """The item as it is now."""
        raise NotImplementedError

    def _last(self) -> list[Json]:
        """What is said before it is done."""
        return []

    def _at(self, kind: str, **fields: Any) -> Json:
        """An event of this item's."""
        return {"type": f"response.{kind}", "item_id": self.item_id, "output_index": self.index, **fields}


class Message(Item):
    """What the model says, in parts."""

    prefix = "msg"

    def __init__(self, index: int, request_id: str) -> None:
        super().__init__(index, request_id)
        self._parts: list[tuple[str, list[str]]] = []  # "output_text" or "refusal", and its pieces

    def say(self, kind: str, text: str) -> list[Json]:
        """More of it; another kind begins another part."""
        events: list[Json] = []
        if not self._parts or self._parts[-1][0] != kind:
            events += self._last()
            self._parts.append((kind, []))
            events.append(self._part_event("added"))
        self._parts[-1][1].append(text)
        more: Json = {"delta": text, "logprobs": []} if kind == "output_text" else {"delta": text}
        return [*events, self._at(f"{kind}.delta", **self._place(), **more)]

    def extend(self, text: str) -> None:
        """More text, whose event somebody else writes: it goes on with the last part, which is of text."""
        self._parts[-1][1].append(text)

    def object(self) -> Json:
        """A `message`."""
        content = [_part(kind, "".join(pieces)) for kind, pieces in self._parts]
        return {
            "id": self.item_id,
            "type": "message",
            "status": self.status,
            "role": "assistant",
            "content": [] if self.status == IN_PROGRESS else content,
        }

    def _last(self) -> list[Json]:
        if not self._parts:
            return []
        kind, pieces = self._parts[-1]
        text = "".join(pieces)
        more: Json = {"text": text, "logprobs": []} if kind == "output_text" else {"refusal": text}
        return [self._at(f"{kind}.done", **self._place(), **more), self._part_event("done")]

    def _part_event(self, what: str) -> Json:
        kind, pieces = self._parts[-1]
        return self._at(f"content_part.{what}", **self._place(), part=_part(kind, "".join(pieces)))

    def _place(self) -> Json:
        return {"content_index": len(self._parts) - 1}


class Reasoning(Item):
    """What the model thinks, as one part of a summary; or what only its family can read."""

    prefix = "rs"

    def __init__(self, index: int, request_id: str) -> None:
        super().__init__(index, request_id)
        self._pieces: list[str] = []
        self._encrypted: str | None = None

    def think(self, text: str) -> list[Json]:
        """More of it."""
        events = [] if self._pieces else [self._part_event("added")]
        self._pieces.append(text)
        return [*events, self._at("reasoning_summary_text.delta", summary_index=0, delta=text)]

    def sign(self, signature: str, origin: str) -> None:
        """Its proof."""
        self._encrypted = sealed(Thought("".join(self._pieces), signature, origin))

    def keep(self, opaque: Opaque) -> None:
        """What there is to keep of it, which nobody here can read."""
        self._encrypted = sealed(opaque)

    def object(self) -> Json:
        """A `reasoning` item."""
        summary = [self._part()] if self._pieces and self.status != IN_PROGRESS else []
        return {"id": self.item_id, "type": "reasoning", "summary": summary, "encrypted_content": self._encrypted}

    def _last(self) -> list[Json]:
        if not self._pieces:
            return []
        said = self._at("reasoning_summary_text.done", summary_index=0, text="".join(self._pieces))
        return [said, self._part_event("done")]

    def _part_event(self, what: str) -> Json:
        return self._at(f"reasoning_summary_part.{what}", summary_index=0, part=self._part())

    def _part(self) -> Json:
        return {"type": "summary_text", "text": "".join(self._pieces)}


class FunctionCall(Item):
    """A call of one of the client's functions."""

    prefix = "fc"

    def __init__(self, index: int, request_id: str, call_id: str, name: str) -> None:
        super().__init__(index, request_id)
        self._call_id = call_id
        self._name = name
        self._pieces: list[str] = []

    @property
    def gives_way(self) -> bool:
        """Whether its arguments are whole: until then it may go on beside another one."""
        return is_whole(self._pieces)

    def extend(self, arguments: str) -> list[Json]:
        """More of its arguments; after whole JSON nothing but white space can follow."""
        if not arguments or self.status != IN_PROGRESS:
            return []
        self._pieces.append(arguments)
        return [self._at("function_call_arguments.delta", delta=arguments)]

    def object(self) -> Json:
        """A `function_call` item."""
        return {
            "id": self.item_id,
            "type": "function_call",
            "status": self.status,
            "call_id": self._call_id,
            "name": self._name,
            "arguments": "".join(self._pieces),
        }

    def done(self, status: str) -> list[Json]:
        """Its end. An answer that was cut short may have a call that is whole."""
        return super().done(COMPLETED if status == INCOMPLETE and self.gives_way else status)

    def _last(self) -> list[Json]:
        if self.status == INCOMPLETE:  # nobody shall take these arguments for all of them
            return []
        events = [] if self._pieces else self._none()
        return [*events, self._at("function_call_arguments.done", name=self._name, arguments="".join(self._pieces))]

    def _none(self) -> list[Json]:
        """A call that took no arguments has an empty object for them: an empty string is no JSON."""
        self._pieces.append("{}")
        return [self._at("function_call_arguments.delta", delta="{}")]


class Output:
    """The output items of one response, as they come.

    Events are given without their number in the sequence, which is the encoder's.
    """

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._items: list[Item] = []
        self._open: list[Item] = []
        self._calls = ToolCalls(made_up_ids(request_id, 0))
        self._called: list[FunctionCall] = []

    def take(self, delta: Delta) -> list[Json]:
        """The events of one delta of the only choice."""
        match delta:
            case TextDelta(_, text):
                return self._say("output_text", text)
            case RefusalDelta(_, text):
                return self._say("refusal", text)
            case ReasoningDelta(_, text):
                return self._think(text)
            case SignatureDelta(_, signature, origin):
                return self._sign(signature, origin)
            case OpaqueReasoningDelta(_, data, origin, call_id):
                return self._keep(Opaque(data, origin, call_id))
            case ToolDelta():
                return self._call(delta)
        return []

    def close(self, finish: str) -> list[Json]:
        """The end of everything that is open.

        Args: finish: why, in OpenAI's words in Chat Completions.
        """
        status = INCOMPLETE if finish in CUT_SHORT else COMPLETED
        waiting, self._open = self._open, []
        return [one for item in waiting for one in item.done(status)]

    def items(self) -> list[Json]:
        """All items, as the response lists them."""
        return [item.object() for item in self._items]

    def broken_off(self) -> list[Json]:
        """The same where an error ended it: what stands open stays incomplete, and no event says that it is done."""
        for item in self._open:
            item.status = INCOMPLETE
        return self.items()

    @property
    def speaking(self) -> Message | None:
        """The message that more text would go on with, without any event before it."""
        last = self._open[-1] if self._open else None
        return last if isinstance(last, Message) else None

    def _say(self, kind: str, text: str) -> list[Json]:
        if not text:
            return []
        last = self.speaking
        if last is not None:
            return last.say(kind, text)
        message = Message(len(self._items), self._request_id)
        return [*self._begin(message), *message.say(kind, text)]

    def _think(self, text: str) -> list[Json]:
        if not text:
            return []
        events, reasoning = self._reasoning()
        return [*events, *reasoning.think(text)]

    def _sign(self, signature: str, origin: str) -> list[Json]:
        events, reasoning = self._reasoning()
        reasoning.sign(signature, origin)
        return [*events, *self._end(reasoning)]

    def _keep(self, opaque: Opaque) -> list[Json]:
        reasoning = Reasoning(len(self._items), self._request_id)
        reasoning.keep(opaque)
        return [*self._begin(reasoning), *self._end(reasoning)]

    def _reasoning(self) -> tuple[list[Json], Reasoning]:
        """What is being thought, and what begins it where nothing is."""
        last = self._open[-1] if self._open else None
        if isinstance(last, Reasoning):
            return [], last
        begun = Reasoning(len(self._items), self._request_id)
        return self._begin(begun), begun

    def _call(self, delta: ToolDelta) -> list[Json]:
        piece = self._calls.take(delta)
        if piece.call_id is None:
            return self._called[piece.position].extend(piece.arguments)
        call = FunctionCall(len(self._items), self._request_id, piece.call_id, piece.name or "")
        self._called.append(call)
        return [*self._begin(call), *call.extend(piece.arguments)]

    def _begin(self, item: Item) -> list[Json]:
        """The end of what gives way to it, and its beginning."""
        over = [one for one in self._open if one.gives_way]
        events = [event for one in over for event in self._end(one)]
        self._items.append(item)
        self._open.append(item)
        return [*events, item.added()]

    def _end(self, item: Item) -> list[Json]:
        self._open.remove(item)
        return item.done(COMPLETED)


def _part(kind: str, text: str) -> Json:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
