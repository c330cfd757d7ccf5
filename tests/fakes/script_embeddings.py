"""A script that answers requests for embeddings in every API that the fake provider knows.

fake.script = vectors()        # of each text its length, its first character's number, and 0.5
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from tests.fakes.exchange import Exchange, Script


def vector(text: Any) -> list[float]:
    """What stands for a text, or for token ids."""
    first = ord(text[0]) if isinstance(text, str) else text[0]
    return [float(len(text)), float(first), 0.5]


def tokens(texts: Sequence[Any]) -> int:
    """What the fake says that they took: two for each."""
    return 2 * len(texts)


def vectors(*, counted: bool = True) -> Script:
    """Args: counted: say how many tokens it took, where the API can."""

    async def answer(exchange: Exchange) -> None:
        await exchange.answer_json(_answer(exchange, counted=counted))

    return answer


def _answer(exchange: Exchange, *, counted: bool) -> dict[str, Any]:
    asked, path = exchange.json, exchange.path
    if path.endswith("/embeddings"):
        return _openai(exchange, counted=counted)
    if path == "/api/embed":
        more = {"prompt_eval_count": tokens(asked["input"])} if counted else {}
        return {"model": exchange.model, "embeddings": [vector(text) for text in asked["input"]], **more}
    if path.endswith(":batchEmbedContents"):
        texts = [one["content"]["parts"][0]["text"] for one in asked["requests"]]
        usage = {"usageMetadata": {"promptTokenCount": tokens(texts)}} if counted else {}
        return {"embeddings": [{"values": vector(text)} for text in texts], **usage}
    if "inputText" in asked:
        text = asked["inputText"]
        counts = {"inputTextTokenCount": tokens([text])} if counted else {}
        return {"embedding": vector(text), "embeddingsByType": {"float": vector(text)}, **counts}
    texts = asked["texts"]
    found = [vector(text) for text in texts]
    by_type = "embed-v4" in exchange.model
    return {"id": "e1", "texts": texts, "embeddings": {"float": found} if by_type else found}


def _openai(exchange: Exchange, *, counted: bool) -> dict[str, Any]:
    given = exchange.json["input"]
    alone = isinstance(given, str) or isinstance(given[0], int)
    texts = [given] if alone else given
    as_text = exchange.json.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector(text)) if as_text else vector(text)}
        for index, text in enumerate(texts)
    ]
    usage = {"usage": {"prompt_tokens": tokens(texts), "total_tokens": tokens(texts)}} if counted else {}
    return {"object": "list", "data": data, "model": exchange.model, **usage}


def _base64(values: Sequence[float]) -> str:
    return b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
