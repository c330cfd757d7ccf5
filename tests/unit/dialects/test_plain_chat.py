"""The /chat routes: a prompt in a body or a query, and events with numbers for a browser's EventSource."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rillgate.dialects.plain_chat import EventSource, EventSourceEncoder, parse_body, parse_query
from rillgate.domain.delta import Delta, FinishDelta, TextDelta, ToolDelta
from rillgate.domain.errors import ClientError, UpstreamTruncated
from rillgate.domain.request import ChatRequest
from rillgate.domain.usage import Usage
from rillgate.wire.sse import SseFrame, SseReader
from tests.unit.pipeline.relay_support import PROVIDER, envelope, failure, finish, frame, make_relay, run, text, usage

NOTICE = " [cut]"


def body(**fields: Any) -> ChatRequest:
    """The body of POST /chat/stream."""
    return parse_body(msgspec.json.encode(fields), NOTICE)


def query(model: str | None = None, **fields: str) -> ChatRequest:
    """The query of GET /chat."""
    return parse_query(model, fields, NOTICE, 4096)


# Requests


def test_parse_body_of_a_prompt_alone_takes_the_defaults() -> None:
    """A helpful assistant, 512 tokens, temperature 0.7, the default model."""
    assert body(prompt="hi") == ChatRequest(
        fields={
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "hi"},
            ],
            "temperature": 0.7,
            "stream": True,
        },
        model=None,
        stream=True,
        output_tokens_default=512,
        cut_notice=NOTICE,
    )


def test_parse_body_of_everything_is_taken() -> None:
    """Each value that is given outdoes its default."""
    request = body(prompt="hi", system_prompt="Be short.", max_tokens=9, temperature=0, model="m")
    assert request.fields["messages"][0] == {"role": "system", "content": "Be short."}
    assert request.fields["temperature"] == 0
    assert (request.model, request.output_tokens_asked) == ("m", 9)


def test_parse_query_of_a_message_alone_takes_the_defaults() -> None:
    """As for the body, but with the default cap of its own."""
    request = query("m", message="hi")
    assert request.fields["messages"][1] == {"role": "user", "content": "hi"}
    assert request.fields["temperature"] == 0.7
    assert (request.model, request.output_tokens_asked, request.output_tokens_default) == ("m", None, 4096)
    assert request.stream
    assert request.cut_notice == NOTICE


def test_parse_query_reads_numbers_from_text() -> None:
    """A query has nothing but text."""
    request = query(None, message="hi", max_tokens="9", temperature="1.5", system_prompt="", unknown="x")
    assert (request.model, request.output_tokens_asked, request.fields["temperature"]) == (None, 9, 1.5)


@pytest.mark.parametrize("parse", [body, query])
def test_parse_empty_system_prompt_sends_none(parse: Callable[..., ChatRequest]) -> None:
    """Some models know no system role."""
    request = parse(system_prompt="", prompt="hi") if parse is body else parse(system_prompt="", message="hi")
    assert [message["role"] for message in request.fields["messages"]] == ["user"]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({}, "prompt", "missing_required_parameter"),
        ({"prompt": ""}, "prompt", "missing_required_parameter"),
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"prompt": 5}, "prompt", "invalid_type"),
        ({"prompt": ["hi"]}, "prompt", "invalid_type"),
        ({"prompt": "hi", "system_prompt": 5}, "system_prompt", "invalid_type"),
        ({"prompt": "hi", "max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"prompt": "hi", "max_tokens": "9"}, "max_tokens", "invalid_type"),
        ({"prompt": "hi", "max_tokens": True}, "max_tokens", "invalid_type"),
        ({"prompt": "hi", "temperature": 2.5}, "temperature", "invalid_value"),
        ({"prompt": "hi", "temperature": "hot"}, "temperature", "invalid_type"),
        ({"prompt": "hi", "model": 5}, "model", "invalid_type"),
        ({"prompt": "hi", "messages": []}, "messages", "unknown_parameter"),
        ({"prompt": "hi", "x" * 5000: 1}, "x" * 80, "unknown_parameter"),
    ],
)
def test_parse_body_wrong_is_a_400_that_names_the_field(fields: dict[str, Any], param: str, code: str) -> None:
    """Also a field that this route does not know: it would be ignored in silence otherwise."""
    with pytest.raises(ClientError) as caught:
        body(**fields)
    error = caught.value
    assert (error.status, error.param, error.code) == (400, param, code)
    assert len(error.message) < 300


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({}, "message", "missing_required_parameter"),
        ({"message": ""}, "message", "missing_required_parameter"),
        ({"message": "hi", "max_tokens": "many"}, "max_tokens", "invalid_value"),
        ({"message": "hi", "max_tokens": ""}, "max_tokens", "invalid_value"),
        ({"message": "hi", "max_tokens": "1.5"}, "max_tokens", "invalid_value"),
        ({"message": "hi", "max_tokens": "9" * 5000}, "max_tokens", "invalid_value"),
        ({"message": "hi", "max_tokens": "0"}, "max_tokens", "invalid_value"),
        ({"message": "hi", "temperature": "hot"}, "temperature", "invalid_value"),
        ({"message": "hi", "temperature": "nan"}, "temperature", "invalid_value"),
        ({"message": "hi", "temperature": "inf"}, "temperature", "invalid_value"),
        ({"message": "hi", "temperature": "-1"}, "temperature", "invalid_value"),
    ],
)
def test_parse_query_wrong_is_a_400_that_names_the_field(fields: dict[str, str], param: str, code: str) -> None:
    """Text that is no number, or none that makes sense."""
    with pytest.raises(ClientError) as caught:
        query("m", **fields)
    error = caught.value
    assert (error.status, error.param, error.code) == (400, param, code)
    assert len(error.message) < 300


json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.integers(), max_size=2)


@given(
    data=st.binary(max_size=100)
    | st.dictionaries(
        st.sampled_from(["prompt", "system_prompt", "max_tokens", "temperature", "model", "x"]), json_values
    ).map(msgspec.json.encode)
)
@example(data=b"[" * 100_000)
def test_parse_body_of_any_bytes_is_a_request_or_the_clients_error(data: bytes) -> None:
    """Nothing else is raised."""
    with suppress(ClientError):
        assert parse_body(data, "").fields["messages"][-1]["content"]


@given(
    model=st.none() | st.text(max_size=5),
    fields=st.dictionaries(st.sampled_from(["message", "system_prompt", "max_tokens", "temperature"]), st.text()),
)
def test_parse_query_of_any_text_is_a_request_or_the_clients_error(model: str | None, fields: dict[str, str]) -> None:
    """Nothing else is raised."""
    with suppress(ClientError):
        request = parse_query(model, fields, "", 4096)
        assert request.fields["messages"][-1]["content"] == fields["message"]


# Events


def events(out: bytes) -> list[SseFrame]:
    """What a browser dispatches; every event must have an id of its own."""
    frames = [one for one in SseReader().feed(out) if isinstance(one, SseFrame)]
    ids = [one.id or "" for one in frames]
    assert [name.rpartition(":")[0] for name in ids] == ["req1"] * len(ids)
    numbers = [int(name.rpartition(":")[2]) for name in ids]
    assert numbers == list(range(1, len(numbers) + 1))
    return frames


def encoder() -> EventSourceEncoder:
    """Of a request "req1"."""
    return EventSourceEncoder("req1", "asked-model", 1_700_000_000)


def test_event_source_opens_with_an_id_and_no_event() -> None:
    """A browser remembers it and dispatches nothing: a connection lost now reconnects with Last-Event-ID."""
    opening = encoder().open()
    assert opening == b"id: req1:0\n\n"
    reader = SseReader()
    assert reader.feed(opening) == []
    (first,) = reader.feed(b"data: x\n\n")
    assert isinstance(first, SseFrame)
    assert first.id == "req1:0"


@pytest.mark.parametrize("beat_at", range(8))
def test_event_source_numbers_every_event_and_says_done_before_the_terminal_event(beat_at: int) -> None:
    """Ids go up by one from the opening's 0 on; heartbeats anywhere between change nothing."""
    encode = encoder()
    upstream = SseReader().feed(text("a") + text("b"))
    parts = [
        encode.open(),
        *(encode.forward(one) for one in upstream),
        encode.encode([TextDelta(0, "c"), ToolDelta(0, 0, "c", "f", "{}"), FinishDelta(0, "stop")], {}),
        encode.cut(1, "!", {"stop": "budget"}),
        encode.usage(Usage(1, 2)),
        encode.end(),
    ]
    parts.insert(min(beat_at, len(parts)), encode.heartbeat())
    found = events(b"".join(parts))
    assert [(one.event, one.data) for one in found[-2:]] == [("done", b"{}"), ("message", b"[DONE]")]
    assert len(found) == 2 + 3 + 2 + 1 + 2
    assert all(one.event == "message" for one in found[:-2])
    assert [one.data for one in found[:2]] == [one.data for one in upstream]


