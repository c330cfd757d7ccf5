"""The fake provider does what its script says and sees how it is left; the raw clients read what was sent."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.clients import RawClient, Truncated, collect, open_chat
from tests.fakes.exchange import Exchange, Script, Step
from tests.fakes.provider import FakeProvider
from tests.fakes.script import (
    Chunk,
    Close,
    Comment,
    Delta,
    Done,
    EndBody,
    Error,
    ErrorFrame,
    Finish,
    Frame,
    HalfClose,
    Head,
    Newline,
    Pause,
    Raw,
    Reset,
    Role,
    Send,
    Split,
    Stall,
    Together,
    ToolCall,
    UsageFrame,
    Wait,
    chat,
    comment_storm,
    flood,
    runaway,
)

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


async def stream(fake: FakeProvider, **body: Any) -> list[str]:
    """Send one chat request and read its whole stream."""
    async with await open_chat(fake.port, **body) as client:
        assert await client.response() == 200
        payloads = await client.read_stream()
        assert client.complete
        return payloads


async def test_chat_default_streams_text_finish_and_done(fake: FakeProvider) -> None:
    """The usual answer: role, text, finish, [DONE]; and usage only because it was asked for."""
    payloads = await stream(fake, stream_options={"include_usage": True})
    answer = collect(payloads)
    assert (answer.text, answer.finish, answer.done, answer.after_done) == ("Hello, world!", "stop", True, 0)
    assert answer.usage is not None
    assert answer.usage["completion_tokens"] == 4
    first = json.loads(payloads[0])
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert first["object"] == "chat.completion.chunk"
    assert first["model"] == "fake-model"
    assert first["usage"] is None
    assert json.loads(payloads[-2])["choices"] == []
    assert fake.chats[0].chunks_sent == 4
    assert fake.chunks_sent == 4


async def test_chat_usage_not_asked_is_not_sent(fake: FakeProvider) -> None:
    """Without include_usage no frame mentions usage, unless the script is told to."""
    assert "usage" not in "".join(await stream(fake))
    fake.script = chat(unasked=True)
    assert collect(await stream(fake)).usage is not None


async def test_chat_usage_variants_place_usage_where_told(fake: FakeProvider) -> None:
    """In every frame, within the finish frame, or never."""
    fake.queue(chat(["a", "b"], usage="every"), chat(["a"], usage="with_finish"), chat(["a"], usage=False))
    options = {"include_usage": True}
    every = [json.loads(each) for each in await stream(fake, stream_options=options) if each != "[DONE]"]
    assert [frame["usage"] and frame["usage"]["completion_tokens"] for frame in every] == [None, 1, 2, 2, 2]
    with_finish = [json.loads(each) for each in await stream(fake, stream_options=options) if each != "[DONE]"]
    assert [bool(frame["usage"]) for frame in with_finish] == [False, False, True]
    assert with_finish[-1]["choices"][0]["finish_reason"] == "stop"
    assert "usage" not in "".join(await stream(fake, stream_options=options))


async def test_chat_choices_and_tools_are_collected(fake: FakeProvider) -> None:
    """Choices interleave; tool calls come in fragments and end with their own reason."""
    fake.script = chat(["x", "y"], n=2, tools=[ToolCall("call_1", "f", ['{"q"', ":1}"]), ToolCall("call_2", "g")])
    answer = collect(await stream(fake))
    assert answer.texts == {0: "xy", 1: "xy"}
    assert answer.tools[0, 0] == {"id": "call_1", "name": "f", "arguments": '{"q":1}'}
    assert answer.tools[0, 1] == {"id": "call_2", "name": "g", "arguments": "{}"}
    assert answer.finishes == {0: "tool_calls", 1: "tool_calls"}


async def test_chat_without_stream_answers_json_and_keeps_the_connection(fake: FakeProvider) -> None:
    """A request without `stream` gets one JSON body; the next one may use the same connection."""
    async with await open_chat(fake.port, stream=False) as client:
        for number in range(2):
            assert await client.response() == 200
            answer = json.loads(await client.read_body())
            assert answer["choices"][0]["message"]["content"] == "Hello, world!"
            assert client.headers["Content-Type"] == "application/json"
            exchange = await fake.request(number)
            await exchange.done.wait()
            assert exchange.connection.exchanges == number + 1
            await client.request("POST", "/v1/chat/completions", json={"model": "m"})
        assert fake.connections_opened == 1
    await fake.closed(2)
    assert fake.connections_open == 0


async def test_chat_as_json_answers_json_to_a_stream_request(fake: FakeProvider) -> None:
    """The answer of a server that ignores `stream`."""
    fake.script = chat(as_json=True)
    async with await open_chat(fake.port) as client:
        await client.response()
        assert client.headers["content-type"] == "application/json"
        assert json.loads(await client.read_body())["object"] == "chat.completion"


async def test_scripts_queue_before_model_before_default(fake: FakeProvider) -> None:
    """The queue is for one request each, in order; then the model's script; then the default."""
    fake.script = chat(["default"])
    fake.by_model["special"] = chat(["special"])
    fake.queue(chat(["first"]), chat(["second"]))
    texts = [collect(await stream(fake, model=model)).text for model in ("special", "m", "special", "m")]
    assert texts == ["first", "second", "special", "default"]


