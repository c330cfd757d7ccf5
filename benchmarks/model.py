"""The embedded model in a process of its own, as the gateway runs it, with its server's counters switched on.

`python -m benchmarks.model` is that process. Its counters tell what no stream can: tokens made for nobody.
"""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from benchmarks.processes import ROOT, START_S, STOP_S, BenchmarkError, clean_environment
from rillgate.app import embedded_child

POLL_S = 0.02


class Model:
    """A running model.

    Attributes:
        base_url: as the gateway's configuration takes it.
        secret: what every call carries.
    """

    def __init__(self, base_url: str, secret: str) -> None:
        self.base_url = base_url
        self.secret = secret

    def made(self) -> int:
        """Tokens that it has made so far, for whomever, once it makes none any more."""
        deadline = time.monotonic() + START_S
        while (counters := self._counters())["llamacpp:requests_processing"]:
            if time.monotonic() > deadline:
                raise BenchmarkError("the model works on although nobody listens")
            time.sleep(POLL_S)
        return int(counters["llamacpp:tokens_predicted_total"])

    def _counters(self) -> dict[str, float]:
        connection = http.client.HTTPConnection(urlsplit(self.base_url).netloc, timeout=START_S)
        try:
            connection.request("GET", "/metrics", headers={"authorization": f"Bearer {self.secret}"})
            return samples(connection.getresponse().read())
        finally:
            connection.close()


def samples(exposition: bytes) -> dict[str, float]:
    """Values by name and labels, from the text that Prometheus reads."""
    lines = [line.rpartition(" ") for line in exposition.decode().splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


@contextmanager
def model() -> Iterator[Model]:
    """The model, until it is not needed any more.

    Raises: BenchmarkError: it does not start.
    """
    secret = secrets.token_urlsafe(16)
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.model"],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f"{secret}\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline() or "{}")
        if "base_url" not in answer:
            raise BenchmarkError(f"the embedded model does not start: {answer.get('error', 'it said nothing')}")
        yield Model(answer["base_url"], secret)
    finally:
        process.stdin.close()  # which ends it
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def main() -> None:
    """Serve with counters; never returns."""
    import xllamacpp  # noqa: PLC0415 - absent where there is no wheel

    class Counting(xllamacpp.CommonParams):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.endpoint_metrics = True

    xllamacpp.CommonParams = Counting
    embedded_child.main()


if __name__ == "__main__":
    main()
