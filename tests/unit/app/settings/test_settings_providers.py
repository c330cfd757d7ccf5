"""Providers from the table and from the usual variables, and which one answers when a request names no model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from rillgate.app.settings.found import ollama_base_url
from rillgate.app.settings.load import ProviderSettings, Secret
from rillgate.app.settings.rules import Misfit
from tests.unit.app.settings.settings_support import load, refusal

LAB = '[providers.lab]\nkind = "openai"\nbase_url = "http://127.0.0.1:9900/v1"\n'


def found(tmp_path: Path, environ: Mapping[str, str]) -> dict[str, tuple[str, str, str | None]]:
    """Kind, address and key of the providers that an environment leads to."""
    providers = load(tmp_path, environ=environ).providers
    return {
        name: (
            provider.kind,
            provider.base_url,
            provider.api_key.reveal() if isinstance(provider.api_key, Secret) else None,
        )
        for name, provider in providers.items()
    }


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {"embedded": ("embedded", "", None)}),
        ({"OPENAI_API_KEY": "", "OPENAI_BASE_URL": " ", "OLLAMA_HOST": ""}, {"embedded": ("embedded", "", None)}),
        ({"OPENAI_API_KEY": "k-1"}, {"openai": ("openai", "https://api.openai.com/v1", "k-1")}),
        (
            {"OPENAI_API_KEY": " k-1\n", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1/"},
            {"openai": ("openai", "http://127.0.0.1:1/v1", "k-1")},
        ),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, {"openai": ("openai", "http://127.0.0.1:1/v1", None)}),
        ({"OLLAMA_HOST": "box"}, {"ollama": ("ollama", "http://box:11434", None)}),
        (
            {"OLLAMA_HOST": "box", "OPENAI_API_KEY": "k-1", "RILLGATE_BACKEND": "embedded"},
            {
                "openai": ("openai", "https://api.openai.com/v1", "k-1"),
                "ollama": ("ollama", "http://box:11434", None),
                "embedded": ("embedded", "", None),
            },
        ),
        ({"RILLGATE_BACKEND": "embedded"}, {"embedded": ("embedded", "", None)}),
        (
            {"OPENAI_API_KEY": "k-1", "OLLAMA_HOST": "box", "RILLGATE_BACKEND": "openai_responses"},
            {
                "openai_responses": ("openai_responses", "https://api.openai.com/v1", "k-1"),
                "ollama": ("ollama", "http://box:11434", None),
            },
        ),
        ({"ANTHROPIC_API_KEY": "k-2"}, {"anthropic": ("anthropic", "https://api.anthropic.com", "k-2")}),
        (
            {"ANTHROPIC_AUTH_TOKEN": "k-3", "ANTHROPIC_BASE_URL": "http://127.0.0.1:1/v1/"},
            {"anthropic": ("anthropic", "http://127.0.0.1:1", "k-3")},
        ),
        (
            {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "OPENAI_API_KEY": "k-1"},
            {
                "openai": ("openai", "https://api.openai.com/v1", "k-1"),
                "anthropic": ("anthropic", "http://127.0.0.1:1", None),
            },
        ),
        (
            {"AWS_BEARER_TOKEN_BEDROCK": "k-4", "AWS_REGION": "eu-west-1"},
            {"bedrock": ("bedrock", "https://bedrock-runtime.eu-west-1.amazonaws.com", "k-4")},
        ),
        (
            {"AWS_BEARER_TOKEN_BEDROCK": "k-4", "AWS_DEFAULT_REGION": "cn-north-1"},
            {"bedrock": ("bedrock", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn", "k-4")},
        ),
        ({"AWS_BEARER_TOKEN_BEDROCK": "k-4"}, {"embedded": ("embedded", "", None)}),
        (
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-1"},
            {"embedded": ("embedded", "", None)},
        ),
        (
            {"RILLGATE_BACKEND": "bedrock", "AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:2/"},
            {"bedrock": ("bedrock", "http://127.0.0.1:2", None)},
        ),
        ({"RILLGATE_BACKEND": "ollama"}, {"ollama": ("ollama", "http://127.0.0.1:11434", None)}),
        ({"GEMINI_API_KEY": "k-5"}, {"gemini": ("gemini", "https://generativelanguage.googleapis.com", "k-5")}),
        (
            {"GOOGLE_API_KEY": "k-6", "GEMINI_API_KEY": "k-5", "OLLAMA_HOST": "box"},
            {
                "ollama": ("ollama", "http://box:11434", None),
                "gemini": ("gemini", "https://generativelanguage.googleapis.com", "k-6"),
            },
        ),
        (
            {"AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com/openai/v1", "AZURE_OPENAI_API_KEY": "k-7"},
            {"azure": ("azure", "https://r.openai.azure.com", "k-7")},
        ),
        (
            {"GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:1/v1beta/"},
            {"gemini": ("gemini", "http://127.0.0.1:1", None)},
        ),
    ],
)
def test_providers_without_table_are_found_from_variables(
    tmp_path: Path, environ: dict[str, str], expected: dict[str, tuple[str, str, str | None]]
) -> None:
    """The usual variables make providers, in a fixed order; with none of them the embedded model is alone."""
    assert found(tmp_path, environ) == expected
    assert list(found(tmp_path, environ)) == list(expected)


def test_providers_file_without_table_behaves_as_no_file(tmp_path: Path) -> None:
    """A file that is silent about providers leaves them to the variables."""
    settings = load(tmp_path, "[server]\nport = 1\n[providers]\n", environ={"OPENAI_API_KEY": "k-1"})
    assert list(settings.providers) == ["openai"]
    assert settings.providers["openai"].found_in == "OPENAI_API_KEY"


def test_providers_with_table_leave_usual_variables_alone(tmp_path: Path) -> None:
    """With a table, only the table counts, and nothing is said about the rest."""
    environ = {"OPENAI_API_KEY": "k-1", "OLLAMA_HOST": "box", "ANTHROPIC_API_KEY": "k-2"}
    settings = load(tmp_path, LAB, environ=environ)
    assert list(settings.providers) == ["lab"]
    assert settings.providers["lab"].api_key is None
    assert settings.providers["lab"].found_in == "rillgate.toml"
    assert settings.notices == ()


@pytest.mark.parametrize("variable", ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"])
def test_providers_azure_key_without_endpoint_is_a_notice(tmp_path: Path, variable: str) -> None:
    """It is no error, and one line names the variable, never the value."""
    (notice,) = load(tmp_path, environ={variable: "k-secret"}).notices
    assert notice == f"{variable} is set, but no AZURE_OPENAI_ENDPOINT: it is not used"


def test_provider_azure_without_key_wants_a_token(tmp_path: Path) -> None:
    """With a key, a ready token or a header of its own it wants none; its address has no path of the API's."""
    toml = "[providers.a]\nkind = 'azure'\nbase_url = 'https://r.openai.azure.com/openai/v1/'\n"
    toml += "api_version = '2024-10-21'\ntenant_id = 't'\nclient_id = 'c'\nclient_secret = 'env:S'\n"
    toml += "[providers.b]\nkind = 'azure'\nbase_url = 'https://r.openai.azure.com'\napi_key = 'env:K'\n"
    toml += "[providers.c]\nkind = 'azure'\nbase_url = 'http://apim/openai'\nheaders = {api-key = 'k'}\n"
    providers = load(tmp_path, toml, environ={"K": "k", "S": "s"}).providers
    assert [provider.wants_token for provider in providers.values()] == [True, False, False]
    assert providers["a"].base_url == "https://r.openai.azure.com"
    assert (providers["a"].api_version, providers["a"].tenant_id, providers["a"].client_id) == ("2024-10-21", "t", "c")
    assert providers["a"].client_secret == Secret("s")
    assert "s'" not in repr(providers["a"].client_secret)
    assert providers["b"].endpoint().headers == (("api-key", "k"),)
    assert providers["c"].base_url == "http://apim"
    (tmp_path / "rillgate.toml").unlink()
    ready = load(tmp_path, environ={"AZURE_OPENAI_ENDPOINT": "https://r", "AZURE_OPENAI_AD_TOKEN": "t"}).providers
    assert ready["azure"].endpoint().headers == (("authorization", "Bearer t"),)
    alone = load(tmp_path, environ={"AZURE_OPENAI_ENDPOINT": "https://r", "OPENAI_API_VERSION": "2025-01-01-preview"})
    assert alone.providers["azure"].wants_token
    assert alone.providers["azure"].api_version == "2025-01-01-preview"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("box", "http://box:11434"),
        ("box:81", "http://box:81"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        (" '10.0.0.1:81' ", "http://10.0.0.1:81"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:81", "http://127.0.0.1:81"),
        (":81", "http://127.0.0.1:81"),
        ("::", "http://[::1]:11434"),
        ("[::]:81", "http://[::1]:81"),
        ("::1", "http://[::1]:11434"),
        ("http://box:81", "http://box:81"),
        ("http://box", "http://box"),
        ("https://box/", "https://box"),
        ("https://box:81/ollama/", "https://box:81/ollama"),
        ("http://box:81/v1", "http://box:81"),
        ("http://0.0.0.0:81", "http://127.0.0.1:81"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, expected: str) -> None:
    """Its forms lead to the server itself; an address of all interfaces means this machine."""
    assert ollama_base_url(host) == expected


@pytest.mark.parametrize("host", ["box:x", "box:99999", "box:0", "ftp://box", "http://", "a b", "u:p@box", "box?x=1"])
def test_ollama_host_that_is_none_is_refused(tmp_path: Path, host: str) -> None:
    """An error, not a silent default: else requests would go elsewhere."""
    with pytest.raises(Misfit):
        ollama_base_url(host)
    message = refusal(tmp_path, environ={"OLLAMA_HOST": host})
    assert message.startswith("OLLAMA_HOST: ")
    assert message.endswith("; give it as 'host', 'host:port' or 'http://host:port'")
    assert "u:p" not in message


def test_providers_ollama_is_recognised_by_kind_variable_or_port(tmp_path: Path) -> None:
    """It loads models on demand, so its first token may take longer."""
    assert load(tmp_path, environ={"OLLAMA_HOST": "http://box"}).providers["ollama"].ollama
    toml = LAB + '[providers.local]\nkind = "openai"\nbase_url = "http://127.0.0.1:11434/v1"\n'
    toml += '[providers.far]\nkind = "ollama"\nbase_url = "http://box/v1"\n'
    providers = load(tmp_path, toml).providers
    assert providers["local"].ollama
    assert providers["far"].ollama
    assert providers["far"].base_url == "http://box"
    assert not providers["lab"].ollama


@pytest.mark.parametrize(
    ("environ", "toml", "provider", "named"),
    [
        ({}, None, "embedded", False),
        ({"OPENAI_API_KEY": "k", "OLLAMA_HOST": "box"}, None, "openai", False),
        ({"OPENAI_API_KEY": "k", "RILLGATE_BACKEND": "embedded"}, None, "embedded", True),
        ({"OPENAI_API_KEY": "k", "RILLGATE_BACKEND": "openai"}, None, "openai", True),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "RILLGATE_BACKEND": " openai "}, None, "openai", True),
        ({"RILLGATE_BACKEND": ""}, LAB, "lab", False),
        ({"RILLGATE_BACKEND": "openai"}, '[providers.tiny]\nkind = "embedded"\n' + LAB, "lab", True),
        ({"RILLGATE_BACKEND": "embedded"}, LAB + '[providers.tiny]\nkind = "embedded"\n', "tiny", True),
    ],
)
def test_backend_variable_chooses_the_default_provider(
    tmp_path: Path, environ: dict[str, str], toml: str | None, provider: str, named: bool
) -> None:
    """RILLGATE_BACKEND alone decides; unset, the first provider does."""
    default = load(tmp_path, toml, environ=environ).default
    assert (default.provider, default.model, default.backend_named) == (provider, None, named)


