"""The gateway in the test's own event loop, on a real socket, in front of a fake provider."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from rillgate.app.gateway import Gateway
from rillgate.app.http_protocol import HttpLimits
from rillgate.app.settings.load import load_settings
from rillgate.app.settings.types import Settings
from rillgate.budget.limit_text import parse_limits
from rillgate.domain.limits import Budget
from rillgate.domain.ports import Clock, Ledger
from rillgate.domain.principal import VirtualKey
from rillgate.identity import keys
from rillgate.ledger.admin_budgets import budget_writes
from rillgate.ledger.keys import virtual_key_key
from rillgate.ledger.vault import key_changes
from rillgate.ledger.writes import Put, Write
from tests.fakes.clients import RawClient
from tests.fakes.provider import FakeProvider
from tests.fakes.server import Address, serving

CHAT = "/v1/chat/completions"


@dataclass
class GatewayInTest:
    """A running gateway.

    Attributes:
        gateway: its parts, to look into.
        address: where it answers; as a string its URL.
    """

    gateway: Gateway
    address: Address

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.address.port

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return self.address.url

    async def client(self, *, rcvbuf: int | None = None) -> RawClient:
        """A new connection."""
        return await RawClient.open(self.port, rcvbuf=rcvbuf)

    async def chat(self, *, rcvbuf: int | None = None, **fields: Any) -> RawClient:
        """A new connection with a chat request sent, nothing read yet."""
        client = await self.client(rcvbuf=rcvbuf)
        await client.request("POST", CHAT, json=chat_body(**fields))
        return client

    async def idle(self) -> None:
        """Wait until no request is being served."""
        while self.gateway.streams.running():
            await asyncio.sleep(0)

    async def settled(self) -> None:
        """Wait until no request is being served and the books of all that were are closed."""
        await self.idle()
        assert await self.gateway.streams.settled()

    async def new_key(
        self,
        *,
        limits: Sequence[str] = (),
        user: str | None = None,
        team: str | None = None,
        models: Sequence[str] = (),
        expires_s: int | None = None,
        revoked_s: int | None = None,
    ) -> str:
        """A key in the gateway's own store: what a client presents. `limits` are those of its own scope."""
        secret = keys.new_key()
        key_id = keys.parse(secret)
        key = VirtualKey(
            key_id=key_id,
            name=key_id,
            digest=keys.digest(secret),
            created_s=0,
            expires_s=expires_s,
            revoked_s=revoked_s,
            user=user,
            team=team,
            models=tuple(models),
        )
        await self.gateway.books.store.write(Write(virtual_key_key(key_id), key_changes(key)))
        await self.set_budget(f"key:{key_id}", limits)
        return secret

    async def revoke(self, key: str) -> None:
        """Mark a key of this gateway's store as revoked, as the command line does."""
        await self.gateway.books.store.write(Write(virtual_key_key(keys.parse(key)), (Put("revoked", 1),)))

    async def set_budget(self, scope: str, limits: Sequence[str], *, blocked: str | None = None) -> None:
        """The first budget of a scope, in the gateway's own store."""
        if not limits and blocked is None:
            return
        amounts, streams_max = parse_limits(limits)
        budget = Budget(version=1, limits=amounts, streams_max=streams_max, blocked=blocked)
        for write in budget_writes(scope, 0, budget):
            await self.gateway.books.store.write(write)


def chat_body(**fields: Any) -> dict[str, Any]:
    """A small streaming request; `fields` are added to it or replace its own."""
    return {"model": "fake-model", "stream": True, "messages": [{"role": "user", "content": "hi"}], **fields}


def settings_for(base_url: str, **overrides: Any) -> Settings:
    """Settings with one provider named `fake` and the ledger in memory.

    `overrides` are dotted keys with a double underscore for the dot.
    """
    environ = {
        "RILLGATE_LEDGER__URL": "memory:",
        "RILLGATE_PROVIDERS__FAKE__KIND": "openai",
        "RILLGATE_PROVIDERS__FAKE__BASE_URL": base_url,
        "RILLGATE_PROVIDERS__FAKE__API_KEY": "env:FAKE_KEY",
        "FAKE_KEY": "sk-fake-key-of-the-tests",
        **{f"RILLGATE_{key.upper()}": _toml(value) for key, value in overrides.items() if "__" in key},
    }
    flags: Mapping[str, Any] = {key: value for key, value in overrides.items() if "__" not in key}
    return load_settings(config=None, flags=flags, environ=environ, cwd=Path(tempfile.gettempdir()) / "nowhere")


def _toml(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


@asynccontextmanager
async def gateway_for(
    fake: FakeProvider,
    *,
    clock: Clock | None = None,
    grace_s: float = 0,
    linger_s: float = 30,
    ledger: Ledger | None = None,
    **overrides: Any,
) -> AsyncIterator[GatewayInTest]:
    """Serve the whole gateway in front of `fake`; at the end what still runs is ended at once."""
    gateway = Gateway(settings_for(fake.base_url, **overrides), clock=clock, ledger=ledger)
    limits = HttpLimits(linger_s=linger_s, connections=gateway.connections)
    async with serving(gateway.asgi, drain=gateway.streams, grace_s=grace_s, limits=limits) as address:
        await gateway.encoders.loaded()
        yield GatewayInTest(gateway, address)
