"""`rillgate doctor`: what a client of a gateway sees, from here: does it stream, and does a closed tab stop it?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from rillgate.cli.arguments import gateway_url
from rillgate.cli.checkup import surroundings
from rillgate.cli.checkup.client import UNREACHABLE, Remote, StreamFailed
from rillgate.cli.checkup.finding import Finding, failed, report_object, report_text
from rillgate.cli.checkup.leaving import CHECK as DISCONNECT
from rillgate.cli.checkup.leaving import leave
from rillgate.cli.checkup.pacing import CHECK as PACING
from rillgate.cli.checkup.pacing import Pacing, first_byte, judge
from rillgate.cli.context import Context
from rillgate.cli.output import json_text

KEY = "RILLGATE_KEY"
PACED_TOKENS = 96
LEFT_TOKENS = 256
PROMPT = "Write a long story about a lighthouse, of at least a thousand words, without any introduction."
SPENDS = (
    f"This asks for two answers: at most {PACED_TOKENS} and {LEFT_TOKENS} tokens of output, and about 30 of "
    "prompt each. They are charged to the key."
)


def add_doctor(commands: Any) -> None:
    """Add `rillgate doctor` to the commands."""
    parser = commands.add_parser(
        "doctor",
        help="check a running gateway from the outside",
        description="Ask a running gateway for two short answers and look: first byte, pacing, what a closed "
        "connection does, headers, TLS, clock, keys, CORS. Exit code 1 when something is bad.",
    )
    parser.set_defaults(run=doctor)
    parser.add_argument("--url", required=True, type=gateway_url, metavar="URL", help="of the gateway")
    parser.add_argument(
        "--key", metavar="K", help=f"one of its keys (default: ${KEY}, which no list of processes shows)"
    )
    parser.add_argument("--model", metavar="M", help="which model to ask (default: the gateway's own)")
    parser.add_argument(
        "--origin", metavar="ORIGIN", help="a page's, such as https://app.example: may it use the gateway?"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def doctor(options: argparse.Namespace, context: Context) -> int:
    """Say what it will cost, do the checks, and report; 1 when something is bad."""
    print(SPENDS, file=sys.stderr)
    key = options.key or context.environ.get(KEY) or None
    remote = Remote(options.url, key, now_s=context.now_s)
    findings = list(checks(remote, context, model=options.model, origin=options.origin))
    url = options.url.geturl()
    context.say(json_text(report_object(url, findings)) if options.json else report_text(findings))
    return 1 if failed(findings) else 0


def checks(remote: Remote, context: Context, *, model: str | None, origin: str | None) -> Iterator[Finding]:
    """Every finding, in the order in which they are looked for; none that costs anything once a way in is closed."""
    try:
        yield surroundings.tls(remote)
        reached, answer = surroundings.reach(remote)
        yield reached
        if reached.verdict == "bad":
            return
        yield surroundings.clock(answer, context.now_s())
        yield surroundings.keys_required(remote)
        yield surroundings.cors(remote, origin)
        let_in = surroundings.key_accepted(remote)
        yield let_in
    except UNREACHABLE as error:
        yield Finding("reach", "bad", f"it cannot be reached: {error}")
        return
    if let_in.verdict != "bad":
        yield from _streams(remote, context, model, on_lambda=surroundings.on_lambda(remote, answer))


def _streams(remote: Remote, context: Context, model: str | None, *, on_lambda: bool) -> Iterator[Finding]:
    """The two answers."""
    pacing: Pacing | None = None
    buffered = False
    for finding in _paced(remote, model):
        if isinstance(finding, Pacing):
            pacing = finding
        else:
            buffered = buffered or (finding.check == PACING and finding.verdict == "bad")
            yield finding
    if pacing is None:
        return
    if buffered:
        yield Finding(DISCONNECT, "skipped", "behind a buffer the first piece comes when all is over")
        return
    yield from leave(
        remote,
        _body(model, LEFT_TOKENS),
        tokens_max=LEFT_TOKENS,
        on_lambda=on_lambda,
        sleep=context.sleep,
        duration_s=_left_alone_s(pacing),
    )


def _paced(remote: Remote, model: str | None) -> Iterator[Finding | Pacing]:
    """One answer read to its end: its headers, and when its pieces came."""
    try:
        with remote.chat(_body(model, PACED_TOKENS)) as stream:
            if stream.status != 200:
                said = stream.read()[:500].decode(errors="replace")
                yield Finding("stream", "bad", f"no answer: {stream.status} {said}")
                return
            yield surroundings.stream_headers(stream)
            arrivals_s = list(stream.pieces())
    except (*UNREACHABLE, StreamFailed) as error:
        yield Finding("stream", "bad", f"the answer did not come to its end: {error}")
        return
    if not arrivals_s:
        yield Finding("stream", "note", "the model had nothing to say: try another --model")
        return
    pacing = Pacing(stream.headers_s, arrivals_s, capped=stream.finish_reason == "length")
    yield first_byte(pacing)
    yield judge(pacing)
    yield pacing


def _left_alone_s(pacing: Pacing) -> float:
    """How long the answer that is left would take from its first piece on, judged by the one before it."""
    span_s = pacing.total_s - pacing.first_s
    return span_s * LEFT_TOKENS / PACED_TOKENS if pacing.capped else span_s


def _body(model: str | None, tokens_max: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": PROMPT}]
    return {"messages": messages, "stream": True, "max_tokens": tokens_max} | ({"model": model} if model else {})
