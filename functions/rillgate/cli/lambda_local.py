"""`rillgate lambda-local`: the function behind a Function URL on this machine, run by its own bootstrap."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from rillgate.app.http_protocol import HttpLimits
from rillgate.app.listen import ListenError, listen, raise_open_files
from rillgate.app.server import run
from rillgate.app.settings.rules import MEMORY
from rillgate.app.settings.types import Settings
from rillgate.app.stores import check_store
from rillgate.cli.banner import ledger_place
from rillgate.cli.context import Context, UsageError
from rillgate.cli.local.console import Console, say_on_stderr
from rillgate.cli.local.function_url import FunctionUrl
from rillgate.cli.local.local_lambda import LocalLambda
from rillgate.cli.local.shape import Shape, build, checkout
from rillgate.cli.local.variables import configured_variables
from rillgate.cli.serve import say

PORT = 9000
TIMEOUT_S_MAX = 900
MEMORY_MB_MIN, MEMORY_MB_MAX = 128, 10_240
ENVIRONMENTS_MAX = 100
LINGER_S = 30.0


def add_lambda_local(commands: Any) -> None:
    """Add `rillgate lambda-local` to the commands."""
    parser = commands.add_parser(
        "lambda-local",
        help="run the Lambda function behind a Function URL on this machine",
        description="Run the function as Lambda does, without an AWS account: its own bootstrap and layers, a process "
        "for each request at a time, answers streamed through a Function URL.",
    )
    parser.set_defaults(run=lambda_local)
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration (default: ./rillgate.toml if there)")
    parser.add_argument(
        "--port", type=int, default=PORT, metavar="N", help=f"port of the URL, 0 for a free one (default: {PORT})"
    )
    parser.add_argument(
        "--build",
        type=Path,
        metavar="DIR",
        help="run this .aws-sam/build, made for this machine (default: the checkout)",
    )
    parser.add_argument(
        "--timeout-s",
        type=_number(0.1, TIMEOUT_S_MAX, float),
        default=float(TIMEOUT_S_MAX),
        metavar="SECONDS",
        help=f"after which an invocation is killed (default: {TIMEOUT_S_MAX})",
    )
    parser.add_argument(
        "--memory-mb",
        type=_number(MEMORY_MB_MIN, MEMORY_MB_MAX, int),
        default=1024,
        metavar="MB",
        help="resident memory above which an environment is killed; Linux only (default: 1024)",
    )
    parser.add_argument(
        "--environments-max",
        type=_number(1, 1000, int),
        default=ENVIRONMENTS_MAX,
        metavar="N",
        help=f"how many may run at once; one more is answered 429 (default: {ENVIRONMENTS_MAX})",
    )
    parser.add_argument(
        "--propagate-disconnect",
        action="store_true",
        help="tell the function when its client has left, which a real Function URL does not",
    )


def lambda_local(options: argparse.Namespace, context: Context) -> int:
    """Run it until a signal ends it.

    Raises:
        SettingsError, StoreUnavailable, UsageError: one line that says what to change.
    """
    variables, settings = configured_variables(options.config, context.environ, context.cwd)
    if settings is not None:
        _check(settings, variables)
    try:
        sock, notices = listen("127.0.0.1", options.port, stall_s=LINGER_S)
    except ListenError as error:
        raise UsageError(str(error)) from error
    raise_open_files()
    with sock, tempfile.TemporaryDirectory(prefix="rillgate-lambda-") as folder:
        code = checkout() if options.build is None else build(options.build, Path(folder))
        shape = Shape(
            code.command,
            code.task_root,
            code.opt,
            configured=variables,
            timeout_s=options.timeout_s,
            memory_mb=options.memory_mb,
            path=context.environ.get("PATH", ""),
        )
        console = Console(say_on_stderr)
        url = FunctionUrl(
            LocalLambda(shape, console, environments_max=options.environments_max),
            console,
            region=shape.region,
            propagate_disconnect=options.propagate_disconnect,
        )
        lines = [*notices, *banner(sock.getsockname()[1], shape, settings, told=options.propagate_disconnect)]
        url.on_started.append(lambda: say("\n".join(lines)))
        return run(url, [sock], drain=url, grace_s=0, limits=HttpLimits(linger_s=LINGER_S), say=say)


def banner(port: int, shape: Shape, settings: Settings | None, *, told: bool) -> list[str]:
    """What is there, how to make a key, and a line to try it with."""
    address = f"http://127.0.0.1:{port}"
    ledger = shape.configured.get("RILLGATE_LEDGER__URL", "")
    gone = "ends its invocation (--propagate-disconnect)" if told else "is not noticed, as on Lambda"
    lines = [
        f"Function URL: {address}/",
        f"Handler: {shape.handler}, {shape.memory_mb} MB, {shape.timeout_s:g} s; a client that leaves {gone}.",
    ]
    if settings is not None and ledger == MEMORY:
        lines.append("Ledger: in memory, one for each environment: nothing is shared between them.")
    elif settings is not None:
        lines.append(f"Ledger: {ledger_place(ledger)}")
    lines += [
        "Keys are always on here, as on Lambda; make one with:",
        f"  rillgate keys create --name me --ledger '{ledger}'" if ledger else "  rillgate keys create --name me",
        "Try it:",
        f"  curl -N {address}/chat/stream -H 'Authorization: Bearer rill_…' -H 'Content-Type: application/json' "
        """-d '{"prompt": "Why is the sky blue?"}'""",
    ]
    return lines


def _check(settings: Settings, variables: dict[str, str]) -> None:
    """What would fail in every environment fails here, once."""
    embedded = next((name for name, provider in settings.providers.items() if provider.is_embedded), None)
    if embedded is not None:
        raise UsageError(
            f"providers.{embedded}: the embedded model does not run on Lambda; configure a provider, such as "
            "OPENAI_API_KEY, ANTHROPIC_API_KEY or RILLGATE_BACKEND=bedrock, or OLLAMA_HOST=127.0.0.1 for a local one"
        )
    check_store(settings.ledger, variables)


def _number(smallest: float, largest: float, kind: type[int] | type[float]) -> Any:
    def number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not smallest <= value <= largest:
            raise argparse.ArgumentTypeError(f"give a number from {smallest:g} to {largest:g}, not {text!r}")
        return value

    return number
