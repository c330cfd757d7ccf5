"""The store that a ledger's URL names, opened when the gateway starts rather than when it is composed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from rillgate import __version__
from rillgate.app.settings.rules import DYNAMODB, SQLITE
from rillgate.app.settings.types import LedgerSettings
from rillgate.domain.errors import UpstreamError
from rillgate.domain.ports import Clock
from rillgate.ledger.dynamodb import DynamoDbStore
from rillgate.ledger.dynamodb_location import DynamoDbLocation, parse_location
from rillgate.ledger.store import Store
from rillgate.ledger.writes import Item, Key, StoreUnavailable, Write
from rillgate.telemetry.logs import log_event
from rillgate.upstream.aws import AwsJsonCalls
from rillgate.upstream.aws_credentials import AwsCredentials
from rillgate.upstream.aws_sources import aws_endpoint_url, aws_region, aws_sources
from rillgate.upstream.exchange import Exchange

DYNAMODB_CONNECTIONS_MAX = 128  # each carries one call at a time: some 10,000 calls a second


class LateStore:
    """A `Store` that is opened by `open`, or else at its first use.

    Args:
        make: opens it.
    """

    def __init__(self, make: Callable[[], Store]) -> None:
        self._make = make
        self._store: Store | None = None

    def open(self) -> Store:
        """Open it unless it is open.

        Raises: StoreUnavailable: it cannot be used; the message says what to do.
        """
        if self._store is None:
            self._store = self._make()
        return self._store

    async def write(self, write: Write) -> Item:
        """As `Store.write`."""
        return await self.open().write(write)

    async def read(self, keys: Sequence[Key]) -> list[Item | None]:
        """As `Store.read`."""
        return await self.open().read(keys)

    async def aclose(self) -> None:
        """As `Store.aclose`; nothing where it was never opened."""
        if self._store is not None:
            await self._store.aclose()


class DynamoDbOverHttp(DynamoDbStore):
    """The store in DynamoDB together with its own connections and credentials, which end with it."""

    def __init__(self, settings: LedgerSettings, clock: Clock, environ: Mapping[str, str]) -> None:
        self.location = location = _located(settings.url, environ)
        self._exchange = Exchange(connections_max=DYNAMODB_CONNECTIONS_MAX, user_agent=f"rillgate/{__version__}")
        # Credentials come from this machine's own metadata, and no proxy may see them.
        self._metadata = Exchange(connections_max=1, user_agent=f"rillgate/{__version__}", proxies=False)
        self._credentials = AwsCredentials(aws_sources(environ, self._metadata), clock, on_error=_log_no_credentials)
        calls = AwsJsonCalls(
            self._exchange,
            self._credentials,
            clock,
            service="dynamodb",
            region=location.region or "",
            endpoint_url=location.endpoint_url,
            connect_timeout_s=settings.connect_timeout_ms / 1000,
        )
        super().__init__(calls, location, read_timeout_s=settings.read_timeout_ms / 1000)

    async def aclose(self) -> None:
        """As `Store.aclose`."""
        await self._credentials.aclose()
        await self._metadata.aclose()
        await self._exchange.aclose()


def store_of(settings: LedgerSettings, clock: Clock, environ: Mapping[str, str]) -> LateStore:
    """The store of a ledger, not opened yet.

    Args:
        environ: where AWS's credentials and region are looked for.
    """
    if settings.url.startswith(DYNAMODB):
        return LateStore(lambda: DynamoDbOverHttp(settings, clock, environ))
    return LateStore(lambda: _sqlite(settings.url, clock))


def _sqlite(url: str, clock: Clock) -> Store:
    from rillgate.ledger.sqlite import SqliteStore  # noqa: PLC0415 (a function on Lambda never needs it)

    return SqliteStore(sqlite_path(url), wall=clock.wall)


def check_store(settings: LedgerSettings, environ: Mapping[str, str]) -> None:
    """Refuse a SQLite file that cannot be used, or a table without a region, before anything listens.

    Whether a table answers is not asked: it may any time.

    Raises: StoreUnavailable: the message names the file or the table, and the remedy.
    """
    path = sqlite_path(settings.url)
    if path is not None:
        from rillgate.ledger.sqlite_table import SqliteTable  # noqa: PLC0415 (as above)

        SqliteTable(path).close()
    elif settings.url.startswith(DYNAMODB):
        _located(settings.url, environ)


def sqlite_path(url: str) -> Path | None:
    """The file that a ledger's URL names; None for every other kind."""
    return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None


def _located(url: str, environ: Mapping[str, str]) -> DynamoDbLocation:
    """The table, with its region, and its endpoint where that is not AWS's own.

    Raises: StoreUnavailable: there is none.
    """
    location = parse_location(url)
    region = location.region or aws_region(environ)
    if region is None:
        raise StoreUnavailable(f"{location}: its region is not known; add ?region=R to ledger.url, or set AWS_REGION")
    endpoint_url = location.endpoint_url or aws_endpoint_url(environ, "dynamodb")
    return replace(location, region=region, endpoint_url=endpoint_url)


def _log_no_credentials(error: UpstreamError) -> None:
    log_event("aws_credentials_failed", level="warning", error=error.message)
