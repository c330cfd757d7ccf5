"""What an environment looks like from the inside: folders, variables, command and limits.

By default the checkout is what runs: `functions/` is the task root, `layers/runtime` is /opt, and the packages are
those of this command's own Python. With a build it is what `sam build` made, in a Python 3.13 without packages of its
own: all layers are laid over each other in one folder, as Lambda does it at /opt. That folder is not at /opt itself;
whatever reads /opt by name, and not by the variables below, finds nothing here.
Source: Lambda developer guide, "Using Lambda environment variables", read 2026-11-21; `template.yaml`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import rillgate
from rillgate.cli.context import UsageError

FUNCTION_NAME = "rillgate"
HANDLER = "rillgate.lambda_gateway.handler"
BUILD_PYTHON = "python3.13"
STOCK_BOOTSTRAP = "/var/runtime/bootstrap.py"  # what Lambda names to an exec wrapper; never run here
REGION = "us-east-1"  # where the caller's environment names none
_OF_LAMBDA = ("AWS_LAMBDA_", "AWS_EXECUTION_ENV")


@dataclass(frozen=True, slots=True)
class Shape:
    """One function as it is deployed.

    Attributes:
        command: what starts an environment.
        task_root, opt: /var/task and /opt.
        configured: the variables that the function's configuration gives it.
        timeout_s, memory_mb: its limits.
        handler: package.module.attribute.
        path: PATH.
    """

    command: tuple[str, ...]
    task_root: Path
    opt: Path
    configured: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 900.0
    memory_mb: int = 1024
    handler: str = HANDLER
    path: str = os.defpath

    @property
    def region(self) -> str:
        """Where the function believes to be."""
        return self.configured.get("AWS_REGION") or self.configured.get("AWS_DEFAULT_REGION") or REGION

    @property
    def function_arn(self) -> str:
        """As invocations name it."""
        return f"arn:aws:lambda:{self.region}:012345678912:function:{FUNCTION_NAME}"

    def variables(self, runtime_api: str) -> dict[str, str]:
        """The whole environment of a process.

        Args: runtime_api: host and port of its Runtime API.
        """
        found = {
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PATH": f"{self.opt / 'bin'}{os.pathsep}{self.path}",
            "LD_LIBRARY_PATH": str(self.opt / "lib"),
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "LAMBDA_ASGI_ERROR_DETAILS": "type",  # as the template has it
            "PYTHONNOUSERSITE": "1",
        }
        certificates = self.opt / "certificates" / "cacert.pem"
        if certificates.exists():
            found["SSL_CERT_FILE"] = str(certificates)
        found |= {name: value for name, value in self.configured.items() if not name.startswith(_OF_LAMBDA)}
        return found | {
            "_HANDLER": self.handler,
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_LAMBDA_EXEC_WRAPPER": self.command[0],
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_FUNCTION_NAME": FUNCTION_NAME,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{FUNCTION_NAME}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"local/[$LATEST]{runtime_api.rpartition(':')[2]}",
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "LAMBDA_RUNTIME_DIR": str(Path(STOCK_BOOTSTRAP).parent),
            "LAMBDA_TASK_ROOT": str(self.task_root),
        }


@dataclass(frozen=True, slots=True)
class Code:
    """Where the function's code is, and the Python that runs it."""

    python: str
    task_root: Path
    opt: Path

    @property
    def command(self) -> tuple[str, ...]:
        """As Lambda calls an exec wrapper."""
        return (str(self.opt / "bootstrap"), self.python, STOCK_BOOTSTRAP)


def checkout() -> Code:
    """The checkout that this command runs from.

    Raises: UsageError: it runs from none.
    """
    task_root = Path(rillgate.__file__).parents[1]
    layer = task_root.parent / "layers" / "runtime"
    if not (layer / "bootstrap").exists():
        raise UsageError(
            f"lambda-local runs the layer of a checkout, and {str(layer)!r} is not there; "
            "run it from a checkout, or give --build DIR"
        )
    return Code(sys.executable, task_root, layer)


def build(folder: Path, opt: Path) -> Code:
    """What `sam build` left in a folder, its layers laid over each other in `opt`, which is empty.

    Raises: UsageError: it is not there, or cannot run here.
    """
    parts = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    functions = [part for part in parts if (part / "rillgate" / "lambda_gateway.py").exists()]
    layers = [part for part in parts if part not in functions and (part / "python").is_dir()]
    if not functions or not any((layer / "bootstrap").exists() for layer in layers):
        raise UsageError(
            f"--build: {str(folder)!r} holds no function and layers; make them with `sam build`, for this machine with "
            "RILLGATE_ARCH=x86_64 or arm64, and name its folder .aws-sam/build"
        )
    for layer in layers:
        shutil.copytree(layer, opt, copy_function=_link, dirs_exist_ok=True)
    return Code(_build_python(), functions[0].absolute(), opt)


def _build_python() -> str:
    base = str(getattr(sys, "_base_executable", sys.executable))  # not a virtual environment's: it has packages
    python = base if sys.version_info[:2] == (3, 13) else shutil.which(BUILD_PYTHON)
    if python is None:
        raise UsageError(f"--build: the function is built for {BUILD_PYTHON}, which is not on the PATH")
    return python


def _link(source: str, target: str) -> str:
    Path(target).unlink(missing_ok=True)  # a later layer's file takes an earlier one's place
    os.symlink(os.path.abspath(source), target)
    return target
