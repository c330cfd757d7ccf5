"""Tokens of Entra: who is asked, in which words, what an answer means. When they are refreshed is `fresh`'s part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from rillgate.domain.errors import UpstreamError
from rillgate.upstream.entra import EntraSource, Identity, Token
from tests.fakes.aws import FakeAws, answer, aws_and_exchange
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import Exchange as Seen
from tests.fakes.script import Stall

pytestmark = pytest.mark.anyio

NOON_S = 1_795_003_200.0
NOBODY = Identity()
HOST = "r.openai.azure.com"
TENANT_PATH = "/tenant-1/oauth2/v2.0/token"
CLIENT = {"AZURE_TENANT_ID": "tenant-1", "AZURE_CLIENT_ID": "client-1"}
DOCUMENT = {"token_type": "Bearer", "expires_in": 3599, "access_token": "token-1"}
TOKEN = Token("token-1", NOON_S + 3599)


async def token(
    fake: FakeAws, exchange: Any, environ: Mapping[str, str], identity: Identity = NOBODY, host: str = HOST
) -> Token:
    """One token, with the fake as the authority."""
    found = {"AZURE_AUTHORITY_HOST": fake.url, **environ}
    source = EntraSource(identity, host, found, exchange=exchange, metadata=exchange, clock=FakeClock(wall=NOON_S))
    return await source()


def form(seen: Seen) -> dict[str, str]:
    """What was posted."""
    assert seen.headers["content-type"] == "application/x-www-form-urlencoded"
    return {name: value for name, (value,) in parse_qs(seen.body.decode()).items()}


async def test_token_is_given_for_a_clients_secret() -> None:
    """From the environment, or as configured, which counts more."""

    async def secret() -> str:
        return "s&cret=2"

    async with aws_and_exchange() as (fake, exchange):
        fake.routes["POST", TENANT_PATH] = fake.routes["POST", "/t%2F2/oauth2/v2.0/token"] = answer(DOCUMENT)
        environ = {**CLIENT, "AZURE_CLIENT_SECRET": "secret-1"}
        assert await token(fake, exchange, environ) == TOKEN
        assert await token(fake, exchange, environ, Identity("t/2", "client-2", secret)) == TOKEN
        first, second = fake.others
        common = {"grant_type": "client_credentials", "scope": "https://cognitiveservices.azure.com/.default"}
        assert form(first) == {**common, "client_id": "client-1", "client_secret": "secret-1"}
        assert form(second) == {**common, "client_id": "client-2", "client_secret": "s&cret=2"}


async def test_token_is_given_for_a_workloads_assertion(tmp_path: Path) -> None:
    """Read from its file each time, since it is replaced there."""
    file = tmp_path / "assertion"
    environ = {**CLIENT, "AZURE_FEDERATED_TOKEN_FILE": str(file)}
    async with aws_and_exchange() as (fake, exchange):
        fake.routes["POST", TENANT_PATH] = answer(DOCUMENT)
        with pytest.raises(UpstreamError, match="AZURE_FEDERATED_TOKEN_FILE cannot be read"):
            await token(fake, exchange, environ)
        for said in ("a.b.c", "d.e.f"):
            file.write_text(f"{said}\n", encoding="utf-8")
            assert await token(fake, exchange, environ) == TOKEN
        assert [form(seen)["client_assertion"] for seen in fake.others] == ["a.b.c", "d.e.f"]
        assert form(fake.others[0])["client_assertion_type"].endswith(":jwt-bearer")


async def test_token_is_given_to_an_app_services_identity() -> None:
    """At the address that the platform names, with its header; numbers come as text there."""
    async with aws_and_exchange() as (fake, exchange):
        fake.routes["GET", "/msi/token"] = answer({**DOCUMENT, "expires_in": "3599"})
        environ = {"IDENTITY_ENDPOINT": f"{fake.url}/msi/token", "IDENTITY_HEADER": "header-1"}
        assert await token(fake, exchange, {**environ, "AZURE_CLIENT_ID": "client-1"}) == TOKEN
        (seen,) = fake.others
        assert seen.headers["x-identity-header"] == "header-1"
        assert parse_qs(seen.query) == {
            "api-version": ["2019-08-01"],
            "resource": ["https://cognitiveservices.azure.com"],
            "client_id": ["client-1"],
        }


async def test_token_is_given_to_a_machines_identity() -> None:
    """Where nothing else is configured; where there is no such machine, the error says what to give."""
    async with aws_and_exchange() as (fake, exchange):
        with pytest.raises(UpstreamError, match=r"No identity of Azure was found .* give an api_key"):
            await token(fake, exchange, {})
        fake.routes["GET", "/metadata/identity/oauth2/token"] = answer({**DOCUMENT, "expires_in": "3599"})
        assert await token(fake, exchange, {}) == TOKEN
        assert fake.others[-1].headers["metadata"] == "true"
        assert exchange.asked == ["http://169.254.169.254"] * 2


@pytest.mark.parametrize(
    ("host", "authority", "resource"),
    [
        ("r.openai.azure.com", "https://login.microsoftonline.com", "https://cognitiveservices.azure.com"),
        ("r.openai.azure.us", "https://login.microsoftonline.us", "https://cognitiveservices.azure.us"),
        ("r.openai.azure.cn", "https://login.partner.microsoftonline.cn", "https://cognitiveservices.azure.cn"),
        ("apim.example", "https://login.microsoftonline.com", "https://cognitiveservices.azure.com"),
    ],
)
async def test_token_is_for_the_cloud_of_the_host(host: str, authority: str, resource: str) -> None:
    """Each state's cloud has an authority and a resource of its own."""
    asked: list[tuple[str, str]] = []

    class Noted:
        def open(self, provider: str, endpoint: Any, request: Any, **options: Any) -> Any:
            asked.append((endpoint.base_url, parse_qs(request.body.decode())["scope"][0]))
            raise UpstreamError("noted")

    environ = {**CLIENT, "AZURE_CLIENT_SECRET": "s"}
    noted: Any = Noted()
    source = EntraSource(Identity(), host, environ, exchange=noted, metadata=noted, clock=FakeClock())
    with pytest.raises(UpstreamError, match="noted"):
        await source()
    assert asked == [(authority, f"{resource}/.default")]


