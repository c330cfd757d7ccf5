"""Chat Completions vocabulary in Gemini's words. What a whole conversation becomes stands in the corpus."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rillgate.dialects.chat_completions import parse
from rillgate.domain.delta import ANTHROPIC_ORIGIN, GOOGLE_ORIGIN
from rillgate.domain.errors import ClientError
from rillgate.domain.request import UpstreamRequest
from rillgate.providers.gemini import GeminiProvider
from rillgate.providers.gemini_contents import LOST_SIGNATURE

PROVIDER = GeminiProvider("google")
HI = {"role": "user", "content": "Hi"}
MODEL = "gemini-3.8-flash"
OLD = "gemini-2.5-flash"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def sent(*messages: Any, model: str = MODEL, **fields: Any) -> UpstreamRequest:
    """The request that goes out under a cap of 1,000."""
    asked = {"messages": list(messages) or [HI], **fields}
    return PROVIDER.build(parse(msgspec.json.encode(asked)), model, 1000)


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    """Its body."""
    found: dict[str, Any] = msgspec.json.decode(sent(*messages, **fields).body)
    return found


def config(**fields: Any) -> Any:
    """Its `generationConfig`, without the cap."""
    found = body(**fields)["generationConfig"]
    assert found.pop("maxOutputTokens") == 1000
    return found


def called(*ids: str, **more: Any) -> dict[str, Any]:
    """A turn of the model's that calls the tool under these ids."""
    calls = [
        {"id": each, "type": "function", "function": {"name": "weather", "arguments": '{"city":"K"}'}} for each in ids
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def result(call_id: str, content: Any = "rain", **more: Any) -> dict[str, Any]:
    """What a call gave."""
    return {"role": "tool", "tool_call_id": call_id, "content": content, **more}


def kept(data: str, **more: Any) -> dict[str, Any]:
    """A signature of Google's, as clients keep it."""
    return {"type": "reasoning.encrypted", "data": data, "format": GOOGLE_ORIGIN, "index": 0, **more}


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-x", True, "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"),
        ("gemini-x", False, "/v1beta/models/gemini-x:generateContent"),
        ("models/gemini-x", False, "/v1beta/models/gemini-x:generateContent"),
        ("tunedModels/a-1", False, "/v1beta/tunedModels/a-1:generateContent"),
        ("a:b/c d?e", False, "/v1beta/models/a%3Ab%2Fc%20d%3Fe:generateContent"),
    ],
)
def test_request_goes_to_its_model(model: str, stream: bool, path: str) -> None:
    """The model is one segment of the address, whatever its name is."""
    request = sent(model=model, stream=stream)
    assert (request.method, request.path) == ("POST", path)


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        (MODEL, "none", {"thinkingLevel": "LOW"}),
        (MODEL, "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}),
        (MODEL, "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        (MODEL, "max", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3.5-flash-lite", "none", {"thinkingLevel": "MINIMAL"}),
        ("gemini-flash-lite-latest", "none", {"thinkingLevel": "MINIMAL"}),
        ("gemini-flash-latest", "none", {"thinkingLevel": "LOW"}),
        ("gemini-3-flash-preview", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", "none", {"thinkingLevel": "LOW"}),
        (OLD, "none", {"thinkingBudget": 0}),
        (OLD, "low", {"thinkingBudget": 750, "includeThoughts": True}),
        ("models/gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.0-flash", "high", None),
        ("gemma-3-27b-it", "high", None),
        (MODEL, None, None),
    ],
)
def test_effort_is_said_as_the_model_takes_it(model: str, effort: str | None, expected: Any) -> None:
    """As a level from Gemini 3 on, as tokens within three quarters of the cap before; older ones do not think."""
    more = {} if effort is None else {"reasoning_effort": effort}
    assert config(model=model, **more).get("thinkingConfig") == expected


def test_budget_that_is_too_small_to_be_taken_is_none() -> None:
    """The cap of 1,000 leaves 750; one of 400 leaves less than the least."""
    asked = parse(msgspec.json.encode({"messages": [HI], "reasoning_effort": "high"}))
    for cap, budget in ((1000, 750), (400, 0), (100_000, 24_576)):
        found = msgspec.json.decode(PROVIDER.build(asked, OLD, cap).body)["generationConfig"]["thinkingConfig"]
        assert found["thinkingBudget"] == budget


def test_settings_are_said_in_its_words() -> None:
    """Those that were not given are not sent; a seed is folded into 32 bits."""
    assert config() == {}
    assert config(seed=-1, n=1, stop="END", response_format={"type": "json_object"}, temperature=0) == {
        "seed": 2**31 - 1,
        "stopSequences": ["END"],
        "responseMimeType": "application/json",
        "temperature": 0,
    }
    assert config(n=3)["candidateCount"] == 3


