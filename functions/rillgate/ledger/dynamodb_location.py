"""Which DynamoDB table a ledger's URL names.

    dynamodb://TABLE?region=R&endpoint_url=U

Where no region is given, whoever makes the connection finds it as AWS's tools do.
Source: Amazon DynamoDB developer guide, "Naming rules and data types" (3 to 255 of a-z, A-Z, 0-9, _ - .), read 2026-11.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

import msgspec

SCHEME = "dynamodb"

_TABLE = re.compile(r"[a-zA-Z0-9_.-]{3,255}")
_REGION = re.compile(r"[a-z0-9-]+")
_FORM = "dynamodb://TABLE?region=R&endpoint_url=U"


class DynamoDbLocation(msgspec.Struct, frozen=True):
    """One table. `region` and `endpoint_url` are None where the URL leaves them out."""

    table: str
    region: str | None = None
    endpoint_url: str | None = None

    def __str__(self) -> str:
        """The table for people: its name, and where it is."""
        place = f"region {self.region}" if self.region else "the default region"
        at = f" at {self.endpoint_url}" if self.endpoint_url else ""
        return f"DynamoDB table {self.table!r} in {place}{at}"


def parse_location(url: str) -> DynamoDbLocation:
    """Read a ledger's URL.

    Shape:   "dynamodb://ledger?region=eu-central-1" → DynamoDbLocation("ledger", "eu-central-1", None)
    Raises:  ValueError: it names no table, an unknown option, one twice, or an endpoint that is no http URL. The
             message repeats what is wrong, never a whole URL: that may carry a password.
    """
    parts = urlsplit(url)
    if parts.scheme != SCHEME:
        raise ValueError(f"{parts.scheme!r} is not {SCHEME!r}: write {_FORM}")
    table = _table(parts)
    options = _options(parts.query)
    region, endpoint_url = options.get("region"), options.get("endpoint_url")
    if region is not None and not _REGION.fullmatch(region):
        raise ValueError(f"region {region!r} is none: write one such as region=eu-central-1, or leave it out")
    if endpoint_url is not None:
        _check_endpoint(endpoint_url)
    return DynamoDbLocation(table, region, endpoint_url)


def _table(parts: SplitResult) -> str:
    if "@" in parts.netloc:
        raise ValueError(f"credentials do not belong into a ledger's URL: write {_FORM}")
    if not parts.netloc:
        raise ValueError(f"it names no table: write {_FORM}")
    if parts.path.strip("/") or parts.fragment:
        raise ValueError(f"a table's name has no {'/' if parts.path.strip('/') else '#'}: write {_FORM}")
    if not _TABLE.fullmatch(parts.netloc):
        raise ValueError(f"{parts.netloc!r} is no table's name: it has 3 to 255 of a-z, A-Z, 0-9, _, - and .")
    return parts.netloc


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in ("region", "endpoint_url"):
            raise ValueError(f"unknown option {name!r}: there are region and endpoint_url")
        if name in options:
            raise ValueError(f"option {name!r} stands there twice")
        options[name] = value
    return options


def _check_endpoint(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        usable = False
    if not usable:
        raise ValueError("endpoint_url is no http URL: write one such as endpoint_url=http://127.0.0.1:8000")
    if "@" in parts.netloc:
        raise ValueError("endpoint_url carries credentials: AWS's are found in the environment, not in a URL")
