"""Whether an answer is one that `GET /openapi.json` describes: status, headers, content type, body, every event."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from rillgate.app.openapi.document import document

URI = "urn:rillgate"

# What the server, CORS and browsers' own rules add: of HTTP, and no part of what a route says.
OF_HTTP = {
    *("date", "server", "content-type", "content-length", "transfer-encoding", "connection", "vary", "allow"),
    *("content-security-policy", "referrer-policy", "x-content-type-options", "x-frame-options"),
    *("cross-origin-opener-policy", "cross-origin-resource-policy", "permissions-policy"),
}
CORS = "access-control-"


class Undescribed(AssertionError):
    """An answer that the document does not have."""


@cache
def described(*, keys_required: bool = True) -> Mapping[str, Any]:
    """The document."""
    whole: Mapping[str, Any] = msgspec.json.decode(msgspec.json.encode(document(keys_required=keys_required)))
    return whole


@cache
def registry() -> Registry[Any]:
    """Where references lead."""
    empty: Registry[Any] = Registry()
    whole: Registry[Any] = empty.with_resource(URI, DRAFT202012.create_resource(dict(described())))
    return whole


def operation_of(method: str, path: str) -> tuple[str, str] | None:
    """The entry of a request: a path without parameters first, as the router does. None where no path fits."""
    asked = urlsplit(path).path
    fitting = [known for known in described()["paths"] if _pattern(known).fullmatch(asked)]
    if not fitting:
        return None
    return min(fitting, key=lambda known: known.count("{")), method.lower()


def check_answer(
    method: str, path: str, status: int, headers: Mapping[str, str], body: bytes, *, events: bool = True
) -> tuple[str, str, str] | None:
    """Check one answer.

    Args: events: whether what stands in events is looked at; a provider's own frames are passed on as they came.
    Returns: path, method and status of what describes it; None where it is said that there is no such operation.
    Raises: Undescribed.
    """
    found = operation_of(method, path)
    if found is None or found[1] not in described()["paths"][found[0]]:
        # A method that is none is refused by the connection, and a stranger before anybody looks at the path.
        if status not in (400, 403, 404, 405, 429, 500):
            raise Undescribed(f"{method} {path} is not described in app/openapi/operations.py, and answers {status}")
        if "x-request-id" not in headers:
            raise Undescribed(f"{method} {path} has no x-request-id")
        if method != "HEAD":
            _check_body("/components/schemas/AnyError", _json(body))
        return None
    place, verb = found
    responses = described()["paths"][place][verb]["responses"]
    key = str(status) if str(status) in responses else "default"
    if key not in responses:
        raise Undescribed(f"{method} {place} answers {status}, which is not described; there are {sorted(responses)}")
    pointer = f"/paths/{_escaped(place)}/{verb}/responses/{key}"
    response = responses[key]
    if "$ref" in response:
        pointer = response["$ref"].removeprefix("#")
        response = described()["components"]["responses"][pointer.rpartition("/")[2]]
    where = f"{method} {place} {status}"
    _check_headers(where, response["headers"], headers)
    if method == "HEAD" or "content" not in response:
        if body:
            raise Undescribed(f"{where} has a body")
    else:
        _check_content(where, pointer, response["content"], headers, body, events=events)
    return place, verb, key


def _check_headers(where: str, known: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    every = described()["components"]["headers"]
    for name in (name.lower() for name in headers):
        if name not in known and name not in OF_HTTP and not name.startswith(CORS):
            raise Undescribed(f"{where} has a header {name!r} that is not described")
    for name in known:
        if name not in headers:
            if every[name].get("required"):
                raise Undescribed(f"{where} has no {name}")
            continue
        value: Any = headers[name]
        if every[name]["schema"].get("type") == "integer":
            value = int(value)
        _check_body(f"/components/headers/{name}/schema", value)


def _check_content(
    where: str, pointer: str, content: Mapping[str, Any], headers: Mapping[str, str], body: bytes, *, events: bool
) -> None:
    kind = headers.get("content-type", "")
    if kind not in content:
        raise Undescribed(f"{where} is {kind!r}, and {sorted(content)} are described")
    inner = f"{pointer}/content/{_escaped(kind)}"
    if kind == "application/json":
        _check_body(f"{inner}/schema", _json(body))
    elif "x-event-schema" in content[kind] and events:
        for data in re.findall(rb"^data: ?(.*)$", body, re.MULTILINE):
            value = "[DONE]" if data.strip() == b"[DONE]" else _json(data)
            _check_body(f"{inner}/x-event-schema", value)


def _check_body(pointer: str, value: Any) -> None:
    validator = Draft202012Validator(
        {"$ref": f"{URI}#{quote(pointer, safe='/~')}"}, registry=registry(), format_checker=FormatChecker()
    )
    for error in validator.iter_errors(value):
        raise Undescribed(f"{pointer} at {error.json_path}: {error.message[:500]}")


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Undescribed(f"no JSON: {body[:200]!r}") from error


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """As the router has it: `{id}` and `{model}` at the end take slashes, too."""
    last = re.sub(r"\\\{\w+\\\}$", ".+", re.escape(path))
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", last))


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
