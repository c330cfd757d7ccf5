"""What a provider's frame means, in words that belong to no provider and no dialect.

Providers turn frames into deltas, dialects turn deltas into frames; they meet here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from rillgate.domain.errors import UpstreamError
from rillgate.domain.usage import Usage


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Visible text of one choice."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """Reasoning text of one choice, where a provider shows it."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """Text with which the model refuses."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """A fragment of one tool call. `call_id` and `name` come once; `arguments` concatenate to JSON text."""

    choice: int
    index: int
    call_id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class FinishDelta:
    """One choice is complete. `reason` is OpenAI's word: stop, length, tool_calls, content_filter."""

    choice: int
    reason: str


@dataclass(frozen=True, slots=True)
class UsageDelta:
    """The provider's token counts so far; a later one replaces an earlier one."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class ErrorDelta:
    """The provider reports a failure inside the stream."""

    error: UpstreamError


@dataclass(frozen=True, slots=True)
class EndDelta:
    """The provider's terminal event: nothing follows."""


Delta = TextDelta | ReasoningDelta | RefusalDelta | ToolDelta | FinishDelta | UsageDelta | ErrorDelta | EndDelta
ContentDelta = TextDelta | ReasoningDelta | RefusalDelta | ToolDelta