@pytest.mark.parametrize(
    ("value", "toml", "expected"),
    [
        (
            "openai",
            None,
            "'openai' needs OPENAI_API_KEY, or OPENAI_BASE_URL for a server without keys; set one of them",
        ),
        (
            "anthropic",
            None,
            "'anthropic' needs ANTHROPIC_API_KEY, or ANTHROPIC_BASE_URL for a server without keys; set one of them",
        ),
        ("bedrock", None, "'bedrock' needs a region; set AWS_REGION"),
        ("bedrock", LAB, "rillgate.toml has no provider of kind 'bedrock'; add one"),
        (
            "gemini",
            None,
            "'gemini' needs GEMINI_API_KEY, or GOOGLE_GEMINI_BASE_URL for a server without keys; set one of them",
        ),
        (
            "azure",
            None,
            "'azure' needs AZURE_OPENAI_ENDPOINT, and AZURE_OPENAI_API_KEY unless there is an identity of Entra; set",
        ),
        ("openai_responses", None, "'openai_responses' needs OPENAI_API_KEY, or OPENAI_BASE_URL for a server without"),
        ("OpenAI", None, "unknown value 'OpenAI'; did you mean 'openai'?"),
        ("x", None, "unknown value 'x'; set it to embedded, openai, anthropic, ollama, bedrock, gemini, azure or"),
        ("embedded", LAB, "rillgate.toml has no provider of kind 'embedded'; add one with kind = \"embedded\" under"),
    ],
)
def test_backend_variable_that_cannot_be_is_refused(
    tmp_path: Path, value: str, toml: str | None, expected: str
) -> None:
    """One line names the variable and what to set instead."""
    message = refusal(tmp_path, toml, environ={"RILLGATE_BACKEND": value})
    assert message.startswith(f"RILLGATE_BACKEND: {expected}")


