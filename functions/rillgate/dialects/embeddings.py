"""OpenAI's embeddings: texts in, vectors out. Never a stream; errors have the shape of Chat Completions.

The official SDKs ask for base64 by themselves and turn it into numbers; so whatever a provider writes, the client gets
the form that it asked for, save from servers of the same dialect, whose answers pass byte for byte.
Source: https://platform.openai.com/docs/api-reference/embeddings, and openai-python's reading of it, read 2026-11.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Literal

from rillgate.dialects.chat_completions import ChatCompletions
from rillgate.dialects.json_fields import json_object, optional_integer, optional_string, shown, wrong_type
from rillgate.dialects.whole import with_ours
from rillgate.domain.delta import Delta, EmbeddingDelta
from rillgate.domain.errors import ClientError
from rillgate.domain.ports import Report
from rillgate.domain.request import AnswerHead, ChatRequest
from rillgate.domain.usage import Usage
from rillgate.wire.loose_json import json_bytes

NAME = "embeddings"
INPUTS_MAX = 2048  # OpenAI's own bound
DIMENSIONS_BOUND = 1_000_000
FORMATS = ("float", "base64")

Format = Literal["float", "base64"]


def parse(body: bytes) -> ChatRequest:
    """A request body, checked field by field; fields that we do not know are kept.

    Shape:  {"model": "m", "input": ["a", "b"], "dimensions": 256} → ChatRequest(model="m", output_tokens_asked=0, …)
    Raises: ClientError: not JSON, a missing field, a wrong type; `param` names the field.
    """
    fields = json_object(body)
    model = optional_string(fields, "model")
    if not model:  # what answers a chat where none is named is no model for this
        raise _missing("model", "the name of a model for embeddings")
    _check_input(fields.get("input"))
    optional_integer(fields, "dimensions", 1, DIMENSIONS_BOUND)
    optional_string(fields, "user")
    form = optional_string(fields, "encoding_format")
    if form is not None and form not in FORMATS:
        raise _invalid("encoding_format", form, f"use one of {', '.join(FORMATS)}")
    return ChatRequest(fields=fields, model=model, stream=False, output_tokens_asked=0, dialect=NAME)


def format_of(request: ChatRequest) -> Format:
    """How the client wants its vectors."""
    return "base64" if request.fields.get("encoding_format") == "base64" else "float"


class Embeddings(ChatCompletions):
    """The dialect as the pipeline sees it.

    Args: form: how vectors of another API family are written.
    """

    name = NAME

    def __init__(self, form: Format) -> None:
        self._form = form

    def answer(self, body: bytes, usage: Usage | None, report: Report) -> bytes:
        """A whole answer with our usage and report added; byte for byte when there is nothing to add."""
        return with_ours(body, None if usage is None else usage_object(usage), report)

    def encode_answer(self, head: AnswerHead, deltas: Sequence[Delta], usage: Usage, report: Report) -> bytes:
        """A list of vectors in the order of the input."""
        vectors = sorted((delta for delta in deltas if isinstance(delta, EmbeddingDelta)), key=lambda one: one.index)
        answer: dict[str, Any] = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": one.index, "embedding": self._written(one.values)} for one in vectors
            ],
            "model": head.model,
            "usage": usage_object(usage),
        }
        if report:
            answer["rillgate"] = report
        return json_bytes(answer)

    def _written(self, values: Sequence[float]) -> str | Sequence[float]:
        """base64 is of 32-bit floats, little-endian: what numpy reads in the SDKs."""
        if self._form == "float":
            return values
        numbers = array("f", values)  # one that is too large for it is infinite
        if sys.byteorder == "big":
            numbers.byteswap()
        return b64encode(numbers.tobytes()).decode()


def usage_object(usage: Usage) -> dict[str, int]:
    """Usage as OpenAI writes it: there is a prompt and nothing else."""
    tokens = usage.input_tokens or 0
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _check_input(given: Any) -> None:
    """A text, a list of texts, a list of token ids, or a list of such lists."""
    if given is None:
        raise _missing("input", "a text, a list of texts, or token ids")
    if isinstance(given, str):
        if not given:
            raise _invalid("input", given, "an empty text has no embedding")
        return
    if not isinstance(given, list):
        raise wrong_type("input", "a string or an array", given)
    if not given:
        raise _invalid("input", given, "send at least one text")
    if all(_is_id(one) for one in given):
        return
    if len(given) > INPUTS_MAX:
        raise ClientError(
            f"Invalid value for 'input': at most {INPUTS_MAX} texts at once, not {len(given)}.",
            param="input",
            code="invalid_value",
        )
    for place, one in enumerate(given):
        _check_item(one, f"input[{place}]")


def _check_item(one: Any, where: str) -> None:
    if not isinstance(one, str | list):
        raise wrong_type(where, "a string or an array of token ids", one)
    if not one or (isinstance(one, list) and not all(map(_is_id, one))):
        raise _invalid(where, one, "give a text, or token ids that are whole numbers")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _missing(param: str, expected: str) -> ClientError:
    return ClientError(f"Missing required field '{param}': {expected}.", param=param, code="missing_required_parameter")


def _invalid(param: str, value: Any, remedy: str) -> ClientError:
    return ClientError(f"Invalid value for '{param}': {shown(value)}; {remedy}.", param=param, code="invalid_value")
