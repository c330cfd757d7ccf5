"""Names of tools that a provider does not take: written as it does, and given back as the client knows them."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from rillgate.dialects.chat_completions import parse
from rillgate.domain.delta import Delta, TextDelta, ToolDelta
from rillgate.domain.ports import Frame, Provider, StreamDecoder
from rillgate.domain.request import ChatRequest
from rillgate.providers.anthropic import AnthropicProvider
from rillgate.providers.bedrock import BedrockProvider
from rillgate.providers.gemini import GeminiProvider
from rillgate.providers.ollama import OllamaProvider
from rillgate.providers.openai import OpenAIProvider
from rillgate.providers.tool_names import ToolNames
from rillgate.wire.sse import SseFrame

HI = {"role": "user", "content": "Hi"}
LONG = "mcp__" + "x" * 95
CHARS_MAX = {"anthropic": 128, "bedrock": 64, "gemini": 64, "openai": 64}
PROVIDERS: dict[str, Provider] = {
    "anthropic": AnthropicProvider("lab"),
    "bedrock": BedrockProvider("lab"),
    "gemini": GeminiProvider("lab"),
    "openai": OpenAIProvider("lab", own_host=True),
}


def tool(name: str) -> dict[str, Any]:
    """A function of this name."""
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


def call(name: str) -> dict[str, Any]:
    """An answer that calls it."""
    return {"role": "assistant", "tool_calls": [{"id": "t1", **tool(name), "function": {"name": name}}]}


def fields(*names: str, **more: Any) -> dict[str, Any]:
    """A request with tools of these names."""
    return {"messages": [HI], "tools": [tool(name) for name in names], **more}


def request(**given: Any) -> ChatRequest:
    """The request of a client whose dialect is none of the providers'."""
    return msgspec.structs.replace(parse(msgspec.json.encode(given)), dialect="responses")


def names_in(body: bytes) -> list[str]:
    """Everything that stands as a name in a provider's request."""
    return re.findall(r'"name":"([^"]*)"', body.decode())


class Said:
    """A decoder that says the same of every frame."""

    def __init__(self, *deltas: Any) -> None:
        self._deltas = list(deltas)

    def decode(self, frame: Frame) -> Any:
        """The deltas."""
        return self._deltas or None


def said(decoder: StreamDecoder) -> Any:
    """What a decoder gives for a frame."""
    return decoder.decode(SseFrame(b"", b"", ""))


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["read", "web-search_2"], {}),
        (["x" * 64], {}),
        (["web.search"], {"web.search": "web_search"}),
        (["web search", "größe"], {"web search": "web_search", "größe": "gr__e"}),
        (["", "read"], {}),
    ],
)
def test_names_are_written_so_that_they_still_say_the_same(names: list[str], written: dict[str, str]) -> None:
    """In the characters that are taken; those that are taken as they are stay."""
    assert ToolNames(fields(*names), 64).written == written


def test_names_that_must_begin_with_a_letter_do() -> None:
    """With a line before them, unless that would be another tool's."""
    given = fields("2nd", "-x", "ok", "_3", "3", "_ok")
    found = ToolNames(given, 64, letter_first=True).written
    assert found["2nd"] == "_2nd"
    assert found["-x"] == "_-x"
    assert re.fullmatch(r"_3_[0-9a-f]{8}", found["3"])
    assert found.keys() == {"2nd", "-x", "3"}
    assert ToolNames(given, 64).written == {}


def test_names_that_would_be_another_tools_get_a_digest() -> None:
    """Whichever stands first, and however many there are."""
    for order in (["a_b", "a.b", "a b"], ["a b", "a.b", "a_b"]):
        found = ToolNames(fields(*order), 64).written
        assert found.keys() == {"a.b", "a b"}
        assert len({"a_b", *found.values()}) == 3
        assert all(re.fullmatch(r"a_b_[0-9a-f]{8}", name) for name in found.values())


def test_names_that_are_too_long_stay_different() -> None:
    """Two that differ only beyond the bound, as tools of one server do."""
    found = ToolNames(fields(f"{LONG}_read", f"{LONG}_write"), 64).written
    assert len(set(found.values())) == 2
    assert all(len(name) == 64 and name.startswith("mcp__") for name in found.values())


def test_request_without_odd_names_is_left_alone() -> None:
    """Not even copied, and its answer is not looked at."""
    given = fields("read")
    names = ToolNames(given, 64)
    assert names.request(given) is given
    decoder = Said(ToolDelta(0, 0, "t1", "read", ""))
    assert names.decoder(decoder) is decoder
    deltas: list[Delta] = [TextDelta(0, "Hi")]
    assert names.answer(deltas) is deltas
    assert ToolNames({}, 64).written == {}


