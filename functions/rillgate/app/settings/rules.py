"""What one value of the configuration may be, and how to say what is wrong with another one.

A rule takes a value in one of two ways: `take` for what a TOML file holds (or a flag's own type), `read` for
the text of an environment variable or a flag, which is TOML where it parses as such and plain text elsewhere.
Both return the checked value or raise `Misfit`, which knows neither file nor key: `sources` adds them.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from rillgate.app.loopback import is_loopback_address
from rillgate.ledger.dynamodb_location import parse_location

MEMORY = "memory:"
SQLITE = "sqlite:///"
DYNAMODB = "dynamodb://"
SHOWN_CHARS_MAX = 60  # of a value that an error repeats; enough to recognise it on one line

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2, token
_PROVIDER_NAME = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^/?#@:\s\[\]*]+)(?::([0-9]{1,5}))?/?")
_AWS_REGION = re.compile(r"[a-z]{2}(?:-[a-z0-9]+)+")
_API_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:-[a-z]+)?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
# Each call has its own; a configured one would break framing, decompression or the connection's reuse.
_OWN_HEADERS = frozenset(
    {"accept-encoding", "connection", "content-length", "content-type", "te", "trailer", "transfer-encoding", "upgrade"}
)


class Misfit(Exception):
    """A value does not fit its rule: what is wrong with it, and what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


def shown(value: object) -> str:
    """`value` as an error repeats it: on one line, quoted, and not without end."""
    try:
        text = repr(value)
    except ValueError:  # Python does not spell whole numbers of more than 4300 digits
        return "a huge number"
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}…"


def parse_text(text: str) -> object:
    """`text` as the TOML value that it spells, else `text` itself.

    Shape:   '8000' → 8000; '["a"]' → ['a']; 'strict' → 'strict'.
    """
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return table["value"] if len(table) == 1 else text


class Text(msgspec.Struct, frozen=True):
    """Text. `check` returns it in its normal form or raises `Misfit`; `hidden` keeps it out of errors."""

    remedy: str
    check: Callable[[str], str] | None = None
    hidden: bool = False

    def take(self, value: object) -> str:
        """Check a value that has its own type."""
        if not isinstance(value, str):
            raise Misfit("expected text" if self.hidden else f"expected text, got {shown(value)}", self.remedy)
        return self.check(value) if self.check else value

    def read(self, text: str) -> str:
        """Check what a variable or a flag holds: quoted TOML text, else the characters as they are."""
        parsed = parse_text(text)
        return self.take(parsed if isinstance(parsed, str) else text)


class Choice(msgspec.Struct, frozen=True):
    """One of a few words."""

    words: tuple[str, ...]

    def take(self, value: object) -> str:
        """Check a value that has its own type."""
        if isinstance(value, str) and value in self.words:
            return value
        wanted = f"{', '.join(repr(word) for word in self.words[:-1])} or {self.words[-1]!r}"
        raise Misfit(f"unknown value {shown(value)}", f"give {wanted}")

    def read(self, text: str) -> str:
        """Check what a variable or a flag holds."""
        parsed = parse_text(text)
        return self.take(parsed if isinstance(parsed, str) else text)


class Among(msgspec.Struct, frozen=True):
    """One of a few whole numbers."""

    numbers: tuple[int, ...]

    def take(self, value: object) -> int:
        """Check a value that has its own type."""
        if isinstance(value, int) and not isinstance(value, bool) and value in self.numbers:
            return value
        wanted = " or ".join(map(str, self.numbers))
        raise Misfit(f"unknown value {shown(value)}", f"give {wanted}")

    def read(self, text: str) -> int:
        """Check what a variable or a flag holds."""
        return self.take(parse_text(text))


class Switch(msgspec.Struct, frozen=True):
    """True or false; as text also 1 and 0, yes and no, on and off."""

    def take(self, value: object) -> bool:
        """Check a value that has its own type."""
        if isinstance(value, bool):
            return value
        raise Misfit(f"expected true or false, got {shown(value)}", "give true or false, without quotes")

    def read(self, text: str) -> bool:
        """Check what a variable or a flag holds."""
        word = text.strip().casefold()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise Misfit(f"expected true or false, got {shown(text)}", "give true or false")


