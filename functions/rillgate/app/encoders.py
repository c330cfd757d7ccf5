"""The tokenizers of this process: loaded in a thread, each when first needed, the usual one at start."""

from __future__ import annotations

import asyncio

from rillgate.app.encodings import load_encoding
from rillgate.domain.ports import Encoding
from rillgate.telemetry.logs import log_exception

USUAL = "o200k_base"


class Encoders:
    """Encodings by name. Used on the event loop only; loading alone happens in a thread."""

    def __init__(self) -> None:
        self._loaded: dict[str, Encoding] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin to load the usual one."""
        self.get(USUAL)

    def ready(self) -> bool:
        """Whether the usual one is there."""
        return USUAL in self._loaded

    def get(self, name: str) -> Encoding | None:
        """The encoding, or None while it is being loaded, which this begins."""
        found = self._loaded.get(name)
        if found is None and name not in self._loading:
            self._loading[name] = asyncio.get_running_loop().create_task(self._load(name))
        return found

    async def loaded(self) -> None:
        """Wait for what is being loaded: a thread cannot be stopped."""
        await asyncio.gather(*self._loading.values(), return_exceptions=True)

    async def _load(self, name: str) -> None:
        try:
            self._loaded[name] = await asyncio.to_thread(load_encoding, name)
        except Exception as error:  # stays unready, and says why; bytes go on standing in
            log_exception("encoding_failed", error, encoding=name)
