"""One exchange with a provider, against the scriptable one: what comes through, what an error becomes, what is left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from rillgate.domain.errors import CapacityError, UpstreamError, UpstreamTruncated
from rillgate.domain.request import Endpoint, UpstreamRequest
from rillgate.upstream.exchange import ERROR_BODY_BYTES_MAX, Exchange
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Close, EndBody, Error, Head, Send, Stall, chat

pytestmark = pytest.mark.anyio

CHAT = UpstreamRequest("POST", "/chat/completions", (("content-type", "application/json"),), b'{"stream":true}')


@asynccontextmanager
async def exchange_for(connections_max: int = 10) -> AsyncIterator[Exchange]:
    exchange = Exchange(connections_max=connections_max, user_agent="rillgate/test")
    try:
        yield exchange
    finally:
        await exchange.aclose()


def endpoint(fake: FakeProvider) -> Endpoint:
    return Endpoint(fake.base_url, (("authorization", "Bearer sk-fake"),))


async def test_exchange_sends_our_headers_and_the_exact_body() -> None:
    """The provider gets the endpoint's headers, no compression is asked for, and the body is what was given."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
            assert response.status == 200
            await response.read()
        (seen,) = fake.chats
        assert seen.body == CHAT.body
        assert seen.headers["authorization"] == "Bearer sk-fake"
        assert seen.headers["accept-encoding"] == "identity"
        assert seen.headers["user-agent"] == "rillgate/test"


async def test_exchange_sends_the_operators_header_in_the_place_of_our_own() -> None:
    """Whatever its case, and once: what is configured for a provider is meant so."""
    configured = (("Anthropic-Version", "2026-10-21"), ("User-Agent", "team"))
    async with FakeProvider() as fake, exchange_for() as exchange:
        asked = UpstreamRequest(CHAT.method, CHAT.path, (*CHAT.headers, ("anthropic-version", "2023-06-01")), CHAT.body)
        async with exchange.open("fake", Endpoint(fake.base_url, configured), asked, connect_s=5) as response:
            await response.read()
        headers = fake.chats[0].headers
        assert (headers["anthropic-version"], headers["user-agent"]) == ("2026-10-21", "team")
        assert headers["content-type"] == "application/json"
        asked = UpstreamRequest(CHAT.method, CHAT.path, (*CHAT.headers, ("anthropic-version", "2023-06-01")), CHAT.body)
        async with exchange.open("fake", endpoint(fake), asked, connect_s=5) as response:
            await response.read()
        assert fake.chats[1].headers["anthropic-version"] == "2023-06-01"


async def test_exchange_read_to_the_end_gives_its_connection_back() -> None:
    """The next request uses the same connection."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        for _ in range(3):
            async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
                await response.read()
        assert fake.connections_opened == 1


async def test_exchange_says_when_it_begins_to_send() -> None:
    """Once for each request, on a new connection and on a kept one; before that, the provider knows nothing of it."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        sent: list[int] = []
        for before in range(2):
            async with exchange.open(
                "fake", endpoint(fake), CHAT, connect_s=5, on_sending=lambda: sent.append(len(fake.chats))
            ) as response:
                await response.read()
            assert sent == list(range(before + 1))


async def test_exchange_that_finds_nobody_says_that_nothing_was_sent() -> None:
    """A refused connection has cost nothing."""
    sent: list[bool] = []
    async with FakeProvider() as gone:
        pass
    async with exchange_for() as exchange:
        with pytest.raises(UpstreamError):
            async with exchange.open("fake", endpoint(gone), CHAT, connect_s=5, on_sending=lambda: sent.append(True)):
                raise AssertionError
    assert sent == []


async def test_exchange_left_early_closes_its_connection() -> None:
    """Leaving before the body's end is what cancels a provider."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        fake.script = [Head(), Send(b"data: x\n\n"), Stall()]
        async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
            assert await anext(response.chunks()) == b"data: x\n\n"
        await fake.closed()


async def test_exchange_cancelled_while_waiting_for_headers_closes_its_connection() -> None:
    """A task that is cancelled before the headers leaves no connection and no slot."""
    async with FakeProvider() as fake, exchange_for(connections_max=1) as exchange:
        fake.queue([Stall()])

        async def ask() -> bytes:
            async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
                return await response.read()

        task = asyncio.ensure_future(ask())
        await fake.request()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await fake.closed()
        assert await ask()


async def test_exchange_cookies_of_a_provider_are_not_kept() -> None:
    """Requests of different people share the client."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        fake.queue([Head(headers={"set-cookie": "who=alice; Path=/"}), EndBody()])
        for _ in range(2):
            async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
                await response.read()
        assert "cookie" not in fake.chats[1].headers


async def test_exchange_redirect_is_not_followed() -> None:
    """A provider does not send our key elsewhere."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        fake.script = [Head(307, headers={"location": "http://127.0.0.1:9/v1"}), EndBody()]
        async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
            assert response.status == 307
            await response.read()
        assert len(fake.chats) == 1


async def test_exchange_nobody_listens_is_an_upstream_error() -> None:
    """Connection refused names the provider and the remedy."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = Endpoint(f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
        async with exchange_for() as exchange:
            with pytest.raises(UpstreamError, match=r"'lab' could not be reached.*base_url") as caught:
                async with exchange.open("lab", nobody, CHAT, connect_s=5):
                    pass
    assert caught.value.status == 502
    assert caught.value.retryable