async def test_request_is_recorded_as_it_came(fake: FakeProvider) -> None:
    """Method, path, query, headers in any case, body; a body in chunks too; models apart from chats."""
    async with await RawClient.open(fake.port) as client:
        await client.request("GET", "/v1/models?x=1", headers={"Authorization": "Bearer k"})
        await client.response()
        assert [each["id"] for each in json.loads(await client.read_body())["data"]] == ["fake-model"]
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head.encode() + b'8\r\n{"model"\r\n5\r\n:"m"}\r\n0\r\n\r\n')
        await client.response()
        await client.read_body()
        await client.request("GET", "/elsewhere")
        assert await client.response() == 404
        await client.read_body()
    models, elsewhere = fake.others
    assert (models.method, models.path, models.query) == ("GET", "/v1/models", "x=1")
    assert models.headers["AUTHORIZATION"] == "Bearer k"
    assert elsewhere.path == "/elsewhere"
    assert fake.chats[0].json == {"model": "m"}


async def test_pause_waits_for_allow_of_each_exchange(fake: FakeProvider) -> None:
    """Lock-step: chunk n + 1 leaves only after permit n, and one stream's permits are not another's."""
    fake.script = [Role(), *[step for number in range(5) for step in (Pause(), Chunk(str(number)))], Finish(), Done()]
    async with await open_chat(fake.port) as one, await open_chat(fake.port) as two:
        for client in (one, two):
            await client.response()
            assert await client.next_frame() is not None
        first, second = await fake.request(0), await fake.request(1)
        for number in range(5):
            assert (first.chunks_sent, second.chunks_sent) == (number, 0)
            first.allow()
            await first.reached(number + 1)
        fake.allow(5)
        answer = collect(await two.read_stream())
        assert answer.text == "01234"
        assert collect(await one.read_stream()).done


async def test_wait_holds_until_the_event(fake: FakeProvider) -> None:
    """Nothing after `Wait` is sent before its event is set."""
    event = asyncio.Event()
    fake.script = [Chunk("a"), Wait(event), Chunk("b"), Done()]
    async with await open_chat(fake.port) as client:
        await client.response()
        assert collect([await client.next_frame() or ""]).text == "a"
        assert fake.chats[0].chunks_sent == 1
        assert fake.active == 1
        event.set()
        assert collect(await client.read_stream()).text == "b"
    assert fake.active == 0


async def test_runaway_in_lockstep_ignores_the_cap(fake: FakeProvider) -> None:
    """It sends what it was told, beyond max_tokens, and goes on one permit at a time after the free ones."""
    fake.script = runaway(5000, lockstep_after=500)
    async with await open_chat(fake.port, max_tokens=10) as client:
        await client.response()
        exchange = await fake.request(0)
        await exchange.reached(500)
        assert exchange.chunks_sent == 500
        for number in range(3):
            exchange.allow()
            await exchange.reached(501 + number)
        client.abort()
        await exchange.done.wait()
    assert exchange.chunks_sent == 503
    assert exchange.outcome == "peer gone"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("split", [0, 1, 7])
async def test_chat_any_newline_and_split_reads_the_same(fake: FakeProvider, newline: str, split: int) -> None:
    """Line ends of every kind and HTTP chunks cut anywhere (within U+2028 too) give the same text."""
    texts = ["a\u2028b\u2029c\x85", "ü🙂", "end"]

    async def script(exchange: Exchange) -> None:
        exchange.split = split
        exchange.newline = newline
        for text in texts:
            await exchange.text(text)
        await exchange.send(f": ping{newline}".encode())
        await exchange.done_marker()

    fake.script = script
    async with await open_chat(fake.port) as client:
        await client.response()
        events = []
        while (event := await client.next_event()) is not None:
            events.append(event)
    assert collect([each.data or "" for each in events]).text == "".join(texts)
    assert "\u2028".encode() in events[0].raw
    assert events[-1].comments == ("ping",)
    if not split:  # a cut between CR and LF puts the LF in front of the next event
        assert b"".join(each.raw for each in events).count(newline.encode()) == 9


