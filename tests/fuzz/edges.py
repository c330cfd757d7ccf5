"""What stands around requests: HTTP on both sides, headers, keys and tickets, the configuration, Lambda's events."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import msgspec

from lambda_asgi.events import HttpRequest, UnsupportedEvent, http_request
from lambda_asgi.http1 import BrokenAnswer, NoAnswer, read_answer
from rillgate.app.access import AccessGuard, is_loopback_name
from rillgate.app.addresses import Networks, parse_address, site_of
from rillgate.app.auth import Door
from rillgate.app.aws_secrets import _sole_value
from rillgate.app.forwarded import client_address
from rillgate.app.settings.load import ConfigText, SettingsError, load_settings
from rillgate.domain.errors import AuthError, ClientError, UpstreamError
from rillgate.domain.principal import ANYBODY, Principal
from rillgate.identity import keys, tickets
from rillgate.ledger.dynamodb import read_fault
from rillgate.upstream.aws import parse_refusal
from rillgate.upstream.aws_metadata import parse_document
from rillgate.upstream.entra import parse_token
from rillgate.upstream.fast.reader import ResponseReader
from rillgate.wire import loose_json
from rillgate.wire.trace_context import STATE_CHARS_MAX, parse_traceparent, parse_tracestate, traceparent
from tests.fuzz.target import Finding, Outcome, Target, refused
from tests.unit.app.settings.settings_support import whole_example
from tests.unit.upstream.fast.test_reader import RESPONSES

T = TypeVar("T")
SECRET = b"a secret of the fuzzer's alone, 32"
NOW_S = 1_795_000_000
TRUSTED = Networks(("10.0.0.0/8", "2001:db8::/32"))
NOWHERE = Path("/nonexistent")


def edge_targets() -> Iterator[Target]:
    """All of them."""
    yield _target("upstream_http", "rillgate.upstream.fast.reader", RESPONSES, _response, shape="lines", cut=True)
    yield _target("lambda_http", "lambda_asgi.http1", RESPONSES, _lambda_answer, shape="lines", cut=True)
    yield _target("lambda_event", "lambda_asgi.events", _events(), _event)
    yield _target("forwarded", "rillgate.app.forwarded", _FORWARDED, _forwarded, shape="bytes")
    yield _target("access", "rillgate.app.access", _HOSTS, _access, shape="lines")
    yield _target("credentials", "rillgate.app.auth", _credentials(), _credential, shape="lines")
    yield _target("trace_context", "rillgate.wire.trace_context", _TRACES, _trace, shape="lines")
    yield _target("keys", "rillgate.identity.keys", [_key(), b"rill_x"], _parse_key, shape="bytes")
    yield _target("tickets", "rillgate.identity.tickets", [_ticket()], _verify, shape="bytes")
    yield _target("ticket_payload", "rillgate.identity.tickets", [_payload(_ticket())], _verify_signed)
    yield _target(
        "settings", "rillgate.app.settings.load", [whole_example().encode(), _SMALL], _settings, shape="lines"
    )
    yield _target("aws_refusal", "rillgate.upstream.aws", _AWS, _refusal)
    yield _target("aws_credentials", "rillgate.upstream.aws_metadata", _AWS, _document)
    yield _target("entra_token", "rillgate.upstream.entra", _ENTRA, _token)
    yield _target("dynamodb_fault", "rillgate.ledger.dynamodb", _AWS, _fault)
    yield _target("aws_secret", "rillgate.app.aws_secrets", _AWS, _secret)
    yield _target("loose_json", "rillgate.wire.loose_json", [b'{"a": [1, "\\ud83d\\ude00", null]}'], _loose)


def _target(name: str, module: str, seeds: Sequence[bytes], run: Any, **more: Any) -> Target:
    return Target(name, frozenset({module}), lambda: seeds, run, **more)


def _done(work: Coroutine[Any, Any, T]) -> T:
    """The result of something that never really waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    raise Finding("it waits")


# HTTP


