"""`rillgate chat` in a terminal of its own, at a gateway that runs as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pty
import re
import sys
import termios
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.e2e.local_lambda import lambda_local
from tests.e2e.process import PATIENCE_S, command, environment, run, serving, variables_for
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, ErrorFrame, Finish, Pause, Role, Stall, UsageFrame, chat
from tests.unit.cli.talk.terminal import Terminal

pytestmark = pytest.mark.anyio

COLUMNS: Final = 100
ROWS: Final = 10


@pytest.fixture
def anyio_backend() -> str:
    """The loop of this process is not the subject."""
    return "asyncio"


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    """The provider."""
    async with FakeProvider() as fake:
        yield fake


@pytest.fixture
async def url(fake: FakeProvider) -> AsyncIterator[str]:
    """A gateway in front of it."""
    async with serving(**variables_for(fake), RILLGATE_MODEL="m") as served:
        await served.ready()
        yield served.url


class Session:
    """`rillgate chat` at a terminal: what its user sees and types.

    Attributes:
        screen: what stands there.
        wrote: everything that was written to the terminal.
    """

    def __init__(self, process: Process, master: int) -> None:
        self.process = process
        self.screen = Terminal(COLUMNS, ROWS)
        self.wrote = ""
        self._master = master

    async def sees(self, pattern: str) -> None:
        """Wait until `pattern` is found in what can be read now."""
        async with asyncio.timeout(PATIENCE_S):
            while not re.search(pattern, "\n".join(self.screen.lines)):
                assert await self._read(), f"no {pattern!r} in {self.screen.lines}; all: {self.wrote!r}"

    def types(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    async def ends(self) -> int:
        """Wait for its end; the exit code."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._read():
                pass
            return await self.process.wait()

    async def _read(self) -> bool:
        """More of what was written; False when nobody writes any more."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._master, readable.set)
        try:
            await readable.wait()
            data = os.read(self._master, 65_536)
        except OSError as error:
            if error.errno != errno.EIO:  # the other end is closed
                raise
            return False
        finally:
            loop.remove_reader(self._master)
        text = data.decode().replace("\r\n", "\n")
        self.wrote += text
        self.screen.feed(text)
        return bool(data)


@contextlib.asynccontextmanager
async def session(*arguments: str, **variables: str) -> AsyncIterator[Session]:
    """`rillgate chat` with arguments at a new terminal, which is its controlling one."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (ROWS, COLUMNS))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        # The first terminal that the leader of a session opens is its own, the one whose Ctrl-C reaches it.
        "import os, sys; os.setsid(); os.close(os.open(sys.argv[1], os.O_RDWR)); os.execvp(sys.argv[2], sys.argv[2:])",
        os.ttyname(slave),
        *command("chat", *arguments),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(None, **{"TERM": "xterm", "INPUTRC": os.devnull, **variables}),
    )
    os.close(slave)
    try:
        yield Session(process, master)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(master)


async def test_chat_at_a_terminal_counts_live_and_leaves_text_and_one_line(fake: FakeProvider, url: str) -> None:
    """The count rises below the text while it comes; at the end the text and the last line stand there alone."""
    pieces = [step for _ in range(3) for step in (Chunk(" a"), Pause())]
    fake.script = [Role(), *pieces, Finish(), UsageFrame(9, 3), Done()]
    async with session("--url", url, "hi") as terminal:
        for count in (1, 2, 3):
            await terminal.sees(rf"^{' a' * count}\n{count} tokens")
            fake.allow()
        assert await terminal.ends() == 0
    text, last = terminal.screen.lines
    assert text == " a a a"
    assert re.fullmatch(r"9 tokens in, 3 out; first after \d+\.\d\d s, \d+ tokens/s; m from fake/m", last)


async def test_chat_interrupted_stops_the_provider_and_says_what_was_used(fake: FakeProvider, url: str) -> None:
    """Ctrl-C in mid-stream: exit code 130, the provider's connection closes, no traceback, no status left behind."""
    fake.script = [Role(), Chunk(" a"), Chunk(" a"), Stall()]
    async with session("--url", url, "hi") as terminal:
        await terminal.sees("2 tokens")
        terminal.types("\x03")
        assert await terminal.ends() == 130
        async with asyncio.timeout(PATIENCE_S):
            await fake.closed()
    lines = terminal.screen.lines
    assert lines[0].startswith(" a a")
    assert lines[1:-1] == ["interrupted"]
    assert lines[-1].startswith("about 2 tokens out; first after")


