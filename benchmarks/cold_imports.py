"""What a function has imported by the end of its first request, and what those imports alone cost.

First the function serves one request and tells which modules it has. Then new processes import the same modules in
the same order and nothing else, so that neither the network nor what a function composes is in the figure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.cold_functions import OURS, Function
from benchmarks.processes import BenchmarkError

ENTRIES = {"usual", "rillgate.lambda_gateway"}  # they compose the app
LOOPS = {OURS: "lambda_asgi.runtime"}  # what calls the function; of the others the managed runtime's own
STANDARD = "standard library"

# Called with: the handler, the loop's module, the event as JSON. Tells the modules that the process did not begin with.
SERVE = """
import sys
before = set(sys.modules)
import asyncio, importlib, json
from types import SimpleNamespace
importlib.import_module(sys.argv[2])
module, _, name = sys.argv[1].rpartition(".")
handler = getattr(importlib.import_module(module), name)
event = json.loads(sys.argv[3])

async def streamed():
    received, sent = asyncio.Queue(), asyncio.Queue()
    life = asyncio.create_task(handler({"type": "lifespan", "asgi": {"version": "3.0"}}, received.get, sent.put))
    received.put_nowait({"type": "lifespan.startup"})
    assert (await sent.get())["type"] == "lifespan.startup.complete"
    messages, answered = asyncio.Queue(), []
    messages.put_nowait({"type": "http.request", "body": event["body"].encode()})
    async def send(message):
        answered.append(message)
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "https",
        "path": event["rawPath"], "raw_path": event["rawPath"].encode(), "query_string": b"", "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in event["headers"].items()],
        "client": ("203.0.113.7", 0), "server": ("localhost", 443), "extensions": {},
    }
    await handler(scope, messages.get, send)
    loaded = set(sys.modules)
    return loaded, answered[0]["status"]

if sys.argv[1].startswith("rillgate"):
    loaded, status = asyncio.run(streamed())
else:
    asyncio.set_event_loop(asyncio.new_event_loop())
    status = handler(event, SimpleNamespace(aws_request_id="1"))["statusCode"]
    loaded = set(sys.modules)
names = [name for name in list(sys.modules) if name in loaded - before and name != "__main__"]
print("\\n" + json.dumps({"status": status, "modules": names}))
"""

# Called with a file that has the modules' names.
IMPORT = """
import sys, time
began, used = time.perf_counter(), time.process_time()
import json
for name in json.load(open(sys.argv[1])):
    try:
        __import__(name)  # importlib.import_module stays out of the interpreter's own accounts
    except ImportError:
        pass
print(json.dumps([time.perf_counter() - began, time.process_time() - used]))
"""


def modules_of(
    function: Function, python: Path, event: Mapping[str, object], variables: Mapping[str, str]
) -> list[str]:
    """The modules of a process that has served one request, in the order in which they came.

    Raises: BenchmarkError: the request failed.
    """
    loop = LOOPS.get(function.name, "awslambdaric.bootstrap")
    command = [str(python), "-c", SERVE, function.handler, loop, json.dumps(event)]
    done = subprocess.run(
        command,
        env=_environment(function, variables),
        cwd=function.task_root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"{function.name} served nothing: {done.stderr}")
    told = json.loads(done.stdout.splitlines()[-1])
    if told["status"] != 200:
        raise BenchmarkError(f"{function.name} answered {told['status']}: {done.stdout}")
    return [name for name in told["modules"] if name not in ENTRIES]


def import_seconds(function: Function, python: Path, modules: Path) -> tuple[float, float]:
    """Wall and processor time of importing them in a new process; `modules` is a file with their names."""
    done = _imports(function, [str(python), "-c", IMPORT, str(modules)])
    wall, used = json.loads(done.stdout)
    return wall, used


def import_table(function: Function, python: Path, modules: Path) -> dict[str, int]:
    """Microseconds by top package, as the interpreter counts, which itself makes every import longer."""
    done = _imports(function, [str(python), "-X", "importtime", "-c", IMPORT, str(modules)])
    return grouped(done.stderr.splitlines())


def grouped(lines: Sequence[str]) -> dict[str, int]:
    """Lines of `-X importtime` by package, costliest first; the standard library is one."""
    found: Counter[str] = Counter()
    for line in lines:
        own, _, rest = line.removeprefix("import time:").partition("|")
        if line.startswith("import time:") and own.strip().isdigit():
            package = rest.rpartition("|")[2].strip().partition(".")[0]
            found[STANDARD if package in sys.stdlib_module_names else package] += int(own)
    return dict(found.most_common())


def _imports(function: Function, command: list[str]) -> subprocess.CompletedProcess[str]:
    variables = _environment(function, {})
    done = subprocess.run(command, env=variables, cwd=function.task_root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{function.name} could not be imported: {done.stderr}")
    return done


def _environment(function: Function, variables: Mapping[str, str]) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": ":".join(map(str, function.paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
        **function.variables,
    }
