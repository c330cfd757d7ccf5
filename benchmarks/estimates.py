"""How far our counts are from a provider's own, where its tokenizer is not ours: the embedded model, through a gateway.

Three errors remain in a ledger that forgets nothing: the prompt is estimated before anybody has counted it, an answer
that ends without usage is charged by our count, and a provider makes some tokens more before it notices that nobody
listens. Counts do not depend on what else the machine does.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.model import Model, model, samples
from benchmarks.processes import START_S, BenchmarkError, Gateway, clean_environment, gateway, get
from benchmarks.prompts import KINDS, PROMPTS
from benchmarks.report import Beside, Row, spread_of
from rillgate.app.embedded import EmbeddedModel
from rillgate.app.encodings import load_encoding
from rillgate.budget.count import LiveCount, encoding_for_model
from rillgate.pipeline.admit import estimate

MODEL = f"lab/{EmbeddedModel.ALIAS}"
OTHER_SCRIPTS = ("cjk", "scripts", "emoji")
STORY = [{"role": "user", "content": "Tell me a long story about a river."}]
ENDLESS_TOKENS = 400  # what is asked for where somebody leaves or is cut long before
CUT_LIMIT = 160  # tokens of a key in elastic mode, of which the prompt takes some ten
POLL_S = 0.02

PROMPT = "Our estimate of a prompt / the embedded model's own count"
OUTPUT = "Our count of an answer / the embedded model's own"
TAIL = "Tokens that the embedded model made for streams"
CHARGED = "Output tokens charged for streams that the client closed"
NAMED = "the errors that remain are named and measured"


@dataclass(frozen=True)
class Effort:
    """How often: prompts of each kind (None for all), tokens of an answer, streams that are ended early."""

    prompts: int | None = None
    output_tokens: int = 40
    streams: int = 10


FULL = Effort()
QUICK = Effort(1, 8, 1)


def rows(effort: Effort) -> Iterator[Row]:
    """All of it; where the embedded model is not installed, that."""
    if not EmbeddedModel.available():
        yield from (Row(row_id, what, None, "", NAMED, note="its wheels are not installed") for row_id, what in IDS)
        return
    with model() as lab:
        yield from _count_rows(lab, effort)
        yield from _tail_rows(lab, effort.streams)


IDS = [
    *((f"estimates.prompt.{kind}", f"{PROMPT}: {words}") for kind, words in KINDS.items()),
    ("estimates.prompt.all", f"{PROMPT}: all of these"),
    ("estimates.output.english", f"{OUTPUT}: English, code, JSON"),
    ("estimates.output.other", f"{OUTPUT}: other languages, emoji"),
    ("estimates.tail.close", f"{TAIL} that the client closed"),
    ("estimates.tail.cut", f"{TAIL} that a budget cut (elastic mode)"),
    ("estimates.charged.close", CHARGED),
]
WHAT = dict(IDS)


# Estimates beside what the model's server reports


@dataclass(frozen=True)
class Compared:
    """One prompt and its answer: our numbers and the provider's."""

    estimated: int
    held: int
    prompt: int
    counted: int
    output: int


def _count_rows(lab: Model, effort: Effort) -> Iterator[Row]:
    with _gateway(lab, "memory:") as g:
        found = {
            kind: [_compare(g.port, fields, effort.output_tokens) for fields in prompts[: effort.prompts]]
            for kind, prompts in PROMPTS.items()
        }
    for kind, compared in found.items():
        yield _prompt_row(kind, compared)
    yield _prompt_row("all", [one for compared in found.values() for one in compared])
    other = [one for kind in OTHER_SCRIPTS for one in found[kind]]
    english = [one for kind, compared in found.items() if kind not in OTHER_SCRIPTS for one in compared]
    for name, compared in (("english", english), ("other", other)):
        ratios = [one.counted / one.output for one in compared]
        counted, output = sum(one.counted for one in compared), sum(one.output for one in compared)
        yield _ratio_row(f"estimates.output.{name}", ratios, f"{counted} of {output} tokens counted")


def _prompt_row(kind: str, compared: Sequence[Compared]) -> Row:
    ratios = [one.estimated / one.prompt for one in compared]
    above = sum(one.estimated >= one.prompt for one in compared)
    covered = sum(one.held >= one.prompt for one in compared)
    return _ratio_row(f"estimates.prompt.{kind}", ratios, f"{above} at or above it; the hold covers {covered}")


def _ratio_row(row_id: str, ratios: Sequence[float], note: str) -> Row:
    median, spread = spread_of(ratios)
    limits = {"min": min(ratios), "max": spread["max"]}
    return Row(row_id, WHAT[row_id], median, "×", NAMED, limits, samples=len(ratios), note=note)


def _compare(port: int, fields: dict[str, Any], output_tokens: int) -> Compared:
    answer = _ask(port, {**fields, "max_tokens": output_tokens, "temperature": 0, "seed": 1})
    if answer.usage is None:
        raise BenchmarkError("the embedded model reported no usage")
    name, exact = encoding_for_model(EmbeddedModel.ALIAS)
    encoding = load_encoding(name)
    prompt = asyncio.run(estimate(fields, EmbeddedModel.ALIAS, encoding, exact=exact))
    count = LiveCount(encoding)
    for text in answer.texts:
        count.add(text)
    usage = answer.usage
    return Compared(
        prompt.tokens, prompt.tokens_max, usage["prompt_tokens"], count.tokens(), usage["completion_tokens"]
    )


