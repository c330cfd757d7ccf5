"""ministack as a process of its own, with `AUTH=true`: an emulator of AWS that checks signatures.

It checks those of keys that its IAM gave out; the key "test" is its root, whose signature nobody checks. Its
environment is apart from the project's, since their pins clash, and needs Python 3.13.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import msgspec
import pytest

from rillgate.wire.sigv4 import Credentials

PATIENCE_S: Final = 60.0  # a guard against hanging tests, never what a test waits for
REGION: Final = "eu-central-1"
USER: Final = "gateway"

COMMAND: Final = Path(__file__).parents[2] / "build" / "ministack" / "bin" / "ministack"
REMEDY: Final = "VENV=build/ministack VENV_PYTHON=python3.13 sh scripts/environment ministack"

_LISTENS: Final = re.compile(rb"Running on http://127\.0\.0\.1:(\d+)")
# It asks for actions of Bedrock that AWS does not have: there InvokeModel and its stream allow these calls.
_ALLOWED: Final = ["dynamodb:*", "bedrock:Converse", "bedrock:ConverseStream"]
_POLICY: Final = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": _ALLOWED, "Resource": "*"}]}


@dataclass(frozen=True)
class Ministack:
    """An emulator that runs.

    Attributes:
        url: where, without a slash at the end.
    """

    url: str

    def new_key(self) -> Credentials:
        """A key of a user who may do everything in DynamoDB, and call models."""
        with closing(self.client("iam")) as iam:
            key = iam.create_access_key(UserName=USER)["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    def delete_key(self, credentials: Credentials) -> None:
        """From now on calls that this key has signed are refused."""
        with closing(self.client("iam")) as iam:
            iam.delete_access_key(UserName=USER, AccessKeyId=credentials.access_key_id)

    def session(self, credentials: Credentials) -> Credentials:
        """Temporary credentials, with a session token, in the name of a key."""
        with closing(self.client("sts", credentials)) as sts:
            session = sts.get_session_token(DurationSeconds=900)["Credentials"]
        return Credentials(
            session["AccessKeyId"],
            session["SecretAccessKey"],
            session["SessionToken"],
            session["Expiration"].timestamp(),
        )

    def make_user(self) -> None:
        """The user that keys are for."""
        with closing(self.client("iam")) as iam:
            iam.create_user(UserName=USER)
            policy = msgspec.json.encode(_POLICY).decode()
            iam.put_user_policy(UserName=USER, PolicyName="gateway", PolicyDocument=policy)

    def client(self, service: str, credentials: Credentials | None = None) -> Any:
        """AWS's own client of a service, to be closed; as the root user without credentials."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=credentials.access_key_id if credentials else "test",
            aws_secret_access_key=credentials.secret_access_key if credentials else "test",
        )


@contextmanager
def ministack(folder: Path, *, auth: bool = True, port: int = 0, models_url: str | None = None) -> Iterator[Ministack]:
    """Start it on loopback, with one user. `folder` takes what it writes.

    Skips the test where its environment is not there.

    Args:
        auth: whether signatures are checked. The functions that it runs have no key that it would take.
        port: where it listens; 0 for any free one, which the functions that it runs would not be told.
        models_url: the server of Chat Completions behind its Bedrock, without /v1; None lets it make answers up.
    """
    if not COMMAND.exists():
        pytest.skip(f"ministack is not installed; with a Python 3.13: {REMEDY}")
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "AUTH": "true" if auth else "false",
        "MINISTACK_REGION": REGION,
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
    }
    if models_url is not None:
        environment["MINISTACK_BEDROCK_PROXY_URL"] = models_url
    process = subprocess.Popen(
        [COMMAND],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    guard = threading.Timer(PATIENCE_S, process.kill)
    guard.start()
    reader: threading.Thread | None = None
    try:
        said = b""
        while (listens := _LISTENS.search(said)) is None:
            line = process.stderr.readline()
            assert line, f"ministack ended: {said.decode(errors='replace')}"
            said += line
        guard.cancel()
        reader = threading.Thread(target=process.stderr.read)  # it must not stand still on a full pipe
        reader.start()
        running = Ministack(f"http://127.0.0.1:{int(listens[1])}")
        running.make_user()
        yield running
    finally:
        guard.cancel()
        guard.join()
        process.kill()
        process.wait()
        if reader is not None:
            reader.join()
        process.stderr.close()
