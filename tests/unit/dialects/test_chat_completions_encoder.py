"""What goes over the wire to a Chat Completions client, judged by our own parser and by that of the official SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder
from openai.types.chat import ChatCompletionChunk

from rillgate.dialects.chat_completions import ChatCompletions, ChatCompletionsEncoder, usage_object
from rillgate.domain.delta import (
    Delta,
    EndDelta,
    FinishDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolDelta,
    UsageDelta,
)
from rillgate.domain.errors import CapacityError, ClientError, RillgateError, UpstreamError, UpstreamTruncated
from rillgate.domain.ports import Frame
from rillgate.domain.usage import Usage
from rillgate.wire.sse import SseReader
from tests.unit.pipeline.relay_support import delta, envelope, finish, frame, role, text, usage, usage_numbers

HEAD = {"id": "chatcmpl-req1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "asked-model"}
LAB_HEAD = {"id": "chatcmpl-lab", "object": "chat.completion.chunk", "created": 1_795_000_000, "model": "lab-model"}


def encoder() -> ChatCompletionsEncoder:
    """Of a request "req1"."""
    return ChatCompletionsEncoder("req1", "asked-model", 1_700_000_000)


def frames_of(*parts: bytes) -> list[Frame]:
    """The provider's frames."""
    return SseReader().feed(b"".join(parts))


def read(out: bytes) -> list[dict[str, Any]]:
    """All chunks of a stream without [DONE]; each must be one `data:` line."""
    found = SseReader().feed(out)
    assert b"".join(b"data: " + one.data + b"\n\n" for one in found) == out
    return [msgspec.json.decode(one.data) for one in found]


def sdk_reads(out: bytes) -> list[str]:
    """The data of every event that openai-python makes of these bytes."""

    def whole() -> Iterator[bytes]:
        yield out

    return [event.data for event in SSEDecoder().iter_bytes(whole())]


# Frames that we make


def test_encode_every_delta_is_a_chunk_with_the_role_once_for_each_choice() -> None:
    """openai-python's helper joins repeated strings, so `role` stands in a choice's first chunk and nowhere else."""
    deltas: list[Delta] = [
        ReasoningDelta(0, "hm"),
        TextDelta(0, "a"),
        TextDelta(1, "b"),
        RefusalDelta(1, "no"),
        ToolDelta(0, 0, "c", "f", ""),
        ToolDelta(0, 0, None, None, '{"q"'),
        UsageDelta(Usage(1, 1)),
        FinishDelta(0, "tool_calls"),
        FinishDelta(1, "stop"),
        EndDelta(),
    ]
    chunks = read(encoder().encode(deltas, {}))
    assert [{key: chunk[key] for key in HEAD} for chunk in chunks] == [HEAD] * 8
    assert [chunk["choices"] for chunk in chunks] == [
        [{"index": 0, "delta": {"role": "assistant", "reasoning_content": "hm"}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}],
        [{"index": 1, "delta": {"role": "assistant", "content": "b"}, "finish_reason": None}],
        [{"index": 1, "delta": {"refusal": "no"}, "finish_reason": None}],
        [
            {
                "index": 0,
                "delta": {
                    "tool_calls": [
                        {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
                    ]
                },
                "finish_reason": None,
            }
        ],
        [
            {
                "index": 0,
                "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"q"'}}]},
                "finish_reason": None,
            }
        ],
        [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}],
        [{"index": 1, "delta": {}, "finish_reason": "stop"}],
    ]


def test_encode_text_after_text_is_the_same_chunk_with_other_text() -> None:
    """Byte for byte what a reader of JSON would write, for each choice, under the head that is known by then."""
    writer = encoder()
    for choice in (0, 1):
        writer.encode((TextDelta(choice, "a"),), {})
    for said in ("b", 'c "\\\n', "grüße \u2028 👋", ""):
        for choice in (0, 1):
            chunk = {**HEAD, "choices": [{"index": choice, "delta": {"content": said}, "finish_reason": None}]}
            expected = b"data: " + msgspec.json.encode(chunk) + b"\n\n"
            assert writer.encode((TextDelta(choice, said),), {}) == expected
    writer.forward(frames_of(frame(envelope([], id="chatcmpl-lab")))[0])
    assert read(writer.encode((TextDelta(0, "d"),), {}))[0]["id"] == "chatcmpl-lab"


def test_encode_report_stands_in_the_chunk_that_finishes() -> None:
    """And in no other."""
    chunks = read(encoder().encode([TextDelta(0, "a"), FinishDelta(0, "stop")], {"estimated": True}))
    assert ["rillgate" in chunk for chunk in chunks] == [False, True]
    assert chunks[1]["rillgate"] == {"estimated": True}


