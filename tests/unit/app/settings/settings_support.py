"""How the tests of the configuration load one, and how they look at a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rillgate.app.settings.load import Settings, SettingsError, load_settings


def load(
    cwd: Path,
    toml: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    config: Path | None = None,
) -> Settings:
    """Settings of one file (as ./rillgate.toml), environment and flags."""
    if toml is not None:
        (cwd / "rillgate.toml").write_text(toml, encoding="utf-8")
    return load_settings(config=config, flags=flags or {}, environ=environ or {}, cwd=cwd)


def refusal(
    cwd: Path,
    toml: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    config: Path | None = None,
) -> str:
    """The one line with which the same is refused."""
    with pytest.raises(SettingsError) as caught:
        load(cwd, toml, environ=environ, flags=flags, config=config)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert ": " in message
    assert "; " in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


def whole_example() -> str:
    """A configuration that sets every key to something that is not its default."""
    return """
    [server]
    host = "127.0.0.2"
    port = 8001
    cors_origins = ["https://app.example"]
    metrics = "any"
    trusted_proxies = ["10.0.0.0/8"]
    body_timeout_s = 8
    body_rate_min = 9
    [auth]
    required = false
    [providers.lab]
    kind = "openai"
    base_url = "http://127.0.0.1:9900/v1"
    api_key = "env:LAB_KEY"
    headers = { x-team = "search" }
    [[routes]]
    model = "bench-*"
    upstream = ["lab/*"]
    stall_s = 7
    [timeouts]
    connect_s = 1
    first_token_s = 2
    idle_s = 3
    stall_s = 4
    heartbeat_s = 5
    total_s = 6
    chat_total_s = 7
    [limits]
    body_bytes_max = 100
    streams_max = 20
    output_tokens_default = 30
    output_tokens_max = 40
    cut_notice = "!"
    address_connections_max = 2001
    address_rate_max = 0.5
    address_burst_max = 2002
    [ledger]
    url = "memory:"
    mode = "elastic"
    on_error = "allow"
    on_unknown_price = "allow"
    quota_status = 403
    hold_grace_s = 1
    connect_timeout_ms = 2
    read_timeout_ms = 3
    [prices."lab/*"]
    input = 0.10
    output = 0.40
    cached_input = 0.01
    cache_write = 0.12
    reasoning = 0.50
    """