def test_model_variable_is_kept_for_naming(tmp_path: Path) -> None:
    """RILLGATE_MODEL is a name like any other; empty is unset."""
    assert load(tmp_path, LAB, environ={"RILLGATE_MODEL": " m-1 "}).default.model == "m-1"
    assert load(tmp_path, LAB, environ={"RILLGATE_MODEL": ""}).default.model is None


@pytest.mark.parametrize(
    ("environ", "toml"),
    [
        ({"RILLGATE_MODEL": "gpt-9"}, None),
        ({"RILLGATE_MODEL": "embedded/gpt-9"}, None),
        ({"RILLGATE_MODEL": "embedded/"}, None),
        ({"RILLGATE_MODEL": "gpt-9", "RILLGATE_BACKEND": "embedded", "OPENAI_API_KEY": "k"}, None),
        ({"RILLGATE_MODEL": "lab/"}, LAB),
    ],
)
def test_model_variable_that_nobody_can_have_is_refused(
    tmp_path: Path, environ: dict[str, str], toml: str | None
) -> None:
    """A default that would fail every request is an error at start."""
    message = refusal(tmp_path, toml, environ=environ)
    assert message.startswith(f"RILLGATE_MODEL: no provider has a model {environ['RILLGATE_MODEL']!r}; give provider/")