async def test_exchange_body_that_breaks_off_is_a_truncation() -> None:
    """What came before is delivered, then the error."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        fake.script = [Head(), Send(b"half"), Close()]
        async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
            chunks = response.chunks()
            assert await anext(chunks) == b"half"
            with pytest.raises(UpstreamTruncated):
                await anext(chunks)


async def test_exchange_compressed_answer_is_refused() -> None:
    """A provider that compresses although asked not to cannot be relayed byte for byte."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        fake.script = [Head(headers={"content-encoding": "gzip"}), EndBody()]
        with pytest.raises(UpstreamError, match="gzip"):
            async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5):
                pass


async def test_exchange_answer_past_its_bound_is_refused() -> None:
    """A whole answer is read into memory, so it has a bound."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        fake.script = [Head(), Send(b"x" * 2000), EndBody()]
        async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
            with pytest.raises(UpstreamError, match="1000 bytes"):
                await response.read(bytes_max=1000)


async def test_exchange_error_body_is_cut_and_never_fails() -> None:
    """The status says enough; a broken or endless error body changes nothing."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        fake.queue([Head(500), Send(b"x" * (2 * ERROR_BODY_BYTES_MAX)), Stall()])
        fake.queue([Head(500), Send(b"broken"), Close()])
        async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
            assert len(await response.read_error()) == ERROR_BODY_BYTES_MAX
        async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
            assert await response.read_error() == b"broken"


async def test_exchange_pool_full_is_our_own_fault() -> None:
    """A request that gets no connection in time is a 503 with Retry-After, not the provider's error."""
    async with FakeProvider() as fake, exchange_for(connections_max=1) as exchange:
        fake.script = [Head(), Stall()]
        async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5):
            with pytest.raises(CapacityError) as caught:
                async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5, pool_s=0.001):
                    pass
    assert caught.value.status == 503
    assert caught.value.retry_after_s


async def test_exchange_json_answer_says_so() -> None:
    """Some servers answer a stream request with plain JSON."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        fake.queue(chat(as_json=True), chat(), [Error(500)])
        kinds = []
        for _ in range(3):
            async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
                kinds.append(response.is_event_stream)
                await response.read()
        assert kinds == [False, True, False]


async def test_exchange_signs_the_very_bytes_that_go_out() -> None:
    """Method, URL, headers and body as the provider gets them, and anew for every call; what is signed comes along."""
    asked: list[tuple[str, str, Sequence[tuple[str, str]], bytes]] = []

    def sign(method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> Sequence[tuple[str, str]]:
        asked.append((method, url, tuple(headers), body))
        return [("x-signature", str(len(asked)))]

    odd = structs.replace(CHAT, path="/model/a%3Ab%2Fc~d!e/converse?x=%2F&y=a+b")
    async with FakeProvider() as fake, exchange_for() as exchange:
        there = Endpoint(fake.base_url, (("x-key", "k"),), sign=sign)
        for _ in range(2):
            async with exchange.open("fake", there, odd, connect_s=5) as response:
                await response.read()
        seen = fake.chats + fake.others
        assert [each.headers["x-signature"] for each in seen] == ["1", "2"]
        for each, (method, url, headers, body) in zip(seen, asked, strict=True):
            target = f"{each.path}?{each.query}"
            assert (method, url, body) == (each.method, f"http://127.0.0.1:{fake.port}{target}", each.body)
            assert all(each.headers[name] == value for name, value in headers)
            assert {"x-key", "content-type", "user-agent"} <= {name for name, _ in headers}


@pytest.mark.parametrize(("status", "learned"), [(400, True), (401, True), (403, True), (404, False), (500, False)])
async def test_exchange_tells_a_signer_that_learns_of_a_refusal(status: int, learned: bool) -> None:
    """The headers alone: the body is still to come. Other answers are not about signatures."""

    class Signer:
        told: list[str]

        def __init__(self) -> None:
            self.told = []

        def __call__(self, *_: object) -> Sequence[tuple[str, str]]:
            return ()

        def learn(self, headers: Mapping[str, str]) -> None:
            self.told.append(headers["x-request-id"])

    signer = Signer()
    async with FakeProvider() as fake, exchange_for() as exchange:
        fake.script = [Error(status)]
        there = Endpoint(fake.base_url, sign=signer)
        async with exchange.open("fake", there, CHAT, connect_s=5) as response:
            assert response.status == status
            await response.read()
    assert signer.told == (["fake-0"] if learned else [])


async def test_exchange_pushes_a_body_and_its_error() -> None:
    """What pull would have raised is the end's argument, as one of ours."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        fake.script = [Head(), Send(b"half"), Close()]
        chunks: list[bytes] = []
        end: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
            body = response.attach(chunks.append, end.set_result)
            assert body is not None
            assert isinstance(await end, UpstreamTruncated)
        assert chunks == [b"half"]


async def test_exchange_pushed_body_taken_back_is_pulled_to_its_end() -> None:
    """The rest comes from `chunks`, and the connection goes back."""
    async with FakeProvider() as fake, exchange_for() as exchange:
        for _ in range(2):
            chunks: list[bytes] = []
            async with exchange.open("fake", endpoint(fake), CHAT, connect_s=5) as response:
                body = response.attach(chunks.append, lambda _: None)
                assert body is not None
                body.detach()
                pushed = b"".join(chunks)
                assert (pushed + await response.read()).endswith(b"data: [DONE]\n\n")
        assert fake.connections_opened == 1
