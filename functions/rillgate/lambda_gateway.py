"""Entry point of the streaming function: `Handler: rillgate.lambda_gateway.handler`.

One object with two faces. With three arguments it is the ASGI app that the layer `lambda_asgi` streams; with two it is
a handler for the stock runtime, which answers as a whole. So the same package also answers where the exec wrapper is
not honoured.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import Any, overload

from rillgate.app.context import App, Receive, Send
from rillgate.app.on_lambda import compose


class Handler:
    """An ASGI app, and a stock handler of the same app."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._buffered: Any = None

    @overload
    def __call__(self, scope_or_event: Any, receive: Receive, send: Send, /) -> Coroutine[Any, Any, None]: ...
    @overload
    def __call__(self, scope_or_event: Any, context: Any, /) -> dict[str, Any]: ...
    def __call__(self, scope_or_event: Any, *rest: Any) -> Any:
        """ASGI with (scope, receive, send), the stock runtime's call with (event, context)."""
        if len(rest) == 2:
            return self._app(scope_or_event, *rest)
        if self._buffered is None:
            from rillgate.app.buffered import Buffered  # noqa: PLC0415 (Mangum is of no use to a stream)

            self._buffered = Buffered(self._app)
        return self._buffered(scope_or_event, *rest)


handler = Handler(compose(os.environ))
