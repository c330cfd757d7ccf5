"""What `rillgate serve` says when it starts: where it listens, what it found, and a line to try it with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from rillgate.app.catalog import Catalog
from rillgate.app.settings_types import Settings

MODELS_SHOWN = 5


class Banner:
    """The lines of one start, on standard output; logs go to standard error.

    Args:
        settings: what was configured.
        address: what the socket is bound to.
        notices: lines about what was found and is not used, or is missing on this platform.
        say: takes lines.
    """

    def __init__(self, settings: Settings, address: Any, notices: Sequence[str], say: Callable[[str], None]) -> None:
        self._settings = settings
        self._where = _url(address)
        self._notices = notices
        self._say = say
        self._listing: asyncio.Task[None] | None = None

    def show(self, catalog: Catalog) -> None:
        """The gateway accepts requests: say so now, and the providers' models as soon as they are known."""
        self._say("\n".join(self._listening()))
        self._listing = asyncio.get_running_loop().create_task(self._list(catalog))

    def _listening(self) -> list[str]:
        lines = [f"Rillgate listens on {self._where}", *self._notices]
        if self._settings.allow_unauthenticated:
            lines.append("Keys are OFF (--allow-unauthenticated): whoever reaches this address spends your tokens.")
        else:
            lines.append("Keys are off: only this machine is served, and no web page but the gateway's own.")
        if self._where.startswith("http"):
            lines += [
                f"Chat page: {self._where}/",
                "Try it:",
                f"  curl -N {self._where}/chat/stream -H 'Content-Type: application/json' "
                """-d '{"prompt": "Why is the sky blue?"}'""",
            ]
        return lines

    async def _list(self, catalog: Catalog) -> None:
        for name, provider in self._settings.providers.items():
            models = await catalog.models_of(name)
            head = f"Provider {name} ({provider.kind}): "
            if models is None:
                self._say(f"{head}it does not list its models; any name is passed on to it.")
            else:
                shown = ", ".join(models[:MODELS_SHOWN]) + (", …" if len(models) > MODELS_SHOWN else "")
                self._say(f"{head}{len(models)} model{'' if len(models) == 1 else 's'}: {shown}")
        default = catalog.names.default
        if default is not None:
            self._say(f"A request that names no model gets {default.provider}/{default.model}.")


def _url(address: Any) -> str:
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address[0], address[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
