"""What the fake provider in Python writes in each API that it speaks: the same texts, in the frames of whoever asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from tests.fakes import script_anthropic as anthropic
from tests.fakes import script_bedrock as bedrock
from tests.fakes import script_ollama as ollama
from tests.fakes.exchange import Exchange
from tests.fakes.script import chat


@dataclass(frozen=True)
class Api:
    """One API: what stands before the texts, a text's frame, and the end after so many of them."""

    begin: Callable[[Exchange], Awaitable[None]]
    frame: Callable[[Exchange, str], bytes]
    end: Callable[[Exchange, int], Awaitable[None]]


def api_of(path: str) -> Api:
    """The API whose requests come to this path; Bedrock's have the model in it."""
    return BEDROCK if path.startswith("/model/") else BY_PATH[path]


async def _openai_begin(exchange: Exchange) -> None:
    await exchange.head()


def _openai_frame(exchange: Exchange, text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    return b"data: " + msgspec.json.encode(exchange.envelope([choice], system_fingerprint=None)) + b"\n\n"


async def _openai_end(exchange: Exchange, chunks: int) -> None:
    await chat([], role_first=False, output_tokens=chunks)(exchange)


async def _anthropic_begin(exchange: Exchange) -> None:
    block = anthropic.block_start(0, {"type": "text", "text": ""})
    for step in (anthropic.MessageStart(anthropic.usage()), block, anthropic.PING):
        await step.run(exchange)


def _anthropic_frame(exchange: Exchange, text: str) -> bytes:
    event = anthropic.block_delta(0, "text_delta", text=text)
    said = msgspec.json.encode({"type": event.type, **event.fields})
    return b"event: " + event.type.encode() + b"\ndata: " + said + b"\n\n"


async def _anthropic_end(exchange: Exchange, chunks: int) -> None:
    for step in (anthropic.block_stop(0), anthropic.message_delta("end_turn", chunks), anthropic.MESSAGE_STOP):
        await step.run(exchange)


async def _ollama_begin(exchange: Exchange) -> None:
    await exchange.head(200, ollama.NDJSON)


def _ollama_frame(exchange: Exchange, text: str) -> bytes:
    return msgspec.json.encode(ollama.Line(text).fields(exchange)) + b"\n"


async def _ollama_end(exchange: Exchange, chunks: int) -> None:
    await ollama.done(output_tokens=chunks).run(exchange)


async def _bedrock_begin(exchange: Exchange) -> None:
    await exchange.head(200, bedrock.EVENT_STREAM)
    await exchange.send(bedrock.start())


def _bedrock_frame(exchange: Exchange, text: str) -> bytes:
    return bedrock.text(text)


async def _bedrock_end(exchange: Exchange, chunks: int) -> None:
    counts = bedrock.usage(output_tokens=chunks)
    await exchange.send(bedrock.end_block() + bedrock.stop() + bedrock.metadata(counts))


BEDROCK = Api(_bedrock_begin, _bedrock_frame, _bedrock_end)
BY_PATH = {
    "/v1/chat/completions": Api(_openai_begin, _openai_frame, _openai_end),
    "/v1/messages": Api(_anthropic_begin, _anthropic_frame, _anthropic_end),
    "/api/chat": Api(_ollama_begin, _ollama_frame, _ollama_end),
}
