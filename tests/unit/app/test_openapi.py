"""The document that describes the API: valid, complete, and of the routes that there are."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from rillgate.app.gateway import EXPOSED_HEADERS, Gateway
from rillgate.app.openapi.document import TAGS, document, encoded
from rillgate.app.openapi.operations import OPERATIONS
from rillgate.app.tickets import _FIELDS
from tests.fakes.gateway import settings_for


@pytest.fixture(params=[True, False], ids=["keys", "no keys"])
def whole(request: pytest.FixtureRequest) -> Any:
    """As it is sent."""
    return msgspec.json.decode(encoded(keys_required=request.param))


def routes() -> set[tuple[str, str]]:
    """Every path and method that the app answers, as OpenAPI writes them."""
    found: Any = Gateway(settings_for("http://127.0.0.1:9/v1")).asgi
    while not hasattr(found, "routes"):
        found = found._app
    return {
        (re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path), method.lower())
        for route in found.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }


def test_document_is_valid_openapi(whole: Any) -> None:
    """By the specification's own meta-schema, and by the rules that it cannot say: ids are unique, references lead
    somewhere, path parameters are those of the path.
    """
    OpenAPIV31SpecValidator(whole).validate()
    assert whole["openapi"].startswith("3.1.")


def test_every_route_is_described() -> None:
    """A new route needs an entry in app/openapi/operations.py; one that is gone leaves none behind."""
    missing = sorted(routes() - set(OPERATIONS))
    assert not missing, f"routes without an entry in rillgate/app/openapi/operations.py: {missing}"
    superfluous = sorted(set(OPERATIONS) - routes())
    assert not superfluous, f"entries of rillgate/app/openapi/operations.py without a route: {superfluous}"


def test_every_operation_says_who_it_is_for_and_who_may_ask(whole: Any) -> None:
    """A tag that is explained, a name of its own, and what to send."""
    names = set()
    for path, methods in whole["paths"].items():
        for method, operation in methods.items():
            assert operation["tags"][0] in TAGS, (path, method)
            assert operation["security"], (path, method)
            assert operation["summary"].endswith("."), (path, method)
            assert operation["operationId"] not in names
            names.add(operation["operationId"])


def test_everything_that_is_described_is_used(whole: Any) -> None:
    """No schema, header, parameter or answer that nothing refers to."""
    text = msgspec.json.encode(whole).decode()
    for kind, entries in whole["components"].items():
        for name in entries:
            if kind == "securitySchemes":
                assert f'"{name}":[]' in text, name
            elif kind != "responses":  # their table is whole, so that a new route finds what it needs
                assert f'"#/components/{kind}/{name}"' in text, name


def test_headers_that_pages_may_read_are_described() -> None:
    """What CORS exposes is what the document has."""
    known = set(document(keys_required=True)["components"]["headers"])
    assert set(EXPOSED_HEADERS) - known == set()


def test_document_says_whether_keys_are_needed() -> None:
    """Where none is needed, nothing is one of the choices; a ticket is always issued to a key."""
    for keys_required in (True, False):
        paths = document(keys_required=keys_required)["paths"]
        assert ({} in paths["/v1/chat/completions"]["post"]["security"]) is not keys_required
        assert {} not in paths["/v1/tickets"]["post"]["security"]
        assert paths["/healthz"]["get"]["security"] == [{}]


def test_requests_of_our_own_routes_have_the_fields_that_are_read() -> None:
    """Where other fields are refused, the two cannot differ."""
    schemas = document(keys_required=True)["components"]["schemas"]
    assert set(schemas["TicketRequest"]["properties"]) == set(_FIELDS)
    assert set(schemas["PlainChatRequest"]["properties"]) == {
        *("prompt", "system_prompt", "max_tokens", "temperature", "model")
    }


def test_document_is_the_same_each_time() -> None:
    """Byte for byte: whoever generates code from it sees changes only where there are some."""
    assert encoded(keys_required=True) == msgspec.json.encode(document(keys_required=True))
    assert encoded(keys_required=True) != encoded(keys_required=False)
