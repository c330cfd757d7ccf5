"""Messages requests, from Chat Completions vocabulary and from clients of the same API."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
import pytest

from rillgate.dialects.chat_completions import parse
from rillgate.domain.delta import ANTHROPIC_ORIGIN
from rillgate.domain.errors import ClientError
from rillgate.domain.request import ChatRequest
from rillgate.providers.anthropic import API_VERSION, HANDLING, AnthropicProvider
from rillgate.providers.features import FEATURES

PROVIDER = AnthropicProvider("claude")
OLD, MANUAL, ADAPTIVE, NEWEST = "claude-3-5-sonnet", "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-5-5"
HI = {"role": "user", "content": "Hi"}
SAID_HI = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}}
SAID_TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {"a": {}}}}
CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
SAID_CALL = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
RESULT = {"role": "tool", "tool_call_id": "t1", "content": "done"}
SAID_RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "done"}]}
THOUGHT = {"type": "reasoning.text", "text": "hm", "signature": "sig", "format": ANTHROPIC_ORIGIN, "index": 0}
SAID_THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig"}
PNG = b64encode(b"png").decode()


def request(**fields: Any) -> ChatRequest:
    """A request as the dialect parses it; one user's word unless messages are given."""
    return parse(msgspec.json.encode({"messages": [HI], **fields}))


def body(model: str = MANUAL, cap: int = 4000, **fields: Any) -> dict[str, Any]:
    """The provider's request."""
    found: dict[str, Any] = msgspec.json.decode(PROVIDER.build(request(**fields), model, cap).body)
    return found


def more(model: str = MANUAL, cap: int = 4000, **fields: Any) -> dict[str, Any]:
    """What stands in the provider's request beside model, cap and messages."""
    said = body(model, cap, **fields)
    return {key: value for key, value in said.items() if key not in ("model", "max_tokens", "messages")}


def refusal(model: str = MANUAL, **fields: Any) -> ClientError:
    """The error with which a request is refused."""
    with pytest.raises(ClientError) as caught:
        body(model, **fields)
    assert caught.value.status == 400
    return caught.value


def test_build_smallest_request_has_model_cap_and_messages() -> None:
    """Nothing that was not asked for; the cap stands in, whatever the client said."""
    outgoing = PROVIDER.build(request(max_tokens=99_999, model="alias"), MANUAL, 12)
    assert msgspec.json.decode(outgoing.body) == {"model": MANUAL, "max_tokens": 12, "messages": [SAID_HI]}
    assert (outgoing.method, outgoing.path) == ("POST", "/v1/messages")
    assert dict(outgoing.headers) == {"content-type": "application/json", "anthropic-version": API_VERSION}
    assert body(stream=True)["stream"] is True


@pytest.mark.parametrize(
    ("messages", "system", "said"),
    [
        (
            [{"role": "system", "content": "A"}, {"role": "developer", "content": "B"}, HI],
            [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}],
            [SAID_HI],
        ),
        (
            [
                {"role": "system", "content": [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}]},
                HI,
            ],
            [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}],
            [SAID_HI],
        ),
        ([{"role": "system", "content": "Hi"}], None, [SAID_HI]),
        (
            [HI, {"role": "system", "content": "B"}, {"role": "user", "content": "C"}],
            None,
            [{"role": "user", "content": [{"type": "text", "text": text} for text in ("Hi", "B", "C")]}],
        ),
        (
            [HI, {"role": "assistant", "content": "A"}, {"role": "assistant", "content": " \n"}, HI],
            None,
            [SAID_HI, {"role": "assistant", "content": [{"type": "text", "text": "A"}]}, SAID_HI],
        ),
        (
            [HI, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT, HI],
            None,
            [
                SAID_HI,
                {"role": "assistant", "content": [SAID_CALL]},
                {"role": "user", "content": [SAID_RESULT, {"type": "text", "text": "Hi"}]},
            ],
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{PNG}"}},
                        {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
                    ],
                }
            ],
            None,
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG}},
                        {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
                    ],
                }
            ],
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "file",
                            "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"},
                            "cache_control": {"type": "ephemeral", "ttl": "1h"},
                        },
                        {"type": "file", "file": {"file_data": f"data:text/plain;base64,{PNG}"}},
                    ],
                }
            ],
            None,
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document",
                            "source": {"type": "base64", "media_type": "application/pdf", "data": PNG},
                            "title": "a.pdf",
                            "cache_control": {"type": "ephemeral", "ttl": "1h"},
                        },
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "png"},
                        },
                    ],
                }
            ],
        ),
    ],
)
def test_build_messages_are_turns_of_blocks(
    messages: list[Any], system: list[Any] | None, said: list[dict[str, Any]]
) -> None:
    """System prompts apart, turns alternating, results first, blank texts left out."""
    found = body(messages=messages, tools=[TOOL])
    assert found["messages"] == said
    assert found.get("system") == system


