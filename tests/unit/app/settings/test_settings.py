"""The configuration as a whole: its sources, their order, and the one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from rillgate.app.settings.load import ConfigText, PriceSettings, Secret, Settings, SettingsError, load_settings
from rillgate.domain.request import Timeouts
from tests.unit.app.settings.settings_support import load, refusal, whole_example

ORIGINS = ("https://a.example", "http://b.example:81")


def test_settings_nothing_given_serves_embedded_model_on_loopback(tmp_path: Path) -> None:
    """Without file, variables and flags the defaults hold and the embedded model answers."""
    settings = load(tmp_path)
    assert (settings.server.host, settings.server.port, settings.server.unix_socket) == ("127.0.0.1", 8000, None)
    assert settings.timeouts == Timeouts()
    assert [(name, provider.kind) for name, provider in settings.providers.items()] == [("embedded", "embedded")]
    assert settings.default.provider == "embedded"
    assert settings.file is None
    assert settings.folder == tmp_path
    assert not settings.keys_required
    assert not settings.allow_unauthenticated
    assert settings.notices == ()


def test_settings_whole_file_is_understood(tmp_path: Path) -> None:
    """Every key that there is reaches its place."""
    settings = load(tmp_path, whole_example(), environ={"LAB_KEY": "k-1"})
    assert settings.server.metrics == "any"
    assert settings.server.cors_origins == ("https://app.example",)
    assert settings.auth.required is False
    lab = settings.providers["lab"]
    assert (lab.kind, lab.base_url, lab.headers) == ("openai", "http://127.0.0.1:9900/v1", (("x-team", "search"),))
    assert isinstance(lab.api_key, Secret)
    assert lab.api_key.reveal() == "k-1"
    assert [(route.model, route.upstream) for route in settings.routes] == [("bench-*", ("lab/*",))]
    assert dict(settings.routes[0].timeouts) == {"stall_s": 7.0}
    assert settings.timeouts == Timeouts(1, 2, 3, 4, 5, 6, 7)
    limits = settings.limits
    assert (limits.body_bytes_max, limits.streams_max) == (100, 20)
    assert (limits.output_tokens_default, limits.output_tokens_max, limits.cut_notice) == (30, 40, "!")
    assert (limits.address_connections_max, limits.address_rate_max, limits.address_burst_max) == (2001, 0.5, 2002)
    server = settings.server
    assert (server.trusted_proxies, server.body_timeout_s, server.body_rate_min) == (("10.0.0.0/8",), 8, 9)
    ledger = settings.ledger
    assert (ledger.url, ledger.mode, ledger.on_error) == ("memory:", "elastic", "allow")
    assert (ledger.hold_grace_s, ledger.connect_timeout_ms, ledger.read_timeout_ms) == (1, 2, 3)
    assert (ledger.on_unknown_price, ledger.quota_status) == ("allow", 403)
    assert settings.prices["lab/*"] == PriceSettings(0.1, 0.4, cached_input=0.01, cache_write=0.12, reasoning=0.5)


def test_settings_precedence_is_defaults_file_variable_flag(tmp_path: Path) -> None:
    """Each source replaces the one before, key by key."""
    toml = "[server]\nport = 1001\nmetrics = 'off'\n[timeouts]\nstall_s = 1\nidle_s = 2\n"
    environ = {"RILLGATE_SERVER__PORT": "1002", "RILLGATE_TIMEOUTS__STALL_S": "3"}
    assert load(tmp_path, toml).server.port == 1001
    assert load(tmp_path, toml, environ=environ).server.port == 1002
    settings = load(tmp_path, toml, environ=environ, flags={"server.port": 1003, "server.host": None})
    assert (settings.server.port, settings.server.host, settings.server.metrics) == (1003, "127.0.0.1", "off")
    assert (settings.timeouts.stall_s, settings.timeouts.idle_s, settings.timeouts.connect_s) == (3, 2, 5)


def test_settings_file_is_named_by_flag_then_variable_then_found(tmp_path: Path) -> None:
    """--config beats RILLGATE_CONFIG, which beats ./rillgate.toml."""
    for name, port in (("rillgate.toml", 1), ("b.toml", 2), ("c.toml", 3)):
        (tmp_path / name).write_text(f"[server]\nport = {port}\n", encoding="utf-8")
    environ = {"RILLGATE_CONFIG": "b.toml"}
    assert load(tmp_path).server.port == 1
    assert load(tmp_path, environ={"RILLGATE_CONFIG": ""}).server.port == 1
    assert load(tmp_path, environ=environ).server.port == 2
    settings = load(tmp_path, environ=environ, config=Path("c.toml"))
    assert settings.server.port == 3
    assert settings.file == tmp_path / "c.toml"


def test_settings_relative_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    """A relative path belongs beside the file that the configuration came from."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "r.toml").write_text("[server]\nunix_socket = 'r.sock'\n", encoding="utf-8")
    settings = load(tmp_path, config=folder / "r.toml", flags={"allow_unauthenticated": True})
    assert settings.folder == folder
    assert settings.server.unix_socket == folder / "r.sock"
    environ = {"RILLGATE_SERVER__UNIX_SOCKET": "r.sock"}
    assert load(tmp_path, environ=environ, flags={"allow_unauthenticated": True}).server.unix_socket == (
        tmp_path / "r.sock"
    )


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("RILLGATE_SERVER__PORT", "0", 0),
        ("RILLGATE_SERVER__HOST", "127.1.2.3", "127.1.2.3"),
        ("RILLGATE_SERVER__HOST", '"::1"', "::1"),
        ("RILLGATE_SERVER__HOST", "[::1]", "::1"),
        ("RILLGATE_SERVER__METRICS", "off", "off"),
        ("RILLGATE_SERVER__CORS_ORIGINS", "https://a.example, http://b.example:81", ORIGINS),
        (
            "RILLGATE_SERVER__CORS_ORIGINS",
            '["https://a.example","http://b.example:81"]',
            ORIGINS,
        ),
        ("RILLGATE_AUTH__REQUIRED", "False", False),
        ("RILLGATE_AUTH__REQUIRED", "0", False),
        ("RILLGATE_TIMEOUTS__TOTAL_S", "1", 1.0),
        ("RILLGATE_TIMEOUTS__STALL_S", "0.5", 0.5),
        ("RILLGATE_LIMITS__BODY_BYTES_MAX", "1_000", 1000),
        ("RILLGATE_LIMITS__CUT_NOTICE", "", ""),
        ("RILLGATE_LIMITS__CUT_NOTICE", "12", "12"),
        ("RILLGATE_LIMITS__CUT_NOTICE", " [cut]", " [cut]"),
        ("RILLGATE_LIMITS__CUT_NOTICE", '" [cut]"', " [cut]"),
        ("RILLGATE_LIMITS__CUT_NOTICE", "1\nx = 2", "1\nx = 2"),
        ("RILLGATE_LEDGER__MODE", "elastic", "elastic"),
        ("RILLGATE_LEDGER__ON_UNKNOWN_PRICE", "allow", "allow"),
        ("RILLGATE_LEDGER__QUOTA_STATUS", "403", 403),
    ],
)
def test_settings_variable_is_read_as_its_key_wants(
    tmp_path: Path, variable: str, value: str, expected: object
) -> None:
    """A variable is TOML where that fits the key, else text; lists may be separated by commas."""
    section, key = variable.removeprefix("RILLGATE_").lower().split("__")
    settings = load(tmp_path, environ={variable: value})
    found = getattr(getattr(settings, section), key)
    assert found == expected
    assert type(found) is type(expected)