@pytest.mark.parametrize("name", ["smollm2-135m", "embedded/smollm2-135m"])
def test_model_variable_may_name_the_embedded_model(tmp_path: Path, name: str) -> None:
    """Its alias is a name, bare or behind its provider's."""
    assert load(tmp_path, environ={"RILLGATE_MODEL": name}).default.model == name


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ('[providers.a]\nkind = "x"', "providers.a.kind: unknown value 'x'; give 'embedded', 'openai', 'anthropic',"),
        ("[providers.a]", 'providers.a: has no kind; add one, such as kind = "openai"'),
        ('[providers.a]\nbase_url = "http://a/v1"', "providers.a: has no kind; add one"),
        (
            '[providers.a]\nkind = "anthropic"',
            'providers.a: api.anthropic.com answers nobody without a key; add api_key = "env:ANTHROPIC_API_KEY"',
        ),
        (
            "[providers.a]\nkind = 'anthropic'\napi_key = 'env:K'\nheaders = {X-Api-Key = 'k'}",
            "providers.a.headers: x-api-key is what api_key sends already; keep one of the two",
        ),
        (
            "[providers.a]\nkind = 'anthropic'\napi_key = 'env:K'\nheaders = {Authorization = 'k'}",
            "providers.a.headers: authorization is a second credential beside api_key; keep one of the two",
        ),
        ('[providers.a]\nkind = "bedrock"', "providers.a: has no region; add one, such as region = "),
        ("[providers.a]\nkind = 'bedrock'\nbase_url = 'http://b'", "providers.a: has no region; add one, such as"),
        (
            "[providers.a]\nkind = 'bedrock'\nregion = 'EU'",
            "providers.a.region: expected an AWS region, got 'EU'; give",
        ),
        ("[providers.a]\nkind = 'ollama'\nregion = 'eu-west-1'", 'providers.a.region: is of no use to kind = "ollama"'),
        (
            '[providers.a]\nkind = "gemini"',
            'providers.a: generativelanguage.googleapis.com answers nobody without a key; add api_key = "env:GEMINI_',
        ),
        (
            '[providers.a]\nkind = "azure"',
            'providers.a: has no base_url; add the resource\'s, such as base_url = "https://NAME.openai.azure.com"',
        ),
        (
            "[providers.a]\nkind = 'azure'\nbase_url = 'https://r'\napi_version = 'v1'",
            "providers.a.api_version: expected a version, got 'v1'; give one such as '2024-10-21', or take it out",
        ),
        (
            "[providers.a]\nkind = 'azure'\nbase_url = 'https://r'\napi_key = 'env:K'\ntenant_id = 't'",
            "providers.a.tenant_id: is of no use beside a key; keep one of the two",
        ),
        (
            "[providers.a]\nkind = 'azure'\nbase_url = 'https://r'\nclient_secret = 'env:K'\nclient_id = 'c'",
            "providers.a: has no tenant_id for its client; add tenant_id, or set AZURE_TENANT_ID",
        ),
        ("[providers.a]\nkind = 'openai'\ntenant_id = 't'", 'providers.a.tenant_id: is of no use to kind = "openai"'),
        ("providers.a = 'sk-secret'", "providers.a: expected a table, got text; write it as [providers.a]"),
        ("[providers.'a/b']\nkind = 'openai'", 'providers."a/b": is no name for a provider; use letters and digits'),
        ("[providers.a__b]\nkind = 'openai'", "providers.a__b: is no name for a provider; use letters and digits"),
        ("[providers.a]\nkind = 'openai'\nbase_ur = 'x'", "providers.a.base_ur: unknown key; did you mean 'base_url'?"),
        ("[providers.a]\nkind = 'openai'\nbase_url = 'box/v1'", "providers.a.base_url: expected an http or https"),
        ("[providers.a]\nkind = 'openai'\nbase_url = 'ws://b'", "providers.a.base_url: expected an http or https"),
        ("[providers.a]\nkind = 'openai'\nbase_url = 'http://'", "providers.a.base_url: expected an http or https"),
        ("[providers.a]\nkind = 'openai'\nbase_url = 'http://b:x'", "providers.a.base_url: expected an http or https"),
        ("[providers.a]\nkind = 'openai'\nbase_url = 'http://b c'", "providers.a.base_url: expected an http or https"),
        ("[providers.a]\nkind = 'openai'\nbase_url = \"http://b\\n\"", "providers.a.base_url: expected an http or"),
        (
            "[providers.a]\nkind = 'openai'\nbase_url = ''",
            "providers.a.base_url: expected an http or https address, got ''",
        ),
        ("[providers.a]\nkind = 'openai'\nbase_url = 'http://b?k=1'", "providers.a.base_url: an address with a query"),
        ("[providers.a]\nkind = 'openai'", "providers.a: api.openai.com answers nobody without a key; add api_key"),
        ("[providers.a]\nkind = 'embedded'\nbase_url = 'http://b'", "providers.a.base_url: is of no use to kind"),
        ("[providers.a]\nkind = 'embedded'\napi_key = 'none'", "providers.a.api_key: is of no use to kind"),
        ("[providers.a]\nkind = 'embedded'\nheaders = {a = 'b'}", "providers.a.headers: is of no use to kind"),
        (
            "[providers.a]\nkind = 'embedded'\n[providers.b]\nkind = 'embedded'",
            "providers.b.kind: 'a' is the embedded model already; keep one of the two",
        ),
        (LAB + "headers = {'a b' = 'c'}", 'providers.lab.headers."a b": is no name for a header; use letters'),
        (
            LAB + "headers = {Connection = 'c'}",
            "providers.lab.headers.Connection: Rillgate sets this header itself; take",
        ),
        (LAB + "headers = {a = 1}", "providers.lab.headers.a: expected text; give the header's value as text"),
        (LAB + 'headers = {a = "b\\r\\nc: d"}', "providers.lab.headers.a: holds characters that no header can carry"),
        (
            LAB + "api_key = 'env:K'\nheaders = {Authorization = 'Basic x'}",
            "providers.lab.headers: authorization is what api_key sends already; keep one of the two",
        ),
    ],
)
def test_providers_table_that_cannot_be_is_one_line(tmp_path: Path, toml: str, expected: str) -> None:
    """The line names file, key and remedy."""
    message = refusal(tmp_path, toml, environ={"K": "k-1"})
    assert message.startswith(f"rillgate.toml: {expected}")
    assert "secret" not in message


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"OPENAI_BASE_URL": "127.0.0.1:80"},
            "OPENAI_BASE_URL: expected an http or https address, got '127.0.0.1:80';",
        ),
        (
            {"OPENAI_BASE_URL": "https://api.openai.com/v1"},
            "OPENAI_BASE_URL: api.openai.com answers nobody without a key;",
        ),
        (
            {"ANTHROPIC_BASE_URL": "https://api.anthropic.com"},
            "ANTHROPIC_BASE_URL: api.anthropic.com answers nobody without a key; set ANTHROPIC_API_KEY",
        ),
        ({"ANTHROPIC_AUTH_TOKEN": "k-1 k-2"}, "ANTHROPIC_AUTH_TOKEN: the key holds white space or characters"),
        ({"AWS_BEARER_TOKEN_BEDROCK": "k-1", "AWS_REGION": "x/y"}, "AWS_REGION: expected an AWS region, got 'x/y'"),
        ({"OPENAI_API_KEY": "k-1 k-2"}, "OPENAI_API_KEY: the key holds white space or characters"),
        ({"OPENAI_API_KEY": "k-1\u2026"}, "OPENAI_API_KEY: the key holds white space or characters"),
    ],
)
def test_providers_usual_variable_that_cannot_be_is_one_line(
    tmp_path: Path, environ: dict[str, str], expected: str
) -> None:
    """The line names the variable and never the key."""
    message = refusal(tmp_path, environ=environ)
    assert message.startswith(expected)
    assert "k-1" not in message


