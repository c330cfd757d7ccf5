"""The ways from a client to the fake provider that are measured beside each other, each a process of its own.

All of them ask the same provider for the same model. Where one is not installed here it says so, with the remedy.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import (
    ROOT,
    BenchmarkError,
    Gateway,
    clean_environment,
    free_port,
    gateway,
    nginx,
    python_command,
    rillgate_command,
    server,
)
from benchmarks.relay import MODEL

PROVIDER = "fake"
LIMIT = "tokens/day=1000000000"  # never met, and counted against all the same
COMPARE = ROOT / "build" / "compare"
COMPARE_REMEDY = "VENV=build/compare sh scripts/environment compare"


class MissingError(Exception):
    """A way cannot be gone on this machine; the message is the remedy."""


@dataclass(frozen=True)
class Way:
    """Where to ask, what for, and whose processor time it takes.

    Attributes:
        pid: None where nothing stands in between.
        key: what every request shows; "" for none.
    """

    port: int
    pid: int | None = None
    model: str = MODEL
    key: str = ""


@dataclass(frozen=True)
class Kind:
    """One way as it is told of.

    Attributes:
        open: makes it, in front of a provider's port; raises MissingError.
        slow: so dear that its burst is made of fewer streams.
    """

    words: str
    open: Callable[[int], AbstractContextManager[Way]]
    slow: bool = False


@contextmanager
def _direct(port: int) -> Iterator[Way]:
    yield Way(port)


@contextmanager
def _nginx(port: int) -> Iterator[Way]:
    with nginx([port]) as found:
        if found is None:
            raise MissingError("nginx is not installed")
        child, (listens,) = found
        yield Way(listens, child.pid)


@contextmanager
def _copy(port: int) -> Iterator[Way]:
    if importlib.util.find_spec("uvloop") is None:
        raise MissingError("uvloop is not installed")
    listens = free_port()
    command = python_command("copying", "--port", str(listens), "--provider", str(port))
    with serving(command, listens, {"PYTHONPATH": str(ROOT)}) as way:
        yield way


@contextmanager
def _bare(port: int) -> Iterator[Way]:
    with gateway({PROVIDER: _base_url(port)}, ledger__url="memory:") as g:
        yield _ready(g)


@contextmanager
def full(port: int, program: Sequence[str] | None = None) -> Iterator[Way]:
    """The gateway that asks for a key, counts live, and keeps its books in a file.

    Args:
        program: what stands in for the command `rillgate`.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'ledger.db'}"
        key = _new_key(url)
        with gateway(
            {PROVIDER: _base_url(port)},
            program=program,
            environ={"PYTHONPATH": str(ROOT)} if program else None,
            ledger__url=url,
            auth__required="true",
        ) as g:
            yield _ready(g, key)


def _stock(port: int) -> AbstractContextManager[Way]:
    return full(port, python_command("stock"))


@contextmanager
def _naive(port: int) -> Iterator[Way]:
    python = COMPARE / "bin" / "python"
    if not list(COMPARE.glob("lib/python3*/site-packages/uvicorn")):
        raise MissingError(COMPARE_REMEDY)
    listens = free_port()
    command = [str(python), "-m", "benchmarks.naive", "--port", str(listens)]
    with serving(command, listens, {"OPENAI_BASE_URL": _base_url(port), "OPENAI_API_KEY": "none"}) as way:
        yield way


@contextmanager
def serving(command: list[str], port: int, variables: Mapping[str, str], *, key: str = "") -> Iterator[Way]:
    """Any server of one process, once it listens; some take their time."""
    with server(command, port, env=clean_environment(variables), start_s=120) as child:
        yield Way(port, child.pid, key=key)


def _base_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def _ready(g: Gateway, key: str = "") -> Way:
    g.wait_ready()
    return Way(g.port, g.pid, f"{PROVIDER}/{MODEL}", key)


def _new_key(url: str) -> str:
    """A key with a limit, in a ledger that is made for it."""
    command = rillgate_command("keys", "create", "--ledger", url, "--name", "bench", "--limit", LIMIT, "--json")
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"no key could be made: {done.stderr[-2000:]}")
    key: str = json.loads(done.stdout)["key"]
    return key


DIRECT, NGINX, COPY = "direct", "nginx", "copy"
FULL, BARE, STOCK, NAIVE = "full", "bare", "stock", "naive"
KINDS: Mapping[str, Kind] = {
    DIRECT: Kind("straight to the provider", _direct),
    NGINX: Kind("nginx", _nginx),
    COPY: Kind("Python that copies bytes", _copy),
    FULL: Kind("Rillgate (key, count, SQLite)", full),
    BARE: Kind("Rillgate (no keys, books in memory)", _bare),
    STOCK: Kind("Rillgate (key, count, SQLite) on httpx2's own transport", _stock),
    NAIVE: Kind("FastAPI + openai SDK + queue", _naive, slow=True),
}