def _response(pieces: Sequence[bytes]) -> Outcome:
    reader = ResponseReader()
    body = b""
    error = ""
    try:
        for piece in pieces:
            reader.feed(piece)
            body += b"".join(reader.parts)
            reader.parts.clear()
            if reader.complete:
                break
        reader.feed_eof()
    except httpx2.RemoteProtocolError as caught:
        body += b"".join(reader.parts)
        error = str(caught)
        if not error:
            raise Finding("an error without words") from caught
    if len(reader.headers) > 200:
        raise Finding(f"{len(reader.headers)} headers")
    # What is wrong behind the place where reading stopped is nobody's outcome.
    return reader.status if reader.answered else None, body, reader.complete, bool(error)


def _lambda_answer(pieces: Sequence[bytes]) -> Outcome:
    async def read() -> Outcome:
        reader = asyncio.StreamReader(limit=65_536)
        feeding = asyncio.create_task(_feed(reader, pieces))
        try:
            answer = await read_answer(reader)
        except (BrokenAnswer, NoAnswer) as error:
            if len(str(error)) > 500:
                raise Finding("an error of more than a line") from error
            return type(error).__name__
        finally:
            feeding.cancel()
        return answer.status, answer.headers, answer.body, answer.keep

    with asyncio.Runner() as runner:
        return runner.run(read())


