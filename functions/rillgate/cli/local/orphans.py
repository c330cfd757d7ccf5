"""Keeps environments from outliving the command: a process that watches a pipe and kills them when it closes.

A `kill -9` of the command closes the pipe; nothing that the command would have to do itself is needed. One such process
watches all environments, since the layer's bootstrap must run as it is deployed and knows of no pipe.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

CHILD = Path(__file__).with_name("orphans_child.py")


class Orphans:
    """The watch over all environments of one command. Each is the leader of a process group of its own."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it. It stays when the terminal's Ctrl-C comes, since it has a group of its own."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(CHILD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        if self._process.stdout is not None:
            await self._process.stdout.readline()  # from here on no signal but SIGKILL ends it

    def watch(self, pid: int) -> None:
        """From now on this process group ends with the command."""
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """It has ended; its number may become another's."""
        self._tell(f"-{pid}\n")

    async def aclose(self) -> None:
        """End the watch, and with it what is still watched."""
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
        self._process = None

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(line.encode())