def test_providers_from_variables_alone_count_as_a_table(tmp_path: Path) -> None:
    """RILLGATE_PROVIDERS__… names a provider without any file, and its errors name the variable."""
    environ = {"RILLGATE_PROVIDERS__LAB__BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": "k"}
    assert refusal(tmp_path, environ=environ).startswith(
        "RILLGATE_PROVIDERS__LAB__BASE_URL: providers.lab: has no kind; add one"
    )
    settings = load(tmp_path, environ={**environ, "RILLGATE_PROVIDERS__LAB__KIND": "openai"})
    assert list(settings.providers) == ["lab"]


def test_providers_variable_that_fits_two_names_is_refused(tmp_path: Path) -> None:
    """Two names that a variable spells alike cannot be told apart."""
    toml = LAB.replace("lab", "a-b") + LAB.replace("lab", "a.b").replace("[providers.a.b]", '[providers."a.b"]')
    message = refusal(tmp_path, toml, environ={"RILLGATE_PROVIDERS__A_B__KIND": "openai"})
    assert message == (
        "RILLGATE_PROVIDERS__A_B__KIND: providers: 'A_B' may mean 'a-b' and 'a.b'; set it in the file, or rename one"
    )


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"ANTHROPIC_API_KEY": "k-1", "ANTHROPIC_AUTH_TOKEN": "k-2"}, ("x-api-key", "k-1")),
        ({"ANTHROPIC_AUTH_TOKEN": "k-2"}, ("authorization", "Bearer k-2")),
        ({"AWS_BEARER_TOKEN_BEDROCK": "k-3", "AWS_REGION": "eu-west-1"}, ("authorization", "Bearer k-3")),
        ({"OPENAI_API_KEY": "k-4"}, ("authorization", "Bearer k-4")),
    ],
)
def test_provider_key_goes_out_in_the_header_of_its_kind(
    tmp_path: Path, environ: dict[str, str], expected: tuple[str, str]
) -> None:
    """One credential, where the provider's own SDK puts it."""
    (provider,) = load(tmp_path, environ=environ).providers.values()
    assert provider.endpoint().headers == (expected,)
    assert not provider.is_signed


