"""Other gateways, as their packages install them, each in an environment of its own and set up as its own words say.

They do other things than ours does, and are measured as they are: one process, no books on disk, and the limit on
requests lifted where there is one.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import ROOT, free_port
from benchmarks.relay import MODEL
from benchmarks.ways import Kind, MissingError, Way, serving

REMEDY = "make bench-peers"
UNLIMITED = "1000000"  # requests a second


@contextmanager
def _ferrogw(port: int) -> Iterator[Way]:
    """It serves known models only, and asks the provider under `/v1` by itself."""
    program = _program("ferrogw")
    listens, key = free_port(), f"fgw_{secrets.token_hex(20)}"
    variables = {
        "PORT": str(listens),
        "MASTER_KEY": key,
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port}",
        "RATE_LIMIT_RPS": UNLIMITED,
        "RATE_LIMIT_BURST": UNLIMITED,
        "LOG_LEVEL": "error",
    }
    with serving([program, "serve"], listens, variables, key=key) as way:
        yield way


@contextmanager
def _litellm(port: int) -> Iterator[Way]:
    """Its configuration is YAML, of which JSON is a part."""
    program = _program("litellm")
    listens, key = free_port(), f"sk-{secrets.token_hex(20)}"
    model = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": "none"}
    variables = {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder, "litellm.yaml")
        configuration.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": model}]}))
        words = ["--config", str(configuration), "--host", "127.0.0.1", "--port", str(listens), "--telemetry", "False"]
        with serving([program, *words], listens, variables, key=key) as way:
            yield way


def version_of(name: str) -> str:
    """As its package says; "" where it is not installed."""
    found = sorted(_environment(name).glob(f"lib/python3*/site-packages/{name}-*.dist-info"))
    return found[-1].name.removeprefix(f"{name}-").removesuffix(".dist-info") if found else ""


def _program(name: str) -> str:
    program = _environment(name) / "bin" / name
    if not program.exists():
        raise MissingError(REMEDY)
    return str(program)


def _environment(name: str) -> Path:
    return ROOT / "build" / f"peers-{name}"


def kinds() -> Mapping[str, Kind]:
    """Each by its package's name."""
    return {
        "ferrogw": Kind(f"ferrogw {version_of('ferrogw')}", _ferrogw),
        "litellm": Kind(f"litellm {version_of('litellm')}", _litellm, slow=True),
    }
