"""The chat page as an HTTP answer: types, policy, caching, and that it needs nothing but itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rillgate.app.page_routes import FILES, page_routes

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
SOURCES = {name: files("rillgate.app").joinpath("page", name).read_text("utf-8") for name, _ in FILES.values()}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A client of an application that has nothing but the page."""
    with TestClient(Starlette(routes=page_routes())) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/assets/page.css", "text/css; charset=utf-8"),
        ("/assets/page.js", "text/javascript; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
    ],
)
def test_page_file_answers_with_its_type_and_the_policy(client: TestClient, path: str, content_type: str) -> None:
    """Each file comes with its exact type, and with headers that allow it nothing but its own origin."""
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == content_type
    assert response.headers["content-security-policy"] == POLICY
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cross-origin-opener-policy"] == "same-origin"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert response.headers["x-frame-options"] == "DENY"
    assert {"camera=()", "microphone=()", "geolocation=()"} <= set(response.headers["permissions-policy"].split(", "))
    assert response.headers["cache-control"] == "no-cache"
    assert response.text == SOURCES[FILES[path][0]]


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_page_file_unchanged_answers_304_without_body(client: TestClient, path: str, form: str) -> None:
    """A browser that has the file gets no second copy, and keeps the policy it came with."""
    etag = client.get(path).headers["etag"]
    response = client.get(path, headers={"if-none-match": form.format(etag)})
    assert response.status_code == 304
    assert response.content == b""
    assert response.headers["etag"] == etag
    assert response.headers["content-security-policy"] == POLICY


def test_page_file_changed_answers_in_full(client: TestClient) -> None:
    """Another file's tag does not keep a browser from the new one."""
    other = client.get("/assets/page.css").headers["etag"]
    assert client.get("/assets/page.js", headers={"if-none-match": other}).status_code == 200


def test_page_head_answers_without_body(client: TestClient) -> None:
    """HEAD tells the length that GET would send."""
    response = client.head("/")
    assert response.status_code == 200
    assert response.content == b""
    assert int(response.headers["content-length"]) == len(SOURCES["index.html"].encode())


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/", 405), ("GET", "/assets/other.js", 404)])
def test_page_elsewhere_is_not_served(client: TestClient, method: str, path: str, status: int) -> None:
    """Only the listed files are there, and only to be read."""
    assert client.request(method, path).status_code == status


def test_page_folder_holds_what_is_served() -> None:
    """No file of the folder is forgotten in the table, and none is left over."""
    folder = {entry.name for entry in files("rillgate.app").joinpath("page").iterdir()}
    assert folder == {name for name, _ in FILES.values()}


def test_page_references_are_all_served(client: TestClient) -> None:
    """What the page and its scripts name is there, and nothing of it lives elsewhere."""
    named = {value for _, name, value in _attributes("index.html") if name in {"href", "src"}}
    assert {"assets/page.css", "assets/page.js", "favicon.svg"} <= named
    paths = {f"/{value}" for value in named if not value.startswith("#")}
    for name, source in SOURCES.items():
        if name.endswith(".js"):
            paths |= {f"/assets/{module}" for module in re.findall(r'^import .* from "\./(.+)";$', source, re.M)}
    assert paths >= {"/assets/sse.js", "/assets/text.js"}
    assert {path: client.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)


@pytest.mark.parametrize("name", SOURCES)
def test_page_source_names_no_other_address(name: str) -> None:
    """No font, script or image comes from a network of strangers."""
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+\.\w+[^\s\"')]*", SOURCES[name]))
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_page_html_has_nothing_inline() -> None:
    """The policy would block inline scripts, styles and handlers; so there are none."""
    attributes = _attributes("index.html")
    assert [entry for entry in attributes if entry[1] == "style" or entry[1].startswith("on")] == []
    assert re.findall(r"<script(?![^>]*\bsrc=)|<script[^>]*>\s*\S+\s*</script>|<style", SOURCES["index.html"]) == []


@pytest.mark.parametrize("name", [name for name in SOURCES if name.endswith(".js")])
def test_page_script_never_parses_text_as_markup(name: str) -> None:
    """Words of a model reach the page as text nodes only."""
    markup = r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval|new Function|setHTML\w*)\b"
    assert re.findall(markup, SOURCES[name]) == []


def test_page_form_fields_have_labels() -> None:
    """Every field is named for those who do not see it."""
    attributes = _attributes("index.html")
    labelled = {value for tag, name, value in attributes if (tag, name) == ("label", "for")}
    fields = {value for tag, name, value in attributes if tag in {"select", "input", "textarea"} and name == "id"}
    assert fields == {"model", "system-prompt", "max-tokens", "key", "prompt"}
    assert fields <= labelled


def _attributes(name: str) -> list[tuple[str, str, str]]:
    """(tag, attribute, value) of all elements of a page, in order."""
    found: list[tuple[str, str, str]] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend((tag, attribute, value or "") for attribute, value in attrs)

    Parser().feed(SOURCES[name])
    return found
