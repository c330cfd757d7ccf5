"""Requests in Chat Completions vocabulary as Bedrock's Converse takes them; botocore's own model of it is the judge."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from rillgate.domain.delta import ANTHROPIC_ORIGIN
from rillgate.domain.errors import ClientError
from rillgate.domain.request import ChatRequest, UpstreamRequest
from rillgate.providers.bedrock import HANDLING, BedrockProvider
from rillgate.providers.features import FEATURES

PROVIDER = BedrockProvider("aws")
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CLAUDE_5 = "anthropic.claude-opus-5"
NOVA = "amazon.nova-lite-v1:0"
LLAMA = "meta.llama3-1-8b-instruct-v1:0"
PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123def456"
HI = {"role": "user", "content": "Hi"}
PNG = "iVBORw0KGgo="
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
SIGNED = {"type": "reasoning.text", "text": "hm", "signature": "c2ln", "format": ANTHROPIC_ORIGIN}
REDACTED = {"type": "reasoning.encrypted", "data": "b3BhcXVl", "format": ANTHROPIC_ORIGIN}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}

_MODEL = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))
_SHAPE = _MODEL.operation_model("ConverseStream").input_shape


def built(fields: dict[str, Any], model: str = NOVA, cap: int = 100, *, stream: bool = True) -> UpstreamRequest:
    fields.setdefault("messages", [HI])
    return PROVIDER.build(ChatRequest(fields=fields, model="asked", stream=stream), model, cap)


def body(model: str = NOVA, cap: int = 100, **fields: Any) -> dict[str, Any]:
    """The JSON that goes out; botocore agrees that it is a request of Converse."""
    found: dict[str, Any] = msgspec.json.decode(built(fields, model, cap).body)
    report = ParamValidator().validate({"modelId": model, **_with_bytes(found)}, _SHAPE)
    assert not report.has_errors(), report.generate_report()
    return found


def _with_bytes(value: Any) -> Any:
    """Base64 as the bytes that botocore wants there."""
    if isinstance(value, dict):
        return {
            key: each.encode() if key in ("bytes", "redactedContent") else _with_bytes(each)
            for key, each in value.items()
        }
    return [_with_bytes(each) for each in value] if isinstance(value, list) else value


def messages(*said: dict[str, Any], model: str = NOVA, **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(model, messages=list(said), **fields)["messages"]
    return found


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("anthropic.claude-demo-v1:0", True, "/model/anthropic.claude-demo-v1%3A0/converse-stream"),
        (NOVA, False, "/model/amazon.nova-lite-v1%3A0/converse"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.x.y-v1:0",
            True,
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.x.y-v1%3A0/converse-stream",
        ),
        ("../admin?x=1#y", False, "/model/..%2Fadmin%3Fx%3D1%23y/converse"),
    ],
)
def test_bedrock_model_is_one_segment_of_the_path(model: str, stream: bool, path: str) -> None:
    """With `:` and `/` encoded; nothing in a model's name leads elsewhere."""
    request = built({}, model, stream=stream)
    assert (request.method, request.path) == ("POST", path)
    accept = "application/vnd.amazon.eventstream" if stream else "application/json"
    assert dict(request.headers) == {"content-type": "application/json", "accept": accept}


def test_bedrock_request_is_small_where_little_was_asked() -> None:
    """Nothing is sent that nobody said, but the cap."""
    assert body(model="x", cap=9) == {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": 9},
    }
    assert body(cap=0)["inferenceConfig"] == {"maxTokens": 1}


def test_bedrock_system_prompts_lead_and_later_ones_are_the_users() -> None:
    """Whoever speaks next to each other becomes one; blank texts, which Bedrock refuses, are left out."""
    found = body(
        messages=[
            {"role": "system", "content": "Be kind."},
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": " \n"}]},
            HI,
            {"role": "user", "content": "there"},
            {"role": "assistant", "content": "Yes?"},
            {"role": "assistant", "content": "  "},
            {"role": "system", "content": "Now in French."},
            {"role": "user", "content": "Go on."},
        ]
    )
    assert found["system"] == [{"text": "Be kind."}, {"text": "Be brief."}]
    assert found["messages"] == [
        {"role": "user", "content": [{"text": "Hi"}, {"text": "there"}]},
        {"role": "assistant", "content": [{"text": "Yes?"}]},
        {"role": "user", "content": [{"text": "Now in French."}, {"text": "Go on."}]},
    ]


