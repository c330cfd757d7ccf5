"""What a model can put out at most, as its provider says when it is asked for more.

A client that names no cap is given ours (`limits.output_tokens_default`), since a budget has to hold something. Some
models refuse a cap that is larger than they can do: they are asked once more for what they can, and the next requests
begin with that. A cap that a client names itself goes upstream as it is, and so does the refusal to the client.

Source: what Amazon Bedrock, OpenAI, Anthropic, Gemini and vLLM say, as their users report it, read 2026-11.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Final

from rillgate.domain.errors import RillgateError, UpstreamError
from rillgate.domain.request import Target

MODELS_MAX: Final = 1000  # clients choose model names; those that were learned first are forgotten
USEFUL_TOKENS_MIN: Final = 16  # where the context leaves less, the refusal says more than such an answer

_OF_MODEL: Final = re.compile(
    r"exceeds the model limit of (\d+)"  # Bedrock
    r"|supports at most (\d+) completion tokens"  # OpenAI
    r"|max_tokens: \d+ > (\d+)"  # Anthropic
    r"|supported range is from 1 \(inclusive\) to (\d+) \(exclusive\)"  # Gemini
)
_CONTEXT: Final = re.compile(r"maximum context length is (\d+)")  # vLLM: prompt and answer together
_PROMPT: Final = re.compile(r"(\d+) (?:input tokens|in the messages)")


class ModelCaps:
    """What was learned of the models of one process."""

    def __init__(self) -> None:
        self._caps: OrderedDict[tuple[str, str], int] = OrderedDict()

    def of(self, target: Target, cap: int) -> int:
        """The cap to ask this model for, where `cap` would be ours."""
        return min(cap, self._caps.get((target.provider, target.model), cap))

    def learn(self, target: Target, error: RillgateError, cap: int) -> int | None:
        """The cap to ask for instead of one that was refused with this error; None where that is not what it is about.

        What the prompt's length leaves of a context holds for this request alone, and is not remembered.
        """
        if not isinstance(error, UpstreamError) or error.status != 400:
            return None
        said = _OF_MODEL.search(error.message)
        if said is None:
            return _left_of_context(error.message, cap)
        found = next(int(number) for number in said.groups() if number)
        lower = found - 1 if "(exclusive)" in said[0] else found
        if not USEFUL_TOKENS_MIN <= lower < cap:
            return None
        self._caps[target.provider, target.model] = lower
        self._caps.move_to_end((target.provider, target.model))
        if len(self._caps) > MODELS_MAX:
            self._caps.popitem(last=False)
        return lower


def _left_of_context(message: str, cap: int) -> int | None:
    context, prompt = _CONTEXT.search(message), _PROMPT.search(message)
    if context is None or prompt is None:
        return None
    left = int(context[1]) - int(prompt[1])
    return left if USEFUL_TOKENS_MIN <= left < cap else None