async def test_refusal_says_why_and_never_the_secret() -> None:
    """The first line of Entra's own words; anything else is no token either."""
    said = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret.\r\nTrace ID: 1"}
    environ = {**CLIENT, "AZURE_CLIENT_SECRET": "secret-1"}
    async with aws_and_exchange() as (fake, exchange):
        for body, status, expected in (
            (said, 401, r"No token \(status 401\): AADSTS7000215: Invalid client secret\.$"),
            (b"<html>", 500, "status 500.*no reason was given"),
            ({"token": "x"}, 200, "holds no token"),
            ({**DOCUMENT, "expires_in": "soon"}, 200, "holds no token"),
        ):
            fake.routes["POST", TENANT_PATH] = answer(body, status)
            with pytest.raises(UpstreamError, match=expected) as refused:
                await token(fake, exchange, environ)
            assert "secret-1" not in refused.value.message
        fake.routes["POST", TENANT_PATH] = answer({"access_token": "t"})
        assert await token(fake, exchange, environ) == Token("t", None)


async def test_secret_without_its_client_is_an_error() -> None:
    """It is not a reason to be somebody else."""

    async def secret() -> str:
        return "s"

    async with aws_and_exchange() as (fake, exchange):
        with pytest.raises(UpstreamError, match="needs a tenant_id and a client_id"):
            await token(fake, exchange, {}, Identity(secret=secret))
        assert exchange.asked == []


async def test_authority_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a time of its own."""
    monkeypatch.setattr("rillgate.upstream.entra.TIMEOUT_S", 0.05)
    async with aws_and_exchange() as (fake, exchange):
        fake.routes["POST", TENANT_PATH] = [Stall()]
        with pytest.raises(UpstreamError, match=r"gave no token within 0\.05 s"):
            await token(fake, exchange, {**CLIENT, "AZURE_CLIENT_SECRET": "s"})
