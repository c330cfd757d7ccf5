"""From a configured provider to what translates for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rillgate.app.backends import other_api_of, provider_of, signed_location
from rillgate.app.bedrock_location import BedrockLocation
from rillgate.app.gateway import Gateway
from rillgate.app.settings.load import load_settings
from rillgate.app.settings.schema import KINDS
from rillgate.app.settings.types import ProviderSettings
from rillgate.domain.request import ChatRequest
from rillgate.providers.anthropic import AnthropicProvider
from rillgate.providers.azure import AzureProvider
from rillgate.providers.bedrock import BedrockProvider
from rillgate.providers.features import FEATURES
from rillgate.providers.gemini import GeminiProvider
from rillgate.providers.ollama import OllamaProvider
from rillgate.providers.openai import OpenAIProvider
from rillgate.providers.openai_responses import OpenAIResponsesProvider
from tests.fakes.clock import FakeClock

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-real-secret"}
CLASSES = {
    "embedded": OpenAIProvider,
    "openai": OpenAIProvider,
    "anthropic": AnthropicProvider,
    "ollama": OllamaProvider,
    "bedrock": BedrockProvider,
    "gemini": GeminiProvider,
    "azure": AzureProvider,
    "openai_responses": OpenAIResponsesProvider,
}


@pytest.mark.parametrize("kind", KINDS)
def test_provider_of_each_kind_translates_for_it(kind: str) -> None:
    """Every kind that the settings accept has one, and it says what becomes of each feature."""
    provider = provider_of("lab", ProviderSettings(kind, "http://127.0.0.1:9"))
    assert type(provider) is CLASSES[kind]
    assert set(provider.handling) == {feature.name for feature in FEATURES}


@pytest.mark.parametrize(
    ("kind", "base_url", "path"),
    [
        ("openai", "https://api.openai.com/v1", "/responses"),
        ("openai", "https://eu.api.openai.com/v1", "/responses"),
        ("openai", "https://evil-api.openai.com.example/v1", None),
        ("openai", "https://fakeapi.openai.com/v1", None),
        ("azure", "http://127.0.0.1:9", "/openai/v1/responses"),
        ("openai", "https://api.groq.com/openai/v1", None),
        ("openai_responses", "https://api.openai.com/v1", None),
        ("anthropic", "https://api.anthropic.com", None),
        ("embedded", "", None),
    ],
)
def test_other_api_is_there_where_openai_itself_or_azure_answers(kind: str, base_url: str, path: str | None) -> None:
    """Of a compatible server nobody knows whether it has it. It is made once."""
    other = other_api_of("lab", ProviderSettings(kind, base_url))
    assert (other is None) is (path is None)
    if other is not None:
        request = ChatRequest({"messages": [{"role": "user", "content": "hi"}]}, "m", stream=False)
        assert other().build(request, "m", 9).path == path
        assert other() is other()


@pytest.mark.parametrize("host", ["api.openai.com", "eu.api.openai.com"])
def test_openai_itself_is_asked_for_caps_by_the_name_it_reads(host: str) -> None:
    """In its regions too: models that reason refuse the older name."""
    request = ChatRequest({"messages": [{"role": "user", "content": "hi"}]}, "m", stream=False)
    body = provider_of("lab", ProviderSettings("openai", f"https://{host}/v1")).build(request, "m", 9).body
    assert msgspec.json.decode(body)["max_completion_tokens"] == 9


def test_azures_other_api_says_of_deployments_what_the_first_one_says() -> None:
    """That they are not there."""
    other = other_api_of("lab", ProviderSettings("azure", "http://127.0.0.1:9"))
    assert other is not None
    said = other().error(404, {}, b'{"error": {"code": "DeploymentNotFound", "message": "no"}}')
    assert (said.status, said.code) == (404, "model_not_found")


@pytest.mark.anyio
async def test_signed_location_signs_with_the_credentials_of_the_process() -> None:
    """For the configured region, with the configured headers."""
    settings = ProviderSettings("bedrock", "http://127.0.0.1:9", region="eu-west-1", headers=(("x-team", "a"),))
    location = signed_location(settings, FakeClock(), CREDENTIALS)
    try:
        endpoint = await location.endpoint()
        assert (endpoint.base_url, endpoint.headers) == ("http://127.0.0.1:9", (("x-team", "a"),))
        assert endpoint.sign is not None
        signed = dict(endpoint.sign("POST", "http://127.0.0.1:9/model/m/converse", (), b"{}"))
        authorization = next(value for name, value in signed.items() if name.lower() == "authorization")
        assert "AKIDEXAMPLE/" in authorization
        assert "/eu-west-1/bedrock/aws4_request" in authorization
    finally:
        await location.aclose()


def test_gateway_signs_for_bedrock_where_there_is_no_key(tmp_path: Path) -> None:
    """With one, it is sent as any other."""
    environ = {"AWS_REGION": "eu-west-1", "RILLGATE_BACKEND": "bedrock", "RILLGATE_LEDGER__URL": "memory:"}
    for more, signed in (({}, True), ({"AWS_BEARER_TOKEN_BEDROCK": "k-1"}, False)):
        settings = load_settings(config=None, flags={}, environ={**environ, **more}, cwd=tmp_path)
        location = Gateway(settings).backends["bedrock"].location
        assert isinstance(location, BedrockLocation) == signed
