"""What whoever runs a process asks of it: whether it lives, whether it is ready, its metrics, what it offers."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from rillgate.app.access import is_forwarded, is_loopback_name
from rillgate.app.answers import json_response
from rillgate.app.forwarded import is_unix_socket
from rillgate.app.loopback import is_loopback_address
from rillgate.app.readiness import Readiness
from rillgate.app.settings.types import Settings
from rillgate.app.told import route
from rillgate.domain.errors import ClientError
from rillgate.domain.ports import Siblings
from rillgate.telemetry.metrics import Metrics


class OperatorHandlers:
    """The handlers and what they need."""

    def __init__(
        self, settings: Settings, readiness: Readiness, metrics: Metrics, *, siblings: Siblings | None = None
    ) -> None:
        self._settings = settings
        self._readiness = readiness
        self._metrics = metrics
        self._siblings = siblings

    def routes(self) -> list[BaseRoute]:
        """Theirs."""
        return [
            route("/healthz", self.healthz, "GET", quiet=True),
            route("/readyz", self.readyz, "GET", quiet=True),
            route("/metrics", self.metrics, "GET", quiet=True),
            route("/openapi.json", self.openapi, "GET", quiet=True),
        ]

    async def healthz(self, request: Request) -> Response:
        """This process answers."""
        return json_response({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """A request sent now would be served at once; 503 with the reasons where it would not."""
        waiting_for = self._readiness.waiting_for()
        if waiting_for:
            return json_response({"status": "not_ready", "waiting_for": waiting_for}, status=503)
        return json_response({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """For Prometheus, to whom `server.metrics` allows."""
        shown_to = self._settings.server.metrics
        if shown_to == "off":
            raise ClientError("Metrics are off (server.metrics).", status=404, code="not_found")
        if shown_to == "loopback" and not _from_here(request):
            raise ClientError(
                "Metrics are shown to this machine only (server.metrics).", status=403, code="metrics_refused"
            )
        if self._siblings is not None:
            body, content_type = await self._siblings.metrics()
        else:
            body, content_type = await asyncio.to_thread(self._metrics.render)  # see there
        return Response(body, media_type=content_type)

    async def openapi(self, request: Request) -> Response:
        """All of this, described for programs."""
        from rillgate.app.openapi.document import encoded  # noqa: PLC0415 (of no use to whoever streams)

        body = await asyncio.to_thread(encoded, keys_required=self._settings.keys_required)
        return Response(body, media_type="application/json")


def _from_here(request: Request) -> bool:
    """Whether this machine asks, by a name of its own: a page of a stranger reaches it by another one."""
    client = request.client
    # Over a unix socket it is whom its file lets in; a proxy says for whom it asks.
    local = is_unix_socket(request.scope) if client is None else is_loopback_address(client.host)
    return local and is_loopback_name(request.headers.get("host", "")) and not is_forwarded(request.scope)
