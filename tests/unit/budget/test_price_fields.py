"""Which fields change a price: those that the table cannot follow, each by its place, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.budget.price_fields import price_changing


def saying(*parts: Any) -> dict[str, Any]:
    """A request whose second message has these parts."""
    return {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": list(parts)}]}


TEXT = {"type": "text", "text": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"service_tier": "flex"}, "service_tier"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"service_tier": "fast"}, "service_tier"),
        ({"service_tier": ""}, "service_tier"),
        ({"service_tier": ["auto"]}, "service_tier"),
        ({"speed": "fast"}, "speed"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"modalities": ["text", "audio"]}, "modalities[1]"),
        ({"modalities": ["image"]}, "modalities[0]"),
        ({"modalities": "audio"}, "modalities[0]"),
        ({"audio": {"voice": "alloy", "format": "mp3"}}, "audio"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"search_parameters": {"mode": "auto"}}, "search_parameters"),
        ({"search_parameters": {}}, "search_parameters"),
        ({"enable_search": True}, "enable_search"),
        ({"plugins": [{"id": "web"}]}, "plugins"),
        ({"models": ["openai/gpt-4o"]}, "models"),
        ({"provider": {"order": ["a"]}}, "provider"),
        ({"preset": "mine"}, "preset"),
        ({"mcp_servers": [{"url": "https://x"}]}, "mcp_servers"),
        ({"tools": [FUNCTION, {"type": "web_search"}]}, "tools[1].type"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": {"type": "mcp"}}, "tools[0].type"),
        ({"tools": [{"type": ["function"]}]}, "tools[0].type"),
        ({"tools": [{"google_search": {}}]}, "tools[0]"),
        (saying(TEXT, {"type": "input_audio", "input_audio": {"data": "AA"}}), "messages[1].content[1].type"),
        (saying({"type": "video_url", "video_url": {"url": "https://x"}}), "messages[1].content[0].type"),
        (saying({"type": "file", "file": {"file_data": "data:audio/mp3;base64,AA"}}), "messages[1].content[0].file"),
        (saying({"type": "image_url", "image_url": "DATA:Video/mp4;base64,AA"}), "messages[1].content[0].image_url"),
        ({"messages": [{"role": "user", "content": {"type": "input_audio"}}]}, "messages[0].content.type"),
        ({"messages": {"role": "assistant", "audio": {"id": "a"}}}, "messages[0].audio"),
        (HOUR, "cache_control.ttl"),
        ({"tools": [{**FUNCTION, **HOUR}]}, "tools[0].cache_control.ttl"),
        ({"messages": [{"role": "user", "content": "Hi", **HOUR}]}, "messages[0].cache_control.ttl"),
        (saying(TEXT, {**TEXT, **HOUR}), "messages[1].content[1].cache_control.ttl"),
        ({"speed": "fast", "service_tier": "flex"}, "service_tier"),
    ],
)
def test_field_that_changes_the_price_is_named_by_its_place(fields: dict[str, Any], found: str) -> None:
    """Tiers, speech, searches, hosted tools, other models or sellers, longer caches."""
    assert price_changing(fields) == found


@pytest.mark.parametrize(
    "fields",
    [
        {},
        *({"service_tier": tier} for tier in ("auto", "default", "standard", "standard_only", "on_demand", None)),
        {"speed": "standard", "inference_geo": "global"},
        {"modalities": ["text"]},
        {"modalities": None, "audio": None, "web_search_options": None, "provider": None},
        {"search_parameters": {"mode": "off"}, "enable_search": False, "plugins": [], "models": []},
        {"tools": [FUNCTION, {"type": "custom", "custom": {"name": "c"}}, {"name": "f", "input_schema": {}}]},
        {"tools": None, "functions": [{"name": "f"}]},
        {"prediction": {"type": "content", "content": "long"}},
        {"n": 3, "store": True, "metadata": {"a": "b"}, "logprobs": True, "reasoning_effort": "high", "seed": 1},
        saying(TEXT, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "high"}}),
        saying({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}}),
        saying({**TEXT, "cache_control": {"type": "ephemeral"}}, {**TEXT, "cache_control": {"ttl": "5m"}}),
        saying("plain", None, 7),
        {"messages": [{"role": "assistant", "content": None, "audio": None}]},
    ],
)
def test_field_that_leaves_the_price_as_it_is_is_no_obstacle(fields: dict[str, Any]) -> None:
    """The usual tiers, functions, images, predictions, and whatever has no price."""
    assert price_changing(fields) is None


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["text", "audio", "auto", "function"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "url", "ttl"]), inner),
    max_leaves=6,
)
KEYS = [
    *("service_tier", "speed", "modalities", "audio", "tools", "messages", "content", "type", "cache_control"),
    *("search_parameters", "image_url", "file", "models", "plugins", "input_audio", "ttl", "mode", "name"),
]
requests: st.SearchStrategy[Any] = st.recursive(
    json_values,
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYS), requests, max_size=6))
def test_any_json_object_gives_a_place_or_none(fields: dict[str, Any]) -> None:
    """Whatever a client sends, nothing is raised, and a place begins with a field of the request."""
    found = price_changing(fields)
    assert found is None or any(found.startswith(key) for key in fields)
