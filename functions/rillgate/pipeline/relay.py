"""What happens to every chunk: bytes from the provider in, bytes for the client out. Plain synchronous code.

    wire.feed → provider.decode → budget.guard → dialect.encode

It awaits nothing, so the same code can run in a pump that awaits or straight in a transport's callback. It also
decides how the provider's side of a stream ended; the first end wins and nothing is written after it.

Same dialect in and out: whole frames go on byte for byte; only a frame that must say something else (usage that
nobody asked for, a choice that was cut, a mark of ours, an error) is written anew, its unknown fields kept. Errors are
always written by the dialect: what a provider says of our credentials is nobody's business, and servers that say
errors in shapes of their own would leave an SDK without one. Where the client asked for usage and it has not come yet,
the frame that finishes the last choice waits for the next frame: our mark that the usage is an estimate belongs into
it.
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
from rillgate.pipeline.charge import completed

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
        cut_report: what a cut of ours says, and why; asked when one is made.
        length_report: what is said where the provider itself stops at its cap; empty where that cap is the client's.
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
        cut_report: Callable[[], Report],
        length_report: Report,
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
        self._cut_report = cut_report
        self._length_report = length_report
        self._on_content = on_content
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._cut: set[int] = set()
        self._met_cap = False  # the provider stopped a choice at a cap that a budget lowered
        self._held: tuple[Frame | None, Sequence[Delta], Report] | None = None
        self._provider_usage: Usage | None = None
        self._usage_is_current = False  # the provider's usage covers all content that has come
        self._usage_is_last = False  # the last frame that was written carries usage
        self._wrote = False  # anything for the client, before what is being written now
        self.failed_first = False  # an error is the first and only thing that was written
        self.frames = 0
        self.content_frames = 0
        self.skipped_frames = 0
        self.upstream_done = False  # the provider's own end came
        self.end: End | None = None
        self.error: RillgateError | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Bytes as received, cut anywhere; gives what the client is to get for them, whole frames only.

        When `end` is set afterwards, nothing more may be fed.
        """
        try:
            frames = self._reader.feed(chunk)
        except UpstreamError as error:
            return self._fail(error)
        if len(frames) != 1:
            return self._take_all(frames)
        try:  # nearly every chunk of a stream that is paced
            out = self._take(frames[0])
        except UpstreamError as error:
            out = self._fail(error)
        self._wrote = self._wrote or bool(out)
        return out

    def feed_eof(self) -> bytes:
        """The provider's body is over: a truncation without its terminal event, unless every choice is complete."""
        try:
            frames = self._reader.feed_eof()
        except UpstreamError as error:
            return self._fail(error)
        out = self._take_all(frames, broken_is_truncated=True)
        return out if self.end is not None else out + self.truncated()

    def feed_answer(self, deltas: Sequence[Delta]) -> bytes:
        """A whole answer where a stream was asked for: written as a stream of our own making."""
        out = b""
        for delta in deltas:
            self.frames += 1
            out += self._take_any(None, (delta,))
            if self.end is not None:  # cut; what the provider says of all that it wrote is true all the same
                self._note_usage(deltas)
                return out
        for choice in sorted(self._seen - self._finished - self._cut):  # it is whole, whether or not it says so
            out += self._take_any(None, (FinishDelta(choice, "stop"),))
        return out if self.end is not None else out + self._upstream_said_end()

    def truncated(self) -> bytes:
        """The connection broke. An answer whose choices are all complete is whole all the same."""
        if self._complete():
            return self._finish()
        return self.fail(
            End.TRUNCATED,
            UpstreamTruncated(f"Provider {self._provider!r} ended its stream before the answer was complete."),
        )

    def stop(self, end: End, error: RillgateError) -> bytes:
        """End the stream from our side. An answer whose choices are all complete is whole all the same."""
        return self._finish() if self._complete() else self.fail(end, error)

    def fail(self, end: End, error: RillgateError) -> bytes:
        """End the stream with an error, in-band."""
        self.end = end
        self.error = error
        held = self._release_held(NO_REPORT)
        self.failed_first = not (self._wrote or held)
        return held + self._encoder.error(error)

    def usage(self) -> Usage:
        """The provider's token counts; where it gave none for all of the answer, ours, marked as an estimate."""
        theirs = self._provider_usage
        if theirs is not None and self._usage_is_current:
            return theirs
        return completed(theirs, Usage(self._prompt_tokens, self._guard.tokens(), estimated=True))

    @property
    def reported(self) -> Usage | None:
        """What the provider has said so far, perhaps not of all that has come."""
        return self._provider_usage

    def _fail(self, error: UpstreamError) -> bytes:
        return self.fail(End.UPSTREAM_ERROR, error)

    def _take_all(self, frames: Sequence[Frame], *, broken_is_truncated: bool = False) -> bytes:
        """Frames in order, up to the one that ends the stream. The last one of a body that is over may be cut short."""
        parts = []
        for frame in frames:
            try:
                parts.append(self._take(frame))
            except UpstreamError as error:
                parts.append(self.truncated() if broken_is_truncated else self._fail(error))
            self._wrote |= bool(parts[-1])
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
        self._usage_is_last = False
        if self._guard.passes(delta.choice, delta.text):
            return self._cut_choice(delta.choice) + self._end_if_cut()
        return self._encoder.forward(frame) if self._same_dialect else self._encoder.encode((delta,), NO_REPORT)

    def _take_any(self, frame: Frame | None, deltas: Sequence[Delta]) -> bytes:
        """A frame that says more than text, or nothing; any frame once a choice was cut; deltas without a frame."""
        last = deltas[-1] if deltas else None
        if isinstance(last, ErrorDelta | EndDelta):
            before = self._take_any(None, deltas[:-1]) if len(deltas) > 1 else b""
            if self.end is not None:
                return before
            self._wrote |= bool(before)
            return before + (self._fail(last.error) if isinstance(last, ErrorDelta) else self._upstream_said_end())
        cut = b""
        content = False
        for delta in deltas:
            match delta:
                case TextDelta(choice) | ReasoningDelta(choice) | RefusalDelta(choice) | ToolDelta(choice):
                    self._seen.add(choice)
                    if choice not in self._cut:
                        content = True
                        if self._guard.passes(choice, counted(delta)):
                            cut += self._cut_choice(choice)
                case FinishDelta(choice, reason):
                    self._seen.add(choice)
                    self._finished.add(choice)
                    self._met_cap |= reason == "length" and bool(self._length_report)
        if content:
            self._content()
        usage_here = self._note_usage(deltas)
        return cut + self._write(frame, deltas, usage_here=usage_here) + self._end_if_cut()

    def _note_usage(self, deltas: Sequence[Delta]) -> bool:
        """Remember what the provider says of all content so far; False when it says nothing here."""
        said = [delta.usage for delta in deltas if isinstance(delta, UsageDelta)]
        if said:
            self._provider_usage = said[-1]
            self._usage_is_current = said[-1].input_tokens is not None and said[-1].output_tokens is not None
        return bool(said)

    def _write(self, frame: Frame | None, deltas: Sequence[Delta], *, usage_here: bool) -> bytes:
        """The frame for the client, held back if it may be the last one and usage is still to come."""
        released = self._release_held(NO_REPORT)
        self._usage_is_last = False
        report = self._report_on(deltas)
        awaits_usage = self._include_usage and not self._usage_is_current
        if awaits_usage and self._nothing_is_running() and any(isinstance(delta, FinishDelta) for delta in deltas):
            self._held = (frame, deltas, report)
            return released
        if not self._same_dialect or frame is None:
            return released + self._encoder.encode(self._kept(deltas), report)
        drop_usage = usage_here and not self._include_usage
        if drop_usage or self._cut or report:
            written = self._encoder.amend(frame, without_usage=drop_usage, drop_choices=self._cut, report=report)
        else:
            written = self._encoder.forward(frame)
        self._usage_is_last = usage_here and bool(written)
        return released + written

    def _report_on(self, deltas: Sequence[Delta]) -> Report:
        """What a frame says that carries a finish reason, where the provider stopped at a budget's cap."""
        if not self._met_cap:
            return NO_REPORT
        stopped = [delta for delta in self._kept(deltas) if isinstance(delta, FinishDelta)]
        return self._length_report if any(delta.reason == "length" for delta in stopped) else NO_REPORT

    def _kept(self, deltas: Sequence[Delta]) -> list[Delta]:
        """What is not of a choice that was cut."""
        return [delta for delta in deltas if getattr(delta, "choice", None) not in self._cut]

    def _release_held(self, report: Report) -> bytes:
        if self._held is None:
            return b""
        (frame, deltas, own), self._held = self._held, None
        report = {**own, **report}
        if not self._same_dialect or frame is None:
            return self._encoder.encode(self._kept(deltas), report)
        if report or self._cut:
            return self._encoder.amend(frame, without_usage=False, drop_choices=self._cut, report=report)
        return self._encoder.forward(frame)

    def _upstream_said_end(self) -> bytes:
        if not self._seen:
            return self._fail(UpstreamError(f"Provider {self._provider!r} ended its stream without any answer."))
        self.upstream_done = True
        return self._finish()

    def _cut_choice(self, choice: int) -> bytes:
        """End one choice at its limit."""
        self._cut.add(choice)
        report = {**self._cut_report(), "estimated": True}
        return self._release_held(NO_REPORT) + self._encoder.cut(choice, self._cut_notice, report)

    def _end_if_cut(self) -> bytes:
        """End the stream once the last choice is over; whatever a provider goes on to send is not wanted."""
        return self._finish() if self._cut and self._complete() else b""

    def _finish(self) -> bytes:
        """The proper end: what was held, usage if it was asked for, the terminal event."""
        self.end = End.BUDGET if self._cut or self._met_cap else End.FINISHED
        out = self._release_held(NO_REPORT if self._usage_is_current else {"estimated": True})
        if self._include_usage and not self._usage_is_last:
            out += self._encoder.usage(self.usage())
        return out + self._encoder.end()

    def _complete(self) -> bool:
        """Whether every choice that was asked for, or has begun, is finished or cut."""
        return len(self._finished | self._cut) >= self._choices and self._nothing_is_running()

    def _nothing_is_running(self) -> bool:
        """Whether every choice that has begun is finished or cut; one that has not begun may still come."""
        over = self._finished | self._cut
        return bool(over) and self._seen <= over

    def _content(self) -> None:
        self.content_frames += 1
        self._usage_is_current = False
        self._on_content()


def counted(delta: ContentDelta) -> str:
    """The text of a delta that counts as output."""
    if isinstance(delta, ToolDelta):
        return (delta.name or "") + delta.arguments
    return delta.text