class Whole(msgspec.Struct, frozen=True):
    """A whole number from `low` to `high`, both included; where `zero`, or 0, which then is below `low`."""

    remedy: str
    low: int
    high: int
    zero: bool = False

    def take(self, value: object) -> int:
        """Check a value that has its own type."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise Misfit(f"expected a whole number, got {shown(value)}", self.remedy)
        if not self.low <= value <= self.high and not (self.zero and value == 0):
            least = f"{self.low} or more, or 0" if self.zero else f"{self.low} or more"
            bounds = least if value < self.low else f"at most {self.high}"
            raise Misfit(f"{shown(value)} is out of range ({bounds})", self.remedy)
        return value

    def read(self, text: str) -> int:
        """Check what a variable or a flag holds."""
        return self.take(parse_text(text))


class Number(msgspec.Struct, frozen=True):
    """A number up to `high`, with or without a fraction. Above 0, or from 0 on where `zero` is allowed.

    Attributes:
        not_zero: why 0 is refused, where that is worth more words than its range.
    """

    remedy: str
    high: float
    zero: bool = False
    not_zero: str = ""

    def take(self, value: object) -> float:
        """Check a value that has its own type."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Misfit(f"expected a number, got {shown(value)}", self.remedy)
        if value == 0 and self.not_zero:
            raise Misfit(self.not_zero, self.remedy)
        if value > self.high:
            raise Misfit(f"{shown(value)} is out of range (at most {self.high:.15g})", self.remedy)
        if not (value >= 0 if self.zero else value > 0):  # "not", because every comparison with NaN is false
            raise Misfit(f"{shown(value)} is out of range ({'0 or more' if self.zero else 'above 0'})", self.remedy)
        return float(value)

    def read(self, text: str) -> float:
        """Check what a variable or a flag holds."""
        return self.take(parse_text(text))


class Texts(msgspec.Struct, frozen=True):
    """A list of texts; as text also separated by commas."""

    remedy: str
    check: Callable[[str], str] | None = None

    def take(self, value: object) -> tuple[str, ...]:
        """Check a value that has its own type."""
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise Misfit(f"expected a list of texts, got {shown(value)}", self.remedy)
        return tuple(self.check(item) if self.check else item for item in value)

    def read(self, text: str) -> tuple[str, ...]:
        """Check what a variable or a flag holds."""
        parsed = parse_text(text)
        if isinstance(parsed, list):
            return self.take(parsed)
        whole = parsed if isinstance(parsed, str) else text
        return self.take([item.strip() for item in whole.split(",") if item.strip()])


Rule = Text | Choice | Among | Switch | Whole | Number | Texts


def not_empty(text: str) -> str:
    """Refuse empty text."""
    if not text.strip():
        raise Misfit("is empty", "give a value, or take the key out")
    return text


def file_path(text: str) -> str:
    """Refuse what no file system takes as a path."""
    if "\0" in text:
        raise Misfit("holds a NUL character, which no path can", "give a path")
    return not_empty(text)


def host(text: str) -> str:
    """An IP address or a host name, without brackets around IPv6 and without a port."""
    bare = unbracketed(text.strip())
    if not _HOST_NAME.fullmatch(bare) and not is_ip_address(bare):
        problem = f"expected an address or a host name, got {shown(text)}"
        raise Misfit(problem, "give the address alone, such as '127.0.0.1'; the port goes to server.port")
    return bare


def http_url(text: str) -> str:
    """An http or https address without user, query and fragment; slashes at its end are trimmed.

    Shape: 'http://127.0.0.1:8080/v1/' → 'http://127.0.0.1:8080/v1'
    """
    if "@" in text:
        raise Misfit("an address with a user or a password in it", "take them out and use api_key or headers")
    example = "give it as the provider's own SDK takes it, such as 'http://127.0.0.1:8080/v1'"
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a broken IPv6 address, or a port that is none
        valid = False
    if not valid or not text.isprintable() or " " in text:
        raise Misfit(f"expected an http or https address, got {shown(text)}", example)
    if parts.query or parts.fragment:
        raise Misfit("an address with a query or a fragment", example)
    return text.rstrip("/?#")


