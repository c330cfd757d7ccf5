"""One streamed answer of a gateway, from the outside: its pieces as they come, and what is known of it so far."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from rillgate.app.loopback import is_loopback_address
from rillgate.cli.checkup.client import UNREACHABLE, Answer, Remote, Stream
from rillgate.cli.output import printable

Kind = Literal["text", "reasoning"]


class ChatFailed(Exception):
    """No answer, or one that did not come to its end; the message is one line for people."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer, and when it came: seconds since the request was sent."""

    kind: Kind
    text: str
    at_s: float


@dataclass(slots=True)
class Tokens:
    """What the gateway says was used; None where it has not said."""

    input: int | None = None
    output: int | None = None
    reasoning: int | None = None


class Turn:
    """One request for an answer.

        with Turn(remote, {"messages": […]}) as turn:
            for piece in turn.pieces(): …

    However the block is left before the answer's end, the connection is closed, and where nobody may notice that the
    request is cancelled by its id.

    Attributes:
        model, upstream: what answered, as the provider and the gateway say; "" where they do not.
        finish_reason: the last one that came.
        report: what the gateway adds to an answer, such as why it was cut.
        tokens: what was used.
        first_s, last_s: when the first and the last piece came; None before.
    """

    def __init__(self, remote: Remote, body: Mapping[str, Any]) -> None:
        self._remote = remote
        self._body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        self._id = f"chat_{secrets.token_urlsafe(12)}"
        self._stream: Stream | None = None
        self._over = False
        self.model = ""
        self.upstream = ""
        self.finish_reason = ""
        self.report: Mapping[str, Any] = {}
        self.tokens = Tokens()
        self.first_s: float | None = None
        self.last_s: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        if not self._over and not self._is_noticed():
            self._cancel()

    def pieces(self) -> Iterator[Piece]:
        """The answer, piece by piece, to its terminal event.

        Raises: ChatFailed: it was refused, broke off, or an error came inside the stream.
        """
        stream = self._start()
        for at_s, data in self._events(stream):
            if data == "[DONE]":
                self._over = True
                return
            for kind, text in self._read(_decoded(data)):
                self.first_s = at_s if self.first_s is None else self.first_s
                self.last_s = at_s
                yield Piece(kind, text, at_s)
        self._over = True
        raise ChatFailed("the answer broke off: its connection ended without [DONE]")

    def _start(self) -> Stream:
        """Send the request and read the answer's head."""
        try:
            stream = self._stream = self._remote.chat(self._body, {"x-client-request-id": self._id})
            if stream.status == 200:
                self.upstream = printable(stream.header("x-rillgate-upstream"))
                return stream
            refused = Answer(stream.status, stream.headers, stream.read(), stream.headers_s)
        except UNREACHABLE as error:
            self._over = self._stream is None  # nothing is known to have been asked
            raise ChatFailed(f"{self._remote.url.geturl()} cannot be reached: {_said(error)}") from error
        self._over = True
        raise ChatFailed(printable(refused.said))

    def _events(self, stream: Stream) -> Iterator[tuple[float, str]]:
        """The stream's events; what the consumer of the pieces raises does not pass here."""
        events = stream.events()
        while True:
            try:
                event = next(events, None)
            except UNREACHABLE as error:
                raise ChatFailed(f"the answer broke off: {_said(error)}") from error
            if event is None:
                return
            yield event

    def _read(self, event: Any) -> Iterator[tuple[Kind, str]]:
        """What one event says of the first choice; the rest of it goes into the attributes."""
        if not isinstance(event, dict):
            return
        if event.get("error"):
            self._over = True
            raise ChatFailed(_error_text(event["error"]))
        self.model = printable(str(event.get("model") or self.model))
        self._note_usage(event.get("usage"))
        if isinstance(event.get("rillgate"), dict):
            self.report = {**self.report, **event["rillgate"]}
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        self.finish_reason = str(choice.get("finish_reason") or self.finish_reason)
        yield from _texts(choice.get("delta"))

    def _note_usage(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        details = usage.get("completion_tokens_details")
        self.tokens = Tokens(
            _count(usage, "prompt_tokens"),
            _count(usage, "completion_tokens"),
            _count(details, "reasoning_tokens") if isinstance(details, dict) else None,
        )

    def _is_noticed(self) -> bool:
        """Whether the gateway sees a connection close: not behind proxies for certain, and never on Lambda."""
        if self._stream is None or any(name.startswith("x-amzn-") for name, _ in self._stream.headers):
            return False
        host = self._remote.url.hostname or ""
        return host == "localhost" or is_loopback_address(host)

    def _cancel(self) -> None:
        """Ask for the request's end, by the gateway's id for it or, before that is known, by ours."""
        request_id = self._stream.header("x-request-id") if self._stream is not None else ""
        try:
            self._remote.ask("POST", f"/v1/requests/{request_id or self._id}/cancel")
        except (*UNREACHABLE, KeyboardInterrupt):
            pass  # it was closed; whoever interrupts twice does not want to wait


def _texts(delta: Any) -> Iterator[tuple[Kind, str]]:
    if not isinstance(delta, dict):
        return
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        yield "reasoning", reasoning
    for name in ("content", "refusal"):
        text = delta.get(name)
        if isinstance(text, str) and text:
            yield "text", text


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) else None


def _error_text(error: Any) -> str:
    if not isinstance(error, dict):
        return printable(str(error))
    kind = error.get("code") or error.get("type")
    message = str(error.get("message") or "an error without a message")
    return printable(f"{kind}: {message}" if kind else message)


def _said(error: Exception) -> str:
    return printable(str(error) or type(error).__name__)


def _decoded(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
