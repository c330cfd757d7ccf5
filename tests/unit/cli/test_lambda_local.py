"""`rillgate lambda-local`: what it is told, what it makes of it, and its parts without any process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rillgate.app.settings.found import PROVIDER_VARIABLES
from rillgate.app.settings.sources import SettingsError
from rillgate.cli.context import UsageError
from rillgate.cli.lambda_local import banner
from rillgate.cli.local.answers import BadAnswer, UrlAnswer, bare_stream, read_prelude, whole_answer
from rillgate.cli.local.console import MIB, Report
from rillgate.cli.local.shape import Shape, build, checkout
from rillgate.cli.local.variables import configured_variables
from rillgate.cli.main import main

ENVIRON = {
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "RILLGATE_MODEL": "m",
    "AWS_REGION": "eu-central-1",
    "PATH": "/bin",
    "HOME": "/root",
}


# Reports


def test_report_line_is_lambdas_own() -> None:
    """Tabs between the parts; INIT is billed, and both are rounded up."""
    report = Report("id", 12.341, 1024, 64 * MIB + 1, 300.5)
    assert report.line() == (
        "REPORT RequestId: id\tDuration: 12.34 ms\tBilled Duration: 313 ms\tMemory Size: 1024 MB\t"
        "Max Memory Used: 65 MB\tInit Duration: 300.50 ms"
    )


def test_report_line_says_what_went_wrong() -> None:
    """And leaves out what is not known."""
    report = Report("id", 1.0, 128, status="error", error_type="Runtime.ExitError")
    assert report.line().endswith("Memory Size: 128 MB\tStatus: error\tError Type: Runtime.ExitError")


# Answers


async def _pieces(*pieces: bytes) -> tuple[UrlAnswer, bytes]:
    left = list(pieces)

    async def read() -> bytes:
        return left.pop(0) if left else b""

    return await read_prelude(read), b"".join(left)


@pytest.mark.anyio
@pytest.mark.parametrize("cut", range(1, 43))
async def test_prelude_may_be_cut_anywhere(cut: int) -> None:
    """Also between its NULs; what follows is the body's beginning."""
    data = b'{"statusCode":204,"headers":{}}' + bytes(8) + b"rest"
    answer, rest = await _pieces(data[:cut], data[cut:])
    assert (answer.status, answer.body + rest) == (204, b"rest")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no end",
        b"no JSON" + bytes(8),
        b"[]" + bytes(8),
        b'{"statusCode":"200"}' + bytes(8),
        b'{"statusCode":99}' + bytes(8),
        b'{"headers":["a"]}' + bytes(8),
        b'{"headers":{"a":["b"]}}' + bytes(8),
        b'{"headers":{"a":"b\\r\\nc: d"}}' + bytes(8),
    ],
)
async def test_prelude_that_is_none_is_refused(data: bytes) -> None:
    """Nobody can say what the client's status would be."""
    with pytest.raises(BadAnswer):
        await _pieces(data)


def test_answer_headers_of_the_connection_do_not_reach_the_client() -> None:
    """Lengths are the URL's own; some names come back under another one, as from Lambda."""
    answer = whole_answer(b'{"statusCode":401,"headers":{"Content-Length":"9","WWW-Authenticate":"Bearer","X-A":"1"}}')
    assert answer.headers == [
        (b"x-amzn-remapped-www-authenticate", b"Bearer"),
        (b"x-a", b"1"),
        (b"content-type", b"application/json"),
    ]


def test_answer_without_a_status_is_the_body_itself() -> None:
    """As a URL infers it; a JSON string is its text."""
    assert whole_answer(b'{"a":1}').body == b'{"a":1}'
    assert whole_answer(b'"hi"').body == b"hi"
    with pytest.raises(BadAnswer):
        whole_answer(b"not JSON")


def test_stream_without_a_prelude_has_its_own_type() -> None:
    """Or is of unknown bytes."""
    assert bare_stream("text/csv").headers == [(b"content-type", b"text/csv")]
    assert bare_stream("").headers == [(b"content-type", b"application/octet-stream")]


# Variables


def test_variables_are_those_that_a_function_is_configured_with(tmp_path: Path) -> None:
    """Ours, AWS's and providers'; what only happens to be set here stays out."""
    found, settings = configured_variables(None, ENVIRON, tmp_path)
    assert settings is not None
    assert settings.keys_required
    assert found == {
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "RILLGATE_MODEL": "m",
        "AWS_REGION": "eu-central-1",
        "RILLGATE_LEDGER__URL": f"sqlite:///{tmp_path / 'rillgate.db'}",
    }