def test_settings_variables_reach_into_tables_and_rows(tmp_path: Path) -> None:
    """Providers, headers and routes are overridable key by key, names found without regard to case and signs."""
    toml = """
    [providers.My-Lab]
    kind = "openai"
    base_url = "http://127.0.0.1:1/v1"
    headers = { X-Team = "a" }
    [[routes]]
    model = "a"
    upstream = ["My-Lab/a"]
    """
    environ = {
        "RILLGATE_PROVIDERS__MY_LAB__BASE_URL": "http://127.0.0.1:2/v1/",
        "RILLGATE_PROVIDERS__MY_LAB__HEADERS__X_TEAM": "b",
        "RILLGATE_PROVIDERS__MY_LAB__HEADERS__X_NEW": "c",
        "RILLGATE_PROVIDERS__TINY__KIND": "embedded",
        "RILLGATE_ROUTES__0__MODEL": "z",
        "RILLGATE_ROUTES__0__STALL_S": "4",
        "RILLGATE_ROUTES__1__MODEL": "y",
        "RILLGATE_ROUTES__1__UPSTREAM": "My-Lab/y",
    }
    settings = load(tmp_path, toml, environ=environ)
    assert list(settings.providers) == ["My-Lab", "tiny"]
    lab = settings.providers["My-Lab"]
    assert lab.base_url == "http://127.0.0.1:2/v1"
    assert lab.headers == (("X-Team", "b"), ("x-new", "c"))
    assert [(route.model, dict(route.timeouts)) for route in settings.routes] == [("z", {"stall_s": 4.0}), ("y", {})]