def test_request_names_its_tools_alike_everywhere() -> None:
    """Tools, their choice, calls of before, and calls from when there were no ids."""
    given = fields(
        "a.b",
        "c",
        messages=[
            HI,
            call("a.b"),
            {"role": "tool", "tool_call_id": "t1", "content": "done", "name": "kept"},
            {"role": "assistant", "function_call": {"name": "old.one", "arguments": "{}"}},
            {"role": "function", "name": "old.one", "content": "done"},
        ],
        tool_choice={"type": "function", "function": {"name": "a.b"}},
    )
    before = msgspec.json.encode(given)
    found = ToolNames(given, 64).request(given)
    assert msgspec.json.encode(given) == before, "the client's own request is changed"
    assert before.replace(b'"a.b"', b'"a_b"').replace(b'"old.one"', b'"old_one"') == msgspec.json.encode(found)
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("a.b")]}}
    given["tool_choice"] = allowed
    choice = ToolNames(given, 64).request(given)["tool_choice"]
    assert choice["allowed_tools"]["tools"] == [tool("a_b")]


def test_request_with_odd_shapes_is_left_to_those_who_check_them() -> None:
    """No name, no function, none where a list belongs."""
    odd = [{"type": "custom", "custom": {"name": "a.b"}}, {"function": "a.b"}, {"function": {"name": 7}}]
    given = {"messages": [{**HI, "function_call": "auto", "tool_calls": odd}], "tools": [*odd, tool("x.y")]}
    found = ToolNames(given, 64).request(given)
    assert found["tools"] == [*odd, tool("x_y")]
    assert found["messages"] == given["messages"]


def test_answer_gives_names_as_the_client_knows_them() -> None:
    """In a stream and in a whole answer; fragments without a name, and names of nobody's, stay."""
    names = ToolNames(fields("a.b"), 64)
    first, rest, other = (
        ToolDelta(0, 0, "t1", "a_b", ""),
        ToolDelta(0, 0, None, None, "{}"),
        ToolDelta(0, 1, "t2", "c", ""),
    )
    expected = [ToolDelta(0, 0, "t1", "a.b", ""), rest, other, TextDelta(0, "a_b")]
    given = (first, rest, other, TextDelta(0, "a_b"))
    assert names.answer(list(given)) == expected
    assert said(names.decoder(Said(*given))) == expected
    assert said(names.decoder(Said())) is None


@pytest.mark.parametrize("kind", PROVIDERS)
def test_provider_gets_no_name_that_it_does_not_take(kind: str) -> None:
    """Nor loses one on the way back: the answer calls each tool as the client named it."""
    long = LONG * 2
    provider = PROVIDERS[kind]
    asked = request(
        **fields("web.search", long, messages=[HI, call(long), {**HI, "role": "tool", "tool_call_id": "t1"}])
    )
    sent = set(names_in(provider.build(asked, "m", 100).body))
    assert len(sent) == 2
    assert all(re.fullmatch(rf"[A-Za-z0-9_-]{{1,{CHARS_MAX[kind]}}}", name) for name in sent)
    assert {said for name in sent for said in called(provider.decode_answer(answer_of(kind, name), asked))} == {
        "web.search",
        long,
    }
    assert called(provider.decode_answer(answer_of(kind, "web_search"))) == {"web_search"}


def test_provider_of_the_clients_own_dialect_gets_names_as_they_are() -> None:
    """Its frames are passed on as they come, so nothing could be written back."""
    given = parse(msgspec.json.encode(fields("web.search")))
    assert names_in(PROVIDERS["openai"].build(given, "m", 9).body) == ["web.search"]
    own = {"model": "m", "max_tokens": 9, "messages": [HI], "tools": [{"name": "web.search", "input_schema": {}}]}
    messages = msgspec.structs.replace(given, dialect="messages", original=own)
    assert names_in(PROVIDERS["anthropic"].build(messages, "m", 9).body) == ["web.search"]
    assert called(PROVIDERS["anthropic"].decode_answer(answer_of("anthropic", "web_search"), messages)) == {
        "web_search"
    }


def test_ollama_takes_any_name() -> None:
    """It puts them into the prompt."""
    assert names_in(OllamaProvider("lab").build(request(**fields(LONG, "a.b")), "m", 9).body) == [LONG, "a.b"]


def called(deltas: list[Delta]) -> set[str | None]:
    """The tools that are called."""
    return {delta.name for delta in deltas if isinstance(delta, ToolDelta) and delta.name}


def answer_of(kind: str, name: str) -> bytes:
    """A provider's whole answer that calls a tool."""
    answers: dict[str, Any] = {
        "anthropic": {
            "content": [{"type": "tool_use", "id": "t1", "name": name, "input": {}}],
            "stop_reason": "tool_use",
        },
        "bedrock": {
            "output": {"message": {"content": [{"toolUse": {"toolUseId": "t1", "name": name, "input": {}}}]}},
            "stopReason": "tool_use",
            "usage": {"inputTokens": 1, "outputTokens": 1},
        },
        "gemini": {
            "candidates": [
                {"content": {"parts": [{"functionCall": {"name": name, "args": {}}}]}, "finishReason": "STOP"}
            ]
        },
        "openai": {
            "choices": [{"message": {"tool_calls": [{"id": "t1", "function": {"name": name, "arguments": "{}"}}]}}]
        },
    }
    return msgspec.json.encode(answers[kind])
