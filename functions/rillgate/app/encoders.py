"""The tokenizers of this process: loaded in a thread, each when first needed, the usual one at start."""

from __future__ import annotations

import asyncio

from rillgate.domain.ports import Encoding
from rillgate.telemetry.logs import log_exception

USUAL = "o200k_base"


class Encoders:
    """Encodings by name. Used on the event loop only; loading alone happens in a thread.

    Args:
        at_need: whether an encoding is loaded when it is first asked for, even before `start`.
    """

    def __init__(self, *, at_need: bool = True) -> None:
        self._may_load = at_need
        self._loaded: dict[str, Encoding] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin to load the usual one."""
        self._may_load = True
        self.get(USUAL)

    def ready(self) -> bool:
        """Whether the usual one is there."""
        return USUAL in self._loaded

    def get(self, name: str) -> Encoding | None:
        """The encoding, or None while it is being loaded, which this begins."""
        found = self._loaded.get(name)
        if found is None and name not in self._loading and self._may_load:
            self._loading[name] = asyncio.get_running_loop().create_task(self._load(name))
        return found

    async def loaded(self) -> None:
        """Wait for what is being loaded: a thread cannot be stopped."""
        await asyncio.gather(*self._loading.values(), return_exceptions=True)

    async def _load(self, name: str) -> None:
        try:
            self._loaded[name] = await asyncio.to_thread(_load_encoding, name)
        except Exception as error:  # stays unready, and says why; bytes go on standing in
            log_exception("encoding_failed", error, encoding=name)


def _load_encoding(name: str) -> Encoding:
    # Some 9 ms of imports (regex above all) that a first request on Lambda does without.
    from rillgate.app.encodings import load_encoding  # noqa: PLC0415

    return load_encoding(name)
