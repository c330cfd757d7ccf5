"""What happens to every chunk: bytes from the provider in, bytes for the client out. Plain synchronous code.

    wire.feed → provider.decode → budget.guard → dialect.encode

It awaits nothing, so the same code can run in a pump that awaits or straight in a transport's callback. It also
decides how the provider's side of a stream ended; the first end wins and nothing is written after it.

Same dialect in and out: whole frames go on byte for byte; only a frame that must say something else (usage that
nobody asked for, a choice that was cut, a mark of ours) is written anew, its unknown fields kept. Where the client
asked for usage and none has come yet, the frame that finishes the last choice waits for the next frame: our mark
that the usage is an estimate belongs into it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rillgate.budget.guard import Guard
from rillgate.domain.delta import (
    ContentDelta,
    Delta,
    EndDelta,
    ErrorDelta,
    FinishDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.ends import End
from rillgate.domain.errors import RillgateError, UpstreamError, UpstreamTruncated
from rillgate.domain.ports import Encoder, Frame, FrameReader, Report, StreamDecoder
from rillgate.domain.usage import Usage

NO_REPORT: Report = {}


class Relay:
    """One stream, from the provider's first byte to its end.

    Args:
        provider: its name, for messages.
        reader: cuts the provider's bytes into frames.
        decoder: reads frames.
        encoder: writes the client's dialect.
        same_dialect: frames may be forwarded as they are.
        guard: counts and says when a choice passes its limit.
        choices: how many the client asked for.
        include_usage: whether the client asked for usage.
        prompt_tokens: our estimate, for usage that the provider does not give.
        cut_notice: text before a cut, "" for none.
        on_content: called once for each frame that carries content, for timing.
    """

    def __init__(
        self,
        *,
        provider: str,
        reader: FrameReader,
        decoder: StreamDecoder,
        encoder: Encoder,
        same_dialect: bool,
        guard: Guard,
        choices: int,
        include_usage: bool,
        prompt_tokens: int,
        cut_notice: str,
        on_content: Callable[[], None],
    ) -> None:
        self._provider = provider
        self._reader = reader
        self._decoder = decoder
        self._encoder = encoder
        self._same_dialect = same_dialect
        self._guard = guard
        self._choices = choices
        self._include_usage = include_usage
        self._prompt_tokens = prompt_tokens
        self._cut_notice = cut_notice
        self._on_content = on_content
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._cut: set[int] = set()
        self._held: tuple[Frame | None, Sequence[Delta]] | None = None
        self._provider_usage: Usage | None = None
        self.frames = 0
        self.content_frames = 0
        self.skipped_frames = 0
        self.end: End | None = None
        self.error: RillgateError | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Bytes as received, cut anywhere; gives what the client is to get for them, whole frames only.

        When `end` is set afterwards, nothing more may be fed.
        """
        try:
            return self._take_all(self._reader.feed(chunk))
        except UpstreamError as error:
            return self._fail(error)

    def feed_eof(self) -> bytes:
        """The provider's body is over: a truncation without its terminal event, unless every choice is complete."""
        try:
            out = self._take_all(self._reader.feed_eof())
        except UpstreamError as error:
            return self._fail(error)
        if self.end is not None:
            return out
        if self._complete():
            return out + self._finish(End.FINISHED)
        return out + self.truncated()

    def feed_answer(self, deltas: Sequence[Delta]) -> bytes:
        """A whole answer where a stream was asked for: written as a stream of our own making."""
        out = b""
        for delta in deltas:
            self.frames += 1
            out += self._take_any(None, (delta,))
            if self.end is not None:
                return out
        return out + self._finish(End.FINISHED)

    def truncated(self) -> bytes:
        """The connection broke. An answer whose choices are all complete is whole all the same."""
        if self._complete():
            return self._finish(End.FINISHED)
        return self.fail(
            End.TRUNCATED,
            UpstreamTruncated(f"Provider {self._provider!r} ended its stream before the answer was complete."),
        )

    def fail(self, end: End, error: RillgateError) -> bytes:
        """End the stream with an error, in-band."""
        self.end = end
        self.error = error
        return self._release_held(NO_REPORT) + self._encoder.error(error)

    def usage(self) -> Usage:
        """The provider's token counts; where it gave none, ours, marked as an estimate."""
        if self._provider_usage is not None:
            return self._provider_usage
        return Usage(input_tokens=self._prompt_tokens, output_tokens=self._guard.tokens(), estimated=True)

    def _fail(self, error: UpstreamError) -> bytes:
        return self.fail(End.UPSTREAM_ERROR, error)

    def _take_all(self, frames: Sequence[Frame]) -> bytes:
        if len(frames) == 1:
            return self._take(frames[0])
        parts = []
        for frame in frames:
            parts.append(self._take(frame))
            if self.end is not None:
                break
        return b"".join(parts)

    def _take(self, frame: Frame) -> bytes:
        deltas = self._decoder.decode(frame)
        if deltas is None:
            self.skipped_frames += 1
            return b""
        self.frames += 1
        if len(deltas) == 1 and type(deltas[0]) is TextDelta and not self._cut and self._held is None:
            return self._take_text(frame, deltas[0])  # nearly every frame of nearly every stream
        return self._take_any(frame, deltas)

    def _take_text(self, frame: Frame, delta: TextDelta) -> bytes:
        self._content()
        self._seen.add(delta.choice)
        if self._guard.passes(delta.choice, delta.text):
            return self._cut_choice(delta.choice)
        return self._encoder.forward(frame) if self._same_dialect else self._encoder.encode((delta,), NO_REPORT)

    def _take_any(self, frame: Frame | None, deltas: Sequence[Delta]) -> bytes:
        """A frame that says more than text, or nothing; any frame once a choice was cut; deltas without a frame."""
        before = b""
        content = False
        usage_here = False
        for delta in deltas:
            match delta:
                case TextDelta(choice) | ReasoningDelta(choice) | RefusalDelta(choice) | ToolDelta(choice):
                    content = True
                    self._seen.add(choice)
                    if choice not in self._cut and self._guard.passes(choice, counted(delta)):
                        before += self._cut_choice(choice)
                        if self.end is not None:
                            return before
                case FinishDelta(choice):
                    self._seen.add(choice)
                    if choice not in self._cut:
                        self._finished.add(choice)
                case UsageDelta(usage):
                    usage_here = True
                    self._provider_usage = usage
                case ErrorDelta(error):
                    return before + self._upstream_said_error(frame, error)
                case EndDelta():
                    return before + self._upstream_said_end()
        if content:
            self._content()
        out = before + self._write(frame, deltas, usage_here=usage_here)
        if self._cut and self._complete():  # the last choice is over; whatever a provider goes on to send is not wanted
            out += self._finish(End.BUDGET)
        return out

    def _write(self, frame: Frame | None, deltas: Sequence[Delta], *, usage_here: bool) -> bytes:
        """The frame for the client, held back if it finishes the stream and its usage is still to come."""
        released = self._release_held(NO_REPORT)
        if self._include_usage and self._provider_usage is None and self._finished and self._complete():
            self._held = (frame, deltas)
            return released
        if not self._same_dialect or frame is None:
            kept = [delta for delta in deltas if getattr(delta, "choice", None) not in self._cut]
            written = self._encoder.encode(kept, NO_REPORT)
            if self._include_usage and usage_here and self._complete():
                written += self._encoder.usage(self.usage())
            return released + written
        drop_usage = usage_here and not self._include_usage
        if drop_usage or self._cut:
            return released + self._encoder.amend(
                frame, without_usage=drop_usage, drop_choices=self._cut, report=NO_REPORT
            )
        return released + self._encoder.forward(frame)

    def _release_held(self, report: Report) -> bytes:
        if self._held is None:
            return b""
        (frame, deltas), self._held = self._held, None
        if not self._same_dialect or frame is None:
            return self._encoder.encode(deltas, report)
        if report or self._cut:
            return self._encoder.amend(frame, without_usage=False, drop_choices=self._cut, report=report)
        return self._encoder.forward(frame)

    def _upstream_said_error(self, frame: Frame | None, error: UpstreamError) -> bytes:
        """In the client's own dialect the provider's words go through unchanged."""
        self.end = End.UPSTREAM_ERROR
        self.error = error
        released = self._release_held(NO_REPORT)
        if self._same_dialect and frame is not None and frame.plain:
            return released + self._encoder.forward(frame)
        return released + self._encoder.error(error)

    def _upstream_said_end(self) -> bytes:
        if not self.frames > 1:
            return self._fail(UpstreamError(f"Provider {self._provider!r} ended its stream without any answer."))
        return self._finish(End.BUDGET if self._cut else End.FINISHED)

    def _cut_choice(self, choice: int) -> bytes:
        """End one choice at its limit; end the stream when no other choice is still running."""
        self._cut.add(choice)
        report = {"stop": "budget", "scope": "request", "estimated": True}
        out = self._release_held(NO_REPORT) + self._encoder.cut(choice, self._cut_notice, report)
        if self._complete():
            out += self._finish(End.BUDGET)
        return out

    def _finish(self, end: End) -> bytes:
        """The proper end: what was held, usage if it was asked for, the terminal event."""
        self.end = end
        ours = self._include_usage and self._provider_usage is None
        out = self._release_held({"estimated": True} if ours else NO_REPORT)
        if ours:
            out += self._encoder.usage(self.usage())
        return out + self._encoder.end()

    def _complete(self) -> bool:
        """Whether every choice that was asked for, or has begun, is finished or cut."""
        over = self._finished | self._cut
        return len(over) >= self._choices and self._seen <= over

    def _content(self) -> None:
        self.content_frames += 1
        self._on_content()


def counted(delta: ContentDelta) -> str:
    """The text of a delta that counts as output."""
    if isinstance(delta, ToolDelta):
        return (delta.name or "") + delta.arguments
    return delta.text
