"""What the floors need from each other, as protocols. `app` alone fills them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from rillgate.domain.delta import Delta
from rillgate.domain.errors import UpstreamError
from rillgate.domain.request import ChatRequest, Endpoint, UpstreamRequest


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

    def feed(self, chunk: bytes) -> list[Frame]: ...
    def feed_eof(self) -> list[Frame]: ...


class StreamDecoder(Protocol):
    """Frames of one stream to deltas; state lives as long as the stream."""

    def decode(self, frame: Frame) -> list[Delta]: ...


class Location(Protocol):
    """Finds a provider: at once for a configured one, when it has started for one that we start ourselves."""

    async def endpoint(self) -> Endpoint:
        """Where the provider answers, waiting until it does.

        Raises:
            UpstreamError: it never will; the message says what to set instead.
        """


class Provider(Protocol):
    """One API family, as pure translation. `dialect` names the client dialect its frames already are, if any."""

    @property
    def kind(self) -> str: ...
    @property
    def dialect(self) -> str: ...
    def build(self, request: ChatRequest, model: str, output_tokens_max: int) -> UpstreamRequest: ...
    def reader(self) -> FrameReader: ...
    def decoder(self) -> StreamDecoder: ...
    def decode_answer(self, body: bytes) -> list[Delta]: ...
    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError: ...


class Encoding(Protocol):
    """A tokenizer. tiktoken's `Encoding` behind it in production."""

    @property
    def name(self) -> str: ...
    def count(self, text: str) -> int:
        """Number of tokens of `text`, special tokens taken as plain text."""

    def pieces(self, text: str) -> list[str]:
        """`text` cut by the encoding's own pre-tokenizer; no token crosses a cut."""