def test_settings_variables_add_rows_in_number_order(tmp_path: Path) -> None:
    """Row 10 comes after row 9, not after row 1."""
    environ = {"RILLGATE_PROVIDERS__TINY__KIND": "embedded"}
    for index in range(12):
        environ[f"RILLGATE_ROUTES__{index}__MODEL"] = f"m{index}"
        environ[f"RILLGATE_ROUTES__{index}__UPSTREAM"] = "tiny/smollm2-135m"
    assert [route.model for route in load(tmp_path, environ=environ).routes] == [f"m{index}" for index in range(12)]


def test_settings_sections_without_fixed_keys_are_replaced_whole(tmp_path: Path) -> None:
    """RILLGATE_PROVIDERS, RILLGATE_ROUTES and RILLGATE_PRICES hold a whole section as TOML."""
    toml = '[providers.a]\nkind = "embedded"\n[prices."a/*"]\ninput = 1\noutput = 1\n'
    environ = {
        "RILLGATE_PROVIDERS": '{b = {kind = "embedded"}}',
        "RILLGATE_ROUTES": '[{model = "m", upstream = ["b/smollm2-135m"]}]',
        "RILLGATE_PRICES": '{"b/*" = {input = 0, output = 2}}',
    }
    settings = load(tmp_path, toml, environ=environ)
    assert list(settings.providers) == ["b"]
    assert settings.providers["b"].found_in == "RILLGATE_PROVIDERS"
    assert settings.routes[0].upstream == ("b/smollm2-135m",)
    assert settings.prices["b/*"].output == 2
    assert list(settings.prices) == ["b/*"]


def test_settings_path_of_a_sqlite_ledger_starts_at_the_files_folder(tmp_path: Path) -> None:
    """The ledger lies where the configuration says, whatever the working directory; other kinds stay as they are."""
    assert load(tmp_path).ledger.url == f"sqlite:///{tmp_path}/rillgate.db"
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "r.toml").write_text("[ledger]\nurl = 'sqlite:///data/l.db'\n", encoding="utf-8")
    assert load(tmp_path, config=folder / "r.toml").ledger.url == f"sqlite:///{folder}/data/l.db"
    for url in ("sqlite:////var/l.db", "memory:", "dynamodb://ledger", "dynamodb://ledger?region=eu-central-1"):
        assert load(tmp_path, environ={"RILLGATE_LEDGER__URL": url}).ledger.url == url


def test_settings_other_variables_are_left_alone(tmp_path: Path) -> None:
    """What an orchestrator or the build sets under our prefix is none of our business."""
    environ = {
        "RILLGATE_ARCH": "arm64",
        "RILLGATE_PORT": "tcp://10.0.0.1:8000",
        "RILLGATE_SERVICE_HOST": "10.0.0.1",
        "RILLGATE_": "",
        "XRILLGATE_SERVER__PORT": "1",
    }
    settings = load(tmp_path, environ=environ)
    assert settings.notices == ()
    assert settings.server.port == 8000


