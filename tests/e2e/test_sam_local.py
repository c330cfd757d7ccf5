"""`sam local` without Docker: the events that SAM generates, fed to the buffered handler of this machine's build."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from rillgate.identity.keys import new_key
from tests.e2e.sam_build import ROOT, bare_python, built, host, sam
from tests.infra.cloudformation import Stack
from tests.infra.test_template import overrides, variables

pytestmark = pytest.mark.slow

PATIENCE_S: Final = 60.0
KINDS: Final = ("aws-proxy", "http-api-proxy")  # a REST API's events, and an HTTP API's

RUN: Final = """
import json, sys
from rillgate.lambda_buffered import handler

class Context:
    aws_request_id = "local"
    def get_remaining_time_in_millis(self):
        return 29_000

events = json.load(sys.stdin)
answers = [handler(event, Context()) for event in events]
sys.stdout.write("\\nANSWERS " + json.dumps(answers) + "\\n")
"""


def event(kind: str, method: str, path: str, headers: dict[str, str], body: str = "") -> dict[str, Any]:
    """An event as SAM generates it, for this request."""
    done = sam("local", "generate-event", "apigateway", kind, "--method", method, "--path", path.lstrip("/"))
    assert done.returncode == 0, done.stderr
    generated: dict[str, Any] = json.loads(done.stdout)
    generated["headers"] = {"Host": "localhost:3000", **headers}
    generated.pop("multiValueHeaders", None)
    generated |= {"body": body, "isBase64Encoded": False}
    if kind == "aws-proxy":
        generated["path"] = path
    else:
        generated["rawPath"] = generated["requestContext"]["http"]["path"] = path
    return generated


def answers(events: list[dict[str, Any]], given: dict[str, str]) -> list[dict[str, Any]]:
    """What the built handler says to events, in one environment, on a bare Python 3.13."""
    build = built(host())
    done = subprocess.run(
        [bare_python(), "-c", RUN],
        input=json.dumps(events),
        env={
            "PATH": os.environ["PATH"],
            "LAMBDA_TASK_ROOT": str(build / "BufferedFunction"),
            "PYTHONPATH": f"{build / 'BufferedFunction'}:{build / 'DependenciesLayer' / 'python'}",
            **given,
        },
        cwd=build / "BufferedFunction",
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.partition("ANSWERS ")[2].splitlines()[0])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_generated_events_are_answered_with_the_variables_of_the_environment_local(kind: str) -> None:
    """The key that the run was given is let in, and nobody else."""
    key = new_key()
    stack = Stack(**overrides("local"), LocalKey=key, ProviderKeyParameter="", ProviderBaseUrl="http://127.0.0.1:9/v1")
    given = variables(stack, "BufferedFunction")
    bearer = {"Authorization": f"Bearer {key}"}
    health, mine, strangers, unreachable = answers(
        [
            event(kind, "GET", "/healthz", {}),
            event(kind, "GET", "/v1/usage", bearer),
            event(kind, "GET", "/v1/usage", {"Authorization": f"Bearer {new_key()}"}),
            event(kind, "POST", "/chat/stream", bearer, '{"model": "openai/m", "prompt": "hi"}'),
        ],
        given,
    )
    assert (health["statusCode"], health["body"]) == (200, '{"status":"ok"}')
    assert (mine["statusCode"], strangers["statusCode"]) == (200, 401)
    assert json.loads(mine["body"])["object"] == "usage"
    assert unreachable["statusCode"] == 502


def test_make_sam_local_without_docker_says_what_is_missing(tmp_path: Path) -> None:
    """One line, and no key is made for nothing."""
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("sh", "make", "python3", "dirname", "uname", "cat", "env"):
        found = shutil.which(name)
        if found:
            (bare / name).symlink_to(found)
    done = subprocess.run(
        ["sh", ROOT / "scripts" / "sam-local"],
        env={"PATH": str(bare), "HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode != 0
    assert "Docker" in done.stderr
    assert "rill_" not in done.stdout + done.stderr