def test_build_later_system_message_stays_one_where_the_model_takes_it() -> None:
    """Right after a user's turn; elsewhere its text is the user's."""
    later = {"role": "system", "content": "B"}
    said = body(NEWEST, messages=[HI, later])["messages"]
    assert said == [SAID_HI, {"role": "system", "content": [{"type": "text", "text": "B"}]}]
    said = body(NEWEST, messages=[HI, {"role": "assistant", "content": "A"}, later])["messages"]
    assert [turn["role"] for turn in said] == ["user", "assistant", "user"]


def test_build_results_of_parallel_calls_are_one_turn_and_say_what_failed() -> None:
    """All results in one user's message, in their order; images within them."""
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    messages = [
        HI,
        {"role": "assistant", "tool_calls": [CALL, {**CALL, "id": "t2"}]},
        {**RESULT, "is_error": True},
        {"role": "tool", "tool_call_id": "t2", "content": [image]},
    ]
    (_, _, answer) = body(messages=messages, tools=[TOOL])["messages"]
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    assert answer["content"] == [
        {**SAID_RESULT, "is_error": True},
        {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "image", "source": source}]},
    ]


def test_build_call_ids_keep_to_the_characters_of_the_api_and_are_not_repeated() -> None:
    """Ids of other families, and of servers that count from 0 in each turn: results still find their calls."""
    turn = [{"role": "assistant", "tool_calls": [{**CALL, "id": "f:0"}]}, {**RESULT, "tool_call_id": "f:0"}]
    said = body(messages=[HI, *turn, *turn], tools=[TOOL])["messages"]
    assert [said[1]["content"][0]["id"], said[3]["content"][0]["id"]] == ["f_0", "f_0_2"]
    assert [said[2]["content"][0]["tool_use_id"], said[4]["content"][0]["tool_use_id"]] == ["f_0", "f_0_2"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tools": [TOOL]}, {"tools": [SAID_TOOL]}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [SAID_TOOL]}),
        ({"tools": [TOOL], "tool_choice": "none"}, {"tools": [SAID_TOOL], "tool_choice": {"type": "none"}}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [SAID_TOOL], "tool_choice": {"type": "any"}}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tools": [SAID_TOOL], "tool_choice": {"type": "tool", "name": "f"}},
        ),
        (
            {"tools": [TOOL], "parallel_tool_calls": False},
            {"tools": [SAID_TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ),
        (
            {"tools": [TOOL], "parallel_tool_calls": False, "tool_choice": "required"},
            {"tools": [SAID_TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        ),
        ({"tools": [TOOL], "parallel_tool_calls": True}, {"tools": [SAID_TOOL]}),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {}),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "g", "description": "G", "strict": True}},
                    {**TOOL, "cache_control": {"type": "ephemeral"}},
                ]
            },
            {
                "tools": [
                    {
                        "name": "g",
                        "description": "G",
                        "input_schema": {"type": "object", "properties": {}},
                        "strict": True,
                    },
                    {**SAID_TOOL, "cache_control": {"type": "ephemeral"}},
                ]
            },
        ),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["A", "", "B"]}, {"stop_sequences": ["A", "B"]}),
        ({"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
        ({"safety_identifier": "s-1", "user": "u-1"}, {"metadata": {"user_id": "s-1"}}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        ({"response_format": {"type": "json_object"}}, {}),
        ({"seed": 1, "presence_penalty": 1, "prediction": {}, "store": True, "verbosity": "low", "n": 1}, {}),
        ({"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral"}}),
    ],
)
def test_build_options_are_said_in_the_words_of_the_api(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """One row for each."""
    assert more(**fields) == expected


@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        (OLD, {"temperature": 1.5, "top_p": 0.5, "top_k": 3}, {"temperature": 1, "top_p": 0.5, "top_k": 3}),
        (MANUAL, {"temperature": 0, "top_p": 0.5}, {"temperature": 0}),
        (MANUAL, {"top_p": 0.5}, {"top_p": 0.5}),
        (MANUAL, {"temperature": 0.2, "reasoning_effort": "none"}, {"temperature": 0.2}),
        (NEWEST, {"temperature": 0.2, "top_p": 0.5, "top_k": 3}, {}),
        ("llama", {"temperature": 1.2, "top_p": 0.5}, {"temperature": 1, "top_p": 0.5}),
    ],
)
def test_build_sampling_goes_to_models_that_take_it(
    model: str, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Clamped to the API's range, one of a pair where both are refused, dropped for newer models."""
    assert more(model, **fields) == expected


@pytest.mark.parametrize(
    ("model", "cap", "fields", "expected"),
    [
        (OLD, 9000, {"reasoning_effort": "high"}, {}),
        (MANUAL, 40_000, {"reasoning_effort": "high"}, {"thinking": {"type": "enabled", "budget_tokens": 16_384}}),
        (MANUAL, 2000, {"reasoning_effort": "high"}, {"thinking": {"type": "enabled", "budget_tokens": 1500}}),
        (MANUAL, 1024, {"reasoning_effort": "high"}, {}),
        (MANUAL, 9000, {"reasoning_effort": "none"}, {}),
        (
            MANUAL,
            9000,
            {"reasoning_effort": "low", "temperature": 0.1, "top_p": 0.2},
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        ),
        (
            MANUAL,
            9000,
            {"reasoning_effort": "low", "tools": [TOOL], "tool_choice": "required"},
            {"tools": [SAID_TOOL], "tool_choice": {"type": "any"}},
        ),
        (
            ADAPTIVE,
            9,
            {"reasoning_effort": "minimal", "temperature": 0.1},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        (
            ADAPTIVE,
            9,
            {"reasoning_effort": "xhigh"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        ),
        (
            ADAPTIVE,
            9,
            {"reasoning_effort": "low", "tools": [TOOL], "tool_choice": "required", "temperature": 0.1},
            {
                "tools": [SAID_TOOL],
                "tool_choice": {"type": "any"},
                "output_config": {"effort": "low"},
                "temperature": 0.1,
            },
        ),
        (ADAPTIVE, 9, {"reasoning_effort": "none"}, {}),
        (
            NEWEST,
            9,
            {
                "reasoning_effort": "xhigh",
                "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
            },
            {
                "thinking": {"type": "adaptive", "display": "summarized"},
                "output_config": {"effort": "xhigh", "format": {"type": "json_schema", "schema": {"type": "object"}}},
            },
        ),
        (NEWEST, 9, {"reasoning_effort": "none"}, {"output_config": {"effort": "low"}}),
        ("claude-opus-5", 9, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ("llama", 9, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (
            "llama",
            9,
            {"reasoning_effort": "high", "temperature": 0.1},
            {
                "thinking": {"type": "adaptive", "display": "summarized"},
                "output_config": {"effort": "high"},
                "temperature": 0.1,
            },
        ),
    ],
)
def test_build_effort_is_said_in_the_words_of_the_generation(
    model: str, cap: int, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    """A budget below the cap, or an effort; sampling settings and forced tools go with neither before 4.8."""
    assert more(model, cap, **fields) == expected


def test_build_thinking_goes_back_as_it_was() -> None:
    """Signed thought and what only the family can read, before the calls; other families' and bare text do not."""
    details = [
        THOUGHT,
        {"type": "reasoning.encrypted", "data": "opaque", "format": ANTHROPIC_ORIGIN},
        {"type": "reasoning.text", "text": "x", "signature": "s", "format": "google-gemini-v1"},
        {"type": "reasoning.text", "text": "bare", "format": ANTHROPIC_ORIGIN},
    ]
    answer = {"role": "assistant", "content": "A", "reasoning_details": details, "tool_calls": [CALL]}
    said = body(messages=[HI, answer, RESULT], tools=[TOOL])["messages"][1]["content"]
    assert said == [
        SAID_THOUGHT,
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "text", "text": "A"},
        SAID_CALL,
    ]


@pytest.mark.parametrize(
    ("model", "kept", "lost"),
    [
        (MANUAL, {"type": "enabled", "budget_tokens": 2048}, None),
        (ADAPTIVE, {"type": "adaptive"}, {"type": "adaptive"}),
    ],
)
def test_build_tool_loop_that_lost_its_thought_goes_on_without(
    model: str, kept: dict[str, Any], lost: dict[str, Any] | None
) -> None:
    """A budget would be refused there; with the thought, outside of a loop, or without a budget, it stays on."""
    calls = {"role": "assistant", "tool_calls": [CALL], "reasoning_content": "hm"}
    fields: dict[str, Any] = {"tools": [TOOL], "reasoning_effort": "low"}
    assert body(model, messages=[HI, calls, RESULT], **fields).get("thinking") == lost
    signed = {**calls, "reasoning_details": [THOUGHT]}
    assert body(model, messages=[HI, signed, RESULT], **fields)["thinking"] == kept
    over = [HI, calls, RESULT, {"role": "assistant", "content": "A"}, HI]
    assert body(model, messages=over, **fields)["thinking"] == kept


def test_build_calls_of_tools_that_are_no_longer_given_still_name_them() -> None:
    """A conversation with calls needs its tools, even where none may be called."""
    call = {"id": "t1", "type": "function", "function": {"name": "a.b", "arguments": ""}}  # not a name here
    found = body(messages=[HI, {"role": "assistant", "tool_calls": [call]}, RESULT])
    assert found["tools"] == [{"name": "a_b", "input_schema": {"type": "object", "properties": {}}}]
    assert found["tool_choice"] == {"type": "none"}
    assert found["messages"][1]["content"] == [{"type": "tool_use", "id": "t1", "name": "a_b", "input": {}}]


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        (MANUAL, {"n": 2}, "n"),
        (MANUAL, {"logprobs": True}, "logprobs"),
        (MANUAL, {"logit_bias": {"1": 2}}, "logit_bias"),
        (MANUAL, {"modalities": ["text", "audio"], "audio": {"voice": "a"}}, "audio"),
        (MANUAL, {"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools"),
        (MANUAL, {"tools": [TOOL, {"type": "function", "function": {"name": ""}}]}, "tools[1]"),
        (MANUAL, {"stop": ["A", "\n"]}, "stop"),
        (NEWEST, {"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        (
            MANUAL,
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": PNG}}]}]},
            "messages",
        ),
        (
            MANUAL,
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": f"data:image/bmp;base64,{PNG}"}}],
                    }
                ]
            },
            "messages[0].content[0].image_url.url",
        ),
        (
            MANUAL,
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "file", "file": {"file_data": f"data:text/html;base64,{PNG}"}}],
                    }
                ]
            },
            "messages[0].content[0].file.file_data",
        ),
    ],
)
def test_build_what_the_api_cannot_do_is_refused_by_name(model: str, fields: dict[str, Any], param: str) -> None:
    """400 with the field, before anything is sent."""
    assert refusal(model, **fields).param == param