def test_settings_variable_with_one_underscore_is_noticed(tmp_path: Path) -> None:
    """A setting that is written with one underscore has no effect, and that is said."""
    settings = load(tmp_path, environ={"RILLGATE_TIMEOUTS_STALL_S": "1"})
    assert settings.timeouts.stall_s == 30
    assert settings.notices == (
        "RILLGATE_TIMEOUTS_STALL_S is not read; did you mean RILLGATE_TIMEOUTS__STALL_S, with two underscores?",
    )


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[timeouts]\nstall_s = 'x'", "timeouts.stall_s: expected a number, got 'x'; give seconds, such as 30"),
        ("[timeouts]\nstall_s = true", "timeouts.stall_s: expected a number, got True; give seconds, such as 30"),
        ("[timeouts]\nstall_s = 0", "timeouts.stall_s: 0 is out of range (above 0); give seconds, such as 30"),
        ("[timeouts]\nstall_s = nan", "timeouts.stall_s: nan is out of range (above 0); give seconds, such as 30"),
        ("[timeouts]\nidle_s = inf", "timeouts.idle_s: inf is out of range (at most 86400); give seconds, such as 90"),
        (
            "[timeouts]\nheartbeat_s = -1",
            "timeouts.heartbeat_s: -1 is out of range (above 0); give seconds, such as 12",
        ),
        (
            "[timeouts]\ntotal_s = -0.5",
            "timeouts.total_s: -0.5 is out of range (above 0); give seconds, such as 900",
        ),
        (
            "[timeouts]\ntotal_s = 0",
            "timeouts.total_s: 0 is none, and a stream without a deadline is refused where there is a ledger; "
            "give seconds, such as 900",
        ),
        (
            "[[routes]]\nmodel = 'a'\nupstream = ['embedded/*']\ntotal_s = 0.0",
            "routes[0].total_s: 0 is none, and a stream without a deadline is refused where there is a ledger; give",
        ),
        (
            "[timeouts]\nchat_total_s = 0",
            "timeouts.chat_total_s: 0 is out of range (above 0); give seconds, such as 60",
        ),
        ("[timeouts]\nstal_s = 1", "timeouts.stal_s: unknown key; did you mean 'stall_s'?"),
        ("[auth]\nzzz = 1", "auth.zzz: unknown key; there are required"),
        ("[sever]\nport = 1", "sever: unknown section; did you mean 'server'?"),
        ("port = 1", "port: unknown section; it belongs under [server]"),
        ("[limits]\nport = 1", "limits.port: unknown key; it belongs under [server]"),
        ("server = 5", "server: expected a table, got a number; write it as [server]"),
        ("server = 'x'", "server: expected a table, got text; write it as [server]"),
        ("routes = {}", "routes: expected an array of tables, got a table; write it as [[routes]]"),
        ("routes = [1]", "routes[0]: expected a table, got a number; write it as [[routes]]"),
        ("[server]\nport = 70000", "server.port: 70000 is out of range (at most 65535); give a port, such as 8000"),
        ("[server]\nport = -1", "server.port: -1 is out of range (0 or more); give a port, such as 8000"),
        ("[server]\nport = '80'", "server.port: expected a whole number, got '80'; give a port, such as 8000"),
        ("[server]\nport = 80.0", "server.port: expected a whole number, got 80.0; give a port, such as 8000"),
        ("[server]\nhost = ''", "server.host: expected an address or a host name, got ''; give the address alone"),
        ("[server]\nhost = '127.0.0.1:80'", "server.host: expected an address or a host name, got '127.0.0.1:80'"),
        ("[server]\nhost = 1", "server.host: expected text, got 1; give an address, such as '127.0.0.1'"),
        ("[server]\nunix_socket = ''", "server.unix_socket: is empty; give a value, or take the key out"),
        (
            "[server]\nmetrics = 'all'",
            "server.metrics: unknown value 'all'; give 'loopback', 'any' or 'off'",
        ),
        ("[server]\nmetrics = true", "server.metrics: unknown value True; give 'loopback', 'any' or 'off'"),
        ("[server]\ncors_origins = 'x'", "server.cors_origins: expected a list of texts, got 'x'; give origins"),
        ("[server]\ncors_origins = ['*']", "server.cors_origins: '*' would let every web page spend; name each origin"),
        (
            "[server]\ncors_origins = ['https://a.example/x']",
            "server.cors_origins: expected an origin, got 'https://a.example/x'; give scheme, host and port only",
        ),
        ("[server]\ncors_origins = ['null']", "server.cors_origins: expected an origin, got 'null'"),
        ("[auth]\nrequired = 'no'", "auth.required: expected true or false, got 'no'; give true or false"),
        ("[limits]\nstreams_max = 0", "limits.streams_max: 0 is out of range (1 or more); give a number of streams"),
        ("[limits]\nbody_bytes_max = -1", "limits.body_bytes_max: -1 is out of range (1 or more); give bytes"),
        ("[limits]\nbody_bytes_max = 1.5", "limits.body_bytes_max: expected a whole number, got 1.5; give bytes"),
        (f"[limits]\nstreams_max = 0x{'f' * 5000}", "limits.streams_max: a huge number is out of range (at most"),
        ("[limits]\ncut_notice = 1", "limits.cut_notice: expected text, got 1; give a text, '' for none"),
        (
            "[limits]\noutput_tokens_default = 11\noutput_tokens_max = 10",
            "limits.output_tokens_default: 11 is more than output_tokens_max (10); lower it, or raise",
        ),
        ("[ledger]\nmode = 'loose'", "ledger.mode: unknown value 'loose'; give 'strict' or 'elastic'"),
        ("[ledger]\non_error = 'x'", "ledger.on_error: unknown value 'x'; give 'deny' or 'allow'"),
        ("[ledger]\nurl = 'sqlite:///'", "ledger.url: unknown kind of ledger; give sqlite:///PATH"),
        ("[ledger]\nurl = 'postgres://x'", "ledger.url: unknown kind of ledger; give sqlite:///PATH"),
        ('[ledger]\nurl = "sqlite:///a\\u0000b"', "ledger.url: holds a NUL character, which no path can; give a path"),
        ("[ledger]\nurl = 'dynamodb://'", "ledger.url: names no DynamoDB table: it names no table"),
        ("[ledger]\nurl = 'dynamodb://t?region=r'", "ledger.url: names no DynamoDB table: 't' is no table's name"),
        ("[ledger]\nurl = 'dynamodb://ledger?zone=r'", "ledger.url: names no DynamoDB table: unknown option 'zone'"),
        ("[ledger]\nurl = 'dynamodb://[x'", "ledger.url: names no DynamoDB table: "),
        ("[ledger]\non_unknown_price = 'x'", "ledger.on_unknown_price: unknown value 'x'; give 'deny' or 'allow'"),
        ("[ledger]\nquota_status = 402", "ledger.quota_status: unknown value 402; give 429 or 403"),
        ("[ledger]\nquota_status = '429'", "ledger.quota_status: unknown value '429'; give 429 or 403"),
        ("[ledger]\nquota_status = 429.0", "ledger.quota_status: unknown value 429.0; give 429 or 403"),
        ("[ledger]\nquota_status = true", "ledger.quota_status: unknown value True; give 429 or 403"),
        ("[prices.'lab/*']\ninput = 1", 'prices."lab/*": has no output; give both input and output'),
        ("[prices.'lab/*']\noutput = 1", 'prices."lab/*": has no input; give both input and output'),
        ("[prices.'lab/*']\nreasoning = 1", 'prices."lab/*": has no input; give both input and output'),
        ("[ledger]\nconnect_timeout_ms = 0", "ledger.connect_timeout_ms: 0 is out of range (1 or more); give milli"),
        ("[prices.'lab/*']\ninput = -1", 'prices."lab/*".input: -1 is out of range (0 or more); give US dollars'),
        ("[prices.'lab/*']\ncost = 1", 'prices."lab/*".cost: unknown key; there are cache_write, cached_input, inp'),
        ("[prices]\ninput = 1", "prices.input: expected a table, got a number; write it as [prices.input]"),
        ("[prices.'']\ninput = 1", 'prices."": is empty; give a value'),
    ],
)
def test_settings_bad_value_in_file_is_one_line(tmp_path: Path, toml: str, expected: str) -> None:
    """The line names the file, the key, what is wrong and what to do."""
    assert refusal(tmp_path, toml).startswith(f"rillgate.toml: {expected}")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("RILLGATE_TIMEOUTS__STALL_S", "5s", "timeouts.stall_s: expected a number, got '5s'; give seconds, such as 30"),
        ("RILLGATE_TIMEOUTS__STALL_S", "", "timeouts.stall_s: expected a number, got ''; give seconds, such as 30"),
        ("RILLGATE_SERVER__PORT", "99999", "server.port: 99999 is out of range (at most 65535); give a port"),
        ("RILLGATE_AUTH__REQUIRED", "maybe", "auth.required: expected true or false, got 'maybe'; give true or false"),
        ("RILLGATE_SERVER__PROT", "1", "server.prot: unknown key; did you mean 'port'?"),
        ("RILLGATE_SEVER__PORT", "1", "sever: unknown section; did you mean 'server'?"),
        ("RILLGATE_SERVER__PORT__X", "1", "server.port: a value has no key 'X'; take that part of the name out"),
        ("RILLGATE_SERVER__", "1", "server.: unknown key; there are"),
        ("RILLGATE_ROUTES__1__MODEL", "m", "routes: there is no row '1'; give a number up to 0"),
        ("RILLGATE_ROUTES__X__MODEL", "m", "routes: there is no row 'X'; give a number up to 0"),
        ("RILLGATE_ROUTES", "m", "routes: expected an array of tables, got text; write it as [[routes]]"),
        ("RILLGATE_PROVIDERS", "sk-1", "providers: expected a table, got text; write it as [providers]"),
    ],
)
def test_settings_bad_variable_is_one_line(tmp_path: Path, variable: str, value: str, expected: str) -> None:
    """The line names the variable and the key."""
    message = refusal(tmp_path, environ={variable: value})
    assert message.startswith(f"{variable}: {expected}".replace("server.:", 'server."":'))