@pytest.mark.parametrize(
    "said",
    [
        [{"role": "system", "content": "x"}],
        [{"role": "user", "content": " "}],
        [{"role": "assistant", "content": "x"}, HI],
    ],
)
def test_bedrock_conversation_that_does_not_begin_with_a_user_is_refused(said: list[dict[str, Any]]) -> None:
    """Bedrock would, in more words."""
    with pytest.raises(ClientError, match="begins with a user's message") as raised:
        built({"messages": said})
    assert raised.value.param == "messages"


def test_bedrock_calls_and_results_alternate_results_first() -> None:
    """All results of a turn stand in one message, before what the user says to them."""
    second = {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": ""}}
    found = messages(
        HI,
        {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL, second]},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "noon"}]},
        {**RESULT, "is_error": True},
        {"role": "user", "content": "And?"},
        tools=[TOOL],
    )
    assert found[1]["content"] == [
        {"text": "Let me look."},
        {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"city": "Paris"}}},
        {"toolUse": {"toolUseId": "call_2", "name": "now", "input": {}}},
    ]
    assert found[2] == {
        "role": "user",
        "content": [
            {"toolResult": {"toolUseId": "call_2", "content": [{"text": "noon"}]}},
            {"toolResult": {"toolUseId": "call_1", "content": [{"text": "sunny"}], "status": "error"}},
            {"text": "And?"},
        ],
    }


def test_bedrock_result_that_is_empty_says_so_and_one_with_an_image_shows_it() -> None:
    """Bedrock takes no blank text, and not nothing."""
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    empty, shown = (
        messages(HI, CALLING, {**RESULT, "content": content})[2]["content"][0]["toolResult"]["content"]
        for content in (" ", [image])
    )
    assert empty == [{"text": "(empty)"}]
    assert shown == [{"image": {"format": "png", "source": {"bytes": PNG}}}]


def test_bedrock_call_ids_that_it_does_not_take_are_replaced_alike_in_call_and_result() -> None:
    """Other providers' ids may be long or hold any character; different ids stay different."""
    long, odd = "call_" + "x" * 70, "call/é"
    calls = [{**CALL, "id": each} for each in (long, odd)]
    results = [{**RESULT, "tool_call_id": each} for each in (long, odd)]
    found = messages(HI, {**CALLING, "tool_calls": calls}, *results)
    used = [block["toolUse"]["toolUseId"] for block in found[1]["content"]]
    answered = [block["toolResult"]["toolUseId"] for block in found[2]["content"]]
    assert used == answered
    assert len(set(used)) == 2
    assert all(len(each) <= 64 and each.startswith("call_") for each in used)


def test_bedrock_tools_carry_their_schema_as_json() -> None:
    """No description where there is none, an empty schema for a tool that takes nothing, strict where it is known."""
    full = {"name": "f", "description": "does", "parameters": SCHEMA, "strict": True}
    given = [
        {"type": "function", "function": full},
        {"type": "function", "function": {"name": "g", "description": " "}},
    ]
    tools = body(CLAUDE, tools=given)["toolConfig"]["tools"]
    spec = {"name": "f", "description": "does", "inputSchema": {"json": SCHEMA}}
    assert tools == [
        {"toolSpec": {**spec, "strict": True}},
        {"toolSpec": {"name": "g", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
    ]
    for model in (NOVA, LLAMA, "anthropic.claude-3-haiku-20240307-v1:0"):
        assert body(model, tools=given)["toolConfig"]["tools"][0] == {"toolSpec": spec}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("auto", {"auto": {}}),
        ("required", {"any": {}}),
        ({"type": "function", "function": {"name": "weather"}}, {"tool": {"name": "weather"}}),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}}, {"any": {}}),
    ],
)
def test_bedrock_tool_choice_is_said_in_its_words(choice: Any, expected: dict[str, Any] | None) -> None:
    """Where the client says nothing, nothing is said."""
    other = {"type": "function", "function": {"name": "other"}}
    config = body(tools=[TOOL, other], tool_choice=choice)["toolConfig"]
    assert config.get("toolChoice") == expected
    assert len(config["tools"]) == (1 if isinstance(choice, dict) and "allowed_tools" in choice else 2)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_bedrock_tool_that_must_be_called_is_refused_where_the_model_cannot_be_told(choice: Any) -> None:
    """Asking for it less firmly would change what was meant."""
    with pytest.raises(ClientError, match="cannot be told that it must call a tool") as raised:
        built({"tools": [TOOL], "tool_choice": choice}, "anthropic.claude-opus-5-5")
    assert raised.value.param == "tool_choice"
    assert "toolChoice" in body("anthropic.claude-opus-5-5", tools=[TOOL], tool_choice="auto")["toolConfig"]


