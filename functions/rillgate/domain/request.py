"""One client request in the words the whole house uses, and one HTTP request for a provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace


class ChatRequest(msgspec.Struct, frozen=True):
    """A chat request, parsed and checked by its dialect.

    Attributes:
        fields: the request in OpenAI Chat Completions vocabulary, as a JSON object. Fields that we do not know
            are kept: they pass through to a provider that speaks the same dialect.
        model: what the client asked for; None when it named none.
        stream: whether the client wants a stream.
        include_usage: whether the client asked for usage in its stream.
        output_tokens_asked: the cap that the client named, in tokens; None when it named none.
        choices: how many choices (`n`) it wants.
        output_tokens_default: overrides the configured default cap (the /chat routes have their own).
        cut_notice: text to send before a cut, "" for none.
        dialect: what the client speaks.
        original: the client's own fields, where its dialect is not `chat_completions`: a provider of the same family
            gets them as they came, so that nothing of them is lost.
        headers: those of the client's that a provider of the same family gets, in lower case.
    """

    fields: Mapping[str, Any]
    model: str | None
    stream: bool
    include_usage: bool = False
    output_tokens_asked: int | None = None
    choices: int = 1
    output_tokens_default: int | None = None
    cut_notice: str = ""
    dialect: str = "chat_completions"
    original: Mapping[str, Any] | None = None
    headers: tuple[tuple[str, str], ...] = ()


class AnswerHead(msgspec.Struct, frozen=True):
    """What an answer of our own making says of itself: our request id, the routed model, seconds since 1970."""

    request_id: str
    model: str
    created_s: int


class UpstreamRequest(msgspec.Struct, frozen=True):
    """What goes to a provider: `path` is relative to the provider's base URL, `body` is the exact bytes.

    Attributes:
        more: what must be asked as well for the same whole answer: its body is then a JSON list of all their bodies.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    more: tuple[UpstreamRequest, ...] = ()


def several(requests: Sequence[UpstreamRequest]) -> UpstreamRequest:
    """Requests for one whole answer, at least one, as one."""
    first, *more = requests
    return replace(first, more=tuple(more))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider answers.

    Attributes:
        base_url: without a trailing slash.
        headers: what every call carries; the key is among them.
        sign: for providers that want each request signed: (method, URL, headers, body) → the headers to add. The URL
            and the body go out byte for byte as they were given.
    """

    base_url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    sign: Callable[[str, str, Sequence[tuple[str, str]], bytes], Sequence[tuple[str, str]]] | None = field(
        default=None, repr=False
    )


@dataclass(frozen=True, slots=True)
class Timeouts:
    """All in seconds, as the configuration names them. `total_s` 0 means none."""

    connect_s: float = 5
    first_token_s: float = 60
    idle_s: float = 90
    stall_s: float = 30
    heartbeat_s: float = 12
    total_s: float = 900
    chat_total_s: float = 60


class Target(msgspec.Struct, frozen=True):
    """Where one request goes: provider, routed model and timeouts."""

    provider: str
    model: str
    timeouts: Timeouts = msgspec.field(default_factory=Timeouts)