def test_encode_first_chunk_of_a_choice_that_only_finishes_has_its_role() -> None:
    """An empty completion is one chunk."""
    (chunk,) = read(encoder().encode([FinishDelta(0, "stop")], {}))
    assert chunk["choices"] == [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": "stop"}]


@pytest.mark.parametrize("notice", ["", " [cut]"])
def test_cut_is_the_notice_then_length_with_the_report(notice: str) -> None:
    """A cut ends as the model itself would, and says why beside it."""
    chunks = read(encoder().cut(1, notice, {"stop": "budget"}))
    *said, last = chunks
    assert [chunk["choices"][0]["delta"]["content"] for chunk in said] == ([notice] if notice else [])
    assert (last["choices"][0]["index"], last["choices"][0]["finish_reason"]) == (1, "length")
    assert last["rillgate"] == {"stop": "budget"}
    assert all("rillgate" not in chunk for chunk in said)


def test_usage_chunk_has_no_choices() -> None:
    """`choices: []`, as OpenAI's own."""
    (chunk,) = read(encoder().usage(Usage(9, 4, cached_input_tokens=0, reasoning_tokens=2)))
    assert chunk == {
        **HEAD,
        "choices": [],
        "usage": {
            **usage_numbers(9, 4),
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }


def test_usage_object_leaves_out_what_is_not_known() -> None:
    """The three totals are always there, since every client reads them; details only where they are known."""
    assert usage_object(Usage()) == usage_numbers(0, 0)
    assert usage_object(Usage(output_tokens=4)) == usage_numbers(0, 4)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            UpstreamTruncated("it broke"),
            {"message": "it broke", "type": "server_error", "param": None, "code": "upstream_truncated"},
        ),
        (
            ClientError('say "please"\n', param="n", code="invalid_value"),
            {"message": 'say "please"\n', "type": "invalid_request_error", "param": "n", "code": "invalid_value"},
        ),
        (CapacityError("full"), {"message": "full", "type": "server_error", "param": None, "code": "overloaded"}),
        (RillgateError("odd"), {"message": "odd", "type": "server_error", "param": None, "code": None}),
    ],
)
def test_error_has_openais_shape_in_the_stream_and_as_a_body(error: RillgateError, expected: dict[str, Any]) -> None:
    """The same four fields either way; in the stream they are one frame and nothing else."""
    assert read(encoder().error(error)) == [{"error": expected}]
    assert msgspec.json.decode(ChatCompletions().error_body(error)) == {"error": expected}


def test_end_is_exactly_done() -> None:
    """openai-node takes no other: a space behind it is a syntax error there."""
    assert encoder().end() == b"data: [DONE]\n\n"
    assert encoder().open() == b""


# Frames of the provider


@pytest.mark.parametrize(
    "raw",
    [
        text("a"),
        text("a").replace(b"\n", b"\r\n"),
        b'data:{"choices" : [ ] ,"x":1.0}\n\n',
        b'data: {"choices":[],\ndata: "x":1}\n\n',
        'data: {"choices":[{"delta":{"content":"ä\u2028\x85"}}],"x":1e-7}\n\n'.encode(),
        b'data: {"choices":[{"delta":{"content":"\\ud83d"}}],"x":NaN}\n\n',
    ],
)
def test_forward_plain_frame_goes_byte_for_byte(raw: bytes) -> None:
    """White space, number formats, line ends, half a surrogate pair: nothing is touched."""
    (one,) = frames_of(raw)
    assert one.plain
    assert encoder().forward(one) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b'event: message\ndata: {"choices":[]}\n\n',
        b'id: 7\ndata: {"choices":[]}\n\n',
        b'retry: 3000\ndata: {"choices":[]}\n\n',
        b'data: {"choices":[]}\n: comment\n\n',
        b'data: {"choices":[]}\r\r',
    ],
)
def test_forward_frame_with_more_than_data_goes_as_its_data(raw: bytes) -> None:
    """openai-python fails on what `id:` and `retry:` do to later blank lines, so they go no further."""
    (one,) = frames_of(raw)
    assert encoder().forward(one) == b'data: {"choices":[]}\n\n'


AZURE_FIRST = frame({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []})