async def test_chat_interrupted_before_the_first_token_stops_the_provider(fake: FakeProvider, url: str) -> None:
    """While nothing has come at all, not even a header."""
    fake.script = [Stall()]
    async with session("--url", url, "hi") as terminal:
        await fake.request()
        await terminal.sees("waiting")
        terminal.types("\x03")
        assert await terminal.ends() == 130
        async with asyncio.timeout(PATIENCE_S):
            await fake.closed()
    assert "Traceback" not in terminal.wrote


async def test_chat_conversation_at_a_terminal_remembers_until_ctrl_d(fake: FakeProvider, url: str) -> None:
    """Two prompts, the second with what was said; an interrupted answer ends itself alone."""
    async with session("--url", url) as terminal:
        await terminal.sees("> ?$")
        terminal.types("one\r")
        await terminal.sees(r"Hello, world!\n9 tokens in(.*\n)+> ?$|Hello, world!\n9 tokens in.*\n.*\n>")
        fake.script = [Role(), Chunk("Half"), Stall()]
        terminal.types("two\r")
        await terminal.sees("Half")
        terminal.types("\x03")
        await terminal.sees(r"interrupted\n(.*\n)+>")
        fake.script = chat()
        terminal.types("three\r")
        exchange = await fake.request(2)
        await terminal.sees(r"three\n(.*\n)*Hello, world!\n9 tokens in(.*\n)+>")
        terminal.types("\x04")
        assert await terminal.ends() == 0
    said = [message["content"] for message in exchange.json["messages"]]
    assert said == ["one", "Hello, world!", "two", "Half", "three"]


async def test_chat_in_a_pipe_gives_the_text_alone(fake: FakeProvider, url: str) -> None:
    """Exactly the answer's bytes on standard output; standard input is the prompt where there is no other."""
    fake.script = chat(["Grüße", "\n", "日本"])
    process = await asyncio.create_subprocess_exec(
        *command("chat", "--url", url), stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment(PYTHONUTF8="1")
    )
    out, err = await asyncio.wait_for(process.communicate(b"Wie geht's?\n"), PATIENCE_S)
    assert process.returncode == 0
    assert out.decode() == "Grüße\n日本"
    assert err.decode().count("\n") == 1
    assert fake.chats[0].json["messages"][0]["content"] == "Wie geht's?\n"


async def test_chat_error_inside_the_stream_is_one_line_and_a_failure(fake: FakeProvider, url: str) -> None:
    """What came stays on standard output."""
    fake.script = [Role(), Chunk("Half"), ErrorFrame("The model fell over.")]
    ended = await run("chat", "--url", url, "hi")
    assert (ended.code, ended.out) == (1, "Half")
    assert ended.err == "rillgate: upstream_error: The model fell over.\n"


async def test_chat_without_a_key_where_one_is_needed_is_refused_with_one_it_is_served(
    fake: FakeProvider, tmp_path: Path
) -> None:
    """From the environment; and a budget that cuts is named."""
    limits = ["--limit", "tokens/day=100", "--json"]
    created = await run("keys", "create", "--name", "test", *limits, cwd=tmp_path)
    key = msgspec.json.decode(created.out)["key"]
    fake.script = chat([" a"] * 500, finish="length")
    more: dict[str, Any] = {"RILLGATE_AUTH__REQUIRED": "true", "RILLGATE_MODEL": "gpt-4o"}
    async with serving(cwd=tmp_path, **variables_for(fake), **more) as served:
        await served.ready()
        refused = await run("chat", "--url", served.url, "hi")
        assert refused.code == 1
        assert refused.err.startswith("rillgate: 401 ")
        served_ = await run("chat", "--url", served.url, "hi", RILLGATE_KEY=key)
    assert served_.code == 0, served_.err
    assert served_.err.startswith("cut: the budget of key:")
    assert key not in served_.err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="lambda-local is looked at in /proc")
async def test_chat_interrupted_at_a_function_cancels_by_id(fake: FakeProvider, tmp_path: Path) -> None:
    """Lambda does not see a connection close: the provider's is closed all the same."""
    fake.script = [Role(), Chunk(" a"), Stall()]
    async with lambda_local(fake, tmp_path, RILLGATE_MODEL="m") as served:
        async with session("--url", served.url, "hi", RILLGATE_KEY=served.key) as terminal:
            await terminal.sees("1 tokens")
            terminal.types("\x03")
            assert await terminal.ends() == 130
            async with asyncio.timeout(PATIENCE_S):
                await fake.closed()
        assert (await served.logs(r'"event":"request".*"end":"(\w+)"'))[1] == "cancelled"
