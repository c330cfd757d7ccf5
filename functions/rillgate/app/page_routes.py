"""The chat page at `GET /`: static files from the package, served from memory.

No build step and nothing from elsewhere: the page runs under a policy that allows its own origin, nothing inline, and
no text that becomes markup or script (Trusted Types without a policy). No other page may frame it, open it and keep a
handle on it, or load its files.
Sources: Content Security Policy Level 3, https://www.w3.org/TR/CSP3/; Trusted Types, https://www.w3.org/TR/trusted-types/;
Permissions Policy, https://www.w3.org/TR/permissions-policy-1/; HTML, "Cross-origin opener policies"; read 2026-11.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

# The page uses none of a browser's powers.
PERMISSIONS_POLICY: Final = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "autoplay",
        "camera",
        "clipboard-read",
        "clipboard-write",
        "display-capture",
        "encrypted-media",
        "geolocation",
        "gyroscope",
        "microphone",
        "midi",
        "payment",
        "publickey-credentials-get",
        "screen-wake-lock",
        "serial",
        "usb",
        "xr-spatial-tracking",
    )
)

SECURITY_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": PERMISSIONS_POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
}
"""Of each file of the page."""

_HTML: Final = "text/html; charset=utf-8"
_CSS: Final = "text/css; charset=utf-8"
_SCRIPT: Final = "text/javascript; charset=utf-8"
_SVG: Final = "image/svg+xml"

FILES: Final = {
    "/": ("index.html", _HTML),
    "/assets/page.css": ("page.css", _CSS),
    "/assets/page.js": ("page.js", _SCRIPT),
    "/assets/answer.js": ("answer.js", _SCRIPT),
    "/assets/budget.js": ("budget.js", _SCRIPT),
    "/assets/gateway.js": ("gateway.js", _SCRIPT),
    "/assets/key.js": ("key.js", _SCRIPT),
    "/assets/meter.js": ("meter.js", _SCRIPT),
    "/assets/sse.js": ("sse.js", _SCRIPT),
    "/assets/text.js": ("text.js", _SCRIPT),
    "/favicon.svg": ("favicon.svg", _SVG),
    "/favicon.ico": ("favicon.svg", _SVG),  # asked for by browsers beside EventSource answers and errors
}
"""Path → file in the folder `page` and its content type. What is not listed is not served."""


def page_routes() -> list[Route]:
    """The routes of the chat page: `GET` and `HEAD` of every path in `FILES`, read into memory now.

    Browsers keep the files and ask each time whether they changed (`Cache-Control: no-cache` with an `ETag`), so an
    upgraded gateway never runs with half of an old page.

    Raises:
        FileNotFoundError: the package was installed without its page; installing it again is the remedy.
    """
    return [Route(path, _endpoint(name, content_type)) for path, (name, content_type) in FILES.items()]


def _endpoint(name: str, content_type: str) -> Callable[[Request], Awaitable[Response]]:
    body = files("rillgate.app").joinpath("page", name).read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"cache-control": "no-cache", "etag": etag, **SECURITY_HEADERS}

    async def serve(request: Request) -> Response:
        if _names(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        return Response(body, headers={**headers, "content-type": content_type})

    return serve


def _names(if_none_match: str, etag: str) -> bool:
    """Whether `If-None-Match` names our tag; compared weakly, as RFC 9110 section 13.1.2 says."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags
