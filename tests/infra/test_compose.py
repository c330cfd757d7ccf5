"""compose.yaml: valid by the specification's own schema, closed to strangers, and true to what it uses."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]

from rillgate.app.server import ABORT_S, FLUSH_S, LIFESPAN_S
from rillgate.app.settings.load import load_settings
from rillgate.app.settings.types import LimitSettings
from rillgate.cli.main import _parser
from tests.infra.cloudformation import ROOT

COMPOSE: Final = ROOT / "compose.yaml"
NGINX: Final = ROOT / "infra" / "container" / "nginx"
TEXT: Final = COMPOSE.read_text(encoding="utf-8")
SCHEMA: Final = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
WATCHING: Final = ("metrics", "prometheus", "grafana")
OURS: Final = ("gateway", "table", "alone", "nginx")  # what faces others, or holds their keys
PROFILES: Final = {
    "alone": ["alone"],
    "ollama": ["ollama"],
    "ollama-model": ["ollama"],
    **{name: ["metrics"] for name in WATCHING},
}
AS_ASKED: Final = (
    "proxy_http_version 1.1;",
    "proxy_buffering off;",
    "proxy_cache off;",
    "proxy_read_timeout 300s;",
    "proxy_set_header Connection '';",
    "chunked_transfer_encoding on;",
)


def compose() -> dict[str, Any]:
    """The file with anchors and merges resolved."""
    parsed: dict[str, Any] = yaml.safe_load(TEXT)
    return parsed


def switched_on(text: str) -> str:
    """The file with everything that stands in it as a comment to be switched on: lists, mappings, one-line secrets."""
    text = re.sub(r"^( *)# (- |secrets: \[)", r"\1\2", text, flags=re.MULTILINE)
    return re.sub(r"^# (secrets:|  \w+: \{)", r"\1", text, flags=re.MULTILINE)


SERVICES: Final[dict[str, dict[str, Any]]] = compose()["services"]


def judged(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What the specification's schema says."""
    path = folder / "compose.yaml"
    path.write_text(text, encoding="utf-8")
    return subprocess.run([*SCHEMA, str(path)], capture_output=True, text=True, check=False, timeout=60)


def test_compose_file_is_valid_by_the_schema_of_the_specification(tmp_path: Path) -> None:
    """As it stands, and with everything switched on that is prepared in it."""
    whole = switched_on(TEXT)
    assert {"openai_api_key", "tls_certificate", "tls_key"} == set(yaml.safe_load(whole)["secrets"])
    for text in (TEXT, whole):
        found = judged(text, tmp_path)
        assert found.returncode == 0, found.stdout + found.stderr


def test_compose_schema_refuses_a_file_that_compose_would_refuse(tmp_path: Path) -> None:
    """The judge judges."""
    for before, after in (("cap_drop: [ALL]", "cap_drop: ALL"), ("stop_grace_period:", "stop_grace_time:")):
        assert judged(TEXT.replace(before, after, 1), tmp_path).returncode == 1


def test_compose_services_start_as_the_head_of_the_file_says() -> None:
    """Without a profile: gateway, table and nginx; the others by their name or profile."""
    assert {name: each["profiles"] for name, each in SERVICES.items() if "profiles" in each} == PROFILES
    assert SERVICES.keys() - PROFILES.keys() == {"gateway", "table", "nginx", "dynamodb"}