def test_build_nested_beyond_reason_is_refused() -> None:
    """As for every provider."""
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(100_000):
        inner["a"] = {}
        inner = inner["a"]
    tool = {"type": "function", "function": {"name": "f", "parameters": deep}}
    fields = {"messages": [HI], "tools": [tool]}
    with pytest.raises(ClientError, match="nested too deeply"):
        PROVIDER.build(ChatRequest(fields=fields, model=None, stream=False), MANUAL, 9)


def test_handling_is_complete() -> None:
    """Every feature has its word."""
    assert set(HANDLING) == {feature.name for feature in FEATURES}


# Clients of the same API


def original(asked: int | None = 4096, headers: tuple[tuple[str, str], ...] = (), **fields: Any) -> ChatRequest:
    """A request of a client that speaks Messages."""
    own = {"model": "alias", "max_tokens": asked, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return ChatRequest(
        fields={"messages": [HI], "n": 2},
        model="alias",
        stream=bool(fields.get("stream")),
        output_tokens_asked=asked,
        dialect="messages",
        original=own,
        headers=headers,
    )


def own_body(request: ChatRequest, cap: int) -> dict[str, Any]:
    """The provider's request for it."""
    found: dict[str, Any] = msgspec.json.decode(PROVIDER.build(request, "claude-x", cap).body)
    return found


def test_build_request_of_the_same_api_keeps_what_we_do_not_know() -> None:
    """Only model, cap and stream are ours; what its fields would be in other words is not looked at."""
    found = own_body(original(context_management={"edits": []}, temperature=2, stream=True), 100)
    assert found == {
        "model": "claude-x",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hi"}],
        "context_management": {"edits": []},
        "temperature": 2,
        "stream": True,
    }
    assert "stream" not in own_body(original(stream=False), 100)


def test_build_request_of_the_same_api_carries_its_version_and_betas() -> None:
    """And no other header of the client's; the usual version where it names none."""
    headers = (("anthropic-version", "2026-10-21"), ("anthropic-beta", "a,b"), ("x-api-key", "secret"))
    outgoing = PROVIDER.build(original(headers=headers), "m", 9)
    assert dict(outgoing.headers) == {
        "content-type": "application/json",
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a,b",
    }
    assert dict(PROVIDER.build(original(), "m", 9).headers)["anthropic-version"] == API_VERSION


@pytest.mark.parametrize(
    ("cap", "thinking", "expected"),
    [
        (4096, {"type": "enabled", "budget_tokens": 4000}, {"type": "enabled", "budget_tokens": 4000}),
        (4096, {"type": "enabled", "budget_tokens": 5000}, {"type": "enabled", "budget_tokens": 5000}),
        (2000, {"type": "enabled", "budget_tokens": 1500}, {"type": "enabled", "budget_tokens": 1500}),
        (
            2000,
            {"type": "enabled", "budget_tokens": 4000, "display": "omitted"},
            {"type": "enabled", "budget_tokens": 1500, "display": "omitted"},
        ),
        (1200, {"type": "enabled", "budget_tokens": 4000}, {"type": "disabled"}),
        (100, {"type": "adaptive"}, {"type": "adaptive"}),
        (100, "odd", "odd"),
    ],
)
def test_build_lowered_cap_lowers_the_budget_of_thought(cap: int, thinking: object, expected: object) -> None:
    """It must stay below the cap; what the client itself got wrong is the provider's to say."""
    assert own_body(original(thinking=thinking), cap)["thinking"] == expected


def test_original_leaves_out_reasoning_that_others_made() -> None:
    """Anthropic would refuse what Google's models signed, and thoughts that nobody signed; its own stay as they are."""
    own = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Hi"},
    ]
    foreign = [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "redacted_thinking", "data": "google-gemini-v1:a1:Q0E="},
    ]
    asked = {"role": "user", "content": "Hi"}
    messages = [
        asked,
        {"role": "assistant", "content": [*foreign, *own]},
        asked,
        {"role": "assistant", "content": foreign},
        {"role": "assistant", "content": "Hi"},
    ]
    found = own_body(original(messages=messages), 100)["messages"]
    assert found == [asked, {"role": "assistant", "content": own}, asked, {"role": "assistant", "content": "Hi"}]
