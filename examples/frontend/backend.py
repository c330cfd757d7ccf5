"""The back end of the example: serves the page, holds the key, and hands out tickets for it. Standard library only.

    RILLGATE_KEY=rill_… python3 backend.py --gateway http://127.0.0.1:8000

A browser never sees the key. It gets tickets: for one visitor, for minutes, with limits of their own. Whoever may open
this page gets one, so put your application's own login where `Handler._visitor` stands.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import secrets
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SDK = "/openai/"  # where the page's import map looks for the OpenAI SDK
PORT = 3000
TICKET_TTL_S = 600
ONE_USE_TTL_S = 60
TICKET_LIMITS = ["tokens/total=20000", "streams=2"]  # what a stolen ticket could cost at most
BODY_BYTES_MAX = 1024
GATEWAY_TIMEOUT_S = 20  # a function on Lambda may have to start first
_VISITOR = re.compile(r"(?:^|;\s*)visitor=([0-9a-f]{32})(?:;|$)")


@dataclass
class Site:
    """What the back end knows.

    Attributes:
        gateway: its URL, without a slash at the end.
        key: the gateway's key; it goes nowhere else.
        origin: of the page. Only a page of this origin gets tickets.
        model: what the page asks for; None for the gateway's default.
        folder: has `public/` and, after `npm install`, `node_modules/`.
    """

    gateway: str
    key: str
    origin: str
    model: str | None = None
    folder: Path = FOLDER


class Handler(SimpleHTTPRequestHandler):
    """The page's files by GET, a ticket by POST /tickets."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, site: Site) -> None:
        self._site = site
        super().__init__(*args, directory=str(site.folder / "public"))

    def do_OPTIONS(self) -> None:
        """The preflight of a page that is served from elsewhere, where --origin names it."""
        self._answer(204, None)

    def do_POST(self) -> None:
        """A ticket: {"ticket", "ttl_s", "gateway", "model"}. The body may ask for {"one_use": true}."""
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True  # its body stays unread
            self._refuse(413, "The body is too large, or its length is missing.")
            return
        body = self.rfile.read(int(length))
        if self.path != "/tickets":
            self._refuse(404, "Only /tickets takes a POST.")
        elif self.headers.get("origin") != self._site.origin:
            self._refuse(403, f"Tickets are for pages of {self._site.origin} only.")
        else:
            self._hand_out(body)

    def _hand_out(self, body: bytes) -> None:
        try:
            one_use = json.loads(body or b"{}").get("one_use") is True
        except (ValueError, AttributeError):
            self._refuse(400, "The body is no JSON object.")
            return
        visitor, known = self._visitor()
        ttl_s = ONE_USE_TTL_S if one_use else TICKET_TTL_S
        wish = {"user": f"web-{visitor}", "ttl_s": ttl_s, "limits": TICKET_LIMITS, "one_use": one_use}
        if self._site.model:
            wish["models"] = [self._site.model]
        status, answer = ask_gateway(self._site, wish)
        if status == 200:
            answer = {
                "ticket": answer["ticket"],
                "ttl_s": ttl_s,
                "gateway": self._site.gateway,
                "model": self._site.model,
            }
        cookie = {} if known else {"set-cookie": f"visitor={visitor}; Path=/; HttpOnly; SameSite=Strict"}
        self._answer(status, answer, cookie)

    def _visitor(self) -> tuple[str, bool]:
        """Who this is, and whether they were here before. In your application: the user of the session, or 401."""
        match = _VISITOR.search(self.headers.get("cookie", ""))
        return (match[1], True) if match else (secrets.token_hex(16), False)

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, {"error": {"message": message}})

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        if self.headers.get("origin") == self._site.origin:
            self.send_header("access-control-allow-origin", self._site.origin)
            self.send_header("access-control-allow-credentials", "true")
            self.send_header("access-control-allow-headers", "content-type")
        self.send_header("vary", "origin")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("cache-control", "no-store")
        if status != 204:
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def translate_path(self, path: str) -> str:
        """A file of `public/`, or of the SDK's package."""
        if not path.startswith(SDK):
            return super().translate_path(path)
        self.directory, public = str(self._site.folder / "node_modules" / "openai"), self.directory
        try:
            return super().translate_path(path.removeprefix(SDK.rstrip("/")))
        finally:
            self.directory = public


# Windows takes types from its registry, where they may be anything; a browser runs modules only under this one.
Handler.extensions_map = {**Handler.extensions_map, ".js": "text/javascript", ".mjs": "text/javascript"}


def ask_gateway(site: Site, wish: dict[str, Any]) -> tuple[int, Any]:
    """POST /v1/tickets with the key: status and JSON for the page, which is not told what may be wrong with the key."""
    request = urllib.request.Request(  # noqa: S310 the scheme was checked at the start
        f"{site.gateway}/v1/tickets",
        data=json.dumps(wish).encode(),
        headers={"authorization": f"Bearer {site.key}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=GATEWAY_TIMEOUT_S) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(2000).decode(errors="replace")
        sys.stderr.write(f"The gateway refused a ticket: {error.code} {said}\n")
    except OSError as error:
        sys.stderr.write(f"The gateway cannot be reached: {error}\n")
    return 502, {"error": {"message": "No ticket can be had now."}}


def serve(site: Site, port: int) -> ThreadingHTTPServer:
    """The back end on 127.0.0.1, not yet serving."""
    return ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Handler, site=site))


def main() -> int:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve the example's page and hand out tickets.")
    parser.add_argument("--gateway", default="http://127.0.0.1:8000", metavar="URL", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help="default: %(default)s")
    parser.add_argument("--origin", metavar="ORIGIN", help="of the page (default: http://localhost:PORT)")
    parser.add_argument("--model", metavar="M", help="what the page asks for (default: the gateway's own)")
    parser.add_argument("--folder", type=Path, default=FOLDER, metavar="DIR", help="has public/ (default: this one)")
    options = parser.parse_args()
    key = os.environ.get("RILLGATE_KEY", "")
    if not key:
        parser.error("RILLGATE_KEY is not set; `rillgate keys create --name web` makes a key")
    if urllib.parse.urlsplit(options.gateway).scheme not in ("http", "https"):
        parser.error(f"--gateway {options.gateway!r} is no http(s) URL")
    origin = options.origin or ""
    site = Site(options.gateway.rstrip("/"), key, origin, model=options.model, folder=options.folder.resolve())
    with serve(site, options.port) as server:
        site.origin = site.origin or f"http://localhost:{server.server_port}"
        sys.stdout.write(f"Open {site.origin}/ (the gateway must list this origin in server.cors_origins)\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
