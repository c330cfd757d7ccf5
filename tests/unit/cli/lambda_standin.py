"""A runtime that does what the path of each event says: stands for the layer's bootstrap, rightly and wrongly.

Run as a program by the tests of lambda-local. Blocking sockets, nothing of the code that is tested.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import sys
import time
from typing import Any

HOST, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
API = "/2018-06-01/runtime"
PRELUDE = json.dumps(
    {"statusCode": 201, "headers": {"content-type": "text/plain", "x-a": "1,2"}, "cookies": ["a=1", "b=2"]}
).encode() + bytes(8)


def connect() -> socket.socket:
    """A new connection."""
    return socket.create_connection((HOST, int(PORT)))


def answer(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """A whole answer: status, headers in lower case, body."""
    file = sock.makefile("rb")
    status = int(file.readline().split()[1])
    headers: dict[str, str] = {}
    while line := file.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, file.read(int(headers.get("content-length", "0")))


def post(path: str, body: bytes, **headers: str) -> int:
    """A whole POST; the status of its answer."""
    with connect() as sock:
        lines = [f"POST {API}{path} HTTP/1.1", "host: x", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return answer(sock)[0]


def next_one() -> tuple[str, dict[str, Any], dict[str, str]]:
    """The next invocation."""
    with connect() as sock:
        sock.sendall(f"GET {API}/invocation/next HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        _, headers, body = answer(sock)
        return headers["lambda-runtime-aws-request-id"], json.loads(body), headers


class Stream:
    """A streamed response."""

    def __init__(self, request_id: str, kind: str = "application/vnd.awslambda.http-integration-response") -> None:
        self.sock = connect()
        self.sock.sendall(
            f"POST {API}/invocation/{request_id}/response HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n"
            "lambda-runtime-function-response-mode: streaming\r\ntransfer-encoding: chunked\r\n"
            "trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n".encode()
        )

    def send(self, data: bytes) -> None:
        """One chunk."""
        self.sock.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self, trailers: str = "") -> None:
        """The last chunk, and the answer to all of it."""
        self.sock.sendall(f"0\r\n{trailers}\r\n".encode())
        status, _, _ = answer(self.sock)
        if status != 202:
            sys.exit(f"the response was answered {status}")
        self.sock.close()


def serve(request_id: str, event: dict[str, Any], headers: dict[str, str]) -> None:  # noqa: PLR0912 (one each)
    """Do what the path says."""
    match event["rawPath"]:
        case "/event":
            stream = Stream(request_id)
            stream.send(PRELUDE)
            stream.send(json.dumps({"event": event, "headers": headers, "environ": dict(os.environ)}).encode())
            stream.end()
        case "/pid":
            stream = Stream(request_id)
            stream.send(PRELUDE + str(os.getpid()).encode())
            stream.end()
        case "/hang":
            stream = Stream(request_id)
            stream.send(PRELUDE + str(os.getpid()).encode())
            time.sleep(3600)
        case "/silent":
            time.sleep(3600)
        case "/exit":
            os._exit(3)
        case "/exit-late":
            stream = Stream(request_id)
            stream.send(PRELUDE + b"half")
            os._exit(3)
        case "/cut":
            stream = Stream(request_id)
            stream.send(PRELUDE + b"half")
            stream.sock.close()
        case "/trailers":
            stream = Stream(request_id)
            stream.send(PRELUDE + b"half")
            body = base64.b64encode(b'{"errorMessage": "oh"}').decode()
            stream.end(
                f"Lambda-Runtime-Function-Error-Type: Function.Oh\r\nLambda-Runtime-Function-Error-Body: {body}\r\n"
            )
        case "/error":
            post(f"/invocation/{request_id}/error", b'{"errorMessage": "no"}', lambda_runtime_function_error_type="x")
        case "/no-prelude":
            stream = Stream(request_id)
            stream.send(b"not even JSON")
            stream.end()
        case "/bare":
            stream = Stream(request_id, "text/csv")
            stream.send(b"a,b")
            stream.end()
        case "/whole":
            body_text = base64.b64encode(b"\x00\x01").decode()
            document = {"statusCode": 202, "headers": {"x-b": "1"}, "body": body_text, "isBase64Encoded": True}
            post(f"/invocation/{request_id}/response", json.dumps(document).encode())
        case "/too-large":
            post(f"/invocation/{request_id}/response", b" " * (6 * 1024 * 1024 + 101))
        case "/memory":
            hoard = b"x" * (200 * 1024 * 1024)
            time.sleep(3600 + len(hoard))
        case "/flood":
            stream = Stream(request_id)
            stream.send(PRELUDE)
            for _ in range(1024):
                stream.send(b"x" * 16_384)
            stream.end()
        case path:
            sys.exit(f"unknown path {path}")


def main() -> None:
    """Until killed."""
    match os.environ.get("STANDIN_INIT", ""):
        case "error":
            post("/init/error", b'{"errorMessage": "no luck"}', lambda_runtime_function_error_type="Runtime.NoLuck")
            sys.exit(1)
        case "exit":
            sys.exit(7)
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        serve(*next_one())


main()
