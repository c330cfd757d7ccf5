"""Delta sequences of one choice, of any kind and order that providers may write, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from hypothesis import strategies as st

from rillgate.domain.delta import (
    ANTHROPIC_ORIGIN,
    GOOGLE_ORIGIN,
    OPENAI_ORIGIN,
    Delta,
    FinishDelta,
    OpaqueReasoningDelta,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.usage import Usage

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
CONTENT: st.SearchStrategy[Delta] = st.one_of(
    st.builds(TextDelta, st.just(0), TEXT),
    st.builds(ReasoningDelta, st.just(0), TEXT),
    st.builds(RefusalDelta, st.just(0), TEXT),
    st.builds(SignatureDelta, st.just(0), st.text("abc", min_size=1, max_size=3), st.just(ANTHROPIC_ORIGIN)),
    st.builds(OpaqueReasoningDelta, st.just(0), st.text("abc", min_size=1, max_size=3), st.just(ANTHROPIC_ORIGIN)),
    st.builds(
        OpaqueReasoningDelta,
        st.just(0),
        st.text("abc", min_size=1, max_size=3),
        st.sampled_from([GOOGLE_ORIGIN, OPENAI_ORIGIN]),
        st.none() | st.text("ab:", min_size=1, max_size=3),
    ),
    st.builds(UsageDelta, st.builds(Usage, st.just(1), st.just(2))),
)
VALUE: st.SearchStrategy[object] = st.one_of(st.integers(0, 9), TEXT, st.just({"in": [1]}))
ARGUMENTS = st.dictionaries(st.text("ab", max_size=2), VALUE, max_size=3)


@dataclass
class Sequence:
    """A sequence, and what of it every dialect must give back.

    Attributes:
        calls: (id, name, arguments) in the order in which they begin; "" for an id that the provider did not give.
    """

    deltas: list[Delta]
    finish: str
    calls: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def text_of(self, kind: type[TextDelta] | type[ReasoningDelta] | type[RefusalDelta]) -> str:
        """All text of one kind."""
        return "".join(delta.text for delta in self.deltas if isinstance(delta, kind))

    @property
    def said(self) -> str:
        """Text and refusal, in order."""
        return "".join(delta.text for delta in self.deltas if isinstance(delta, TextDelta | RefusalDelta))

    @property
    def signatures(self) -> list[str]:
        """Proofs in order."""
        return [delta.signature for delta in self.deltas if isinstance(delta, SignatureDelta)]

    @property
    def opaque(self) -> list[tuple[str, str, str]]:
        """Unreadable reasoning in order: family, data, and the call that it belongs to, "" for none."""
        found = [delta for delta in self.deltas if isinstance(delta, OpaqueReasoningDelta)]
        return [(delta.origin, delta.data, delta.call_id or "") for delta in found]


@st.composite
def sequences(draw: st.DrawFn) -> Sequence:
    """Content and tool calls in any interleaving; a call's pieces stay in order, its id may come with each or never."""
    lanes: list[list[Delta]] = [draw(st.lists(CONTENT, max_size=6))]
    arguments: dict[int, dict[str, object]] = {}
    first_index = draw(st.integers(0, 3))
    for number in range(draw(st.integers(0, 3))):
        index = first_index + 2 * number  # as blocks are numbered, with gaps
        arguments[index] = draw(ARGUMENTS)
        lanes.append(_pieces(draw, index, arguments[index]))
    deltas: list[Delta] = []
    order: list[int] = []
    while any(lanes):
        lane = draw(st.sampled_from([lane for lane in lanes if lane]))
        delta = lane.pop(0)
        if isinstance(delta, ToolDelta) and delta.index not in order:
            order.append(delta.index)
        deltas.append(delta)
    finish = draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
    ids = {delta.index: delta.call_id or "" for delta in deltas if isinstance(delta, ToolDelta) and delta.name}
    calls = [(ids[index], f"tool{index}", arguments[index]) for index in order]
    return Sequence([*deltas, FinishDelta(0, finish)], finish, calls)


def _pieces(draw: st.DrawFn, index: int, arguments: dict[str, object]) -> list[Delta]:
    text = msgspec.json.encode(arguments).decode()
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    if not arguments and draw(st.booleans()):
        pieces = [""]
    call_id = draw(st.sampled_from([None, f"call{index}"]))
    repeated = draw(st.booleans())
    first = ToolDelta(0, index, call_id, f"tool{index}", pieces[0])
    return [first, *(ToolDelta(0, index, call_id if repeated else None, None, piece) for piece in pieces[1:])]