@pytest.mark.parametrize("before", [[], [AZURE_FIRST]])
def test_own_chunks_carry_the_head_of_the_providers_first_chunk(before: list[bytes]) -> None:
    """The same id, created and model on all chunks of a stream; Azure's first one has none of them."""
    encode = encoder()
    fingerprinted = envelope([{"index": 0, "delta": {"role": "assistant"}}], system_fingerprint="fp_1")
    for one in frames_of(*before, frame(fingerprinted), text("a").replace(b"chatcmpl-lab", b"another")):
        encode.forward(one)
    for chunk in read(encode.cut(0, "!", {}) + encode.usage(Usage(1, 1))):
        assert {key: chunk.get(key) for key in (*LAB_HEAD, "system_fingerprint")} == {
            **LAB_HEAD,
            "system_fingerprint": "fp_1",
        }


def test_own_chunks_repeat_no_role_that_the_provider_sent() -> None:
    """The provider's own first chunk has said it."""
    encode = encoder()
    for one in frames_of(role(), text("a")):
        encode.forward(one)
    assert all("role" not in chunk["choices"][0]["delta"] for chunk in read(encode.cut(0, "!", {})))


def test_own_chunks_before_any_of_the_provider_carry_the_requests_head() -> None:
    """A frame without a head teaches nothing."""
    encode = encoder()
    encode.forward(frames_of(AZURE_FIRST)[0])
    (chunk,) = read(encode.usage(Usage(1, 1)))
    assert {key: chunk[key] for key in HEAD} == HEAD


EXTRAS: dict[str, Any] = {
    "x_lab": {"deep": [1, 2.5, None, "日本\u2028"]},
    "timings": {"ms": 1e-7},
    "service_tier": None,
}


def test_amend_takes_usage_out_and_keeps_everything_else() -> None:
    """Unknown fields survive, of the chunk and of its choices."""
    choice = {"index": 0, "delta": {"content": "a", "x": 1}, "logprobs": {"content": []}, "finish_reason": None}
    (one,) = frames_of(frame(envelope([choice], usage=usage_numbers(), **EXTRAS)))
    (chunk,) = read(encoder().amend(one, without_usage=True, drop_choices=(), report={}))
    assert chunk == envelope([choice], **EXTRAS)


def test_amend_takes_choices_out_and_keeps_the_others() -> None:
    """Where no index is given it is 0."""
    choices: list[dict[str, Any]] = [
        {"delta": {"content": "a"}},
        {"index": 1, "delta": {"content": "b"}},
        {"index": 2, "delta": {}},
    ]
    (one,) = frames_of(frame(envelope(choices, usage=usage_numbers(), **EXTRAS)))
    (chunk,) = read(encoder().amend(one, without_usage=False, drop_choices={0, 2}, report={}))
    assert chunk == envelope([choices[1]], usage=usage_numbers(), **EXTRAS)


def test_amend_adds_the_report() -> None:
    """Beside whatever the provider wrote."""
    (one,) = frames_of(finish("stop", **EXTRAS))
    (chunk,) = read(encoder().amend(one, without_usage=False, drop_choices=(), report={"estimated": True}))
    assert chunk.pop("rillgate") == {"estimated": True}
    assert chunk == msgspec.json.decode(one.data)


@pytest.mark.parametrize(
    ("raw", "without_usage", "drop_choices"),
    [(usage(), True, ()), (text("a"), False, {0}), (text("a", usage=usage_numbers()), False, {0})],
)
def test_amend_frame_that_nothing_is_left_of_is_nothing(
    raw: bytes, without_usage: bool, drop_choices: set[int] | tuple[()]
) -> None:
    """An empty frame would be a chunk that says nothing to the client, or worse."""
    (one,) = frames_of(raw)
    assert encoder().amend(one, without_usage=without_usage, drop_choices=drop_choices, report={}) == b""


@pytest.mark.parametrize("raw", [AZURE_FIRST, usage()])
def test_amend_frame_without_choices_survives_a_cut(raw: bytes) -> None:
    """What a provider says beside the choices is not part of the one that was cut."""
    (one,) = frames_of(raw)
    (chunk,) = read(encoder().amend(one, without_usage=False, drop_choices={0}, report={}))
    assert chunk == msgspec.json.decode(one.data)


def test_amend_frame_that_only_a_loose_parser_takes_stays_as_it_is() -> None:
    """Half a surrogate pair stays an escape; NaN, which is no JSON, becomes null."""
    (one,) = frames_of(rb'data: {"choices":[{"delta":{"content":"a\ud83d"}}],"usage":{},"x":NaN}' + b"\n\n")
    out = encoder().amend(one, without_usage=True, drop_choices=(), report={})
    assert rb'"content":"a\ud83d"' in out
    assert b"usage" not in out
    assert out.isascii()


# As the SDK reads it


