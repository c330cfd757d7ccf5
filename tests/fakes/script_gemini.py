"""Scripts in which the fake provider speaks Gemini's API. google-genai's own types read what they send (tests/clients).

fake.script = gemini(["Hel", "lo"], thoughts=["hm"])     # a stream or one object, as the request asks
fake.script = [Part({"text": "Hel"}), Broken()]          # chunk by chunk
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.exchange import Exchange, Script

Json = dict[str, Any]
CRLF = "\r\n"  # how Google ends its lines
SIGNATURE = "Q0E="


def usage(input_tokens: int = 9, output_tokens: int = 4, thoughts: int = 0, cached: int = 0) -> Json:
    """Counts as Gemini writes them: those of 0 are left out, thoughts are not part of the candidates'."""
    counts = {
        "promptTokenCount": input_tokens,
        "candidatesTokenCount": output_tokens - thoughts,
        "cachedContentTokenCount": cached,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": input_tokens + output_tokens,
    }
    details = [{"modality": "TEXT", "tokenCount": input_tokens}]
    return {**{name: number for name, number in counts.items() if number}, "promptTokensDetails": details}


def response(exchange: Exchange, candidates: Sequence[Json], **more: Any) -> Json:
    """A GenerateContentResponse."""
    said: Json = {"candidates": list(candidates)} if candidates else {}
    return {**said, **more, "modelVersion": exchange.model, "responseId": f"r{exchange.number}"}


def candidate(*parts: Json, index: int = 0, finish: str | None = None, **more: Any) -> Json:
    """A candidate; the first has no index, as of every number that is 0."""
    said: Json = {"content": {"parts": list(parts), "role": "model"}} if parts else {}
    said |= {"index": index} if index else {}
    return {**said, **({"finishReason": finish} if finish else {}), **more}


def call(name: str, arguments: Json, call_id: str = "", signature: str = SIGNATURE) -> Json:
    """A part that calls a function; older models give it no id, and only the first of several is signed."""
    said = {"id": call_id, "name": name, "args": arguments} if call_id else {"name": name, "args": arguments}
    return {"functionCall": said, **({"thoughtSignature": signature} if signature else {})}


def status(code: int, name: str, message: str, *details: Json) -> Json:
    """A google.rpc.Status."""
    said: Json = {"code": code, "message": message, "status": name}
    return {"error": {**said, "details": list(details)} if details else said}


@dataclass(frozen=True)
class Part:
    """A chunk of a stream with these parts."""

    part: Json
    finish: str | None = None
    counts: Json | None = None

    async def run(self, exchange: Exchange) -> None:
        exchange.newline = CRLF
        more = {} if self.counts is None else {"usageMetadata": self.counts}
        said = response(exchange, [candidate(self.part, finish=self.finish)], **more)
        await exchange.frame(said, chunks=1 if self.part.get("text") or "functionCall" in self.part else 0)


@dataclass(frozen=True)
class Broken:
    """An error in mid-stream, as Google sends it: pretty-printed and outside of `data:`."""

    error: Json = field(default_factory=lambda: status(503, "UNAVAILABLE", "The model is overloaded."))

    async def run(self, exchange: Exchange) -> None:
        await exchange.send(json.dumps(self.error, indent=2).encode() + b"\n")


@dataclass(frozen=True)
class Answer:
    """The answer to a request, as a stream or as one object, whichever was asked for. See `gemini`."""

    texts: Sequence[str]
    thoughts: Sequence[str]
    calls: Sequence[Json]
    finish: str
    counts: Json

    async def __call__(self, exchange: Exchange) -> None:
        parts = [*({"text": thought, "thought": True} for thought in self.thoughts)]
        parts += [{"text": text} for text in self.texts]
        parts += self.calls
        if not exchange.path.endswith(":streamGenerateContent"):
            whole = response(exchange, [candidate(*parts, finish=self.finish)], usageMetadata=self.counts)
            await exchange.answer_json(whole)
            return
        assert exchange.query == "alt=sse", "without it the answer is a JSON array in pieces"
        so_far = {name: self.counts[name] for name in ("promptTokenCount",)}
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            await Part(part, self.finish if last else None, self.counts if last else so_far).run(exchange)
        await exchange.end_body()


def gemini(
    texts: Sequence[str] = ("Hello",),
    *,
    thoughts: Sequence[str] = (),
    calls: Sequence[Json] = (),
    finish: str = "STOP",
    counts: Json | None = None,
) -> Answer:
    """A whole answer: thoughts, then text, then calls. Gemini says "STOP" for calls too."""
    return Answer(tuple(texts), tuple(thoughts), tuple(calls), finish, counts or usage())


def blocked(reason: str = "PROHIBITED_CONTENT") -> Script:
    """The prompt is refused: status 200, and no candidates."""

    async def answer(exchange: Exchange) -> None:
        feedback = {"blockReason": reason}
        counts = {"promptTokenCount": 9, "totalTokenCount": 9}
        said = response(exchange, [], promptFeedback=feedback, usageMetadata=counts)
        if exchange.path.endswith(":streamGenerateContent"):
            exchange.newline = CRLF
            await exchange.frame(said)
        else:
            await exchange.answer_json(said)

    return answer
