"""The functions whose cold starts are measured: ours as it is built for Lambda, and two as they are usually written.

The others do less: no keys, no budgets, no metering, no metrics. They run on the managed runtime's own loop (the wheel
`awslambdaric`), which does not stream, so their first byte is the first of a whole answer. Each function is a folder
with an executable `bootstrap` and a task root, so that the emulator starts them all in the same way.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import ROOT, BenchmarkError

COMPARE = ROOT / "build" / "compare"
REMEDY = "VENV=build/compare sh scripts/environment compare"
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
OURS, BARE, FASTAPI, STARLETTE = "Rillgate", "without byte code", "FastAPI + openai SDK + Mangum", "Starlette + Mangum"

FASTAPI_SOURCE = """
import os
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from mangum import Mangum
from openai import AsyncOpenAI
from pydantic import BaseModel

class Message(BaseModel):
    role: str
    content: str

class Chat(BaseModel):
    model: str
    messages: list[Message]

app = FastAPI()
client = AsyncOpenAI(base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"])

@app.post("/v1/chat/completions")
async def chat(body: Chat):
    messages = [message.model_dump() for message in body.messages]
    stream = await client.chat.completions.create(model=body.model, messages=messages, stream=True)
    async def events():
        async for chunk in stream:
            yield f"data: {chunk.model_dump_json()}\\n\\n"
        yield "data: [DONE]\\n\\n"
    return StreamingResponse(events(), media_type="text/event-stream")

handler = Mangum(app, lifespan="off")
"""

STARLETTE_SOURCE = """
import os
import httpx2
from mangum import Mangum
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

client = httpx2.AsyncClient(
    base_url=os.environ["OPENAI_BASE_URL"], headers={"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
)

async def chat(request):
    sent = client.build_request("POST", "/chat/completions", json=await request.json())
    response = await client.send(sent, stream=True)
    return StreamingResponse(response.aiter_bytes(), response.status_code, media_type="text/event-stream")

handler = Mangum(Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])]), lifespan="off")
"""


@dataclass(frozen=True)
class Function:
    """One function, ready to be started.

    Attributes:
        folder: has the `bootstrap`.
        paths: where its modules are, first to last.
        handler: as Lambda names it.
        variables: beside those of every function.
    """

    name: str
    folder: Path
    task_root: Path
    paths: tuple[Path, ...]
    handler: str
    variables: Mapping[str, str] = field(default_factory=dict)


def bare_python(python: str, folder: Path) -> Path:
    """An interpreter that has nothing but its standard library, whatever is installed for the one it is made from."""
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


def build(python: str, folder: Path) -> dict[str, int]:
    """Build function and layers for this machine with the Makefiles that `sam build` runs; sizes as zip, in bytes.

    Raises: BenchmarkError: a build failed.
    """
    sizes = {}
    for target, source in (
        ("GatewayFunction", "functions"),
        ("RuntimeLayer", "layers/runtime"),
        ("DependenciesLayer", "layers/dependencies"),
    ):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "RILLGATE_"))}
        variables = {
            "ARTIFACTS_DIR": str(folder / target),
            "RILLGATE_ARCH": ARCHITECTURES[platform.machine()],
            "RILLGATE_PYTHON": python,
            "LAMBDA_PYTHON": python,
        }
        command = ["make", "-s", "-C", str(ROOT / source), f"build-{target}"]
        done = subprocess.run(command, env=kept | variables, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"{target} could not be built: {done.stderr}")
        sizes[target] = zipped_bytes(folder / target)
    return sizes


def zipped_bytes(folder: Path) -> int:
    """The size of a folder as it is uploaded."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return len(buffer.getvalue())


def ours(built: Path, folder: Path, variables: Mapping[str, str], *, byte_code: bool = True) -> Function:
    """The built gateway, its layers unpacked over each other as under /opt."""
    left_out = None if byte_code else shutil.ignore_patterns("__pycache__")
    opt, task = folder / "opt", folder / "task"
    for layer in ("RuntimeLayer", "DependenciesLayer"):
        shutil.copytree(built / layer, opt, dirs_exist_ok=True, ignore=left_out)
    shutil.copytree(built / "GatewayFunction", task, ignore=left_out)
    name, handler = OURS if byte_code else BARE, "rillgate.lambda_gateway.handler"
    return Function(name, opt, task, (task, opt / "python"), handler, variables)


def packages() -> Path:
    """Where those of the usual functions are, if they are installed."""
    return COMPARE / "lib" / "python3.13" / "site-packages"


def usual(name: str, source: str, folder: Path, python: Path) -> Function:
    """A function on the managed runtime's own loop."""
    folder.mkdir()
    (folder / "usual.py").write_text(source)
    subprocess.run([python, "-m", "compileall", "-q", folder], check=True)
    lines = (
        "#!/bin/sh",
        f"cd '{folder}'",
        f"export PYTHONPATH='{packages()}'",
        f"exec '{python}' -m awslambdaric $_HANDLER",
    )
    (folder / "bootstrap").write_text("\n".join(lines) + "\n")
    (folder / "bootstrap").chmod(0o755)
    return Function(name, folder, folder, (folder, packages()), "usual.handler")