def origin(text: str) -> str:
    """A browser's origin in the form in which browsers send it: lower case, no default port, no slash.

    Shape: 'https://App.example:443/' → 'https://app.example'
    """
    if text.strip() == "*":
        raise Misfit("'*' would let every web page spend", "name each origin, such as 'https://app.example'")
    match = _ORIGIN.fullmatch(text.strip().lower())
    if match is None:
        problem = f"expected an origin, got {shown(text)}"
        raise Misfit(problem, "give scheme, host and port only, such as 'https://app.example'")
    scheme, name, port = match.groups()
    return f"{scheme}://{name}" + (f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else "")


def network(text: str) -> str:
    """A network of addresses; an address alone is a network of one.

    Shape: '10.0.0.0/8' → '10.0.0.0/8'; '10.0.0.1' → '10.0.0.1/32'
    """
    try:
        parsed = ipaddress.ip_network(text.strip())
    except ValueError:
        problem = f"expected a network, got {shown(text)}"
        raise Misfit(problem, "give it as CIDR without bits beyond its prefix, such as '10.0.0.0/8'") from None
    if not parsed.prefixlen:
        raise Misfit(f"{shown(text)} is everybody", "name the networks of your proxies, such as '10.0.0.0/8'")
    return str(parsed)


def provider_name(text: str) -> None:
    """Letters and digits, with single dots, dashes or underscores between them: it stands before a slash."""
    if not _PROVIDER_NAME.fullmatch(text):
        raise Misfit("is no name for a provider", "use letters and digits, with single '-', '_' or '.' between them")


def aws_region(text: str) -> str:
    """A region of AWS, as it stands in host names."""
    if not _AWS_REGION.fullmatch(text):
        raise Misfit(f"expected an AWS region, got {shown(text)}", "give one such as 'eu-central-1'")
    return text


def api_version(text: str) -> str:
    """A version of Azure's API: a date, perhaps a preview's."""
    if not _API_VERSION.fullmatch(text):
        raise Misfit(f"expected a version, got {shown(text)}", "give one such as '2024-10-21', or take it out for v1")
    return text


def header_name(text: str) -> None:
    """A header's name that Rillgate does not set itself."""
    if not _HEADER_NAME.fullmatch(text):
        raise Misfit("is no name for a header", "use letters, digits and dashes")
    if text.lower() in _OWN_HEADERS:
        raise Misfit("Rillgate sets this header itself", "take it out")


def header_value(text: str) -> str:
    """What a header can carry: printable ASCII and inner spaces."""
    value = text.strip()
    if not (value.isascii() and value.isprintable()):
        raise Misfit("holds characters that no header can carry", "use printable ASCII")
    return value


def ledger_url(text: str) -> str:
    """Where the ledger is: a SQLite file, a DynamoDB table, or memory."""
    if text == MEMORY:
        return text
    if text.startswith(SQLITE) and len(text) > len(SQLITE):
        return SQLITE + file_path(text.removeprefix(SQLITE))
    if text.startswith(DYNAMODB):
        try:
            parse_location(text)
        except ValueError as error:
            raise Misfit(f"names no DynamoDB table: {error}", f"give {DYNAMODB}TABLE?region=R") from None
        return text
    raise Misfit("unknown kind of ledger", "give sqlite:///PATH, dynamodb://TABLE?region=R or memory:")


def is_ip_address(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address, without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def unbracketed(text: str) -> str:
    """`text` without the brackets that an IPv6 address wears in a URL."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def is_loopback(text: str) -> bool:
    """Whether a host, given without a port, can only be reached from this machine.

    True for 127.0.0.0/8 (also as IPv4 in IPv6, which dual-stack sockets report), ::1 and the name "localhost".
    """
    bare = unbracketed(text.strip())
    return bare.casefold() == "localhost" or is_loopback_address(bare)