def test_settings_bad_flag_is_one_line(tmp_path: Path) -> None:
    """The line names the flag and the key; text is converted as it is for variables."""
    assert refusal(tmp_path, flags={"server.port": 70000}).startswith("--port: server.port: 70000 is out of range")
    assert refusal(tmp_path, flags={"server.port": "x"}).startswith("--port: server.port: expected a whole number")
    assert refusal(tmp_path, flags={"server.unix_sock": "x"}).startswith("--unix-sock: server.unix_sock: unknown key")
    assert load(tmp_path, flags={"server.port": "81"}).server.port == 81


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[server]\nport = \n", "line 2: broken TOML: invalid value; correct this line"),
        (b"a = 1\nb = 2\nport 80\n", "line 3: broken TOML: expected '=' after a key"),
        (b"[server]\nport = [1,\n2\n\n\n", "line 3: broken TOML: "),
        (b"[server]\nport = 1\nport = 2\n", "line 3: broken TOML: cannot overwrite a value"),
        (b"x = '\xff'", "is not UTF-8 text (byte 5); save it as UTF-8"),
        (b"x = " + b"[" * 5000, "line 1: broken TOML: "),
        (b"x = " + b"9" * 5000, "line 1: broken TOML: a value that cannot be read; correct this line"),
    ],
)
def test_settings_broken_file_is_one_line_with_its_number(tmp_path: Path, content: bytes, expected: str) -> None:
    """What TOML cannot read is named with the line it stands on."""
    (tmp_path / "rillgate.toml").write_bytes(content)
    message = refusal(tmp_path)
    assert message.startswith(f"rillgate.toml: {expected}")
    assert "(at " not in message