def test_provider_bedrock_without_a_key_is_signed(tmp_path: Path) -> None:
    """Its region comes from the table or from AWS's own variables; with a key and an address it needs none."""
    toml = "[providers.a]\nkind = 'bedrock'\nregion = 'eu-west-1'\n[providers.b]\nkind = 'bedrock'\n"
    toml += "[providers.c]\nkind = 'bedrock'\nbase_url = 'http://b/'\napi_key = 'env:K'\n"
    providers = load(tmp_path, toml, environ={"AWS_REGION": "us-east-1", "K": "k"}).providers
    assert providers["a"].is_signed
    assert (providers["a"].region, providers["b"].region) == ("eu-west-1", "us-east-1")
    assert providers["a"].base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    assert providers["b"].base_url == "https://bedrock-runtime.us-east-1.amazonaws.com"
    assert providers["c"].base_url == "http://b"
    assert not providers["c"].is_signed
    assert load(tmp_path, toml[toml.index("[providers.c]") :], environ={"K": "k"}).providers["c"].region is None


def test_provider_bedrock_key_without_region_is_a_notice(tmp_path: Path) -> None:
    """The variable may be there for another tool; by name it is an error."""
    (notice,) = load(tmp_path, environ={"AWS_BEARER_TOKEN_BEDROCK": "k-1"}).notices
    assert notice == "AWS_BEARER_TOKEN_BEDROCK is set, but no region (AWS_REGION): it is not used"


