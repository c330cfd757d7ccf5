"""What a client got, read byte by byte and held against what it may have got. Pure.

An answer may be short, may be refused, may end in an error. It may never hold a byte that does not belong to it, and
never just stop: a stream's body ends with its dialect's terminal event, or with that dialect's error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar, Final

import msgspec

from tests.chaos.plan import Plan, endless_words, words

CUT_NOTICE: Final = " [token budget exceeded]"
STATUSES: Final = frozenset({400, 404, 408, 409, 413, 429, 502, 503, 504})
"""What chaos may end in. 500 is not among them: nothing that others do is a fault of our own."""
FAULTS_OF_OURS: Final = frozenset({"internal_error"})


class Wrong(Exception):
    """The answer breaks a promise."""


@dataclass
class Stream(ABC):
    """One streamed answer in one dialect; `feed` takes its body cut anywhere.

    Attributes:
        plan: whose answer it has to be.
        words: how many came.
        error: the code of the error that ended it.
        finish: why the answer was over, in the dialect's word.
        ended: the terminal event came.
        beats: heartbeats.
    """

    plan: Plan
    notice: str = ""
    words: int = 0
    error: str | None = None
    finish: str | None = None
    ended: bool = False
    beats: int = 0
    _rest: bytearray = field(default_factory=bytearray)
    _expected: Iterator[str] | None = None
    _known: str = ""
    _known_words: int = 0

    def feed(self, data: bytes) -> None:
        """Take bytes of the body.

        Raises: Wrong: this is no answer to the plan.
        """
        self._rest += data
        while (end := self._rest.find(b"\n\n")) >= 0:
            event = bytes(self._rest[:end])
            del self._rest[: end + 2]
            self._event(event)

    def finished(self) -> None:
        """The body is over.

        Raises: Wrong: it just stopped, or is not all that it says it is.
        """
        if any(line and not line.startswith(b":") for line in bytes(self._rest).split(b"\n")):
            raise Wrong(f"half an event at the end: {bytes(self._rest[-200:])!r}")
        if self.error is not None:
            if self.error in FAULTS_OF_OURS:
                raise Wrong(f"a fault of ours in the stream: {self.error}")
            return
        if not self.ended:
            raise Wrong(f"a silent end after {self.words} words")
        if self.finish in ("stop", "end_turn"):
            if self.words < self.plan.words:
                raise Wrong(f"an answer said to be whole after {self.words} words of {self.plan.words}")
        elif self.finish not in ("length", "max_tokens"):
            raise Wrong(f"an end without a reason: {self.finish!r}")

    @property
    def outcome(self) -> str:
        """How it ended, for a table."""
        return f"error {self.error}" if self.error is not None else f"{self.finish}"

    def _event(self, event: bytes) -> None:
        name, data = "", None
        for line in event.split(b"\n"):
            if line.startswith(b":"):
                self.beats += 1
            elif line.startswith(b"event: "):
                name = line[7:].decode()
            elif line.startswith(b"data: ") and data is None:
                data = line[6:]
            elif line:
                raise Wrong(f"a line that nobody wrote: {line[:200]!r}")
        if data is None:
            return
        if self.ended or self.error is not None:
            raise Wrong(f"an event after the end: {data[:200]!r}")
        self._take(name, data)

    @abstractmethod
    def _take(self, name: str, data: bytes) -> None:
        """One event with data."""

    def _text(self, text: str) -> None:
        if self.finish is not None:
            raise Wrong(f"text after the finish: {text!r}")
        if self.notice and text == self.notice:
            return
        if not self._known.startswith(text):
            self._look_ahead(text.count(" "))
        if not self._known.startswith(text):
            raise Wrong(f"text of another answer after {self.words} words: {text[:200]!r} for {self._known[:200]!r}")
        self._known = self._known[len(text) :]
        self.words += text.count(" ")

    def _look_ahead(self, count: int) -> None:
        if self._expected is None:
            self._expected = endless_words(self.plan.number)
        self._known += "".join(islice(self._expected, 64 + count))

    def _failed(self, code: Any) -> None:
        self.error = str(code)


class ChatStream(Stream):
    """`/v1/chat/completions` and `/chat/stream`."""

    def _take(self, name: str, data: bytes) -> None:
        if data == b"[DONE]":
            self.ended = True
            return
        frame = _object(data)
        if (error := frame.get("error")) is not None:
            self._failed(error["code"])
            return
        for choice in frame["choices"]:
            if choice["index"] != 0:
                raise Wrong(f"a choice that nobody asked for: {choice!r}")
            if content := choice["delta"].get("content"):
                self._text(content)
            if choice.get("finish_reason"):
                if self.finish is not None:
                    raise Wrong("a second finish reason")
                self.finish = choice["finish_reason"]


class MessagesStream(Stream):
    """`/v1/messages`."""

    begun: bool = False
    open_block: int | None = None

    def _take(self, name: str, data: bytes) -> None:
        frame = _object(data)
        kind = frame["type"]
        if name != kind:
            raise Wrong(f"an event {name!r} of the type {kind!r}")
        if kind not in ("message_start", "ping", "error") and not self.begun:
            raise Wrong(f"{kind!r} before the message's start")
        if kind not in self._KINDS:
            raise Wrong(f"an event of another kind: {kind!r}")
        self._KINDS[kind](self, frame)

    def _start(self, frame: dict[str, Any]) -> None:
        if self.begun:
            raise Wrong("a second message")
        self.begun = True

    def _open(self, frame: dict[str, Any]) -> None:
        if self.open_block is not None:
            raise Wrong("a block within a block")
        self.open_block = frame["index"]
        if text := frame["content_block"].get("text"):
            self._text(text)

    def _delta(self, frame: dict[str, Any]) -> None:
        if frame["index"] != self.open_block:
            raise Wrong(f"more of block {frame['index']}, and {self.open_block} is open")
        self._text(frame["delta"]["text"])

    def _close(self, frame: dict[str, Any]) -> None:
        self.open_block = None

    def _finish(self, frame: dict[str, Any]) -> None:
        self.finish = frame["delta"]["stop_reason"]

    def _end(self, frame: dict[str, Any]) -> None:
        self.ended = True

    def _error(self, frame: dict[str, Any]) -> None:
        error = frame["error"]
        self._failed(error.get("details", {}).get("error_code", error["type"]))

    def _ping(self, frame: dict[str, Any]) -> None:
        self.beats += 1

    _KINDS: ClassVar[dict[str, Callable[[MessagesStream, dict[str, Any]], None]]] = {
        "message_start": _start,
        "content_block_start": _open,
        "content_block_delta": _delta,
        "content_block_stop": _close,
        "message_delta": _finish,
        "message_stop": _end,
        "error": _error,
        "ping": _ping,
    }


def whole_words(messages: bool, plan: Plan, body: bytes) -> int:
    """How many words a whole answer has.

    Raises: Wrong: they are not the plan's, or not all of them.
    """
    answer = _object(body)
    if messages:
        text = "".join(block["text"] for block in answer["content"])
        finish = answer["stop_reason"]
    else:
        (choice,) = answer["choices"]
        text, finish = choice["message"]["content"], choice["finish_reason"]
    count = text.count(" ")
    if text != "".join(words(plan.number, count)):
        raise Wrong(f"text of another answer: {text[:200]!r}")
    if finish in ("stop", "end_turn") and count < plan.words:
        raise Wrong(f"a whole answer of {count} words, not {plan.words}")
    return count


def error_code(messages: bool, status: int, body: bytes) -> str:
    """The code of an error answer.

    Raises: Wrong: it is not in the client's own dialect, or says a fault of ours.
    """
    answer = _object(body)
    error = answer.get("error")
    if not isinstance(error, dict) or not error.get("message") or not error.get("type"):
        raise Wrong(f"an error of no shape: {body[:200]!r}")
    if messages and answer.get("type") != "error":
        raise Wrong(f"an error that is none of Anthropic's: {body[:200]!r}")
    if not messages and "code" not in error:
        raise Wrong(f"an error that is none of OpenAI's: {body[:200]!r}")
    code = str(error.get("details", {}).get("error_code") if messages else error["code"])
    if status not in STATUSES or code in FAULTS_OF_OURS:
        raise Wrong(f"{status} {code}: {error['message']}")
    return code


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise Wrong(f"no JSON: {data[:200]!r}") from error
    if not isinstance(value, dict):
        raise Wrong(f"no object: {data[:200]!r}")
    return value