def test_settings_file_with_byte_order_mark_is_read(tmp_path: Path) -> None:
    """A mark that some editors put at the start is no error."""
    (tmp_path / "rillgate.toml").write_bytes(b"\xef\xbb\xbf[server]\nport = 5\n")
    assert load(tmp_path).server.port == 5


def test_settings_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """A file that is named and missing, or that is no file, is an error, never silently left out."""
    assert refusal(tmp_path, config=Path("no.toml")) == (
        "--config: 'no.toml' does not exist; name a file that does, or leave it out"
    )
    assert refusal(tmp_path, environ={"RILLGATE_CONFIG": "no.toml"}).startswith("RILLGATE_CONFIG: 'no.toml' does not")
    assert refusal(tmp_path, config=tmp_path).startswith(f"{tmp_path}: cannot be read (Is a directory)")
    (tmp_path / "rillgate.toml").symlink_to("gone.toml")
    assert refusal(tmp_path).startswith("rillgate.toml: cannot be read (No such file or directory)")


def test_settings_error_in_value_that_a_flag_replaces_is_still_said(tmp_path: Path) -> None:
    """A broken file is broken, whatever later sources say."""
    assert "server.port" in refusal(tmp_path, "[server]\nport = 'x'", flags={"server.port": 1})


def test_settings_say_whether_the_first_token_has_a_time_of_its_own(tmp_path: Path) -> None:
    """A time that is set holds for everyone, also when it is the default's; unset, some get more."""
    assert not load(tmp_path, "[timeouts]\nidle_s = 1").first_token_s_given
    assert load(tmp_path, "[timeouts]\nfirst_token_s = 60").first_token_s_given
    assert load(tmp_path, "", environ={"RILLGATE_TIMEOUTS__FIRST_TOKEN_S": "60"}).first_token_s_given


