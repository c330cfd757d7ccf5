"""What a server offers beyond ASGI's `send`, found in a request's scope; nothing of it need be there.

Both come from `app.http_protocol`: a way to let a stalled client go, and a way to write without waking a task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class Outlet(msgspec.Struct, frozen=True):
    """One response's.

    Attributes:
        release: makes the server take the last bytes of a stalled stream without waiting.
        straight: writes a part of the body at once; False, with nothing written, where it has to be sent.
    """

    release: Callable[[], None] | None = None
    straight: Callable[[bytes], bool] | None = None


def outlet_of(scope: Mapping[str, Any]) -> Outlet:
    """What the server of this request offers."""
    extensions = scope.get("extensions") or {}
    return Outlet(
        release=extensions.get("rillgate.stalled", {}).get("release"),
        straight=extensions.get("rillgate.straight", {}).get("write"),
    )
