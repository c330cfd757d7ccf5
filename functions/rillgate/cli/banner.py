"""What `rillgate serve` says when it starts: where it listens, what it found, and a line to try it with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rillgate.app.settings.rules import DYNAMODB
from rillgate.app.settings.types import Settings
from rillgate.app.stores import sqlite_path
from rillgate.ledger.dynamodb_location import parse_location

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

    def listening(self) -> None:
        """The gateway accepts requests."""
        lines = [f"Rillgate listens on {self._where}", *self._notices]
        lines += [self._keys(), f"Ledger: {ledger_place(self._settings.ledger.url)}"]
        if self._where.startswith("http"):
            key = "-H 'Authorization: Bearer rill_…' " if self._settings.keys_required else ""
            lines += [
                f"Chat page: {self._where}/",
                "Try it:",
                f"  curl -N {self._where}/chat/stream {key}-H 'Content-Type: application/json' "
                """-d '{"prompt": "Why is the sky blue?"}'""",
            ]
        self._say("\n".join(lines))

    def _keys(self) -> str:
        if self._settings.allow_unauthenticated:
            return "Keys are OFF (--allow-unauthenticated): whoever reaches this address spends your tokens."
        if self._settings.keys_required:
            return "Keys are on: every request needs one; make one with `rillgate keys create --name me`."
        return "Keys are off: only this machine is served, and no web page but the gateway's own."

    def listed(self, provider: str, models: Sequence[str] | None, problem: str | None) -> None:
        """A provider's models are known, or cannot be had."""
        head = f"Provider {provider} ({self._settings.providers[provider].kind}): "
        if models is None:
            self._say(f"{head}its models cannot be listed now ({problem}); {provider}/MODEL is passed on to it.")
            return
        shown = ", ".join(models[:MODELS_SHOWN]) + (", …" if len(models) > MODELS_SHOWN else "")
        self._say(f"{head}{len(models)} model{'' if len(models) == 1 else 's'}: {shown}")


def ledger_place(url: str) -> str:
    """Where a ledger's URL leads, for people."""
    path = sqlite_path(url)
    if path is not None:
        return str(path)
    return str(parse_location(url)) if url.startswith(DYNAMODB) else "in memory, gone when this process ends"


def _url(address: Any) -> str:
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address[0], address[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
