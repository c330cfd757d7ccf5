"""The relay: what a client gets for what a provider sends, however it is cut into pieces, and how the stream ends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from rillgate.domain.ends import End
from tests.unit.pipeline.relay_support import (
    DONE,
    EXTRA,
    WORDS,
    answer_of,
    delta,
    envelope,
    failure,
    finish,
    frame,
    make_relay,
    role,
    run,
    seen,
    text,
    usage,
    usage_numbers,
    with_usage_null,
)


def cut_at(stream: bytes, places: Sequence[int]) -> list[bytes]:
    """The stream cut at these places, taken modulo its length."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


# Byte for byte


PLAIN = answer_of(
    frame(envelope([], prompt_filter_results=[{"prompt_index": 0}])),
    with_usage_null(role()),
    delta({"reasoning_content": "let me see"}, **EXTRA),
    delta({"content": "Hällo\u2028 "}, **EXTRA),
    text("wörld 😀"),
    delta({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"q":"\u0085"}'}}]}),
    delta({}, None, obfuscation="x9"),
    finish("tool_calls", **EXTRA),
)
WITH_USAGE = PLAIN.removesuffix(DONE) + usage() + DONE


places = st.lists(st.integers(0, len(WITH_USAGE) + 40), max_size=30)


@given(places=places, include_usage=st.booleans())
def test_relay_frames_pass_byte_for_byte_for_any_split(places: list[int], include_usage: bool) -> None:
    """Unknown fields, raw U+2028, split characters: the client reads the provider's own bytes."""
    stream = WITH_USAGE if include_usage else PLAIN
    relay = make_relay(include_usage=include_usage)
    assert run(relay, cut_at(stream, places)) == stream
    assert (relay.end, relay.error) == (End.FINISHED, None)
    assert (relay.frames, relay.content_frames, relay.skipped_frames) == (9 + include_usage, 4, 0)


@given(places=places)
@example(places=[PLAIN.index(b"\n\n") + 3])
def test_relay_crlf_frames_pass_byte_for_byte_unless_a_blank_line_is_split(places: list[int]) -> None:
    """A frame is given out at the CR of its blank line: where the LF comes with the next bytes, the frame is written
    with LF. Nothing else differs."""
    stream = PLAIN.replace(b"\n", b"\r\n")
    out = run(make_relay(), cut_at(stream, places))
    assert out.replace(b"\r\n", b"\n") == PLAIN
    if not any(stream[: place % (len(stream) + 1)].endswith(b"\r\n\r") for place in places):
        assert out == stream.removesuffix(DONE.replace(b"\n", b"\r\n")) + DONE


def test_relay_gives_each_frame_as_soon_as_it_is_whole() -> None:
    """Nothing waits for what comes after it, the finish chunk of a client that asked for usage excepted."""
    relay = make_relay()
    frames = [role(), text("a"), text(" b"), finish()]
    for one in frames:
        assert relay.feed(one[:-1]) == b""
        assert relay.feed(one[-1:]) == one
    assert relay.end is None
    assert relay.feed(DONE) == DONE


def test_relay_comments_and_skipped_frames_do_not_reach_the_client() -> None:
    """Comments of the provider are its own heartbeats; what is no chunk is skipped and counted."""
    relay = make_relay()
    noise = (
        b": OPENROUTER PROCESSING\n\n" + b"data: null\n\n" + b'event: ping\ndata: {"type":"ping"}\n\n' + b"data: 7\n\n"
    )
    assert run(relay, [noise + text("a") + noise + finish() + noise + DONE]) == text("a") + finish() + DONE
    assert (relay.frames, relay.skipped_frames) == (3, 9)


def test_relay_terminal_event_is_always_our_own() -> None:
    """openai-node takes exactly [DONE]; a provider's padding stays behind."""
    assert run(make_relay(), [text("a") + finish() + b"data: [DONE]  \n\n"]).endswith(b"}\n\ndata: [DONE]\n\n")


def test_relay_bytes_after_the_terminal_event_are_not_read() -> None:
    """Nothing follows [DONE]."""
    assert run(make_relay(), [answer_of(text("a"), finish()) + text("more") + failure("x")]) == answer_of(
        text("a"), finish()
    )


def test_relay_counts_frames_with_content_once_each() -> None:
    """Role, finish, usage and empty frames are no content; a frame with two kinds of it is one."""
    calls: list[None] = []
    relay = make_relay(on_content=lambda: calls.append(None))
    run(
        relay,
        [
            role() + delta({"content": ""}) + text("a") + delta({"reasoning": "b", "content": "c"}),
            delta({"refusal": "d"}) + delta({"content": "e"}, "stop") + usage() + DONE,
        ],
    )
    assert len(calls) == relay.content_frames == 4


# Any stream at all


PIECES = [
    *(role(), role(1), text("a"), text(" b c"), text(" x", 1), finish(), finish("length", 1), usage(), DONE),
    *(text(" u", usage=usage_numbers()), finish("stop", usage=usage_numbers()), frame(envelope([])), b": c\n\n"),
    *(failure({"message": "m"}), failure("m"), b"data: null\n\n", b"data: {\n\n", b'error: {"message":"m"}\n\n'),
    *(delta({"reasoning": " r"}), delta({"content": ""}, ""), delta({"content": " z"}, "error")),
    frame(envelope([{"index": 0, "delta": {"content": " p"}}, {"index": 1, "delta": {"content": " q"}}])),
    b"data: ",
    b"\r\n",
    b'{"object":"chat.completion.chunk","choices":[]}',
]


@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=14),
    places=st.lists(st.integers(0, 5000), max_size=8),
    cap=st.integers(1, 6),
    choices=st.integers(1, 2),
    include_usage=st.booleans(),
    exact=st.booleans(),
    same_dialect=st.booleans(),
)
@example(
    pieces=[text("a"), text(" b c"), usage()],
    places=[],
    cap=1,
    choices=1,
    include_usage=True,
    exact=True,
    same_dialect=True,
)
def test_relay_any_stream_ends_properly_and_within_its_limit(
    *,
    pieces: list[bytes],
    places: list[int],
    cap: int,
    choices: int,
    include_usage: bool,
    exact: bool,
    same_dialect: bool,
) -> None:
    """Whatever comes, however it is cut: one end, said as [DONE] or as an error, nothing after it, no choice past its
    limit, usage last and only where asked; and the cut into pieces makes no difference."""
    stream = b"".join(pieces)
    relay = make_relay(cap=cap, choices=choices, include_usage=include_usage, exact=exact, same_dialect=same_dialect)
    out = run(relay, cut_at(stream, places))
    answer = seen(out)  # asserts that nothing follows the end
    assert answer.done is (relay.end in (End.FINISHED, End.BUDGET))
    assert (answer.error is not None) is (relay.end in (End.UPSTREAM_ERROR, End.TRUNCATED))
    assert (relay.error is not None) is (answer.error is not None)
    for content in answer.text.values():
        assert WORDS.count(content) <= cap * (1 if exact else 2)
    if include_usage and answer.done:
        assert answer.chunks[-1].get("usage")
    if not include_usage:
        assert answer.usage == []
    again = make_relay(cap=cap, choices=choices, include_usage=include_usage, exact=exact, same_dialect=same_dialect)
    assert run(again, [stream]) == out