def test_event_source_error_is_a_plain_message_and_nothing_more() -> None:
    """`error` is the browser's own event name; no `done` and no [DONE] goes with it."""
    (only,) = events(encoder().error(UpstreamTruncated("it broke")))
    assert only.event == "message"
    assert msgspec.json.decode(only.data)["error"]["code"] == "upstream_truncated"


def test_event_source_forwards_the_data_byte_for_byte() -> None:
    """Whatever the frame looked like, its data arrives as it was, with several lines too."""
    encode = encoder()
    upstream = [
        *SseReader().feed(b'data:{"id" : "x",\r\ndata: "choices":[]}\r\n\r\n'),
        *SseReader().feed('data: {"choices":[{"delta":{"content":"a\u2028\\ud83d"}}]}\n\n'.encode()),
    ]
    found = events(b"".join(encode.forward(one) for one in upstream))
    assert [one.data for one in found] == [one.data for one in upstream]


def test_event_source_amends_into_one_event_or_none() -> None:
    """A frame that nothing is left of takes no number."""
    encode = encoder()
    (first, second) = SseReader().feed(usage() + text("a", usage={"prompt_tokens": 1}))
    assert encode.amend(first, without_usage=True, drop_choices=(), report={}) == b""
    (only,) = events(encode.amend(second, without_usage=True, drop_choices=(), report={}))
    assert b"usage" not in only.data