async def test_together_sends_steps_in_one_http_chunk(fake: FakeProvider) -> None:
    """Several frames and comments share one HTTP chunk; a split of the body may still cut it."""
    fake.script = [Head(), Together([Chunk("a"), Chunk("b"), Comment("c"), Done()]), *comment_storm(1000)]
    async with await RawClient.open(fake.port) as client:
        await client.request("POST", "/v1/chat/completions", json={"stream": True})
        wire = b""
        while not wire.endswith(b"0\r\n\r\n"):
            wire += await asyncio.get_running_loop().sock_recv(client.sock, 65_536)
    _, _, body = wire.partition(b"\r\n\r\n")
    size = int(body.partition(b"\r\n")[0], 16)
    assert body.partition(b"\r\n")[2][:size].endswith(b": c\n\ndata: [DONE]\n\n")
    assert body.count(b": ping\n\n") == 1000
    assert fake.chats[0].chunks_sent == 2


async def test_steps_send_their_bytes(fake: FakeProvider) -> None:
    """Each of the smaller steps says on the wire what its name says."""
    fake.script = [
        Newline("\r\n"),
        Send(b"retry: 1\n"),
        Frame({"a": 1}, event="x"),
        Newline("\n"),
        Delta({"reasoning_content": "hm"}),
        UsageFrame(unasked=True),
        Comment("short", blank=False),
        ErrorFrame("bad", code=500),
        Done(),
        EndBody(),
    ]
    async with await open_chat(fake.port) as client:
        await client.response()
        body = (await client.read_body()).decode()
    assert body.startswith('retry: 1\nevent: x\r\ndata: {"a":1}\r\n\r\n')
    assert '"delta":{"reasoning_content":"hm"}' in body
    assert '"choices":[],"usage":{"prompt_tokens":9' in body
    assert body.endswith(
        ': short\ndata: {"error":{"message":"bad","type":"server_error","param":null,"code":500}}\n\ndata: [DONE]\n\n'
    )


async def test_error_answers_its_status_with_json(fake: FakeProvider) -> None:
    """An error before the stream is a whole JSON answer with its headers."""
    fake.script = [Error(429, headers={"Retry-After": "7"})]
    async with await open_chat(fake.port) as client:
        assert await client.response() == 429
        assert client.headers["retry-after"] == "7"
        assert json.loads(await client.read_body())["error"]["type"] == "server_error"


async def test_body_until_close_ends_with_the_connection(fake: FakeProvider) -> None:
    """`framing="close"`: the close is the proper end of the body."""
    fake.script = [Head(framing="close"), Chunk("a"), Split(3), Done()]
    async with await open_chat(fake.port) as client:
        await client.response()
        assert collect(await client.read_stream()).done
        assert client.complete
    assert fake.chats[0].connection.how == "ours"


@pytest.mark.parametrize("last", [Close(), HalfClose(), Reset()], ids=["close", "half-close", "reset"])
async def test_bare_end_is_seen_as_truncated(fake: FakeProvider, last: Step) -> None:
    """FIN and RST in the middle of a body: the client tells it from a proper end, and gets what came before a FIN."""
    fake.script = [Chunk("a"), Pause(), last, Stall()] if isinstance(last, HalfClose) else [Chunk("a"), Pause(), last]
    async with await open_chat(fake.port) as client:
        await client.response()
        assert collect([await client.next_frame() or ""]).text == "a"
        exchange = await fake.request()
        exchange.allow()
        assert await client.read_stream() == []
        assert client.truncated
        assert not client.complete
        if isinstance(last, HalfClose):
            assert exchange.connection.how == "open"
        else:
            await exchange.closed.wait()
            assert exchange.connection.how == "ours"


async def test_reset_before_the_head_is_seen_as_truncated(fake: FakeProvider) -> None:
    """A connection that breaks before any byte."""
    fake.script = [Reset()]
    async with await open_chat(fake.port) as client:
        with pytest.raises(Truncated):
            await client.response()