def test_provider_gemini_takes_the_key_that_googles_sdk_takes(tmp_path: Path) -> None:
    """Both variables may be there; where they differ, one line says which one counts, and neither key."""
    (notice,) = load(tmp_path, environ={"GEMINI_API_KEY": "k-5", "GOOGLE_API_KEY": "k-6"}).notices
    assert notice.startswith("GEMINI_API_KEY and GOOGLE_API_KEY are set and differ: the latter is used")
    assert "k-" not in notice
    assert load(tmp_path, environ={"GEMINI_API_KEY": "k-5", "GOOGLE_API_KEY": "k-5"}).notices == ()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"ANTHROPIC_API_KEY": "k"}, "claude-haiku-4-5"),
        ({"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}, None),
        ({"RILLGATE_BACKEND": "ollama"}, None),
        ({"RILLGATE_BACKEND": "bedrock", "AWS_REGION": "us-east-1"}, "amazon.nova-lite-v1:0"),
        ({"RILLGATE_BACKEND": "bedrock", "AWS_REGION": "us-gov-west-1"}, "amazon.nova-lite-v1:0"),
        ({"RILLGATE_BACKEND": "bedrock", "AWS_REGION": "us-gov-east-1"}, "amazon.nova-lite-v1:0"),
        ({"RILLGATE_BACKEND": "bedrock", "AWS_REGION": "us-west-2"}, "us.amazon.nova-lite-v1:0"),
        ({"RILLGATE_BACKEND": "bedrock", "AWS_REGION": "eu-west-1"}, "eu.amazon.nova-lite-v1:0"),
        ({"RILLGATE_BACKEND": "bedrock", "AWS_REGION": "ap-northeast-1"}, "apac.amazon.nova-lite-v1:0"),
        ({"RILLGATE_BACKEND": "bedrock", "AWS_REGION": "sa-east-1"}, "amazon.nova-lite-v1:0"),
        ({"OPENAI_API_KEY": "k"}, "gpt-6-luna"),
        ({"OPENAI_API_KEY": "k", "RILLGATE_BACKEND": "openai_responses"}, "gpt-6-luna"),
        ({"GEMINI_API_KEY": "k"}, "gemini-flash-lite-latest"),
        ({"GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:1"}, None),
        ({}, "smollm2-135m"),
    ],
)
def test_provider_default_model_is_known_where_every_account_has_it(
    tmp_path: Path, environ: dict[str, str], expected: str | None
) -> None:
    """Elsewhere the provider's list says what there is."""
    (provider,) = load(tmp_path, environ=environ).providers.values()
    assert provider.default_model == expected


