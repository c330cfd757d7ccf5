"""`sam deploy` into an emulator of AWS: the template, the packages, the table and the function's URL, as one.

The emulator runs functions with the stock runtime and knows nothing of the exec wrapper, so answers come as a whole;
streaming is shown by the Runtime Interface Emulator and by `rillgate lambda-local`. Of a URL that streams it gives the
stock handler's answer as it is: status, headers and body in one JSON object.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
import pytest

from tests.e2e.ministack import REGION, Ministack, ministack
from tests.e2e.process import command
from tests.e2e.sam_build import ROOT, built, host, sam
from tests.fakes.gateway import CHAT, chat_body

pytestmark = pytest.mark.slow

STACK: Final = "rillgate"
PROVIDER_KEY: Final = "sk-fake-provider-key-0123"
PARAMETER: Final = "/rillgate/openai-key"
ROOT_KEY: Final = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}  # the emulator's own administrator
PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class Deployed:
    """A stack in the emulator.

    Attributes:
        aws: the emulator.
        outputs: of the stack, by name.
        provider: where the fake provider answers.
    """

    aws: Ministack
    outputs: Mapping[str, str]
    provider: str

    @property
    def ledger(self) -> str:
        """The table, for an operator's command."""
        return f"dynamodb://{self.outputs['LedgerTable']}?region={REGION}&endpoint_url={self.aws.url}"

    def ask(self, path: str, key: str | None = None, body: object = None) -> tuple[int, dict[str, str], str]:
        """A request to the function's URL: status, headers and body."""
        headers = {"host": urlsplit(self.outputs["Url"]).netloc, "content-type": "application/json"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.aws.url + path, data, headers)  # noqa: S310 (loopback)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310
            answer = json.load(response)
        return answer["statusCode"], answer["headers"], answer["body"]

    def get(self, path: str, host: str) -> Any:
        """A page of the front end asks; the answer's JSON."""
        headers = {"host": host, "origin": "https://app.example"}
        request = urllib.request.Request(self.aws.url + path, headers=headers)  # noqa: S310 (loopback)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310
            return json.load(response)

    def operate(self, *words: str) -> str:
        """What an operator's command prints."""
        environment = {"PATH": os.environ["PATH"], "AWS_REGION": REGION, **ROOT_KEY}
        done = subprocess.run(
            command(*words, "--ledger", self.ledger),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def logged(self) -> list[dict[str, Any]]:
        """The function's own lines of JSON."""
        with closing(client(self.aws, "logs")) as logs:
            events = logs.filter_log_events(logGroupName=self.outputs["LogGroup"])["events"]
        return [json.loads(event["message"]) for event in events if event["message"].startswith("{")]


def client(aws: Ministack, service: str) -> Any:
    """boto3's, of the emulator's administrator."""
    return boto3.client(
        service,
        endpoint_url=aws.url,
        region_name=REGION,
        aws_access_key_id=ROOT_KEY["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ROOT_KEY["AWS_SECRET_ACCESS_KEY"],
    )


@contextmanager
def provider() -> Iterator[str]:
    """A fake provider in a process of its own; gives its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.provider", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def deploy(aws: Ministack, folder: Path, **parameters: str) -> None:
    """The host's build, as `sam deploy` with samconfig.toml does it."""
    given = {"Architecture": host(), **parameters}
    done = sam(
        "deploy",
        *("--template-file", str(built(host()) / "template.yaml"), "--config-file", str(ROOT / "samconfig.toml")),
        *("--no-confirm-changeset", "--no-progressbar"),
        *("--parameter-overrides", *(f"{name}={value}" for name, value in given.items())),
        AWS_ENDPOINT_URL=aws.url,
        HOME=str(folder),
        **ROOT_KEY,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def outputs(aws: Ministack) -> dict[str, str]:
    """Of the stack, by name."""
    with closing(client(aws, "cloudformation")) as cloudformation:
        (stack,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    return {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The whole stack, with the provider's key where its parameters say."""
    folder = tmp_path_factory.mktemp("ministack")
    built(host())  # first, so that nothing waits for it with a server open
    with ministack(folder, auth=False, port=_free_port()) as aws, provider() as base_url:
        with closing(client(aws, "ssm")) as ssm:
            ssm.put_parameter(Name=PARAMETER, Value=PROVIDER_KEY, Type="SecureString")
        deploy(aws, folder, ProviderBaseUrl=base_url)
        yield Deployed(aws, outputs(aws), base_url)


def test_deployed_function_answers_at_its_url(deployed: Deployed) -> None:
    """Public, and for nobody without a key."""
    assert deployed.ask("/healthz")[0::2] == (200, '{"status":"ok"}')
    status, _, body = deployed.ask(CHAT, body=chat_body())
    assert (status, json.loads(body)["error"]["code"]) == (401, "missing_api_key")


def test_deployed_function_serves_a_key_and_charges_it_in_its_table(deployed: Deployed) -> None:
    """From the operator's command through URL, key in SSM, provider and DynamoDB to the usage of a day."""
    made = json.loads(deployed.operate("keys", "create", "--name", "first", "--limit", "tokens/day=100000", "--json"))
    status, headers, body = deployed.ask(CHAT, made["key"], chat_body())
    assert status == 200, deployed.logged()
    assert headers["content-type"].startswith("text/event-stream")
    assert body.endswith("data: [DONE]\n\n")
    _, _, answer = deployed.ask("/v1/usage", made["key"])
    (limit,) = json.loads(answer)["scopes"][0]["limits"]
    assert limit["used"] > 0
    total = json.loads(deployed.operate("usage", "--json"))["total"]
    assert total["requests"] == 1
    deployed.operate("audit")  # whose exit code says that records and counters agree


def test_deployed_function_logs_one_line_and_its_metrics_for_each_request(deployed: Deployed) -> None:
    """Into the stack's log group, under the stack's name."""
    _, headers, _ = deployed.ask("/v1/models")
    found = [line for line in deployed.logged() if line.get("request_id") == headers["x-request-id"]]
    (logged,) = [line for line in found if line.get("event") == "request"]
    (measured,) = [line for line in found if "_aws" in line]
    assert (logged["status"], logged["route"]) == (401, "/v1/models")
    assert (measured["service"], measured["Requests"]) == (STACK, [1.0])
    assert PROVIDER_KEY not in json.dumps(deployed.logged())


def test_deployed_table_is_as_the_ledger_wants_it(deployed: Deployed) -> None:
    """Two keys, paid on demand. That its items expire the emulator forgets; the template's tests look at it."""
    with closing(client(deployed.aws, "dynamodb")) as dynamodb:
        table = dynamodb.describe_table(TableName=deployed.outputs["LedgerTable"])["Table"]
    assert [one["AttributeName"] for one in table["KeySchema"]] == ["pk", "sk"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_deployed_again_with_other_parameters_serves_them_at_once(deployed: Deployed, tmp_path: Path) -> None:
    """A change of configuration is a deployment and needs no new build; the optional parts come with it."""
    options = dict.fromkeys(("Observability", "BufferedApi", "Tracing"), "on")
    deploy(deployed.aws, tmp_path, ProviderBaseUrl=deployed.provider, CorsOrigins="https://app.example", **options)
    answer = deployed.get("/healthz", urlsplit(deployed.outputs["Url"]).netloc)
    assert answer["headers"]["access-control-allow-origin"] == "https://app.example"
    assert "BufferedUrl" in outputs(deployed.aws)  # the emulator reads no routes from an API's OpenAPI body
    with closing(client(deployed.aws, "cloudwatch")) as cloudwatch:
        alarms = cloudwatch.describe_alarms()["MetricAlarms"]
    assert len(alarms) == 6