def test_compose_files_that_are_mounted_exist() -> None:
    """Docker would make a folder in the place of each that does not. Those that are switched on later included."""
    for service in yaml.safe_load(switched_on(TEXT))["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_file(), source
                assert volume.endswith(":ro"), volume
            else:
                assert source in compose()["volumes"], source


def test_compose_builds_from_files_that_exist_and_a_target_of_the_image() -> None:
    """The gateway's services are one image."""
    built = [each["build"] for each in SERVICES.values() if "build" in each]
    assert len(built) == 3
    for build in built:
        text = (ROOT / build["dockerfile"]).read_text(encoding="utf-8")
        assert re.search(rf"^FROM \S+ AS {build['target']}$", text, re.MULTILINE)


def test_compose_publishes_ports_on_loopback_only() -> None:
    """Beyond this machine is a decision, and not a default."""
    published = [port for each in SERVICES.values() for port in each.get("ports", ())]
    assert sorted(published) == [f"127.0.0.1:{port}:{port}" for port in (3000, 8000, 8080, 9090)]


def test_compose_images_of_others_are_pinned() -> None:
    """To a whole version."""
    for name, service in SERVICES.items():
        if "build" not in service:
            assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", service["image"]), name


@pytest.mark.parametrize("name", OURS)
def test_compose_service_of_ours_may_do_no_more_than_it_must(name: str) -> None:
    """Not root, nothing to write to but memory and volumes, no capability, and no way to gain one."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not re.match(r"0|root", service["user"])
    assert service["ulimits"]["nofile"]["soft"] >= 2 * LimitSettings().streams_max
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("name", WATCHING)
def test_compose_service_that_watches_may_do_no_more_than_it_must(name: str) -> None:
    """It reaches the gateway's numbers and nothing else: neither the providers' network nor the ledger's."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["networks"] == ["watch"]
    assert not any("socket:" in volume for volume in service["volumes"]) or name == "metrics"


def test_compose_services_of_ours_stop_before_they_are_killed() -> None:
    """Grace, in-band ends, aborts and the application's own shutdown fit; nginx and the ledger outlast the gateway."""
    needed_s = _parsed(["serve"])["grace_s"] + FLUSH_S + 2 * ABORT_S + LIFESPAN_S
    stops = {name: float(SERVICES[name]["stop_grace_period"].rstrip("s")) for name in ("gateway", "alone", "nginx")}
    for name in ("gateway", "alone"):
        assert stops[name] > needed_s
    assert stops["nginx"] >= stops["gateway"]
    assert "nginx" not in SERVICES["gateway"]["depends_on"]
    assert "depends_on" not in SERVICES["nginx"], "it would be stopped before the gateway has ended its streams"


def _parsed(words: list[str]) -> dict[str, Any]:
    """How the command line reads the words of a service."""
    return vars(_parser().parse_args(words))


@pytest.mark.parametrize("name", ["gateway", "table", "alone"])
def test_compose_commands_and_settings_are_ones_that_rillgate_knows(name: str, tmp_path: Path) -> None:
    """An unknown flag, key or value would be found at the first start."""
    service = SERVICES[name]
    parsed = _parsed(service["command"])
    assert parsed.get("first_key", True)
    variables = dict(service["environment"])
    if "RILLGATE_CONFIG" in variables:
        variables["RILLGATE_CONFIG"] = str(ROOT / "infra" / "container" / "compose.toml")
    settings = load_settings(config=None, flags={}, environ=variables, cwd=tmp_path)
    if name != "table":
        assert settings.keys_required
        assert "embedded" in settings.providers


def test_compose_and_nginx_hold_no_secret() -> None:
    """Credentials for the emulator say what they are; everything else is a file of the operator's."""
    keys = {value for each in SERVICES.values() for name, value in each.get("environment", {}).items() if "KEY" in name}
    assert keys == {"fakeForDynamoDbLocalOnly"}
    texts = [TEXT, *(path.read_text(encoding="utf-8") for path in NGINX.iterdir())]
    for text in texts:
        assert not re.search(r"rill_[A-Za-z0-9]|sk-[A-Za-z0-9]|AKIA|BEGIN [A-Z ]*PRIVATE KEY", text)


def test_compose_configuration_reaches_ollama_where_compose_runs_it() -> None:
    """By its service's name and its port, and never the key of a provider in the file."""
    configured = tomllib.loads((ROOT / "infra" / "container" / "compose.toml").read_text(encoding="utf-8"))
    ollama = configured["providers"]["ollama"]
    assert (ollama["kind"], ollama["base_url"]) == ("ollama", "http://ollama:11434")
    assert next(iter(configured["providers"])) == "embedded"  # the first one answers requests that name no model


# nginx


def nginx_text(name: str) -> str:
    """A file without its comments."""
    return re.sub(r"\s*#.*", "", (NGINX / name).read_text(encoding="utf-8"))


def test_nginx_snippet_has_what_streams_need() -> None:
    """Word by word, as the rest of the world finds it; and nothing buffers anywhere else."""
    text = nginx_text("rillgate.conf")
    for directive in AS_ASKED:
        assert directive in text
    for name in ("nginx.conf", "upstream.conf", "tls.conf"):
        assert not re.search(r"proxy_buffering|proxy_cache|gzip on|proxy_ignore", nginx_text(name))


def test_nginx_takes_bodies_as_large_as_the_gateway_does() -> None:
    """One number in two places."""
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", nginx_text("rillgate.conf"))
    assert int(megabytes) * 1_048_576 == LimitSettings().body_bytes_max


def test_nginx_bounds_what_the_kernel_takes_on_every_port() -> None:
    """`sndbuf` is a matter of each listen line."""
    listens = [line for name in ("nginx.conf", "tls.conf") for line in re.findall(r"listen .*;", nginx_text(name))]
    assert len(listens) == 2
    assert all("sndbuf=16k" in line for line in listens)


def test_nginx_has_connections_for_every_stream_of_two_processes() -> None:
    """A stream takes two, and one worker may get them all."""
    (connections,) = re.findall(r"worker_connections (\d+);", nginx_text("nginx.conf"))
    assert int(connections) >= 2 * 2 * LimitSettings().streams_max


def test_nginx_logs_name_no_variable_with_a_query() -> None:
    """$request, $request_uri and $args have prompts and tickets in them."""
    logged = re.search(r"log_format .*?;\n", nginx_text("upstream.conf"), re.DOTALL)
    assert logged
    assert not re.search(r"\$(request\b|request_uri|args|query_string|http_referer|is_args)", logged[0])
