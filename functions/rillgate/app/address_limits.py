"""Limits for each client's address, before anybody's key is looked at: for a gateway that strangers can reach.

    accept ──► Connections ── too many open ──► the newest is answered 429 and closed; far too many: closed unanswered
    request ─► AddressLimits ── too fast, or too much at once ──► 429 with Retry-After, in the client's dialect

Off unless configured. A connection counts for the peer that opened it, a request for whom a trusted proxy names
(`forwarded`). What has no address (a unix socket whose proxy names nobody) and the trusted proxies themselves are not
limited. Each process counts its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rillgate.app.addresses import Counts, Networks, Rates, parse_address, site_of
from rillgate.app.context import App, Receive, Scope, Send, journal_of
from rillgate.app.settings.types import Settings
from rillgate.app.spoken import dialect_of
from rillgate.delivery.responses import send_error
from rillgate.domain.errors import ClientError
from rillgate.domain.ports import Clock

CROWDED_EXTENSION: Final = "rillgate.crowded"
"""In `scope["extensions"]` where the connection is one too many of its address."""

RETRY_S: Final = 5.0  # when a connection or a request of this address may have ended; nobody knows
RETRY_S_MAX: Final = 60.0  # some SDKs sleep as long as they are told, others take longer waits for none
UNANSWERED_MIN: Final = 100  # connections too many; from here on they are closed at once: an answer costs memory, too
TOO_FAST: Final = "address_rate_exceeded"
TOO_MANY: Final = "address_connections_exceeded"

Peer = tuple[str, int] | None
"""What uvicorn and ASGI know of the other end: address and port; None over a unix socket."""


class Seat:
    """What one connection takes up. Attributes: `crowded`: it is one too many; `hopeless`: by far."""

    __slots__ = ("_counts", "_site", "crowded", "hopeless")

    def __init__(self, counts: Counts, site: str, connections_max: int) -> None:
        self._counts = counts
        self._site = site
        number = counts.opened(site)
        self.crowded = number > connections_max
        self.hopeless = number > connections_max + UNANSWERED_MIN

    def leave(self) -> None:
        """The connection is closed."""
        self._counts.closed(self._site)


class Connections:
    """The open connections of each address.

    Args:
        connections_max: for each.
        trusted: proxies, which are not counted.
        on_refused: told the reason when one is closed without an answer.
    """

    def __init__(self, connections_max: int, trusted: Networks, on_refused: Callable[[str], None]) -> None:
        self._max = connections_max
        self._trusted = trusted
        self._on_refused = on_refused
        self._counts = Counts()

    def opened(self, peer: Peer) -> Seat | None:
        """A connection was made; None where it is not counted. Its seat has to be left."""
        site = limited_site(peer, self._trusted)
        if site is None:
            return None
        seat = Seat(self._counts, site, self._max)
        if seat.hopeless:
            self._on_refused(TOO_MANY)
        return seat

    def __len__(self) -> int:
        """Addresses that have one open."""
        return len(self._counts)


class AddressLimits:
    """Refuses requests of addresses that ask too fast, or have too much running.

    Args:
        app: what is guarded.
        clock: for the rates.
        trusted: proxies, which are not limited.
        rates: None for no limit.
        running_max: requests of one address at once; 0 for no limit.
        on_refused: told the reason of each refusal.
    """

    def __init__(
        self,
        app: App,
        clock: Clock,
        *,
        trusted: Networks,
        rates: Rates | None,
        running_max: int,
        on_refused: Callable[[str], None],
    ) -> None:
        self._app = app
        self._clock = clock
        self._trusted = trusted
        self._rates = rates
        self._running_max = running_max
        self._on_refused = on_refused
        self._running = Counts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Refuses by itself, within CORS, so that a page may read why."""
        site = limited_site(scope.get("client"), self._trusted) if scope["type"] == "http" else None
        if site is None:
            await self._app(scope, receive, send)
        elif (refusal := self._refusal(scope, site)) is not None:
            self._on_refused(refusal.code or refusal.kind)
            journal_of(scope).failed(refusal)
            await send_error(send, dialect_of(scope), refusal)
        else:
            self._running.opened(site)
            try:
                await self._app(scope, receive, send)
            finally:
                self._running.closed(site)

    def _refusal(self, scope: Scope, site: str) -> ClientError | None:
        if CROWDED_EXTENSION in scope.get("extensions", {}):
            return _too_many("connections", {"connection": "close"})
        if self._running_max and self._running.of(site) >= self._running_max:
            return _too_many("requests", {})
        if self._rates is not None and (wait_s := self._rates.take(site, self._clock.now())):
            return ClientError(
                "This address sends requests faster than this gateway allows (limits.address_rate_max); send fewer.",
                status=429,
                kind="rate_limit_error",
                code=TOO_FAST,
                retry_after_s=min(wait_s, RETRY_S_MAX),
            )
        return None


def limited_site(peer: Any, trusted: Networks) -> str | None:
    """Under which name a peer is counted; None where it is not."""
    address = parse_address(peer[0]) if peer else None
    return None if address is None or address in trusted else site_of(address)


def connections_of(settings: Settings, on_refused: Callable[[str], None]) -> Connections | None:
    """The limit of connections, as configured."""
    connections_max = settings.limits.address_connections_max
    trusted = Networks(settings.server.trusted_proxies)
    return Connections(connections_max, trusted, on_refused) if connections_max else None


def limited(app: App, settings: Settings, clock: Clock, on_refused: Callable[[str], None]) -> App:
    """`app` behind the limits for each address; itself where there are none."""
    limits = settings.limits
    if not limits.address_connections_max and not limits.address_rate_max:
        return app
    rates = Rates(limits.address_rate_max, limits.address_burst_max) if limits.address_rate_max else None
    return AddressLimits(
        app,
        clock,
        trusted=Networks(settings.server.trusted_proxies),
        rates=rates,
        running_max=limits.address_connections_max,
        on_refused=on_refused,
    )


def _too_many(what: str, headers: dict[str, str]) -> ClientError:
    return ClientError(
        f"This address has too many {what} open (limits.address_connections_max); try again when one has ended.",
        status=429,
        kind="rate_limit_error",
        code=TOO_MANY,
        retry_after_s=RETRY_S,
        headers=headers,
    )