def test_bedrock_tool_choice_none_leaves_tools_out_unless_they_were_called() -> None:
    """There is no such choice, and Bedrock wants the tools of every conversation that has calls."""
    assert "toolConfig" not in body(tools=[TOOL], tool_choice="none")
    config = body(messages=[HI, CALLING, RESULT], tools=[TOOL], tool_choice="none")["toolConfig"]
    assert [each["toolSpec"]["name"] for each in config["tools"]] == ["weather"]
    assert "toolChoice" not in config


def test_bedrock_calls_of_tools_that_are_gone_bring_a_tool_config_along() -> None:
    """Without schemas, which nobody knows any more."""
    assert body(messages=[HI, CALLING, RESULT])["toolConfig"] == {
        "tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object", "properties": {}}}}}]
    }


@pytest.mark.parametrize(
    ("model", "choice", "config", "own"),
    [
        (CLAUDE, None, None, {"type": "auto", "disable_parallel_tool_use": True}),
        (CLAUDE, "auto", None, {"type": "auto", "disable_parallel_tool_use": True}),
        (CLAUDE, "required", {"any": {}}, {"disable_parallel_tool_use": True}),
        ("anthropic.claude-3-haiku-20240307-v1:0", "auto", {"auto": {}}, None),
        (NOVA, "required", {"any": {}}, None),
    ],
)
def test_bedrock_one_call_at_a_time_is_claudes_own_word(model: str, choice: Any, config: Any, own: Any) -> None:
    """How tools are chosen is said once: Bedrock refuses to be told twice."""
    found = body(model, tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
    assert found["toolConfig"].get("toolChoice") == config
    assert found.get("additionalModelRequestFields", {}).get("tool_choice") == own
    assert "additionalModelRequestFields" not in body(model, tools=[TOOL], parallel_tool_calls=True)
    assert "additionalModelRequestFields" not in body(model, parallel_tool_calls=False)


def test_bedrock_images_and_sound_go_as_data() -> None:
    """In the format that their type names."""
    found = messages(
        user(
            {"type": "text", "text": "What is this?"},
            *(
                {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{PNG}"}}
                for kind in ("png", "jpg")
            ),
            {"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}},
        )
    )
    assert found[0]["content"] == [
        {"text": "What is this?"},
        {"image": {"format": "png", "source": {"bytes": PNG}}},
        {"image": {"format": "jpeg", "source": {"bytes": PNG}}},
        {"audio": {"format": "mp3", "source": {"bytes": PNG}}},
    ]


@pytest.mark.parametrize(
    ("part", "param", "said"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            "messages[0].content[1].image_url.url",
            "takes data only, no addresses; send it as a data: URL",
        ),
        (
            {"type": "image_url", "image_url": {"url": f"data:image/tiff;base64,{PNG}"}},
            "messages[0].content[1].image_url.url",
            "'image/tiff' is none of image/png",
        ),
        (
            {"type": "file", "file": {"file_data": f"data:application/zip;base64,{PNG}"}},
            "messages[0].content[1].file.file_data",
            "'application/zip' is none of application/pdf",
        ),
    ],
)
def test_bedrock_media_that_it_does_not_take_are_refused_by_name(part: dict[str, Any], param: str, said: str) -> None:
    """An address is never fetched for a client."""
    with pytest.raises(ClientError, match=said) as raised:
        built({"messages": [user({"type": "text", "text": "x"}, part)]})
    assert (raised.value.status, raised.value.param) == (400, param)


def test_bedrock_documents_have_plain_names_that_differ() -> None:
    """Only letters, digits, single spaces, hyphens, parentheses and brackets are taken, and no name twice."""
    names = [
        "Report_2026 (final).pdf",
        "report/2026..(final)",
        "",
        "été.pdf",
        None,
        "x" * 300,
        "Report 2026 (final).pdf",
    ]
    files = [
        {
            "type": "file",
            "file": {
                "file_data": f"data:application/pdf;base64,{PNG}",
                **({"filename": name} if name is not None else {}),
            },
        }
        for name in names
    ]
    content = messages(user({"type": "text", "text": "Read."}, *files))[0]["content"]
    assert content[1] == {"document": {"format": "pdf", "name": "Report 2026 (final)", "source": {"bytes": PNG}}}
    found = [block["document"]["name"] for block in content[1:]]
    assert found[1:5] == ["report 2026 (final)", "document", "t", "document 2"]
    assert len(found[5]) <= 200
    assert found[6] == "Report 2026 (final) 2"


def test_bedrock_document_without_text_is_refused() -> None:
    """Bedrock wants words beside it, and the gateway invents none."""
    pdf = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PNG}"}}
    with pytest.raises(ClientError, match="text beside a file") as raised:
        built({"messages": [user(pdf)]})
    assert raised.value.param == "messages[0].content[0].file.file_data"


def test_bedrock_marks_become_cache_points_where_the_model_knows_them() -> None:
    """After what they mark; the long time where it is asked for. To other models they are hints that go nowhere."""
    long = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    short = {"cache_control": {"type": "ephemeral"}}
    fields: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "S", **long}]},
            user(
                {"type": "text", "text": "A", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "text", "text": "B"},
            ),
        ],
        "tools": [{**TOOL, **short}],
    }
    point = {"cachePoint": {"type": "default"}}
    for model in (CLAUDE, PROFILE):
        found = body(model, **fields)
        assert found["system"] == [{"text": "S"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
        assert found["messages"][0]["content"] == [{"text": "A"}, point, {"text": "B"}]
        assert found["toolConfig"]["tools"][1:] == [point]
    assert len(body(NOVA, **fields)["toolConfig"]["tools"]) == 1
    assert body(NOVA, **fields)["messages"][0]["content"][1] == point
    assert "cachePoint" not in str(body(LLAMA, **fields))


def test_bedrock_reasoning_goes_back_to_claude_with_its_signature_alone() -> None:
    """Unsigned, another family's, or to another model it would be refused."""
    foreign = {"type": "reasoning.text", "text": "no", "signature": "x", "format": "google-gemini-v1"}
    unsigned = {"type": "reasoning.text", "text": "no", "format": ANTHROPIC_ORIGIN}
    answer = {"role": "assistant", "content": "So.", "reasoning_details": [SIGNED, REDACTED, foreign, unsigned]}
    kept = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "b3BhcXVl"}},
    ]
    assert messages(HI, answer, HI, model=CLAUDE)[1]["content"] == [*kept, {"text": "So."}]
    assert messages(HI, answer, HI, model=NOVA)[1]["content"] == [{"text": "So."}]
    plain = {"role": "assistant", "content": "So.", "reasoning_content": "hm"}
    assert messages(HI, plain, HI, model=CLAUDE)[1]["content"] == [{"text": "So."}]


