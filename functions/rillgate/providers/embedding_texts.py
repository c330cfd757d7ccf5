"""The input of an embeddings request, for providers of other families than OpenAI's: texts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rillgate.domain.errors import ClientError


def texts_of(fields: Mapping[str, Any], provider: str) -> list[str]:
    """The texts, in order.

    Shape:  {"input": "a"} → ["a"]
    Args:   provider: its configured name.
    Raises: ClientError: token ids, which belong to one family's tokenizer.
    """
    given = fields["input"]
    texts = [given] if isinstance(given, str) else given
    if not all(isinstance(text, str) for text in texts):
        raise ClientError(
            f"Provider {provider!r} takes texts for 'input' and no token ids.",
            param="input",
            code="unsupported_parameter",
        )
    return list(texts)


def word_of(fields: Mapping[str, Any], *names: str) -> str | None:
    """The first of these fields that is a word: what a text is for has no field of OpenAI's."""
    return next((fields[name] for name in names if isinstance(fields.get(name), str) and fields[name]), None)


def broken(provider: str) -> str:
    """What is said of an answer that holds no vectors."""
    return f"Provider {provider!r} sent an answer without embeddings."
