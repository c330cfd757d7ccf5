"""Scripts in which the fake provider speaks as Azure OpenAI does: OpenAI's chunks, and what Azure's filters say there.

fake.script = azure(["Hel", "lo"])                        # filtered as it goes
fake.script = azure(["Hel", "lo"], asynchronous=True)     # what the filter found follows later
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.fakes.exchange import CREATED, Exchange, Script
from tests.fakes.script import usage

SAFE = {"filtered": False, "severity": "safe"}
RESULTS = dict.fromkeys(("hate", "self_harm", "sexual", "violence"), SAFE)
PROMPT_RESULTS = [{"prompt_index": 0, "content_filter_results": {**RESULTS, "jailbreak": {"filtered": False}}}]


def blocked(message: str = "The response was filtered due to the prompt triggering Azure OpenAI's policy.") -> Any:
    """The body of the 400 for a prompt that the filter stops."""
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"jailbreak": {"filtered": True}}}
    error = {"message": message, "type": None, "param": "prompt", "code": "content_filter", "status": 400}
    return {"error": {**error, "innererror": inner}}


def azure(texts: Sequence[str] = ("Hello",), *, finish: str = "stop", asynchronous: bool = False) -> Script:
    """A stream or one object, as the request asks."""

    async def answer(exchange: Exchange) -> None:
        if not exchange.wants_stream:
            await exchange.answer_json(_whole(exchange, texts, finish))
            return
        head = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
        await exchange.frame({**head, "prompt_filter_results": PROMPT_RESULTS})
        filters: dict[str, Any] = {} if asynchronous else {"content_filter_results": RESULTS}
        role = {"role": "assistant", "content": "", "refusal": None}
        await exchange.frame(_chunk(exchange, role, content_filter_results={}))
        for text in texts:
            await exchange.frame(_chunk(exchange, {"content": text}, **filters), chunks=1)
        await exchange.frame(_chunk(exchange, {}, finish, content_filter_results={}))
        if asynchronous:
            offsets = {"check_offset": 0, "start_offset": 0, "end_offset": sum(map(len, texts))}
            annotation = {"content_filter_offsets": offsets, "content_filter_results": RESULTS}
            await exchange.frame({**head, "choices": [{"index": 0, "finish_reason": None, **annotation}]})
        if exchange.wants_usage:
            await exchange.frame({**_chunk(exchange, {}), "choices": [], "usage": usage(9, len(texts))})
        await exchange.done_marker()

    return answer


def _chunk(exchange: Exchange, delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"delta": delta, "finish_reason": finish, "index": 0, "logprobs": None, **more}
    return {
        "choices": [choice],
        "created": CREATED,
        "id": exchange.id,
        "model": "gpt-4o-2024-11-20",
        "object": "chat.completion.chunk",
        "system_fingerprint": "fp_1",
        "usage": None,
    }


def _whole(exchange: Exchange, texts: Sequence[str], finish: str) -> dict[str, Any]:
    message = {"content": "".join(texts), "refusal": None, "role": "assistant"}
    choice = {"content_filter_results": RESULTS, "finish_reason": finish, "index": 0, "logprobs": None}
    return {
        "choices": [{**choice, "message": message}],
        "created": CREATED,
        "id": exchange.id,
        "model": "gpt-4o-2024-11-20",
        "object": "chat.completion",
        "prompt_filter_results": PROMPT_RESULTS,
        "usage": usage(9, len(texts)),
    }
