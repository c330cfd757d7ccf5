"""Calls to Azure without a key: each carries a token that is good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rillgate.app.azure_location import AzureLocation
from rillgate.app.settings.secrets import Secret, SecretName
from rillgate.app.settings.types import ProviderSettings
from rillgate.domain.errors import UpstreamError
from rillgate.upstream.fresh import PAUSE_S
from tests.fakes.aws import FakeAws, answer
from tests.fakes.clock import FakeClock
from tests.unit.app.test_bedrock_location import NOON_S

pytestmark = pytest.mark.anyio

PATH = "/tenant-1/oauth2/v2.0/token"
KEPT = SecretName("ssm", "/rillgate/azure")


@asynccontextmanager
async def located(fake: FakeAws, clock: FakeClock, secret: Secret | SecretName) -> AsyncIterator[AzureLocation]:
    """A location whose tokens the fake gives."""
    settings = ProviderSettings(
        "azure",
        "https://r.openai.azure.com",
        headers=(("x-team", "a"),),
        tenant_id="tenant-1",
        client_id="client-1",
        client_secret=secret,
    )

    async def fetched(name: SecretName) -> str:
        assert name == KEPT
        return "from-aws\n"

    location = AzureLocation(settings, clock, {"AZURE_AUTHORITY_HOST": fake.url}, fetched)
    try:
        yield location
    finally:
        await location.aclose()


def document(text: str, expires_in: int = 3600) -> Any:
    """A token as Entra gives it."""
    return answer({"access_token": text, "expires_in": expires_in})


async def test_azure_location_carries_one_token_until_it_ends() -> None:
    """Then another one, and the old one where none comes while it is still good."""
    clock = FakeClock(wall=NOON_S)
    async with FakeAws() as fake, located(fake, clock, Secret("s-1")) as location:
        fake.routes["POST", PATH] = document("one")
        for _ in range(3):
            endpoint = await location.endpoint()
            assert endpoint.base_url == "https://r.openai.azure.com"
            assert endpoint.headers == (("authorization", "Bearer one"), ("x-team", "a"))
        assert len(fake.others) == 1
        clock.advance(3600 - 30)
        fake.routes["POST", PATH] = answer({}, 500)
        assert (await location.endpoint()).headers[0] == ("authorization", "Bearer one")
        clock.advance(PAUSE_S)
        fake.routes["POST", PATH] = document("two")
        assert (await location.endpoint()).headers[0] == ("authorization", "Bearer two")
        assert b"client_secret=s-1" in fake.others[0].body


async def test_azure_location_takes_a_secret_that_aws_keeps() -> None:
    """Without the newline at its end."""
    async with FakeAws() as fake, located(fake, FakeClock(wall=NOON_S), KEPT) as location:
        fake.routes["POST", PATH] = document("one")
        await location.endpoint()
        assert fake.others[0].body.endswith(b"client_secret=from-aws")


async def test_azure_location_without_a_token_says_so_and_not_where_it_looked() -> None:
    """The log says more than a client is told."""
    async with FakeAws() as fake, located(fake, FakeClock(wall=NOON_S), Secret("s-1")) as location:
        fake.routes["POST", PATH] = answer({"error": "invalid_client"}, 401)
        with pytest.raises(UpstreamError) as refused:
            await location.endpoint()
        assert refused.value.message == "The gateway has no Entra token for this provider."
        assert refused.value.code == "provider_key"