async def _feed(reader: asyncio.StreamReader, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        reader.feed_data(piece)
        await asyncio.sleep(0)
    reader.feed_eof()


# Lambda


def _event(pieces: Sequence[bytes]) -> Outcome:
    try:
        event = json.loads(pieces[0])
    except (ValueError, RecursionError):
        return None  # the runtime's: it decodes them
    try:
        request = http_request(event, "/base")
    except UnsupportedEvent as error:
        if not str(error):
            raise Finding("an error without words") from error
        return "refused"
    _check_scope(request)
    return repr(request.scope), request.body, request.payload


def _check_scope(request: HttpRequest) -> None:
    """What an application may rely on by ASGI's specification."""
    scope = request.scope
    for key, kind in (("method", str), ("path", str), ("root_path", str), ("scheme", str), ("http_version", str)):
        if not isinstance(scope[key], kind):
            raise Finding(f"{key} is {type(scope[key]).__name__}")
    for key in ("raw_path", "query_string"):
        if not isinstance(scope[key], bytes):
            raise Finding(f"{key} is {type(scope[key]).__name__}")
    if not all(isinstance(name, bytes) and isinstance(value, bytes) for name, value in scope["headers"]):
        raise Finding("headers are not bytes")
    if scope["client"] is not None and not isinstance(scope["client"][0], str):
        raise Finding("the client is no text")
    if not isinstance(request.body, bytes):
        raise Finding("the body is not bytes")


def _events() -> list[bytes]:
    version_2 = {
        "version": "2.0",
        "rawPath": "/v1/chat/completions",
        "rawQueryString": "a=b&c=%20",
        "cookies": ["a=b"],
        "headers": {
            "host": "x.lambda-url.eu-central-1.on.aws",
            "x-forwarded-proto": "https",
            "x-forwarded-port": "443",
        },
        "requestContext": {
            "http": {"method": "POST", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.9"},
            "domainName": "x.lambda-url.eu-central-1.on.aws",
            "stage": "$default",
        },
        "body": "eyJhIjogMX0=",
        "isBase64Encoded": True,
    }
    version_1 = {
        "httpMethod": "GET",
        "path": "/base/a%2Fb",
        "multiValueHeaders": {"host": ["x"], "accept": ["a", "b"]},
        "multiValueQueryStringParameters": {"a": ["b", "c"]},
        "requestContext": {
            "path": "/stage/base/a%2Fb",
            "identity": {"sourceIp": "203.0.113.9"},
            "protocol": "HTTP/1.1",
        },
        "body": None,
        "isBase64Encoded": False,
    }
    return [json.dumps(event).encode() for event in (version_2, version_1)]


# AWS


_AWS = [
    b'{"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException:http://x", "message": "slow down"}',
    b'{"AccessKeyId": "A", "SecretAccessKey": "s", "Token": "t", "Expiration": "2026-11-21T12:00:00Z"}',
    b'{"AccessKeyId": "A", "SecretAccessKey": "s", "Expiration": "2026-11-21T12:00:00"}',
    b'{"api_key": "k"}',
    b"k",
]


def _refusal(pieces: Sequence[bytes]) -> Outcome:
    refusal = parse_refusal(pieces[0])
    return refusal.code, refusal.message


def _document(pieces: Sequence[bytes]) -> Outcome:
    try:
        credentials = parse_document(pieces[0], "instance metadata")
    except UpstreamError as error:
        return refused(error)
    return credentials.expires_s


_ENTRA = [
    b'{"token_type": "Bearer", "expires_in": 3599, "access_token": "t"}',
    b'{"expires_in": "3599", "access_token": "t", "resource": "r"}',
    b'{"error": "invalid_client", "error_description": "AADSTS1: no.\\r\\nTrace ID: 1"}',
]


def _token(pieces: Sequence[bytes]) -> Outcome:
    found: list[Outcome] = []
    for status in (200, 401):
        try:
            token = parse_token(status, pieces[0], NOW_S)
        except UpstreamError as error:
            found.append(refused(error))
        else:
            found.append((token.text, token.expires_s))
    return found


def _secret(pieces: Sequence[bytes]) -> Outcome:
    try:
        return _sole_value(pieces[0].decode())
    except UnicodeDecodeError:
        return None  # what carries it is JSON


def _fault(pieces: Sequence[bytes]) -> Outcome:
    fault = read_fault(400, pieces[0])
    if len(fault.told()) > 4_000:
        raise Finding("a fault of more than a line")
    return fault.course, fault.told()


# Headers


_FORWARDED = [
    b"203.0.113.9",
    b"198.51.100.1, 203.0.113.9, 10.0.0.2",
    b"2001:db9::1, 2001:db8::1",
    b"unknown, 203.0.113.9:80, [::1]:8, _hidden",
]


def _forwarded(pieces: Sequence[bytes]) -> Outcome:
    headers = [(b"x-forwarded-for", value) for value in pieces[0].split(b"\n")]
    found = client_address({"headers": headers}, TRUSTED)
    if found is None:
        return None
    address = parse_address(found)
    if address is None:
        raise Finding(f"{found!r} is no address")
    return found, site_of(address)


_HOSTS = [
    b"host: 127.0.0.1:8000\norigin: http://127.0.0.1:8000\nsec-fetch-site: same-origin",
    b"host: [::1]:8000\norigin: null",
    b"host: localhost\nx-forwarded-for: 10.0.0.1",
]


def _pairs(data: bytes) -> list[tuple[bytes, bytes]]:
    """Headers as a server gives them: names in lower case, no line breaks."""
    found = (line.partition(b":") for line in data.split(b"\n"))
    return [(name.strip().lower(), value.strip()) for name, _, value in found]


def _access(pieces: Sequence[bytes]) -> Outcome:
    async def app(*_: Any) -> None:
        pass

    headers = _pairs(pieces[0])
    for _, value in headers:
        is_loopback_name(value.decode("latin-1"))
    guard = AccessGuard(app, origins=["https://app.example"], allow_unauthenticated=False)
    try:
        _done(guard({"type": "http", "headers": headers}, app, app))  # type: ignore[arg-type]
    except ClientError as error:
        return refused(error)
    host = dict(reversed(headers))[b"host"].decode("latin-1")
    if not is_loopback_name(host):
        raise Finding(f"{host!r} is let in")
    return "let in"


class _Gatekeeper:
    """Forms are checked as in production; nobody has any key."""

    async def principal(self, credential: str) -> Principal:
        if credential.startswith(tickets.PREFIX):
            tickets.verify(credential, SECRET, NOW_S)
        else:
            keys.parse(credential)
        return ANYBODY

    principal_for_one_use = principal


def _credential(pieces: Sequence[bytes]) -> Outcome:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in _pairs(pieces[0])}
    found = []
    for required in (True, False):
        door = Door(_Gatekeeper(), keys_required=required)  # type: ignore[arg-type]
        for asked in (door.principal(headers), door.principal_of_link(headers, headers.get("ticket"))):
            try:
                _done(asked)
                found.append("let in")
            except AuthError as error:
                found.append(refused(error))
                for value in headers.values():
                    if len(value) > 20 and value in error.message:
                        raise Finding("a credential stands in an error") from error
    return found


def _credentials() -> list[bytes]:
    key, ticket = _key(), _ticket()
    return [
        b"authorization: Bearer " + key,
        b"x-api-key: " + key + b"\nauthorization: Basic dXNlcjpwYXNz",
        b"ticket: " + ticket + b"\nx-api-key: " + ticket,
    ]


_TRACES = [
    b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\nrojo=1, congo=2\na@b=c",
    b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more\n" + b",".join(b"k%d=v" % n for n in range(40)),
]


def _trace(pieces: Sequence[bytes]) -> Outcome:
    """The first line is `traceparent`, the others are `tracestate`: what goes on to a provider is a header."""
    parent, *state = pieces[0].decode("latin-1").split("\n")
    found, told = parse_traceparent([parent]), parse_tracestate(state)
    written = "" if found is None else traceparent(found.trace_id, found.span_id, found.flags)
    if found is not None and parse_traceparent([written]) != found:
        raise Finding(f"{written!r} is read differently")
    if len(told) > STATE_CHARS_MAX or not told.isprintable() or parse_tracestate([told]) != told:
        raise Finding(f"{told!r} goes on")
    return written, told


# Keys and tickets


def _key() -> bytes:
    return keys.new_key(choose=lambda alphabet: alphabet[7]).encode()


def _parse_key(pieces: Sequence[bytes]) -> Outcome:
    text = pieces[0].decode("latin-1")
    try:
        key_id = keys.parse(text)
    except AuthError as error:
        return refused(error)
    if keys.PREFIX + key_id not in text or len(text) != keys.KEY_CHARS:
        raise Finding("a key of another form is taken")
    return key_id


def _ticket() -> bytes:
    ticket = tickets.Ticket("t" * 16, "k" * 12, NOW_S, NOW_S + 600, user="ada", models=("fast-*",), one_use=True)
    return tickets.sign(ticket, SECRET).encode()


def _payload(ticket: bytes) -> bytes:
    return tickets._decode(ticket.decode().partition(".")[0].removeprefix(tickets.PREFIX))


def _verify(pieces: Sequence[bytes]) -> Outcome:
    text = pieces[0].decode("latin-1")
    try:
        tickets.verify(text, SECRET, NOW_S)
    except AuthError as error:
        return refused(error)
    if text != _ticket().decode():
        raise Finding("a ticket that nobody signed is taken")
    return "ours"


def _verify_signed(pieces: Sequence[bytes]) -> Outcome:
    """Payloads under a true signature: what another version of this program, with the same secret, may have written."""
    body = tickets.PREFIX + urlsafe_b64encode(pieces[0]).rstrip(b"=").decode()
    try:
        ticket = tickets.verify(f"{body}.{tickets._signature(body, SECRET)}", SECRET, NOW_S)
    except AuthError as error:
        return refused(error)
    return msgspec.to_builtins(ticket)


# The configuration and loose JSON


_SMALL = b"""
[providers.lab]
kind = "openai"
base_url = "http://127.0.0.1:9900/v1"
[server]
trusted_proxies = ["10.0.0.0/8"]
[limits]
address_connections_max = 2000
"""


def _settings(pieces: Sequence[bytes]) -> Outcome:
    text = pieces[0].decode("utf-8", "replace")
    try:
        settings = load_settings(
            config=ConfigText("fuzz.toml", text), flags={}, environ={"K": "k", "LAB_KEY": "k"}, cwd=NOWHERE
        )
    except SettingsError as error:
        if len(str(error).splitlines()) != 1 or len(str(error)) > 600:
            raise Finding(f"a refusal of {len(str(error))} characters") from error
        return str(error)
    return repr(settings)


def _loose(pieces: Sequence[bytes]) -> Outcome:
    loose_json.loads_or_none(pieces[0])
    try:
        value = loose_json.object_of(pieces[0])
    except (ValueError, RecursionError) as error:
        return type(error).__name__
    written = loose_json.json_bytes(value)
    if not isinstance(json.loads(written), dict):
        raise Finding("an object becomes something else")
    return written
