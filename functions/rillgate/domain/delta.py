"""What a provider's frame means, in words that belong to no provider and no dialect.

Providers turn frames into deltas, dialects turn deltas into frames; they meet here and nowhere else. Those that come
with every chunk are msgspec structs, which are made in a third of a dataclass's time.
"""

from __future__ import annotations

import msgspec

from rillgate.domain.errors import UpstreamError
from rillgate.domain.usage import Usage

ANTHROPIC_ORIGIN = "anthropic-claude-v1"  # of signatures and opaque reasoning, Bedrock's Claude included
GOOGLE_ORIGIN = "google-gemini-v1"  # of Gemini's thought signatures
OPENAI_ORIGIN = "openai-responses-v1"  # of what only OpenAI can read, as OpenRouter names it


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """Visible text of one choice."""

    choice: int
    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """Reasoning text of one choice, where a provider shows it."""

    choice: int
    text: str


class SignatureDelta(msgspec.Struct, frozen=True, gc=False):
    """Proof that the reasoning before it is unchanged, which its family wants back with it.

    Attributes:
        origin: the family that can read it, as `format` in OpenRouter's `reasoning_details` names it.
    """

    choice: int
    signature: str
    origin: str


class OpaqueReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """Reasoning that only its own family can read, which wants it back; `origin` as for a signature.

    Attributes:
        call_id: the tool call that it belongs to, which comes after it; None where it belongs to none.
    """

    choice: int
    data: str
    origin: str
    call_id: str | None = None


class RefusalDelta(msgspec.Struct, frozen=True, gc=False):
    """Text with which the model refuses."""

    choice: int
    text: str


class ToolDelta(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A fragment of one tool call. `call_id` and `name` come once; `arguments` concatenate to JSON text.

    Attributes:
        custom: the tool takes free text (a custom tool of OpenAI's), and `arguments` is that.
    """

    choice: int
    index: int
    call_id: str | None
    name: str | None
    arguments: str
    custom: bool = False


class EmbeddingDelta(msgspec.Struct, frozen=True):
    """The vector of one text; `index` is its place in the input. Whole answers only."""

    index: int
    values: list[float]


class FinishDelta(msgspec.Struct, frozen=True, gc=False):
    """One choice is complete.

    Attributes:
        reason: OpenAI's word: stop, length, tool_calls, content_filter.
        stop_sequence: the stop sequence that was met, where the provider says which.
    """

    choice: int
    reason: str
    stop_sequence: str | None = None


class UsageDelta(msgspec.Struct, frozen=True):
    """The provider's token counts so far; a later one replaces an earlier one."""

    usage: Usage


class ErrorDelta(msgspec.Struct, frozen=True):
    """The provider reports a failure inside the stream."""

    error: UpstreamError


class EndDelta(msgspec.Struct, frozen=True):
    """The provider's terminal event: nothing follows."""


Delta = (
    TextDelta
    | ReasoningDelta
    | SignatureDelta
    | OpaqueReasoningDelta
    | RefusalDelta
    | ToolDelta
    | EmbeddingDelta
    | FinishDelta
    | UsageDelta
    | ErrorDelta
    | EndDelta
)
ContentDelta = TextDelta | ReasoningDelta | RefusalDelta | ToolDelta