async def test_raw_bytes_reach_the_client_unframed(fake: FakeProvider) -> None:
    """`Raw` can send what is no HTTP at all."""
    fake.script = [Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"), Close()]
    async with await open_chat(fake.port) as client:
        await client.response()
        assert await client.read_body() == b"hi"


@pytest.mark.parametrize(("leave", "how"), [("close", "fin"), ("half_close", "fin"), ("abort", "rst")])
async def test_client_that_leaves_is_seen_with_its_manner(fake: FakeProvider, leave: str, how: str) -> None:
    """FIN and RST are told apart, the script ends, and its connection's event is set."""
    fake.script = [Chunk("a"), Stall()]
    async with await open_chat(fake.port) as client:
        await client.response()
        await client.next_frame()
        exchange = await fake.request()
        assert not exchange.closed.is_set()
        getattr(client, leave)()
        assert await fake.closed() is exchange
        await exchange.done.wait()
    assert exchange.connection.how == how
    assert exchange.connection.closed_at is not None
    assert exchange.outcome == "peer gone"
    assert (fake.active, fake.connections_open) == (0, 0)


@pytest.mark.parametrize("script", [flood(64), [Send(b"x" * 64 * 1_048_576)]], ids=["frames", "one huge frame"])
async def test_client_that_never_reads_stops_the_writes(fake: FakeProvider, script: Script) -> None:
    """64 MiB at a client that reads nothing: a few leave at most, the counter stands, and a reset now is seen."""
    fake.script = script
    async with await open_chat(fake.port, rcvbuf=4096) as client:
        exchange = await fake.request()
        sent = await exchange.stands_still()
        assert 4096 <= sent < 8 * 1_048_576
        assert await exchange.stands_still() == sent
        client.abort()
        await exchange.closed.wait()
        await exchange.done.wait()
    assert exchange.outcome == "peer gone"
    assert exchange.bytes_sent == sent


async def test_client_that_reads_late_gets_everything(fake: FakeProvider) -> None:
    """After a stall the stream goes on, complete and in order."""
    fake.script = chat([f"{number:07d}" for number in range(20_000)], per_write=50)
    async with await open_chat(fake.port, rcvbuf=4096) as client:
        exchange = await fake.request()
        await exchange.stands_still()
        await client.response()
        answer = collect(await client.read_stream())
    assert answer.text == "".join(f"{number:07d}" for number in range(20_000))
    assert answer.done


async def test_read_until_finds_bytes_within_an_event(fake: FakeProvider) -> None:
    """A heartbeat can be awaited though no event has ended."""
    fake.script = [Comment("ping", blank=False), Stall()]
    async with await open_chat(fake.port) as client:
        await client.response()
        assert await client.read_until(b": ping\n") == b": ping\n"


async def test_many_connections_stream_at_once(fake: FakeProvider) -> None:
    """Hundreds of streams are open together, each in lock-step, and all end well."""
    count = 300
    fake.script = [Chunk("a"), Pause(), Chunk("b"), Done()]
    clients = [await open_chat(fake.port) for _ in range(count)]
    exchanges = [await fake.request(number) for number in range(count)]
    for exchange in exchanges:
        await exchange.reached(1)
    assert (fake.active, fake.connections_open) == (count, count)
    fake.allow(count)
    for client in clients:
        await client.response()
        answer = collect(await client.read_stream())
        assert (answer.text, answer.done) == ("ab", True)
        client.close()
    await fake.all_closed()
    assert (fake.active, fake.connections_open, fake.connections_opened) == (0, 0, count)


async def test_fake_closed_in_mid_stream_leaves_nothing() -> None:
    """Closing the fake ends scripts in every kind of wait and drops their connections."""
    scripts: list[Script] = [[Chunk("a"), Stall()], [Chunk("a"), Pause()], flood(64)]
    async with FakeProvider() as fake:
        fake.queue(*scripts)
        clients = [await open_chat(fake.port) for _ in scripts]
        exchanges = [await fake.request(number) for number in range(len(scripts))]
        for exchange in exchanges:
            await exchange.reached(1)
    for exchange in exchanges:
        assert (exchange.done.is_set(), exchange.outcome) == (True, "closed")
    for client in clients:
        assert await client.at_eof()
        client.close()
    assert len(asyncio.all_tasks()) <= 2  # this one, and the runner's own


async def test_mistake_in_a_script_fails_the_test() -> None:
    """An error within a script is raised where the fake is left."""

    async def broken(exchange: Exchange) -> None:
        await exchange.text("a")
        raise ZeroDivisionError("in the script")

    async def use() -> None:
        async with FakeProvider() as fake:
            fake.script = broken
            async with await open_chat(fake.port) as client:
                await client.response()
                await client.read_stream()
                assert client.truncated

    with pytest.raises(ZeroDivisionError, match="in the script"):
        await use()


async def test_script_that_sends_nothing_fails_the_test() -> None:
    """An empty script is a mistake, not an answer."""
    fake = FakeProvider()
    await fake.start()
    fake.script = []
    async with await open_chat(fake.port) as client:
        assert await client.at_eof()
    await fake.aclose()
    assert "sent nothing" in str(fake.errors[0])


async def test_module_run_as_a_process_prints_its_port_and_answers() -> None:
    """The stand-alone form repeats the prompt."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.provider", "--port", "0", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        async with await open_chat(port) as client:
            await client.response()
            answer = collect(await client.read_stream())
        assert (answer.text, answer.done) == ("You said: hi", True)
    finally:
        process.kill()
        await process.communicate()