def test_variables_that_the_configuration_names_go_along(tmp_path: Path) -> None:
    """`env:NAME` in the file or in a variable; the file's path is absolute, since the function runs elsewhere."""
    file = tmp_path / "rillgate.toml"
    file.write_text('[providers.lab]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "env:LAB_KEY"\n')
    environ = {"LAB_KEY": "sk-fake", "OTHER_KEY": "sk-other", "PATH": "/bin"}
    found, _ = configured_variables(None, environ, tmp_path)
    assert found["RILLGATE_CONFIG"] == str(file)
    assert found["LAB_KEY"] == "sk-fake"
    assert "OTHER_KEY" not in found


def test_variables_of_a_configuration_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    """One line, before anything starts."""
    with pytest.raises(SettingsError, match="nowhere"):
        configured_variables(Path("nowhere.toml"), ENVIRON, tmp_path)


def test_variables_with_a_configuration_in_aws_are_passed_on_unseen(tmp_path: Path) -> None:
    """The function fetches it itself; nothing is known of it here."""
    found, settings = configured_variables(None, {"RILLGATE_CONFIG": "ssm:/x"}, tmp_path)
    assert (found, settings) == ({"RILLGATE_CONFIG": "ssm:/x"}, None)


# Shapes


def test_shape_of_the_checkout_runs_its_layer_with_this_python() -> None:
    """As Lambda calls an exec wrapper: interpreter and stock bootstrap as arguments."""
    code = checkout()
    assert code.command == (str(code.opt / "bootstrap"), sys.executable, "/var/runtime/bootstrap.py")
    assert (code.task_root / "rillgate" / "lambda_gateway.py").exists()
    assert os.access(code.command[0], os.X_OK)


def test_shape_of_a_build_lays_its_layers_over_each_other(tmp_path: Path) -> None:
    """Whatever their folders are called; a certificate bundle in a layer is the one that is used."""
    folder, opt = tmp_path / "build", tmp_path / "opt"
    opt.mkdir()
    for file in (
        "GatewayFunction/rillgate/lambda_gateway.py",
        "RuntimeLayer/bootstrap",
        "RuntimeLayer/python/lambda_asgi/__main__.py",
        "DependenciesLayer/python/httpx2.py",
        "DependenciesLayer/certificates/cacert.pem",
    ):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)
    code = build(folder, opt)
    assert code.task_root == folder / "GatewayFunction"
    assert (opt / "bootstrap").read_text() == "RuntimeLayer/bootstrap"
    assert (opt / "python" / "lambda_asgi" / "__main__.py").exists()
    assert (opt / "python" / "httpx2.py").exists()
    variables = Shape(code.command, code.task_root, code.opt).variables("127.0.0.1:1")
    assert variables["SSL_CERT_FILE"] == str(opt / "certificates" / "cacert.pem")
    assert ".venv" not in code.python


def test_shape_of_a_build_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With the way to make one."""
    with pytest.raises(UsageError, match="sam build"):
        build(tmp_path / "nothing", tmp_path)


# The command


def test_banner_says_where_it_is_and_how_to_make_a_key(tmp_path: Path) -> None:
    """Keys are needed for everything, so the way to one stands there."""
    found, settings = configured_variables(None, ENVIRON, tmp_path)
    lines = banner(9000, Shape(("b",), tmp_path, tmp_path, configured=found), settings, told=False)
    assert lines[0] == "Function URL: http://127.0.0.1:9000/"
    assert f"  rillgate keys create --name me --ledger 'sqlite:///{tmp_path / 'rillgate.db'}'" in lines
    assert "is not noticed, as on Lambda" in lines[1]


def test_command_without_a_provider_says_that_the_embedded_model_is_not_on_lambda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once, and not in every environment."""
    monkeypatch.chdir(tmp_path)
    for name in (*PROVIDER_VARIABLES, "RILLGATE_BACKEND", "RILLGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    assert main(["lambda-local", "--port", "0"]) == 2
    told = capsys.readouterr().err
    assert "the embedded model does not run on Lambda" in told
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OLLAMA_HOST", "RILLGATE_BACKEND=bedrock"):
        assert name in told


@pytest.mark.parametrize("words", [["--timeout-s", "901"], ["--memory-mb", "1"], ["--environments-max", "x"]])
def test_command_refuses_limits_that_lambda_does_not_have(words: list[str]) -> None:
    """With the range in the message."""
    with pytest.raises(SystemExit):
        main(["lambda-local", *words])