def test_event_source_own_chunks_carry_the_providers_head() -> None:
    """What is learned from the frames that went by stands in the chunks that we make."""
    encode = encoder()
    encode.forward(SseReader().feed(text("a"))[0])
    (_, cut) = SseReader().feed(encode.cut(0, "!", {}))
    chunk = msgspec.json.decode(cut.data)
    assert (chunk["id"], chunk["model"]) == ("chatcmpl-lab", "lab-model")


@pytest.mark.parametrize(
    ("frames", "last"),
    [
        ([text("a"), finish(), usage(), frame(b"[DONE]")], b"[DONE]"),
        ([text("a"), finish(usage={"prompt_tokens": 1, "completion_tokens": 1}), frame(b"[DONE]")], b"[DONE]"),
        ([text("a b c d e f"), finish()], b"[DONE]"),
        ([text("a"), failure({"message": "it fell over"}), frame(b"[DONE]")], b"it fell over"),
        ([text("a")], b"upstream_truncated"),
        ([frame(envelope([], prompt_filter_results=[])), text("a"), finish(), frame(b"[DONE]")], b"[DONE]"),
    ],
)
def test_event_source_through_the_relay_numbers_every_event(frames: list[bytes], last: bytes) -> None:
    """Whatever way a stream goes, no event is without a number of its own."""
    relay = make_relay(encoder=encoder(), cap=5)
    found = events(run(relay, frames))
    assert last in found[-1].data


def test_event_source_dialect_is_chat_completions_with_another_encoder() -> None:
    """Frames of an OpenAI provider go through it unchanged."""
    assert EventSource().name == PROVIDER.dialect
    assert isinstance(EventSource().encoder("req1", "m", 0), EventSourceEncoder)
    deltas: list[Delta] = [TextDelta(0, "x")]
    assert EventSource().encoder("req1", "m", 0).encode(deltas, {}).startswith(b"id: req1:1\n")