# What is made after nobody listens


def _tail_rows(lab: Model, streams: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'ledger.db'}"
        with _gateway(lab, url, "elastic") as g:
            key = _new_key(url, "closes")
            closed = [_tail(lab, g, key, stop_after=5 + 2 * number) for number in range(streams)]
            yield _tail_row("estimates.tail.close", closed)
            keys = [_new_key(url, f"cut-{number}", f"tokens/total={CUT_LIMIT}") for number in range(streams)]
            yield _tail_row("estimates.tail.cut", [_tail(lab, g, key) for key in keys])
        usage = json.loads(_command("usage", "--ledger", url, "--by", "key", "--json"))
    (charged,) = (each["estimated"]["output_tokens"] for each in usage["groups"] if each.get("name") == "closes")
    made = Beside("made", sum(one.made for one in closed), ratio=False)
    yield Row("estimates.charged.close", CHARGED, charged, "tokens", NAMED, beside=made, samples=streams)


@dataclass(frozen=True)
class Ended:
    """A stream that ended early: tokens that the model made, and those that had come to the gateway."""

    made: int
    received: int


def _tail(lab: Model, g: Gateway, key: str, stop_after: int | None = None) -> Ended:
    """One stream that would go on for long: its client closes it, or its budget cuts it."""
    made, received = lab.made(), _received(g)
    fields = {"messages": STORY, "max_tokens": ENDLESS_TOKENS, "ignore_eos": True}
    answer = _ask(g.port, fields, key, stop_after)
    if stop_after is None and answer.stop != "budget":
        raise BenchmarkError(f"a budget of {CUT_LIMIT} tokens did not cut a stream of {ENDLESS_TOKENS}")
    return Ended(lab.made() - made, _received(g) - received)


def _tail_row(row_id: str, ended: Sequence[Ended]) -> Row:
    received = Beside("received by the gateway", sum(one.received for one in ended), ratio=False)
    median, spread = spread_of([one.made - one.received for one in ended])
    note = f"after the end p50 {median:.0f}, max {spread['max']:.0f} for each stream"
    made = sum(one.made for one in ended)
    return Row(row_id, WHAT[row_id], made, "tokens", NAMED, beside=received, samples=len(ended), note=note)


def _received(g: Gateway) -> int:
    """Chunks with content that the gateway has got so far, once no stream runs: the first of each, and gaps."""
    deadline = time.monotonic() + START_S
    while (found := samples(get(g.port, "/metrics")[1]))["llm_active_streams"]:
        if time.monotonic() > deadline:
            raise BenchmarkError("a stream does not end")
        time.sleep(POLL_S)
    names = ("llm_time_to_first_token_seconds_count", "llm_token_latency_seconds_count")
    return int(sum(value for name, value in found.items() if name.startswith(names)))


# A client, and the gateway


@contextmanager
def _gateway(lab: Model, ledger_url: str, mode: str = "strict") -> Iterator[Gateway]:
    environ = {"RILLGATE_PROVIDERS__LAB__API_KEY": "env:LAB_KEY", "LAB_KEY": lab.secret}
    with gateway({"lab": lab.base_url}, environ=environ, ledger__url=ledger_url, ledger__mode=mode) as g:
        g.wait_ready()  # before that, bytes stand in for tokens
        yield g


@dataclass
class Answer:
    """What came of a stream: its texts, the provider's usage, and why a budget ended it."""

    texts: list[str]
    usage: dict[str, int] | None = None
    stop: str | None = None


def _ask(port: int, fields: dict[str, Any], key: str | None = None, stop_after: int | None = None) -> Answer:
    """A whole stream, or so many texts of it."""
    body = {**fields, "model": MODEL, "stream": True, "stream_options": {"include_usage": True}}
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
    answer = Answer([])
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        with connection.getresponse() as response:
            if response.status != 200:
                raise BenchmarkError(f"status {response.status}: {response.read()!r}")
            for line in response:
                if line.startswith(b"data: {"):
                    _read(json.loads(line[6:]), answer)
                if stop_after is not None and len(answer.texts) >= stop_after:
                    break
    finally:
        connection.close()
    return answer


def _read(chunk: dict[str, Any], answer: Answer) -> None:
    answer.usage = chunk.get("usage") or answer.usage
    answer.stop = chunk.get("rillgate", {}).get("stop") or answer.stop
    answer.texts += [text for choice in chunk["choices"] if (text := choice["delta"].get("content"))]


def _new_key(url: str, name: str, limit: str | None = None) -> str:
    limits = () if limit is None else ("--limit", limit)
    key: str = json.loads(_command("keys", "create", "--ledger", url, "--name", name, "--json", *limits))["key"]
    return key


def _command(*arguments: str) -> str:
    command = [sys.executable, "-m", "rillgate.cli.main", *arguments]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"rillgate {arguments[0]}: {done.stderr}")
    return done.stdout
