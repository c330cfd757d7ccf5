"""Which models want the other of their provider's two APIs, as the provider says when it is asked by the first.

OpenAI is asked by Chat Completions, which its own clients speak, so that frames pass byte for byte. Its newer models
refuse function tools there unless they are told not to think, and some are not served there at all. Such a request is
asked once more by Responses, before anything of an answer was passed on, and the next ones like it begin there. Names
are not looked at: which models these are changes every month, and what the provider says does not.

Source: what OpenAI and Azure OpenAI say, as their users report it, read 2026-11-22.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from enum import Enum
from typing import Final

from rillgate.domain.delta import OPENAI_ORIGIN
from rillgate.domain.errors import ClientError, RillgateError, UpstreamError
from rillgate.domain.kept_reasoning import holds
from rillgate.domain.request import ChatRequest, Target

MODELS_MAX: Final = 1000  # clients choose model names; those that were learned first are forgotten

_TOOLS: Final = re.compile(r"tools with reasoning_effort are not supported .*/v1/responses", re.IGNORECASE | re.DOTALL)
_ALL: Final = re.compile(
    r"only supported in v1/responses"
    r"|This is not a chat model"  # also said of models for completions, which Responses does not know either
    r"|chatCompletion operation does not work with"  # Azure, of embedding models as well
)
_NOWHERE: Final = re.compile(
    r"operation does not work with|(?:not supported|cannot be used) (?:in|with) the responses", re.IGNORECASE
)


class Wanted(Enum):
    """Which requests a model wants by the other API."""

    WITH_TOOLS = "with tools"
    ALL = "all"


class ModelApis:
    """What was learned of the models of one process."""

    def __init__(self) -> None:
        self._wanted: OrderedDict[tuple[str, str], Wanted] = OrderedDict()

    def begins_with_other(self, target: Target, request: ChatRequest) -> bool:
        """Whether this request is known to be refused by the first API, or holds what only the other one takes back."""
        wanted = self._wanted.get((target.provider, target.model))
        if wanted is Wanted.WITH_TOOLS:
            return (_has_tools(request) and not _does_not_think(request)) or _holds_reasoning(request)
        return wanted is Wanted.ALL

    def wanted(self, error: RillgateError) -> Wanted | None:
        """What a refusal by the first API says; None where it is about something else."""
        if not isinstance(error, UpstreamError) or error.status not in (400, 404):
            return None
        if _TOOLS.search(error.message):
            return Wanted.WITH_TOOLS
        return Wanted.ALL if _ALL.search(error.message) else None

    def remember(self, target: Target, wanted: Wanted) -> None:
        """The other API takes what the first one refused."""
        key = (target.provider, target.model)
        if self._wanted.get(key) is not Wanted.ALL:
            self._wanted[key] = wanted
        self._wanted.move_to_end(key)
        if len(self._wanted) > MODELS_MAX:
            self._wanted.popitem(last=False)


def helps_nothing(error: RillgateError) -> bool:
    """Whether the other API cannot answer it either: the request cannot be said there, or the model is not there.

    The first refusal is then the one to tell.
    """
    if isinstance(error, ClientError):
        return True
    return isinstance(error, UpstreamError) and (error.status == 404 or bool(_NOWHERE.search(error.message)))


def _has_tools(request: ChatRequest) -> bool:
    return bool(request.fields.get("tools") or request.fields.get("functions"))


def _does_not_think(request: ChatRequest) -> bool:
    """Whether it says itself what the first API wants to hear; from other dialects that is not passed on."""
    return request.dialect == "chat_completions" and request.fields.get("reasoning_effort") == "none"


def _holds_reasoning(request: ChatRequest) -> bool:
    return any(holds(message, OPENAI_ORIGIN) for message in request.fields["messages"])
