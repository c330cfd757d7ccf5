"""Cases of what commands print past any log: lines for whoever started them."""

from __future__ import annotations

import json
import runpy
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import msgspec

from rillgate.app import encodings
from rillgate.cli import doctor, healthcheck
from rillgate.cli.banner import Banner
from rillgate.cli.checkup.finding import Finding
from rillgate.cli.context import Context
from rillgate.cli.local.console import say_on_stderr
from rillgate.cli.main import main
from rillgate.cli.serve import say, serve
from rillgate.cli.workers import worker
from rillgate.cli.workers.messages import Orders
from tests.fakes.gateway import settings_for
from tests.streaming.log_sites.world import CLIENT_KEY, PROMPT, PROVIDER_KEY, World, case

WRONG_CONFIGURATIONS = [
    f'[providers.a]\nkind = "openai"\napi_key = "{PROVIDER_KEY}"\n',
    f'[providers.a]\nkind = "openai"\napi_key = "{PROVIDER_KEY}\n',
    f'[providers.a]\nkind = "openai"\n[providers.a.headers]\nx-key = ["{CLIENT_KEY}"]\n',
    f'[providers.a]\nkind = "openai"\nheaders = "{CLIENT_KEY}"\n',
    f'[limits]\nstreams_max = "{CLIENT_KEY}"\n',
]


@case("cli/serve.py serve print", "cli/workers/worker.py main print")
async def configuration_with_keys_in_wrong_places(world: World) -> None:
    """One line on standard error that names the place, in the process itself and in a worker."""
    opened: list[socket.socket] = []

    def opening(fileno: int) -> socket.socket:
        opened.append(socket.socket(fileno=fileno))
        return opened[-1]

    world.monkeypatch.setattr(worker, "socket", SimpleNamespace(socket=opening))
    for text in WRONG_CONFIGURATIONS:
        path = world.tmp_path / "rillgate.toml"
        path.write_text(text, encoding="utf-8")
        assert serve(config=path, host=None, port=None, allow_unauthenticated=False, grace_s=0) == 2
        orders = Orders(
            number=0,
            config=str(path),
            host=None,
            port=None,
            allow_unauthenticated=False,
            keys_required=False,
            grace_s=0,
        )
        one, other = socket.socketpair(), socket.socketpair()
        encoded = msgspec.json.encode(orders).decode()
        arguments = [str(one[0].detach()), str(other[0].detach()), encoded]
        assert worker.main(arguments) == 2
        for each in (one[1], other[1], *opened):
            each.close()


@case("cli/main.py _refuse print")
async def command_that_is_given_a_key(world: World) -> None:
    """A key where its public id, a scope or a name belongs is not repeated."""
    context = Context(environ={"RILLGATE_LEDGER__URL": "sqlite:///l.db"}, cwd=world.tmp_path, say=print)
    assert main(["ledger", "init"], context) == 0
    for words in (
        ["keys", "show", CLIENT_KEY],
        ["keys", "revoke", CLIENT_KEY],
        ["keys", "rotate", CLIENT_KEY],
        ["budget", "show", f"key:{CLIENT_KEY}"],
        ["budget", "set", CLIENT_KEY, "--limit", "tokens/day=1"],
        ["budget", "set", "global", "--limit", CLIENT_KEY],
        ["usage", "--by", "key", "--since", CLIENT_KEY],
    ):
        with suppress(SystemExit):  # argparse's own way
            assert main(words, context) != 0, words


@case("cli/serve.py say print")
async def banner_of_a_gateway(world: World) -> None:
    """What `serve` says comes from `Banner`, the model and the server: places and names."""
    settings = settings_for("http://127.0.0.1:9/v1")
    banner = Banner(settings, ("127.0.0.1", 8000), [*settings.notices], say)
    banner.listening()
    banner.listed("fake", ["one"], None)
    banner.listed("fake", None, "UpstreamError")


class _Talkative(BaseHTTPRequestHandler):
    """Answers `/readyz` with everything, and `/` too."""

    def do_GET(self) -> None:
        body = json.dumps({"detail": PROMPT, "key": CLIENT_KEY, "error": {"message": PROMPT}}).encode()
        self.send_response(503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@case("cli/healthcheck.py _unhealthy print")
async def healthcheck_of_somebody_else(world: World) -> None:
    """Only the gateway's own reasons are shown."""
    server = HTTPServer(("127.0.0.1", 0), _Talkative)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert healthcheck.main(["--url", f"http://127.0.0.1:{server.server_port}"]) == healthcheck.FAILED
    finally:
        server.shutdown()
        server.server_close()


@case("cli/doctor.py doctor print")
async def doctor_with_a_key(world: World) -> None:
    """It says that it spends, and goes on without repeating what it was given."""
    found = Finding("reach", "bad", "it cannot be reached")
    world.monkeypatch.setattr(doctor, "checks", lambda *args, **kwargs: iter((found,)))
    context = Context(environ={"RILLGATE_API_KEY": CLIENT_KEY}, cwd=world.tmp_path, say=print)
    main(["doctor", "--url", "http://127.0.0.1:9", "--key", CLIENT_KEY], context)


@case("cli/local/console.py say_on_stderr os.write")
async def console_of_a_local_function(world: World) -> None:
    """What it says is made by `Console`, of ids, times and failures that the layer has reduced."""
    say_on_stderr("START RequestId: 1 Version: $LATEST")


@case("app/encodings.py <module> sys.stdout.write")
async def encodings_as_a_program(world: World) -> None:
    """Run while a layer is built, it names the files that it has unpacked."""
    world.monkeypatch.setattr("sys.argv", ["encodings", str(world.tmp_path)])
    runpy.run_path(encodings.__file__, run_name="__main__")
