"""Routes that tell the journal what they are called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from rillgate.app.context import journal_of

Handler = Callable[[Request], Awaitable[Response]]


def route(path: str, handler: Handler, method: str, *, quiet: bool = False) -> Route:
    """A handler's route; `quiet` for those that say nothing worth a line, of which HEAD may be asked."""
    made = Route(path, handler, methods=[method])
    if not quiet:
        made.methods = {method}  # Starlette adds HEAD to GET, and a HEAD must not spend tokens
    return told(made, quiet=quiet)


def told(route: Route, *, quiet: bool = False) -> Route:
    """A route that tells the journal its template, never the path as it came."""
    app = route.app

    async def tell(scope: Scope, receive: Receive, send: Send) -> None:
        journal = journal_of(scope)
        journal.route = route.path
        journal.quiet = quiet
        await app(scope, receive, send)

    route.app = tell
    return route
