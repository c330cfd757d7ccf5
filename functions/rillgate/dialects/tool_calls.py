"""Tool calls of one choice, numbered as clients want them: from 0, without gaps, each call's id and name said once.

Providers number theirs by content block, give the same number to every call, repeat the id in each fragment or give
none. A fragment begins a call when its number is new, or when it brings another id than that number's call has.
Source: wire formats of the compatible servers, as observed.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rillgate.domain.delta import ToolDelta


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A fragment of the call at `position`; id and name are set where it begins and None elsewhere. `custom` as in a
    delta, for every fragment of such a call.
    """

    position: int
    call_id: str | None
    name: str | None
    arguments: str
    custom: bool = False


class ToolCalls:
    """The calls of one choice as they come in.

    Args:
        made_up: what the ids of calls begin with to which the provider gave none; short, and of this request alone.
    """

    def __init__(self, made_up: str) -> None:
        self._made_up = made_up
        self._at: dict[int, int] = {}  # the provider's number → the position of the call that it stands for now
        self._ids: list[str] = []  # as the provider gave them, "" for none
        self._with_arguments: set[int] = set()  # or without need of any: free text may be empty
        self._custom: set[int] = set()

    def take(self, delta: ToolDelta) -> Piece:
        """One fragment.

        Shape:  ToolDelta(0, 3, "t1", "f", "{"), ToolDelta(0, 3, "t1", None, "}")
                → Piece(0, "t1", "f", "{"), Piece(0, None, None, "}")
        """
        position = self._at.get(delta.index)
        begins = position is None or self._is_another(position, delta)
        if position is None or begins:
            position = self._at[delta.index] = len(self._ids)
            self._ids.append(delta.call_id or "")
            if delta.custom:
                self._custom.add(position)
        custom = position in self._custom
        if delta.arguments or custom:
            self._with_arguments.add(position)
        if not begins:
            return Piece(position, None, None, delta.arguments, custom)
        call_id = delta.call_id or f"{self._made_up}_{position}"
        return Piece(position, call_id, delta.name or "", delta.arguments, custom)

    def without_arguments(self) -> list[int]:
        """The positions of calls that said none, whose JSON text is thus still to be said."""
        return [position for position in range(len(self._ids)) if position not in self._with_arguments]

    def _is_another(self, position: int, delta: ToolDelta) -> bool:
        known = self._ids[position]
        if delta.call_id is not None:
            return delta.call_id != known and (bool(known) or delta.name is not None)
        return not known and delta.name is not None  # no ids at all: each call comes with its name


def made_up_ids(request_id: str, choice: int) -> str:
    """What our own ids of a choice's calls begin with: OpenAI takes 40 characters, Anthropic those of base64url."""
    return f"call_{request_id.removeprefix('req_')[:24]}" + (f"_{choice}" if choice else "")


def is_whole(pieces: Sequence[str]) -> bool:
    """Whether these pieces of arguments are the JSON of an object."""
    last = next((piece for piece in reversed(pieces) if piece.strip()), "")
    if not last.rstrip().endswith("}"):  # cheap, where each piece of a long text asks
        return False
    try:
        msgspec.json.decode("".join(pieces))
    except (ValueError, RecursionError):
        return False
    return True
