"""Keys: where they come from, and that nothing shows them."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from rillgate.app.settings.load import load_settings
from rillgate.app.settings.rules import Misfit
from rillgate.app.settings.secrets import Secret, SecretName, read_secret
from tests.unit.app.settings.settings_support import load, refusal

KEY = "sk-very-secret-0123456789"


def lab(reference: str) -> str:
    """A file whose one provider has this `api_key`."""
    return (
        '[providers.lab]\nkind = "openai"\nbase_url = "http://127.0.0.1:1/v1"\n'
        f"api_key = {json.dumps(reference)}\nheaders = {{ x-token = {json.dumps(KEY)} }}\n"
    )


def test_secret_is_shown_by_reveal_only() -> None:
    """No way of printing a secret prints it."""
    secret = Secret(KEY)
    assert secret.reveal() == KEY
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r}", repr([secret])):
        assert KEY not in text
        assert "Secret" in text
    assert not hasattr(secret, "__dict__")


def test_secret_equality_is_by_value() -> None:
    """Two secrets are equal when their values are, also when they are no ASCII; nothing else equals one."""
    assert Secret(KEY) == Secret(KEY)
    assert hash(Secret(KEY)) == hash(Secret(KEY))
    assert Secret(KEY) != Secret("ä")
    assert Secret(KEY) != KEY
    assert copy.deepcopy(Secret(KEY)) == Secret(KEY)


@pytest.mark.parametrize("content", [KEY, f"{KEY}\n", f"{KEY}\r\n", f" {KEY} \n\n"])
def test_secret_from_file_loses_its_newline(tmp_path: Path, content: str) -> None:
    """Files end with a newline, keys do not."""
    (tmp_path / "key").write_text(content, encoding="utf-8", newline="")
    for reference in (f"file:{tmp_path}/key", "file:key", "file:./key"):
        secret = read_secret(reference, environ={}, folder=tmp_path)
        assert isinstance(secret, Secret)
        assert secret.reveal() == KEY


def test_secret_from_variable_and_none(tmp_path: Path) -> None:
    """env:NAME reads the variable; none is no key."""
    assert read_secret("env:LAB_KEY", environ={"LAB_KEY": KEY}, folder=tmp_path) == Secret(KEY)
    assert read_secret("none", environ={}, folder=tmp_path) is None


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("env:LAB_KEY", "environment variable LAB_KEY is not set; set it, or give 'none'"),
        ("env:EMPTY", "environment variable EMPTY is empty; set it, or give 'none'"),
        ("env:SPLIT", "the key holds white space or characters that no header can carry; give the key alone"),
        (f"env:{KEY}", "the environment variable that it names is not set; set it, or give 'none'"),
        ("env:", "the environment variable that it names is not set; set it"),
        ("file:/no/such/file", "file '/no/such/file' cannot be read (No such file or directory); put the key there"),
        ("file:/", "file '/' cannot be read (Is a directory); put the key there, or correct the path"),
        (f"file:{KEY}", "the file that it names cannot be read (No such file or directory); put the key there"),
        ("file:empty", "the key is empty; set it, or give 'none'"),
        ("file:bytes", "the file that it names holds no text; put the key there, or correct the path"),
        ("file:\x00", "the file that it names holds no text; put the key there, or correct the path"),
        ("file:", "expected 'env:NAME', 'file:/path', 'ssm:/path', 'secret:ARN' or 'none'; a key"),
        (KEY, "expected 'env:NAME', 'file:/path', 'ssm:/path', 'secret:ARN' or 'none'; a key"),
        (f"Bearer {KEY}", "expected 'env:NAME', 'file:/path', 'ssm:/path', 'secret:ARN' or 'none'; a key"),
        ("", "expected 'env:NAME', 'file:/path', 'ssm:/path', 'secret:ARN' or 'none'; a key"),
        ("NONE", "expected 'env:NAME', 'file:/path', 'ssm:/path', 'secret:ARN' or 'none'; a key"),
        ("ssm:prod key", "'ssm:' takes a parameter's full name; give one such as 'ssm:/rillgate/openai-key'"),
        (f"ssm:{KEY}", "'ssm:' takes a parameter's full name; give one such as"),
        (
            "secret:arn:x",
            "'secret:' takes the ARN of a secret in Secrets Manager; give 'secret:arn:aws:secretsmanager:",
        ),
        (f"secret:{KEY}", "'secret:' takes the ARN of a secret in Secrets Manager; give"),
    ],
)
def test_secret_that_cannot_be_fetched_is_one_line_without_it(tmp_path: Path, reference: str, expected: str) -> None:
    """Missing, unreadable, literal and misspelt: each says what to do and repeats no key."""
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    environ = {"EMPTY": " ", "SPLIT": f"{KEY}\n{KEY}"}
    message = refusal(tmp_path, lab(reference), environ=environ)
    assert message.startswith(f"rillgate.toml: providers.lab.api_key: {expected}")
    assert KEY not in message
    with pytest.raises(Misfit):
        read_secret(reference, environ=environ, folder=tmp_path)


def test_secret_in_wrong_type_is_not_repeated(tmp_path: Path) -> None:
    """Not even a value of the wrong type is shown where a key belongs."""
    toml = lab("none").replace('api_key = "none"', f'api_key = ["{KEY}"]')
    assert KEY not in refusal(tmp_path, toml)
    assert KEY not in refusal(tmp_path, f'[providers]\nlab = "{KEY}"')
    assert KEY not in refusal(tmp_path, f'[providers.lab]\nkind = "openai"\nbase_url = "http://u:{KEY}@b/v1"')
    assert KEY not in refusal(tmp_path, f'[providers.lab]\nkind = "openai"\nbase_url = "http://b/v1?key={KEY}"')
    assert KEY not in refusal(tmp_path, f'[providers.lab]\nkind = "openai"\nheaders = "x-token: {KEY}"')
    (tmp_path / "rillgate.toml").unlink()
    assert KEY not in refusal(
        tmp_path, environ={"RILLGATE_PROVIDERS__LAB__API_KEY": KEY, "RILLGATE_PROVIDERS__LAB__KIND": "openai"}
    )
    assert KEY not in refusal(tmp_path, environ={"RILLGATE_PROVIDERS": f'{{lab = "{KEY}"}}'})
    assert KEY not in refusal(tmp_path, environ={"RILLGATE_PROVIDERS__LAB__HEADERS": f'["{KEY}"]'})


def test_settings_repr_shows_no_key_and_no_header(tmp_path: Path) -> None:
    """A settings object may land in a log or a traceback."""
    settings = load(tmp_path, lab("env:LAB_KEY"), environ={"LAB_KEY": f"{KEY}-of-env"})
    provider = settings.providers["lab"]
    assert provider.api_key == Secret(f"{KEY}-of-env")
    assert dict(provider.headers)["x-token"] == KEY
    assert provider.endpoint().headers[0] == ("authorization", f"Bearer {KEY}-of-env")
    for text in (repr(settings), str(settings), repr(provider), repr(settings.providers)):
        assert KEY not in text


def test_settings_secret_path_is_relative_to_the_file(tmp_path: Path) -> None:
    """A file's secrets may lie beside it, wherever the program was started."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "key").write_text(KEY, encoding="utf-8")
    (folder / "r.toml").write_text(lab("file:key"), encoding="utf-8")
    settings = load_settings(config=Path("etc/r.toml"), flags={}, environ={}, cwd=tmp_path)
    assert settings.providers["lab"].api_key == Secret(KEY)


ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/openai-AbCdEf"


@pytest.mark.parametrize(
    ("reference", "expected", "region"),
    [
        ("ssm:/rillgate/openai-key", SecretName("ssm", "/rillgate/openai-key"), None),
        (f"secret:{ARN}", SecretName("secret", ARN), "eu-central-1"),
    ],
)
def test_secret_that_aws_keeps_is_read_as_its_name(reference: str, expected: SecretName, region: str | None) -> None:
    """Nothing is fetched while the configuration is read; an ARN says where to ask."""
    found = read_secret(reference, environ={}, folder=Path())
    assert found == expected
    assert expected.region == region
    assert str(expected) == reference