def test_provider_endpoint_carries_key_and_headers() -> None:
    """Every call gets the credential and the configured headers; without a key only the headers."""
    provider = ProviderSettings("openai", "http://b/v1", headers=(("x-team", "a"),))
    assert provider.endpoint().headers == (("x-team", "a"),)
    assert provider.endpoint().base_url == "http://b/v1"


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("upstream = ['lab/x']", 'routes[0]: has no model; add one, such as model = "bench-*"'),
        ("model = 'm'", 'routes[0]: has no upstream; add one, such as upstream = ["lab/*"]'),
        ("model = 'm'\nupstream = []", "routes[0]: has no upstream; add one"),
        ("model = ''\nupstream = ['lab/x']", "routes[0].model: is empty; give a value"),
        ("model = 'm'\nupstream = ['']", "routes[0].upstream: is empty; give a value"),
        ("model = 'm'\nupstream = 'lab/x'", "routes[0].upstream: expected a list of texts, got 'lab/x'; give a list"),
        (
            "model = 'm'\nupstream = ['lab']",
            "routes[0].upstream: 'lab' is not provider/model; give one, such as 'lab/*'",
        ),
        ("model = 'm'\nupstream = ['lab/']", "routes[0].upstream: 'lab/' is not provider/model; give one"),
        ("model = 'm'\nupstream = ['/x']", "routes[0].upstream: '/x' is not provider/model; give one"),
        (
            "model = 'm'\nupstream = ['lba/x']",
            "routes[0].upstream: 'lba/x' names no provider; add [providers.lba], or use one of lab, tiny",
        ),
        (
            "model = 'm'\nupstream = ['lab/x', 'tiny/y']",
            "routes[0].upstream: 'tiny/y' is no model of the embedded provider; give 'tiny/smollm2-135m'",
        ),
        (
            "model = 'm'\nupstream = ['lab/x', 'lab/x']",
            "routes[0].upstream: names an upstream twice; give each once; `retries` asks it again",
        ),
        (
            "model = 'm'\nupstream = ['tiny/y']",
            "routes[0].upstream: 'tiny/y' is no model of the embedded provider; give 'tiny/smollm2-135m'",
        ),
        (
            "model = 'm'\nupstream = ['lab/x']\n[[routes]]\nmodel = 'm'\nupstream = ['lab/y']",
            "routes[1].model: 'm' stands at routes[0] already, and the first match wins; take one of the two out",
        ),
        ("model = 'm'\nupstream = ['lab/x']\nstall_s = 0", "routes[0].stall_s: 0 is out of range (above 0); give"),
        ("model = 'm'\nupstream = ['lab/x']\nstals = 1", "routes[0].stals: unknown key; did you mean 'stall_s'?"),
    ],
)
def test_routes_that_cannot_be_are_one_line(tmp_path: Path, route: str, expected: str) -> None:
    """The line names the route by its place, the key and the remedy."""
    toml = f'{LAB}[providers.tiny]\nkind = "embedded"\n[[routes]]\n{route}'
    assert refusal(tmp_path, toml).startswith(f"rillgate.toml: {expected}")


def test_routes_lead_to_providers_found_from_variables_too(tmp_path: Path) -> None:
    """A file with routes and no providers works with what the variables give."""
    toml = "[[routes]]\nmodel = 'fast'\nupstream = ['ollama/tiny']\n"
    assert load(tmp_path, toml, environ={"OLLAMA_HOST": "box"}).routes[0].upstream == ("ollama/tiny",)
    assert "names no provider" in refusal(tmp_path, toml)
