"""Requests to OpenAI and compatible servers: one cap under the right name, usage asked for, the rest untouched."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.domain.errors import ClientError
from rillgate.domain.request import ChatRequest
from rillgate.providers.openai import OpenAIProvider

MESSAGES = [{"role": "user", "content": "hi"}]


def built(fields: dict[str, Any], *, own_host: bool = False, stream: bool = True) -> dict[str, Any]:
    """The body that goes upstream for these fields, routed to "routed" with a cap of 7."""
    request = ChatRequest(fields=fields, model="asked", stream=stream)
    outgoing = OpenAIProvider("lab", own_host=own_host).build(request, "routed", 7)
    body: dict[str, Any] = msgspec.json.decode(outgoing.body)
    return body


@pytest.mark.parametrize(
    ("own_host", "read", "unread"),
    [(True, "max_completion_tokens", "max_tokens"), (False, "max_tokens", "max_completion_tokens")],
)
@pytest.mark.parametrize("asked", [{}, {"max_tokens": 99}, {"max_completion_tokens": 99}, None])
def test_build_cap_goes_once_under_the_name_that_the_host_reads(
    own_host: bool, read: str, unread: str, asked: dict[str, int] | None
) -> None:
    """Whatever the client called its cap, ours stands alone under the one name that this host obeys."""
    caps = {"max_tokens": 98, "max_completion_tokens": 99} if asked is None else asked
    body = built({"messages": MESSAGES, **caps}, own_host=own_host)
    assert body[read] == 7
    assert unread not in body


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"include_usage": True}),
        (None, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": True}),
        ({"include_usage": None}, {"include_usage": True}),
        (
            {"include_obfuscation": False, "continuous_usage_stats": True},
            {"include_obfuscation": False, "continuous_usage_stats": True, "include_usage": True},
        ),
    ],
)
def test_build_stream_always_asks_for_usage_and_keeps_other_options(
    options: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    """The house needs the provider's usage whether or not the client does; what else the client chose stays."""
    body = built({"messages": MESSAGES, "stream": True, "stream_options": options})
    assert body["stream_options"] == expected


@pytest.mark.parametrize("fields", [{}, {"stream_options": None}, {"stream": False, "stream_options": None}])
def test_build_without_stream_has_no_stream_options(fields: dict[str, Any]) -> None:
    """OpenAI answers 400 to stream options of a request that is no stream."""
    assert "stream_options" not in built({"messages": MESSAGES, **fields}, stream=False)


def test_build_unknown_fields_pass_through_with_the_routed_model() -> None:
    """What we do not know is the provider's business; the model is the one that was routed to."""
    extras = {
        "model": "asked",
        "top_k": 40,
        "chat_template_kwargs": {"enable_thinking": False},
        "seed": 18446744073709551616,
        "metadata": {"käse": "日本\u2028"},
        "temperature": 0.1,
        "logit_bias": {"50256": -100},
        "nothing": None,
        "n": 2,
    }
    body = built({"messages": MESSAGES, **extras})
    assert {key: body[key] for key in extras} == {**extras, "model": "routed"}
    assert body["messages"] == MESSAGES


def test_build_sends_json_to_chat_completions() -> None:
    """Method, path below the base URL, and content type."""
    request = ChatRequest(fields={"messages": MESSAGES}, model=None, stream=False)
    outgoing = OpenAIProvider("lab", own_host=False).build(request, "m", 7)
    assert (outgoing.method, outgoing.path) == ("POST", "/chat/completions")
    assert outgoing.headers == (("content-type", "application/json"),)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=12,
)


@given(
    extras=st.dictionaries(st.text(max_size=9), json_values, max_size=5),
    options=st.none() | st.dictionaries(st.text(max_size=9), json_values, max_size=3),
    stream=st.booleans(),
)
def test_build_leaves_the_request_as_it_was(
    extras: dict[str, Any], options: dict[str, Any] | None, stream: bool
) -> None:
    """A request may go to a second provider: building for the first changes nothing in it, however deep."""
    fields = {**extras, "max_tokens": 5, "stream_options": options, "messages": MESSAGES}
    before = copy.deepcopy(fields)
    built(fields, stream=stream)
    assert fields == before


def test_build_of_fields_nested_too_deeply_is_the_clients_error() -> None:
    """What was just shallow enough to be read may be too deep to be written: 400, not an internal error."""
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ClientError) as caught:
        built({"messages": MESSAGES, "deep": nested})
    assert caught.value.status == 400
    while nested:  # freed from the outside in: recursion deep in the interpreter is not what is tested
        nested = nested[0]


def test_build_leaves_out_reasoning_that_openais_own_host_refuses() -> None:
    """What its other API gave the client to keep. Other servers may want it; of other families nothing changes."""
    kept = [{"type": "reasoning.encrypted", "data": "gA", "format": "openai-responses-v1", "index": 0}]
    turn = {"role": "assistant", "content": "Hi", "name": "a"}
    fields = {"messages": [*MESSAGES, {**turn, "reasoning_content": "Hm.", "reasoning_details": kept}]}
    assert built(fields, own_host=True)["messages"] == [*MESSAGES, turn]
    assert built(fields)["messages"] == fields["messages"]
    kept[0]["format"] = "google-gemini-v1"
    assert built(fields, own_host=True)["messages"] == fields["messages"]