def test_settings_default_cap_follows_a_lower_maximum(tmp_path: Path) -> None:
    """Lowering output_tokens_max alone is enough."""
    limits = load(tmp_path, "[limits]\noutput_tokens_max = 100").limits
    assert (limits.output_tokens_default, limits.output_tokens_max, limits.chat_output_tokens_default) == (
        100,
        100,
        100,
    )
    assert load(tmp_path, "").limits.chat_output_tokens_default == 4096


def test_settings_long_value_in_error_is_cut(tmp_path: Path) -> None:
    """An error stays a line that can be read."""
    assert len(refusal(tmp_path, f"[server]\nmetrics = '{'x' * 5000}'")) < 200


def test_settings_value_with_line_breaks_stays_on_one_line(tmp_path: Path) -> None:
    """Values, keys and file names cannot break an error into lines."""
    message = refusal(tmp_path, '["a\\nb"]\n"c\\u2028d" = 1')
    assert message.startswith('rillgate.toml: "a\\nb": unknown section')


def test_settings_are_frozen(tmp_path: Path) -> None:
    """What was read at start cannot change."""
    settings = load(tmp_path)
    with pytest.raises(AttributeError):
        settings.server.port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.providers["x"] = settings.providers["embedded"]  # type: ignore[index]


def test_settings_from_a_text_stand_for_a_file_under_its_name(tmp_path: Path) -> None:
    """A configuration that is kept elsewhere: variables lie over it, and errors name it with its line."""
    (tmp_path / "rillgate.toml").write_text("[limits]\nstreams_max = 1\n", encoding="utf-8")
    environ = {"RILLGATE_LIMITS__BODY_BYTES_MAX": "5", "RILLGATE_CONFIG": "ssm:/prod"}

    def read(text: str) -> Settings:
        return load_settings(config=ConfigText("ssm:/prod", text), flags={}, environ=environ, cwd=tmp_path)

    settings = read("[limits]\nstreams_max = 7\nbody_bytes_max = 6\n")
    assert (settings.limits.streams_max, settings.limits.body_bytes_max) == (7, 5)
    assert (settings.file, settings.folder) == (None, tmp_path)
    for text, expected in (
        ("[limits]\nstream_max = 7\n", "ssm:/prod: limits.stream_max: unknown key"),
        ("[limits]\nstreams_max = = 7\n", "ssm:/prod: line 2: broken TOML"),
        ("[limits]\nstreams_max = 0\n", "ssm:/prod: limits.streams_max: 0 is out of range"),
    ):
        with pytest.raises(SettingsError, match=expected):
            read(text)
