"""What clients send: every function of `dialects` that parses, and what providers make of what it lets through.

Parsers are found, not listed: a new dialect is fuzzed as soon as it is there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl

import msgspec

import rillgate.dialects
from rillgate.app.tickets import parse_ticket_request
from rillgate.budget.estimate import estimate_prompt, prompt_bytes, prompt_tokens_max
from rillgate.dialects import embeddings
from rillgate.domain.errors import ClientError
from rillgate.domain.ports import Provider
from rillgate.domain.request import ChatRequest
from tests.fuzz.streams import CORPUS, embedders, modules_of, providers
from tests.fuzz.target import Finding, Outcome, Target, refused
from tests.unit.pipeline.relay_support import WORDS

HEADERS = {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b"}
PROVIDERS = tuple(providers().values())
EMBEDDERS = tuple(embedders().values())


def request_targets() -> Iterator[Target]:
    """Every parser of a client's request."""
    for module, function in parsers():
        name = f"{module.rpartition('.')[2]}.{function.__name__}"
        parameters = list(inspect.signature(function).parameters)
        seeds = _queries if "query" in parameters else partial(_bodies, module)
        shape: Any = "bytes" if "query" in parameters else "json"
        yield Target(name, frozenset({module}), seeds, partial(_parse, function, parameters), shape)
    covers = frozenset({"rillgate.app.tickets"})
    yield Target("ticket_request", covers, _tickets, _ticket_request)


def parsers(package: Any = rillgate.dialects) -> list[tuple[str, Callable[..., Any]]]:
    """Every public function of a package that parses: the module that defines it, and itself."""
    return [
        (name, function)
        for name in modules_of(package)
        for called, function in inspect.getmembers(import_module(name), inspect.isfunction)
        if function.__module__ == name and called.startswith("parse")
    ]


def _argument(parameter: str, data: bytes) -> Any:
    match parameter:
        case "body":
            return data
        case "query":
            return dict(parse_qsl(data.decode("latin-1"), errors="replace"))
        case "headers":
            return HEADERS
        case "cut_notice":
            return " [cut]"
        case "model":
            return "m"
        case "output_tokens_default":
            return 512
    raise Finding(f"a parser takes {parameter!r}, and the fuzzer does not know what that is: say it here")


def _parse(function: Callable[..., ChatRequest], parameters: Sequence[str], pieces: Sequence[bytes]) -> Outcome:
    try:
        parsed = function(*(_argument(parameter, pieces[0]) for parameter in parameters))
    except ClientError as error:
        return refused(error)
    estimated = estimate_prompt(parsed.fields, WORDS)
    if not 0 <= estimated <= prompt_bytes(parsed.fields):
        raise Finding(f"a prompt of {prompt_bytes(parsed.fields)} bytes is estimated at {estimated} tokens")
    prompt_tokens_max(parsed.fields, estimated)
    makers = EMBEDDERS if parsed.dialect == embeddings.NAME else PROVIDERS
    return parsed.model, parsed.stream, parsed.choices, [_built(parsed, maker) for maker in makers]


def _built(parsed: ChatRequest, maker: Provider) -> Outcome:
    """A provider's own requests, with bodies that are JSON; or its refusal."""
    try:
        first = maker.build(parsed, "amazon.titan-embed-text-v2:0", 100)
    except ClientError as error:
        return refused(error)
    for request in (first, *first.more):
        msgspec.json.decode(request.body)
        heads = [request.path, *(name + value for name, value in request.headers)]
        if any("\n" in head or "\r" in head for head in heads):
            raise Finding("a line break reaches the head of a provider's request")
    return first.path, len(first.body), len(first.more)


def _bodies(module: str) -> list[bytes]:
    """Requests in Anthropic's words for the module that reads those, in OpenAI's for the others, and one of each for
    those that are new."""
    paths = sorted(CORPUS.glob("*/*/request.json"))
    if "messages" in module:
        paths = sorted(CORPUS.glob("anthropic/*/upstream_request.json"))
    return [*(path.read_bytes() for path in paths), *map(msgspec.json.encode, REQUESTS)]


def _queries() -> list[bytes]:
    return [
        b"message=Why+is+the+sky+blue%3F&system_prompt=Be+short&max_tokens=5&temperature=0.5",
        b"message=%F0%9F%98%80&max_tokens=99999999999999999999&temperature=nan",
        b"message=a&message=b&temperature=1e5&max_tokens=%C2%B2",
    ]


def _tickets() -> list[bytes]:
    return [
        b'{"user": "ada", "ttl_s": 600, "models": ["fast-*"], "limits": ["tokens/total=5000", "streams=1"]}',
        b'{"limits": ["usd/month=0.000000001", "requests/minute=1"], "one_use": true, "ttl_s": 60}',
        b"",
    ]


def _ticket_request(pieces: Sequence[bytes]) -> Outcome:
    try:
        wanted = parse_ticket_request(pieces[0])
    except ClientError as error:
        return refused(error)
    return msgspec.to_builtins(wanted)


IMAGE = "data:image/png;base64,iVBORw0KGgo="
REQUESTS: list[Any] = [
    {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be short."},
            {
                "role": "user",
                "name": "ada",
                "content": [
                    {"type": "text", "text": "hi"},
                    {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "ok"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 5,
        "stop": ["x"],
        "n": 1,
        "reasoning_effort": "low",
        "metadata": {"a": "b"},
    },
    {
        "model": "m",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hi"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "stop_sequences": ["x"],
        "stream": True,
    },
    {"model": "m", "input": ["a", "b"], "dimensions": 9, "encoding_format": "base64", "input_type": "search_query"},
    {"model": "m", "input": [[1, 2], [3]], "user": "ada"},
    {"prompt": "hi", "system_prompt": "Be short.", "max_tokens": 5, "temperature": 0.5, "model": "m"},
    {
        "model": "m",
        "instructions": "Be short.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "ok"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "max_output_tokens": 16,
        "stream": True,
        "store": False,
    },
]
