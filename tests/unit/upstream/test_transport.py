"""Which transport carries a request, and that the stock one still does what it alone can."""

from __future__ import annotations

import ssl

import pytest

from rillgate.domain.request import Endpoint, UpstreamRequest
from rillgate.upstream.exchange import Exchange
from rillgate.upstream.fast.transport import FastTransport
from rillgate.upstream.pooled import PoolTransport
from rillgate.upstream.transport import StockTransport, make_transport
from tests.contract.transport.peers import Peer, answer_all

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's environment says."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_transport_without_a_proxy_is_the_fast_one() -> None:
    """And httpcore's pool where it is asked for."""
    context = ssl.create_default_context()
    assert isinstance(make_transport(context, 10, proxies=True), FastTransport)
    assert isinstance(make_transport(context, 10, proxies=True, fast=False), PoolTransport)


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_transport_with_a_proxy_is_the_stock_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """By itself, unless proxies are out of the question."""
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    context = ssl.create_default_context()
    assert isinstance(make_transport(context, 10, proxies=True), StockTransport)
    assert isinstance(make_transport(context, 10, proxies=False), FastTransport)


def test_transport_for_http2_is_the_stock_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It alone speaks it, given the package for it."""
    asked: list[bool] = []
    monkeypatch.setattr(StockTransport, "__init__", lambda self, *_, http2, **__: asked.append(http2))
    assert isinstance(make_transport(ssl.create_default_context(), 10, proxies=False, http2=True), StockTransport)
    assert asked == [True]


@pytest.mark.anyio
async def test_transport_through_a_proxy_asks_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole URL goes to it, and an exchange reads the answer as from anybody else."""
    async with Peer(answer_all) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        exchange = Exchange(connections_max=10, user_agent="rillgate/test")
        request = UpstreamRequest("POST", "/chat", (), b"{}")
        async with exchange.open("lab", Endpoint("http://provider.test/v1"), request, connect_s=5) as response:
            assert await response.read() == b"ok"
            assert response.attach(print, print) is None
        await exchange.aclose()
        assert proxy.lines[0].asked_for[0].line == b"POST http://provider.test/v1/chat HTTP/1.1"