def provider_stream() -> list[bytes]:
    """Frames of every kind that goes to a client, as the encoder gives them."""
    encode = encoder()
    forwarded = [encode.forward(one) for one in frames_of(role(), text("a"), delta({"content": "b"}, "stop"))]
    (last,) = frames_of(text("c", usage=usage_numbers()))
    return [
        *forwarded,
        encode.amend(last, without_usage=True, drop_choices=(), report={}),
        encode.encode([TextDelta(1, "d")], {}),
        encode.cut(1, "!", {"stop": "budget"}),
        encode.usage(Usage(1, 2)),
        encode.end(),
    ]


@given(places=st.lists(st.integers(0, 8), max_size=12))
def test_heartbeats_anywhere_between_frames_change_nothing_for_the_sdk(places: list[int]) -> None:
    """Before the first frame, several in a row, right before [DONE]: the SDK reads the same events, none empty."""
    frames = provider_stream()
    beat = encoder().heartbeat()
    out = b"".join(beat * places.count(position) + one for position, one in enumerate(frames)) + beat * places.count(
        len(frames)
    )
    assert sdk_reads(out) == sdk_reads(b"".join(frames))
    assert SseReader().feed(out)[-1].data == b"[DONE]"


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_heartbeat_next_to_frames_of_either_line_end_is_harmless(newline: bytes) -> None:
    """A provider's CRLF frames are forwarded as they are."""
    encode = encoder()
    raw = text("a").replace(b"\n", newline)
    (one,) = frames_of(raw)
    out = encode.heartbeat() + encode.forward(one) + encode.heartbeat() + encode.forward(one) + encode.heartbeat()
    assert sdk_reads(out) == [one.data.decode()] * 2


def test_every_frame_is_a_chunk_of_the_sdk() -> None:
    """It takes each as `chat.completion.chunk`, and the terminal event as such."""
    *events, last = sdk_reads(b"".join(provider_stream()))
    assert last == "[DONE]"
    for event in events:
        chunk = ChatCompletionChunk.model_validate_json(event, strict=False)
        assert chunk.object == "chat.completion.chunk"
        assert chunk.id == "chatcmpl-lab"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(content=texts, name=texts, arguments=texts, notice=texts.filter(bool))
def test_text_of_any_characters_arrives_as_it_was(content: str, name: str, arguments: str, notice: str) -> None:
    """Line breaks of every kind, quotes, NUL: one frame each, for our parser and for the SDK's."""
    encode = encoder()
    out = encode.encode([TextDelta(0, content), ToolDelta(0, 0, content, name, arguments)], {})
    out += encode.cut(0, notice, {}) + encode.error(UpstreamError(content))
    chunks = read(out)
    assert [msgspec.json.decode(event) for event in sdk_reads(out)] == chunks
    said, called, cut, _, failed = chunks
    assert said["choices"][0]["delta"]["content"] == content
    assert called["choices"][0]["delta"]["tool_calls"][0]["function"] == {"name": name, "arguments": arguments}
    assert cut["choices"][0]["delta"]["content"] == notice
    assert failed["error"]["message"] == content


# Whole answers


def test_answer_with_nothing_to_add_is_the_providers_bytes() -> None:
    """White space and all."""
    body = b'\n {"choices" : [], "usage": {"prompt_tokens": 1}}\n'
    assert ChatCompletions().answer(body, None, {}) is body


def test_answer_gets_our_usage_and_report() -> None:
    """Unknown fields survive."""
    body = msgspec.json.encode({"choices": [{"message": {"content": "a"}}], "usage": None, **EXTRAS})
    answer = msgspec.json.decode(ChatCompletions().answer(body, Usage(9, 4, estimated=True), {"estimated": True}))
    assert answer == {
        "choices": [{"message": {"content": "a"}}],
        "usage": usage_numbers(),
        "rillgate": {"estimated": True},
        **EXTRAS,
    }


def test_answer_that_only_a_loose_parser_takes_is_amended_too() -> None:
    """Half a surrogate pair is no reason to fail."""
    out = ChatCompletions().answer(rb'{"choices":[{"message":{"content":"\ud83d"}}]}', Usage(1, 1), {})
    assert rb'"content":"\ud83d"' in out
    assert b'"total_tokens":2' in out


def test_encode_event_names_and_ids_never_appear() -> None:
    """On OpenAI's routes there are `data:` fields and comments, and nothing else."""
    out = b"".join(provider_stream()) + encoder().heartbeat()
    assert {line.partition(b":")[0] for line in out.split(b"\n") if line} == {b"data", b""}
