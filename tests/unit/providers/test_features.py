"""What a request asks for, and that what a provider cannot do is refused by the field's name."""

from __future__ import annotations

from typing import Any

import pytest

from rillgate.domain.errors import ClientError
from rillgate.providers.features import FEATURES, Handling, check

HI = {"role": "user", "content": "Hi"}


def user(part: dict[str, Any]) -> dict[str, Any]:
    """A request whose one message has this part."""
    return {"messages": [{"role": "user", "content": [part]}]}


def image(url: str) -> dict[str, Any]:
    """A request with this image."""
    return user({"type": "image_url", "image_url": {"url": url}})


MARK = {"cache_control": {"type": "ephemeral"}}
TOOL = {"type": "function", "function": {"name": "f"}}
ASKED: dict[str, list[dict[str, Any]]] = {
    "text": [{}],
    "images": [image("data:image/png;base64,AA=="), image("https://a/b")],
    "image_urls": [image("https://a/b"), user({"type": "image_url", "image_url": "http://a/b"})],
    "documents": [user({"type": "file", "file": {}})],
    "sound": [user({"type": "input_audio", "input_audio": {}})],
    "tools": [{"tools": [TOOL]}],
    "custom_tools": [{"tools": [TOOL, {"type": "custom"}]}],
    "functions": [{"functions": [{"name": "f"}]}],
    "web_search": [{"web_search_options": {}}],
    "tool_choice": [
        {"tool_choice": "required"},
        {"tool_choice": TOOL},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required"}}},
    ],
    "parallel_tool_calls": [{"parallel_tool_calls": False}],
    "json_schema": [{"response_format": {"type": "json_schema"}}],
    "json_object": [{"response_format": {"type": "json_object"}}],
    "stop": [{"stop": "a"}],
    "temperature": [{"temperature": 0}],
    "top_p": [{"top_p": 0}],
    "top_k": [{"top_k": 1}],
    "penalties": [{"presence_penalty": 1}, {"frequency_penalty": -1}],
    "seed": [{"seed": 0}],
    "choices": [{"n": 2}],
    "logprobs": [{"logprobs": True}],
    "logit_bias": [{"logit_bias": {"1": 1}}],
    "prediction": [{"prediction": {}}],
    "audio_output": [{"audio": {}}, {"modalities": ["text", "audio"]}],
    "reasoning_effort": [{"reasoning_effort": "none"}],
    "reasoning_kept": [{"messages": [{"role": "assistant", "content": "A", "reasoning_details": [{}]}]}],
    "cache_marks": [
        {"messages": [{**HI, **MARK}]},
        user({"type": "text", "text": "Hi", **MARK}),
        {"tools": [{**TOOL, **MARK}]},
        user({"type": "text", "text": "Hi", "prompt_cache_breakpoint": {}}),
    ],
    "end_user": [{"user": "u"}, {"safety_identifier": "s"}],
    "service_tier": [{"service_tier": "auto"}],
}
UNASKED: list[dict[str, Any]] = [
    {},
    {"tools": [], "functions": [], "stop": None, "n": 1, "logprobs": False, "logit_bias": {}, "user": ""},
    {"presence_penalty": 0, "frequency_penalty": None, "modalities": ["text"], "parallel_tool_calls": True},
    {"tool_choice": "auto", "response_format": {"type": "text"}, "service_tier": None, "web_search_options": None},
    {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}},
    user({"type": "text", "text": "Hi"}),
]
EVERYTHING_ELSE = dict.fromkeys((feature.name for feature in FEATURES), Handling.DROPPED)


def test_features_are_all_shown_here() -> None:
    """With an example each."""
    assert list(ASKED) == [feature.name for feature in FEATURES]


@pytest.mark.parametrize(("name", "fields"), [(name, fields) for name, rows in ASKED.items() for fields in rows])
def test_check_refuses_what_is_asked_for_and_cannot_be(name: str, fields: dict[str, Any]) -> None:
    """By the field's and the provider's name; the same request passes where it is dropped."""
    fields = {"messages": [HI], **fields}
    check(fields, EVERYTHING_ELSE, "lab")
    with pytest.raises(ClientError, match="'lab'") as caught:
        check(fields, {**EVERYTHING_ELSE, name: Handling.REFUSED}, "lab")
    feature = next(feature for feature in FEATURES if feature.name == name)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_parameter")
    assert caught.value.param == feature.param


@pytest.mark.parametrize("fields", UNASKED)
def test_check_passes_what_nobody_asked_for(fields: dict[str, Any]) -> None:
    """Defaults that clients write out are no wishes."""
    refused = dict.fromkeys((feature.name for feature in FEATURES if feature.name != "text"), Handling.REFUSED)
    check({"messages": [HI], **fields}, {"text": Handling.PASSED, **refused}, "lab")
