"""Streams and answers of Amazon Bedrock's Converse, for scripts of the fake provider and for decoders.

fake.script = bedrock(["Hel", "lo"])            # a whole stream, or a whole answer to /converse
stream = start() + text("Hi") + stop() + metadata()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.fakes.eventstream import event, exception
from tests.fakes.exchange import Exchange, Script

EVENT_STREAM = {"content-type": "application/vnd.amazon.eventstream"}


def start() -> bytes:
    """The first event."""
    return event("messageStart", {"role": "assistant", "p": "abcdef"})


def delta(content: Mapping[str, Any], block: int = 0) -> bytes:
    """More of a block."""
    return event("contentBlockDelta", {"contentBlockIndex": block, "delta": content, "p": "abcd"})


def text(content: str, block: int = 0) -> bytes:
    """More text."""
    return delta({"text": content}, block)


def reasoning(content: Mapping[str, Any], block: int = 0) -> bytes:
    """More reasoning: {"text": …}, {"signature": …} or {"redactedContent": …}."""
    return delta({"reasoningContent": content}, block)


def begin_tool(call_id: str, name: str, block: int, **more: Any) -> bytes:
    """A call's beginning."""
    use = {"toolUseId": call_id, "name": name, **more}
    return event("contentBlockStart", {"contentBlockIndex": block, "start": {"toolUse": use}, "p": "ab"})


def arguments(fragment: str, block: int) -> bytes:
    """More of a call's arguments."""
    return delta({"toolUse": {"input": fragment}}, block)


def end_block(block: int = 0) -> bytes:
    """A block's end."""
    return event("contentBlockStop", {"contentBlockIndex": block, "p": "abc"})


def stop(reason: str = "end_turn", **more: Any) -> bytes:
    """The message's end."""
    return event("messageStop", {"stopReason": reason, "p": "abcde", **more})


def usage(input_tokens: int = 9, output_tokens: int = 4, **more: int) -> dict[str, int]:
    """Token counts as Bedrock writes them."""
    total = input_tokens + output_tokens + sum(more.values())
    return {"inputTokens": input_tokens, "outputTokens": output_tokens, "totalTokens": total, **more}


def metadata(counts: Mapping[str, int] | None = None) -> bytes:
    """The stream's last event."""
    said = usage() if counts is None else dict(counts)
    return event("metadata", {"usage": said, "metrics": {"latencyMs": 310}, "p": "abcdefgh"})


def stream_of(pieces: Sequence[str], reason: str = "end_turn") -> bytes:
    """A whole stream of one text."""
    return start() + b"".join(map(text, pieces)) + end_block() + stop(reason) + metadata()


def answer_of(*content: Mapping[str, Any], reason: str = "end_turn", **more: Any) -> dict[str, Any]:
    """What Converse answers."""
    return {
        "output": {"message": {"role": "assistant", "content": list(content)}},
        "stopReason": reason,
        "usage": usage(),
        "metrics": {"latencyMs": 310},
        **more,
    }


def bedrock(pieces: Sequence[str], *, reason: str = "end_turn") -> Script:
    """Streams these pieces of text, or answers with all of them where no stream was asked for."""

    async def answer(exchange: Exchange) -> None:
        if not exchange.path.endswith("/converse-stream"):
            await exchange.answer_json(answer_of({"text": "".join(pieces)}, reason=reason))
            return
        await exchange.head(200, EVENT_STREAM)
        await exchange.send(start())
        for piece in pieces:
            await exchange.send(text(piece), chunks=1)
        await exchange.send(end_block() + stop(reason) + metadata())

    return answer


def broken_off(pieces: Sequence[str], kind: str, message: str) -> Script:
    """Streams these pieces of text and then an exception."""

    async def answer(exchange: Exchange) -> None:
        await exchange.head(200, EVENT_STREAM)
        await exchange.send(start())
        for piece in pieces:
            await exchange.send(text(piece), chunks=1)
        await exchange.send(exception(kind, {"message": message}))

    return answer


def refused(status: int, kind: str, message: str) -> Script:
    """An error before the stream."""

    async def answer(exchange: Exchange) -> None:
        await exchange.answer_json(
            {"message": message}, status, {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/"}
        )

    return answer