def test_bedrock_sampling_is_clamped_and_goes_where_it_is_taken() -> None:
    """Temperature ends at 1; the newest Claudes take none of it, older ones not both, and only few know top_k."""
    given: dict[str, Any] = {"temperature": 1.5, "top_p": 0.9, "top_k": 40, "stop": ["A", "B"]}
    nova = body(**given)
    assert nova["inferenceConfig"] == {"maxTokens": 100, "temperature": 1, "topP": 0.9, "stopSequences": ["A", "B"]}
    assert nova["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 40}}
    assert "additionalModelResponseFieldPaths" not in nova
    claude = body(CLAUDE, **given)
    assert claude["inferenceConfig"] == {"maxTokens": 100, "temperature": 1, "stopSequences": ["A", "B"]}
    assert claude["additionalModelRequestFields"] == {"top_k": 40}
    assert claude["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    assert body(CLAUDE, top_p=0.9)["inferenceConfig"] == {"maxTokens": 100, "topP": 0.9}
    newest = body(CLAUDE_5, **given)
    assert newest["inferenceConfig"] == {"maxTokens": 100, "stopSequences": ["A", "B"]}
    assert "additionalModelRequestFields" not in newest
    assert "additionalModelRequestFields" not in body(LLAMA, top_k=40)


@pytest.mark.parametrize(
    ("model", "effort", "own", "config"),
    [
        (CLAUDE, "medium", {"thinking": {"type": "enabled", "budget_tokens": 8192}}, None),
        (
            CLAUDE_5,
            "minimal",
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
            None,
        ),
        ("openai.gpt-oss-120b-1:0", "minimal", {"reasoning_effort": "low"}, None),
        ("deepseek.v3-v1:0", "high", None, {"effort": "high"}),
        ("deepseek.v3-v1:0", "none", None, None),
        (CLAUDE, None, None, None),
    ],
)
def test_bedrock_effort_is_said_as_the_family_reads_it(model: str, effort: Any, own: Any, config: Any) -> None:
    """Claude by its generation, OpenAI's own models by their own word, all others by Bedrock's."""
    found = body(model, 20_000, reasoning_effort=effort)
    assert found.get("additionalModelRequestFields") == own
    assert found.get("outputConfig") == config


def test_bedrock_thinking_is_left_out_where_the_model_would_refuse() -> None:
    """A tool that must be called, calls whose reasoning did not come back, and sampling while it thinks."""
    asked: dict[str, Any] = {"tools": [TOOL], "reasoning_effort": "high", "temperature": 0.5}
    thinks = body(CLAUDE, 20_000, **asked)
    assert thinks["additionalModelRequestFields"]["thinking"]["type"] == "enabled"
    assert "temperature" not in thinks["inferenceConfig"]
    forced = body(CLAUDE, 20_000, **asked, tool_choice="required")
    lost = body(CLAUDE, 20_000, **asked, messages=[HI, CALLING, RESULT])
    for found in (forced, lost):
        assert "additionalModelRequestFields" not in found
        assert found["inferenceConfig"]["temperature"] == 0.5
    kept = body(CLAUDE, 20_000, **asked, messages=[HI, {**CALLING, "reasoning_details": [SIGNED]}, RESULT])
    assert "thinking" in kept["additionalModelRequestFields"]


def test_bedrock_schema_is_text_and_json_alone_is_the_prompts_to_say() -> None:
    """Converse has no word for JSON of any form."""
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": SCHEMA, "strict": True}}
    form = body(CLAUDE, response_format=wanted)["outputConfig"]["textFormat"]
    schema = form["structure"]["jsonSchema"]
    assert (form["type"], schema["name"], schema["description"]) == ("json_schema", "n", "d")
    assert msgspec.json.decode(schema["schema"]) == SCHEMA
    assert "outputConfig" not in body(response_format={"type": "json_object"})
    both = body("deepseek.v3-v1:0", response_format=wanted, reasoning_effort="low")["outputConfig"]
    assert both.keys() == {"effort", "textFormat"}


def test_bedrock_user_and_tier_are_labels_where_they_fit() -> None:
    """Others are hints that go nowhere."""
    assert body(user="u-1@example.com", service_tier="flex")["requestMetadata"] == {"user": "u-1@example.com"}
    assert body(service_tier="priority")["serviceTier"] == {"type": "priority"}
    odd = body(user="ü" * 9, service_tier="auto")
    assert odd.keys() == {"messages", "inferenceConfig"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"modalities": ["audio"]}, "audio"),
    ],
)
def test_bedrock_what_it_cannot_do_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    """And what is a hint is dropped."""
    with pytest.raises(ClientError, match="Provider 'aws' does not support") as raised:
        built(fields)
    assert (raised.value.param, raised.value.code) == (param, "unsupported_parameter")
    assert body(seed=1, presence_penalty=1, prediction={"type": "content", "content": "x"}).keys() == {
        "messages",
        "inferenceConfig",
    }


def test_bedrock_custom_tools_are_refused() -> None:
    """They take free text, and Bedrock's take JSON."""
    with pytest.raises(ClientError) as raised:
        built({"tools": [{"type": "custom", "custom": {"name": "x"}}]})
    assert raised.value.param == "tools[0]"


def test_bedrock_request_nested_beyond_reason_is_refused() -> None:
    """As every provider does."""
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    tool = {"type": "function", "function": {"name": "f", "parameters": deep}}
    with pytest.raises(ClientError, match="nested too deeply"):
        built({"tools": [tool]})
    while deep:  # freed from the outside in: the interpreter's own way is recursive
        deep = deep["a"]


def test_bedrock_table_names_every_feature() -> None:
    """A feature that is new has to be looked at here."""
    assert HANDLING.keys() == {feature.name for feature in FEATURES}


def test_bedrock_has_no_list_of_models() -> None:
    """That is another service; and it is charged for what nobody waited for."""
    assert PROVIDER.models_request() is None
    assert PROVIDER.bills_after_cancel