def test_more_stops_than_it_takes_are_refused() -> None:
    """By the field's name."""
    assert len(config(stop=list("abcde"))["stopSequences"]) == 5
    with pytest.raises(ClientError, match="at most 5") as refused:
        body(stop=list("abcdef"))
    assert refused.value.param == "stop"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "weather"}}, {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
    ],
)
def test_choice_of_tools_is_said_as_a_mode(choice: Any, expected: Any) -> None:
    """And none where there are no tools."""
    more = {} if choice is None else {"tool_choice": choice}
    found = body(tools=[TOOL], **more)
    assert found.get("toolConfig") == (None if expected is None else {"functionCallingConfig": expected})
    assert "toolConfig" not in body(**more)


def test_tool_without_parameters_says_none() -> None:
    """An empty schema would be refused."""
    (declared,) = body(tools=[{"type": "function", "function": {"name": "now"}}])["tools"]
    assert declared == {"functionDeclarations": [{"name": "now", "description": ""}]}


@pytest.mark.parametrize(
    ("tier", "expected"), [("default", "standard"), ("priority", "priority"), ("auto", None), ("scale", None)]
)
def test_service_tier_is_said_where_it_is_known(tier: str, expected: str | None) -> None:
    """The usual one goes without saying."""
    assert body(service_tier=tier).get("serviceTier") == expected


def test_signature_comes_back_beside_its_call() -> None:
    """By the call's id, wherever the client kept it; calls beside it stay unsigned."""
    by_details = called("a", "b", reasoning_details=[kept("c2ln", id="a")])
    by_extra = called("a", "b")
    by_extra["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "c2ln"}}
    for turn in (by_details, by_extra):
        first, second = body(HI, turn, result("a"), result("b"))["contents"][1]["parts"]
        assert (first["thoughtSignature"], first["functionCall"]["id"]) == ("c2ln", "a")
        assert "thoughtSignature" not in second


def test_signature_that_was_lost_is_said_to_be() -> None:
    """At the first call of each turn, by models that would refuse it; older ones do without."""
    messages = [HI, called("a", "b"), result("a"), result("b"), called("c"), result("c")]
    parts = [content["parts"] for content in body(*messages)["contents"]]
    assert [part.get("thoughtSignature") for part in parts[1]] == [LOST_SIGNATURE, None]
    assert parts[3][0]["thoughtSignature"] == LOST_SIGNATURE
    assert b"thoughtSignature" not in sent(*messages, model=OLD).body


def test_signature_of_a_text_comes_back_with_it() -> None:
    """At the last text of its turn; alone where the text has gone."""
    said = {"role": "assistant", "content": "Hello", "reasoning_details": [kept("c2ln")]}
    assert body(HI, said, HI)["contents"][1]["parts"] == [{"text": "Hello", "thoughtSignature": "c2ln"}]
    alone = {"role": "assistant", "content": "", "reasoning_details": [kept("c2ln")]}
    assert body(HI, alone, HI)["contents"][1]["parts"] == [{"text": "", "thoughtSignature": "c2ln"}]


def test_reasoning_of_another_family_stays_at_home() -> None:
    """Its proofs say nothing here, and its text is not wanted."""
    signed = {"type": "reasoning.text", "text": "Hm.", "signature": "s", "format": ANTHROPIC_ORIGIN}
    said = {"role": "assistant", "content": "Hello", "reasoning_content": "Hm.", "reasoning_details": [signed]}
    assert body(HI, said, HI)["contents"][1]["parts"] == [{"text": "Hello"}]


def test_result_says_its_tool_and_whether_it_failed() -> None:
    """Images in it stand behind the results; a result without its call has only its id for a name."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    contents = body(
        HI,
        called("a", "b"),
        result("a", [{"type": "text", "text": "see"}, image]),
        result("b", "no", is_error=True),
        {"role": "user", "content": "So?"},
    )["contents"]
    assert contents[2]["parts"] == [
        {"functionResponse": {"id": "a", "name": "weather", "response": {"output": "see"}}},
        {"functionResponse": {"id": "b", "name": "weather", "response": {"error": "no"}}},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        {"text": "So?"},
    ]
    (orphan,) = body(result("x"))["contents"][0]["parts"]
    assert orphan["functionResponse"]["name"] == "x"


def test_system_prompt_alone_is_what_the_user_says() -> None:
    """There is always something to answer."""
    found = body({"role": "system", "content": "Say hi."})
    assert "systemInstruction" not in found
    assert found["contents"] == [{"role": "user", "parts": [{"text": "Say hi."}]}]


def test_address_without_an_ending_has_no_type() -> None:
    """Google finds out for itself."""
    part = {"type": "image_url", "image_url": {"url": "https://pictures.example/1"}}
    (found,) = body({"role": "user", "content": [part]})["contents"][0]["parts"]
    assert found == {"fileData": {"fileUri": "https://pictures.example/1"}}
