"""The one table of every key that the configuration has, with the rule for its value.

Defaults stand on the classes in `types`; a test keeps the two and docs/configuration.md together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from rillgate.app.settings import rules
from rillgate.app.settings.rules import Among, Choice, Number, Rule, Switch, Text, Texts, Whole
from rillgate.domain.price import USD_PER_MILLION_MAX

SECONDS_MAX = 86_400  # one day: every duration then fits the kernel's 32-bit milliseconds twice over
COUNT_MAX = 2**53 - 1  # the largest whole number that every JSON reader keeps exactly

KINDS = ("embedded", "openai", "anthropic", "ollama", "bedrock", "gemini", "azure", "openai_responses")


class Table(msgspec.Struct, frozen=True):
    """A table with known keys."""

    keys: Mapping[str, Shape]


class Each(msgspec.Struct, frozen=True):
    """A table whose keys are names that the user chooses. `new_name` spells one that a variable's name begins."""

    inner: Shape
    check_name: Callable[[str], object]
    new_name: Callable[[str], str] = str.lower


class Rows(msgspec.Struct, frozen=True):
    """An array of tables, in order."""

    row: Table


Shape = Table | Each | Rows | Rule


def _seconds(example: float, *, not_zero: str = "") -> Number:
    return Number(f"give seconds, such as {example}", SECONDS_MAX, not_zero=not_zero)


def _count(remedy: str) -> Whole:
    return Whole(remedy, 1, COUNT_MAX)


TIMEOUTS: Mapping[str, Shape] = {
    "connect_s": _seconds(5),
    "first_token_s": _seconds(60),
    "idle_s": _seconds(90),
    "stall_s": _seconds(30),
    "heartbeat_s": _seconds(12),
    # A hold expires with its stream's deadline, so there is always one.
    "total_s": _seconds(900, not_zero="0 is none, and a stream without a deadline is refused where there is a ledger"),
    "chat_total_s": _seconds(60),
}

STREAMS_OF_AN_ADDRESS = 2000  # which one address may always have, however limits are set: an office has one address
_NOT_FEWER = f"give {STREAMS_OF_AN_ADDRESS} or more: one address may always have so many streams"

_REFERENCE = Text("give 'env:NAME', 'file:/path', 'ssm:/path', 'secret:ARN' or 'none'", hidden=True)
_DOLLARS = Number("give US dollars per million tokens, such as 0.4", USD_PER_MILLION_MAX, zero=True)

SCHEMA = Table(
    {
        "server": Table(
            {
                "host": Text("give an address, such as '127.0.0.1'", rules.host),
                "port": Whole("give a port, such as 8000, or 0 for any free one", 0, 65535),
                "unix_socket": Text("give a path, such as '/run/rillgate.sock'", rules.file_path),
                "cors_origins": Texts("give origins, such as ['https://app.example']", rules.origin),
                "metrics": Choice(("loopback", "any", "off")),
                "trusted_proxies": Texts("give networks, such as ['10.0.0.0/8']", rules.network),
                "body_timeout_s": _seconds(300),
                "body_rate_min": _count("give bytes a second, such as 500"),
            }
        ),
        "auth": Table({"required": Switch()}),
        "providers": Each(
            Table(
                {
                    "kind": Choice(KINDS),
                    "base_url": Text("give an address, such as 'http://127.0.0.1:8080/v1'", rules.http_url),
                    "api_key": _REFERENCE,
                    "region": Text("give an AWS region, such as 'eu-central-1'", rules.aws_region),
                    "trace_context": Switch(),
                    "api_version": Text("give one of Azure's, such as '2024-10-21'", rules.api_version),
                    "tenant_id": Text("give the tenant's id", rules.not_empty),
                    "client_id": Text("give the application's id", rules.not_empty),
                    "client_secret": _REFERENCE,
                    "headers": Each(
                        Text("give the header's value as text", rules.header_value, hidden=True),
                        rules.header_name,
                        new_name=lambda name: name.lower().replace("_", "-"),
                    ),
                }
            ),
            rules.provider_name,
        ),
        "routes": Rows(
            Table(
                {
                    "model": Text("give a model's name or a glob, such as 'bench-*'", rules.not_empty),
                    "upstream": Texts("give a list of provider/model, such as ['lab/*']", rules.not_empty),
                    "retries": Whole("give a number from 0 to 5", 0, 5),
                    **TIMEOUTS,
                }
            )
        ),
        "timeouts": Table(TIMEOUTS),
        "limits": Table(
            {
                "body_bytes_max": _count("give bytes, such as 8388608"),
                "streams_max": _count("give a number of streams, such as 2000"),
                "output_tokens_default": _count("give tokens, such as 16384"),
                "output_tokens_max": _count("give tokens, such as 32768"),
                "cut_notice": Text("give a text, '' for none"),
                "address_connections_max": Whole(_NOT_FEWER, STREAMS_OF_AN_ADDRESS, COUNT_MAX, zero=True),
                "address_rate_max": Number("give requests a second, such as 20, or 0 for no limit", 1e6, zero=True),
                "address_burst_max": Whole(_NOT_FEWER, STREAMS_OF_AN_ADDRESS, COUNT_MAX),
            }
        ),
        "ledger": Table(
            {
                "url": Text("give an address, such as 'sqlite:///rillgate.db'", rules.ledger_url),
                "mode": Choice(("strict", "elastic")),
                "on_error": Choice(("deny", "allow")),
                "on_unknown_price": Choice(("deny", "allow")),
                "quota_status": Among((429, 403)),
                "hold_grace_s": _seconds(60),
                "connect_timeout_ms": _count("give milliseconds, such as 250"),
                "read_timeout_ms": _count("give milliseconds, such as 300"),
            }
        ),
        "prices": Each(
            Table(
                {
                    "input": _DOLLARS,
                    "output": _DOLLARS,
                    "cached_input": _DOLLARS,
                    "cache_write": _DOLLARS,
                    "reasoning": _DOLLARS,
                }
            ),
            rules.not_empty,
        ),
    }
)
