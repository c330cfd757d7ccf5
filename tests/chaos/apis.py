"""The four APIs as a provider speaks them: the events of one answer as bytes, and what each calls an error. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.fakes import script_bedrock as bedrock
from tests.fakes.eventstream import event as aws_event
from tests.fakes.exchange import CREATED
from tests.fakes.script_anthropic import usage as anthropic_usage
from tests.fakes.script_ollama import CREATED_AT

INPUT_TOKENS: Final = 30

Pieces = Sequence[str]


@dataclass(frozen=True)
class Api:
    """One API.

    Attributes:
        name: as configurations name its kind.
        content_type: of a stream.
        opening: events before the first word.
        word: the event of one word.
        finish: the event that ends the answer; counts are (input, output), None for an answer without usage.
        ending: events after that.
        whole: an answer that is not streamed.
        error: an error's body.
        broken: an event that is none.
        huge: an event of so many bytes.
        usage: the usage object; `None` for counts that are missing.
    """

    name: str
    content_type: str
    opening: Callable[[], bytes]
    word: Callable[[str], bytes]
    finish: Callable[[Any, int | None], bytes]
    ending: Callable[[], bytes]
    whole: Callable[[Pieces, Any, int | None], bytes]
    error: Callable[[str], bytes]
    broken: bytes
    huge: Callable[[int], bytes]

    def stream(self, pieces: Pieces) -> list[bytes]:
        """All events of an answer, in order."""
        closing = (self.finish(INPUT_TOKENS, len(pieces)), self.ending())
        return [event for event in (self.opening(), *map(self.word, pieces), *closing) if event]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()  # takes numbers of any size


# OpenAI


def _openai_usage(input_tokens: Any, output_tokens: Any) -> dict[str, Any]:
    return {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}


def _chunk(choices: list[Any], **more: Any) -> bytes:
    head = {"id": "chatcmpl-chaos", "object": "chat.completion.chunk", "created": CREATED, "model": "chaos"}
    return b"data: " + _json({**head, "choices": choices, **more}) + b"\n\n"


def _openai_delta(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return _chunk([{"index": 0, "delta": delta, "finish_reason": finish}], usage=None)


def _openai_finish(input_tokens: Any, output_tokens: int | None) -> bytes:
    last = _openai_delta({}, "stop")
    return last if output_tokens is None else last + _chunk([], usage=_openai_usage(input_tokens, output_tokens))


def _openai_whole(pieces: Pieces, input_tokens: Any, output_tokens: int | None) -> bytes:
    message = {"role": "assistant", "content": "".join(pieces), "refusal": None}
    choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    answer: dict[str, Any] = {"id": "chatcmpl-chaos", "object": "chat.completion", "created": CREATED, "model": "chaos"}
    counts = {} if output_tokens is None else {"usage": _openai_usage(input_tokens, output_tokens)}
    return _json({**answer, "choices": choices, **counts})


OPENAI: Final = Api(
    name="openai",
    content_type="text/event-stream",
    opening=lambda: _openai_delta({"role": "assistant", "content": ""}),
    word=lambda word: _openai_delta({"content": word}),
    finish=_openai_finish,
    ending=lambda: b"data: [DONE]\n\n",
    whole=_openai_whole,
    error=lambda said: _json({"error": {"message": said, "type": "server_error", "param": None, "code": None}}),
    broken=b'data: {"choices": [}\n\n',
    huge=lambda size: b"data: " + b"x" * size + b"\n\n",
)


# Anthropic


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + _json({"type": kind, **fields}) + b"\n\n"


def _message(**more: Any) -> dict[str, Any]:
    return {"id": "msg_chaos", "type": "message", "role": "assistant", "model": "chaos", **more}


def _anthropic_opening() -> bytes:
    begun: dict[str, Any] = {
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": anthropic_usage(INPUT_TOKENS, 1),
    }
    block = _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    return _event("message_start", message=_message(**begun)) + block


def _anthropic_finish(input_tokens: Any, output_tokens: int | None) -> bytes:
    counts = {} if output_tokens is None else {"usage": {"output_tokens": output_tokens}}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    return _event("content_block_stop", index=0) + _event("message_delta", delta=delta, **counts)


def _anthropic_whole(pieces: Pieces, input_tokens: Any, output_tokens: int | None) -> bytes:
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    counts = {} if output_tokens is None else {"usage": anthropic_usage(input_tokens, output_tokens)}
    return _json(_message(content=[{"type": "text", "text": "".join(pieces)}], **ended, **counts))


ANTHROPIC: Final = Api(
    name="anthropic",
    content_type="text/event-stream",
    opening=_anthropic_opening,
    word=lambda word: _event("content_block_delta", index=0, delta={"type": "text_delta", "text": word}),
    finish=_anthropic_finish,
    ending=lambda: _event("message_stop"),
    whole=_anthropic_whole,
    error=lambda said: _json({"type": "error", "error": {"type": "api_error", "message": said}}),
    broken=b'event: content_block_delta\ndata: {"type": [}\n\n',
    huge=lambda size: b"event: content_block_delta\ndata: " + b"x" * size + b"\n\n",
)


# Ollama


def _line(content: str, **more: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content}
    return {"model": "chaos", "created_at": CREATED_AT.format(0), "message": said, "done": False, **more}


def _ollama_done(input_tokens: Any, output_tokens: int | None) -> dict[str, Any]:
    counts = {} if output_tokens is None else {"prompt_eval_count": input_tokens, "eval_count": output_tokens}
    return {"done": True, "done_reason": "stop", "total_duration": 905000000, **counts}


OLLAMA: Final = Api(
    name="ollama",
    content_type="application/x-ndjson",
    opening=lambda: b"",
    word=lambda word: _json(_line(word)) + b"\n",
    finish=lambda input_tokens, output_tokens: _json(_line("", **_ollama_done(input_tokens, output_tokens))) + b"\n",
    ending=lambda: b"",
    whole=lambda pieces, input_tokens, output_tokens: _json(
        _line("".join(pieces), **_ollama_done(input_tokens, output_tokens))
    ),
    error=lambda said: _json({"error": said}),
    broken=b'{"message": [}\n',
    huge=lambda size: b'{"message": "' + b"x" * size + b'"}\n',
)


# Bedrock


def _bedrock_usage(input_tokens: Any, output_tokens: Any) -> dict[str, Any]:
    return {"inputTokens": input_tokens, "outputTokens": output_tokens}


def _bedrock_metadata(input_tokens: Any, output_tokens: Any) -> bytes:
    return aws_event("metadata", _json({"usage": _bedrock_usage(input_tokens, output_tokens), "metrics": {}}))


def _bedrock_finish(input_tokens: Any, output_tokens: int | None) -> bytes:
    ended = bedrock.end_block() + bedrock.stop()
    return ended if output_tokens is None else ended + _bedrock_metadata(input_tokens, output_tokens)


def _bedrock_whole(pieces: Pieces, input_tokens: Any, output_tokens: int | None) -> bytes:
    counts = {} if output_tokens is None else _bedrock_usage(input_tokens, output_tokens)
    return _json(bedrock.answer_of({"text": "".join(pieces)}, usage=counts))


BEDROCK: Final = Api(
    name="bedrock",
    content_type="application/vnd.amazon.eventstream",
    opening=bedrock.start,
    word=bedrock.text,
    finish=_bedrock_finish,
    ending=lambda: b"",
    whole=_bedrock_whole,
    error=lambda said: _json({"message": said}),
    broken=bedrock.text("x")[:-1] + b"\x00",  # its checksum does not hold
    huge=lambda size: aws_event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x" * size}}),
)

APIS: Final = {api.name: api for api in (OPENAI, ANTHROPIC, OLLAMA, BEDROCK)}
