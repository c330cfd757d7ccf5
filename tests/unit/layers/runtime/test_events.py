"""Events of each front door to scopes: paths, queries, headers, bodies."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from lambda_asgi.events import UnsupportedEvent, http_request
from tests.fakes.runtime_api import function_url_event


def http_api_event(path: str, **context: Any) -> dict[str, Any]:
    """Payload 2.0 from another door than a Function URL."""
    event = function_url_event(path)
    event["requestContext"] |= {"domainName": "x.execute-api.eu-central-1.amazonaws.com", **context}
    return event


def rest_event(path: str = "/a", **more: Any) -> dict[str, Any]:
    """Payload 1.0."""
    return {
        "httpMethod": "get",
        "path": path,
        "headers": {"Host": "x.execute-api.eu-central-1.amazonaws.com", "X-Forwarded-Port": "443"},
        "queryStringParameters": None,
        "requestContext": {"path": path, "protocol": "HTTP/1.1", "identity": {"sourceIp": "203.0.113.7"}},
        "body": None,
        "isBase64Encoded": False,
        **more,
    }


def test_function_url_event_becomes_this_scope() -> None:
    """Every field of the scope, from the event that Lambda documents."""
    event = function_url_event("/v1/chat", method="POST", query="a=1&a=2&b=%20", body="{}")
    event["headers"] |= {"content-type": "application/json", "x-forwarded-port": "443"}
    request = http_request(event)
    assert request.scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": "/v1/chat",
        "raw_path": b"/v1/chat",
        "query_string": b"a=1&a=2&b=%20",
        "root_path": "",
        "headers": [
            (b"host", b"abc.lambda-url.eu-central-1.on.aws"),
            (b"x-forwarded-proto", b"https"),
            (b"content-type", b"application/json"),
            (b"x-forwarded-port", b"443"),
        ],
        "client": ("203.0.113.7", 0),
        "server": ("abc.lambda-url.eu-central-1.on.aws", 443),
    }
    assert (request.body, request.payload, request.streams) == (b"{}", "2.0", True)


@pytest.mark.parametrize(
    ("sent", "path", "raw_path"),
    [
        ("/a%2Fb", "/a/b", b"/a%2Fb"),
        ("/a%252Fb", "/a%2Fb", b"/a%252Fb"),
        ("/gr%C3%BCn", "/grün", b"/gr%C3%BCn"),
        ("/a b", "/a b", b"/a%20b"),
        ("/@me:x;y=1", "/@me:x;y=1", b"/@me:x;y=1"),
    ],
)
def test_encoded_path_of_a_function_url_is_decoded_once(sent: str, path: str, raw_path: bytes) -> None:
    """`path` is decoded, `raw_path` is what the client sent; a REST API does the same."""
    for event in (function_url_event(sent), rest_event(sent)):
        scope = http_request(event).scope
        assert (scope["path"], scope["raw_path"]) == (path, raw_path)


def test_path_of_an_http_api_is_decoded_already() -> None:
    """It must not be decoded twice: a percent sign in it is one."""
    scope = http_request(http_api_event("/100%2F a")).scope
    assert (scope["path"], scope["raw_path"]) == ("/100%2F a", b"/100%252F%20a")


def test_cookies_come_as_one_header() -> None:
    """Payload 2.0 takes them out of the headers; apps look for them there."""
    event = function_url_event()
    event["cookies"] = ["a=1", "b=2"]
    assert (b"cookie", b"a=1; b=2") in http_request(event).scope["headers"]


def test_repeated_headers_and_keys_of_a_rest_api_are_each_there() -> None:
    """Each value is an entry of its own, in order; keys and values are encoded again."""
    event = rest_event(
        multiValueHeaders={"Accept": ["a", "b"], "Host": ["x"]},
        multiValueQueryStringParameters={"k": ["1", "ü&"], "l": [""]},
    )
    scope = http_request(event).scope
    assert scope["headers"] == [(b"accept", b"a"), (b"accept", b"b"), (b"host", b"x")]
    assert scope["query_string"] == b"k=1&k=%C3%BC%26&l="


def test_single_headers_and_keys_of_a_rest_api_are_taken_where_there_are_no_others() -> None:
    """Test events often leave the lists out."""
    scope = http_request(rest_event(queryStringParameters={"k": "1"})).scope
    assert scope["query_string"] == b"k=1"
    assert (b"x-forwarded-port", b"443") in scope["headers"]
    assert scope["method"] == "GET"


@pytest.mark.parametrize(
    ("event", "base_path", "path", "root_path"),
    [
        (function_url_event("/x/a"), "", "/x/a", ""),
        (function_url_event("/x/a"), "/x", "/x/a", "/x"),
        (function_url_event("/xy/a"), "/x", "/xy/a", ""),
        (function_url_event("/x"), "/x", "/x", "/x"),
        (http_api_event("/dev/a", stage="dev"), "", "/dev/a", "/dev"),
        (http_api_event("/a", stage="dev"), "", "/a", ""),
        (rest_event("/a", requestContext={"path": "/prod/a"}), "", "/prod/a", "/prod"),
        (rest_event("/base/a", requestContext={"path": "/base/a"}), "/base", "/base/a", "/base"),
        (rest_event("/a", requestContext={"path": "/other"}), "", "/a", ""),
    ],
)
def test_mount_point_becomes_the_root_path(event: Any, base_path: str, path: str, root_path: str) -> None:
    """A stage and a base path are where the app is mounted; they end at a segment."""
    scope = http_request(event, base_path).scope
    assert (scope["path"], scope["root_path"]) == (path, root_path)


@pytest.mark.parametrize(
    ("body", "encoded", "expected"),
    [
        ("grün", False, "grün".encode()),
        (base64.b64encode(b"\x00\xff").decode(), True, b"\x00\xff"),
        (None, False, b""),
        ("", True, b""),
        ("\ud800", False, b"\xed\xa0\x80"),
    ],
)
def test_body_is_bytes_however_it_came(body: str | None, encoded: bool, expected: bytes) -> None:
    """Text as UTF-8, base64 decoded, none as empty."""
    for event in (function_url_event(), rest_event()):
        assert http_request({**event, "body": body, "isBase64Encoded": encoded}).body == expected


@pytest.mark.parametrize(
    ("value", "raw"), [("plain", b"plain"), ("caf\xe9", b"caf\xe9"), ("\u4f60", "\u4f60".encode())]
)
def test_header_value_is_latin_1_where_that_is_possible(value: str, raw: bytes) -> None:
    """Bytes of a header come back as they were; what was decoded as UTF-8 is encoded so."""
    event = function_url_event(headers={"X-A": value})
    assert http_request(event).scope["headers"] == [(b"x-a", raw)]


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "text",
        {"Records": []},
        {"requestContext": None},
        {"requestContext": {"elb": {"targetGroupArn": "x"}}, "httpMethod": "GET", "path": "/"},
        {"requestContext": {"http": {}}},
        {"requestContext": {"http": {"method": "GET"}}, "headers": ["x"]},
        {"requestContext": {"connectionId": "x", "eventType": "MESSAGE"}, "body": ""},
        {**function_url_event(), "body": 7},
        {**function_url_event(), "body": "x", "isBase64Encoded": True},
    ],
)
def test_anything_else_is_refused(event: Any) -> None:
    """Whatever the shape, it is one exception with a message."""
    with pytest.raises(UnsupportedEvent, match="event"):
        http_request(event)
