"""What the floors need from each other, as protocols. `app` alone fills them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from rillgate.domain.delta import Delta
from rillgate.domain.errors import RillgateError, UpstreamError
from rillgate.domain.request import ChatRequest, Endpoint, UpstreamRequest
from rillgate.domain.usage import Usage

# What Rillgate adds to an answer: the content of its field `rillgate`, empty when there is nothing to say.
Report = Mapping[str, Any]


class TimerHandle(Protocol):
    """A pending call of a clock."""

    def cancel(self) -> None:
        """Forget the call; harmless when it has run."""


class Clock(Protocol):
    """Time as an argument: the loop's in production, a hand-moved one in tests."""

    def now(self) -> float:
        """Monotonic seconds."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        """Run `callback` once, `delay_s` seconds from now, on the event loop."""


class Frame(Protocol):
    """One complete wire unit. `raw` is exactly what came, its terminator included; `data` is its payload.

    `plain` is True when `raw` may be passed on as it is to a client of the same dialect.
    """

    @property
    def raw(self) -> bytes: ...
    @property
    def data(self) -> bytes: ...
    @property
    def event(self) -> str: ...
    @property
    def plain(self) -> bool: ...


class FrameReader(Protocol):
    """Bytes to frames, cut anywhere. Raises UpstreamError for a frame past its bound."""

    def feed(self, chunk: bytes) -> Sequence[Frame]: ...
    def feed_eof(self) -> Sequence[Frame]: ...


class StreamDecoder(Protocol):
    """Frames of one stream to deltas; state lives as long as the stream."""

    def decode(self, frame: Frame) -> list[Delta] | None:
        """The deltas of one frame, in order; [] when it says nothing we count, None when it is not of this protocol.

        Raises:
            UpstreamError: the frame is of this protocol and broken.
        """


class Location(Protocol):
    """Finds a provider: at once for a configured one, when it has started for one that we start ourselves."""

    async def endpoint(self) -> Endpoint:
        """Where the provider answers, waiting until it does.

        Raises:
            UpstreamError: it never will; the message says what to set instead.
        """


class Provider(Protocol):
    """One API family, as pure translation. `dialect` names the client dialect that its frames already are, if any."""

    @property
    def dialect(self) -> str: ...

    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest:
        """The provider's own request for `model`, with the cap under the name that the provider reads."""

    def reader(self) -> FrameReader:
        """A frame reader for one stream."""

    def decoder(self) -> StreamDecoder:
        """A decoder for one stream."""

    def decode_answer(self, body: bytes) -> list[Delta]:
        """A whole answer as deltas.

        Raises:
            UpstreamError: the body is no answer, or says that there is none.
        """

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """What an answer with an error status means. Header names are in lower case."""


class Encoder(Protocol):
    """Writes one stream in a client's dialect. Every method gives whole frames, ready for the wire."""

    def open(self) -> bytes:
        """What stands before everything else; mostly nothing."""

    def heartbeat(self) -> bytes:
        """Says that the stream is alive, in a form that the dialect's own clients survive."""

    def forward(self, frame: Frame) -> bytes:
        """A frame that already is in this dialect, unchanged."""

    def amend(self, frame: Frame, *, without_usage: bool, drop_choices: Collection[int], report: Report) -> bytes:
        """A frame that is in this dialect, with something taken out or `report` added; b"" if nothing is left."""

    def encode(self, deltas: Sequence[Delta], report: Report) -> bytes:
        """Deltas from another API family, in this dialect."""

    def cut(self, choice: int, notice: str, report: Report) -> bytes:
        """End one choice at its limit, as the model itself would: `notice` as text, then finish reason "length"."""

    def usage(self, usage: Usage) -> bytes:
        """Token counts of the whole stream, where the client asked for them."""

    def error(self, error: RillgateError) -> bytes:
        """An error after the first byte, in-band. Nothing may follow it."""

    def end(self) -> bytes:
        """The terminal event."""


class Dialect(Protocol):
    """One client protocol."""

    @property
    def name(self) -> str: ...

    def encoder(self, request_id: str, model: str, created_s: int) -> Encoder:
        """An encoder for one stream."""

    def answer(self, body: bytes, usage: Usage | None, report: Report) -> bytes:
        """A whole answer that already is in this dialect, with our usage and report added where given."""

    def error_body(self, error: RillgateError) -> bytes:
        """The JSON body of an error response."""


class Encoding(Protocol):
    """A tokenizer. tiktoken's `Encoding` behind it in production."""

    @property
    def name(self) -> str: ...
    def count(self, text: str) -> int:
        """Number of tokens of `text`, special tokens taken as plain text."""

    def pieces(self, text: str) -> list[str]:
        """`text` cut by the encoding's own pre-tokenizer; no token crosses a cut."""
