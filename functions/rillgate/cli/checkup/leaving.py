"""What happens to a stream whose client has left: does it stop, and does an explicit cancel stop it?

The gateway is not asked whether it noticed, it is looked at: a request that holds nothing any more has ended, and one
that a cancel still finds has not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rillgate.cli.checkup.client import UNREACHABLE, Answer, Remote, StreamFailed
from rillgate.cli.checkup.finding import Finding

CHECK, CANCEL = "disconnect", "cancel"
NOTICED_WITHIN_S = 1.0  # a container takes 100 ms
LOOK_AGAIN_S = 0.5
SETTLES_WITHIN_S = 0.25  # the books of the request before, which closes them after its last byte
SETTLE_LOOKS_MAX = 6
LOOKS_MAX = 16  # a process of another home looks for a cancel once in 3 s
ON_LAMBDA = (
    "Lambda does not tell a function that its client has left. Let pages cancel on `pagehide`, and bound a stream by "
    "timeouts.total_s and by the limits of tickets (docs/frontend.md)."
)
ELSEWHERE = (
    "Something in front of the gateway keeps its connection open: `proxy_ignore_client_abort`, or a buffering proxy."
)


def leave(
    remote: Remote,
    body: Mapping[str, Any],
    *,
    tokens_max: int,
    on_lambda: bool,
    sleep: Callable[[float], None],
    duration_s: float,
) -> list[Finding]:
    """Start a stream, leave after its first piece, and look.

    Args:
        body: of the request; its answer has at most `tokens_max` tokens.
        on_lambda: whether this is a function, where nobody notices.
        duration_s: how long the rest of the answer would take.
    """
    try:
        before = _settled_tokens(remote, sleep)
        with remote.chat(body) as stream:
            if stream.status != 200 or not (request_id := stream.header("x-request-id")):
                return [Finding(CHECK, "skipped", f"no stream could be started: {stream.status}")]
            next(stream.pieces(), None)
        sleep(NOTICED_WITHIN_S)
        held = _difference(before, used_tokens(remote))
        cancel = remote.ask("POST", f"/v1/requests/{request_id}/cancel")
        left = judge_leaving(
            running=_running(cancel, held, tokens_max),
            on_lambda=on_lambda,
            over_anyway=duration_s <= NOTICED_WITHIN_S,
        )
        return [left, *_judge_cancel(cancel, held, tokens_max, lambda: _held(remote, before), sleep)]
    except (*UNREACHABLE, StreamFailed) as error:
        return [Finding(CHECK, "bad", f"the stream to leave did not come so far: {error}")]


def judge_leaving(*, running: bool | None, on_lambda: bool, over_anyway: bool) -> Finding:
    """The verdict; `running` is None where it could not be seen."""
    within = f"{NOTICED_WITHIN_S:g} s after the client had left"
    if running is None:
        if on_lambda:
            return Finding(CHECK, "note", f"not looked at. {ON_LAMBDA}")
        text = "cannot be seen with this key: a cancel is passed to other processes, and the key has no limit in tokens"
        return Finding(CHECK, "note", text)
    if running:
        text = f"the answer still ran {within}"
        return (
            Finding(CHECK, "note", f"{text}. {ON_LAMBDA}")
            if on_lambda
            else Finding(CHECK, "bad", f"{text}. {ELSEWHERE}")
        )
    if over_anyway:
        return Finding(CHECK, "note", "the model is too quick to tell: its answer was over before anybody could notice")
    return Finding(CHECK, "ok", f"the answer had stopped {within}")


def used_tokens(remote: Remote) -> int | None:
    """What the caller has used, with what running requests hold, of the first limit in tokens; None without one."""
    answer = remote.ask("GET", "/v1/usage").json
    scopes = answer.get("scopes", []) if isinstance(answer, dict) else []
    limits = (limit for scope in scopes for limit in scope.get("limits", []))
    return next((limit["used"] for limit in limits if limit["meter"] == "tokens" and limit["used"] is not None), None)


def _settled_tokens(remote: Remote, sleep: Callable[[float], None]) -> int | None:
    """`used_tokens` when it has stopped to change: what an earlier request held would be taken for this one's."""
    used = used_tokens(remote)
    for _ in range(SETTLE_LOOKS_MAX):
        if used is None:
            break
        sleep(SETTLES_WITHIN_S)
        before, used = used, used_tokens(remote)
        if used == before:
            break
    return used


def _running(cancel: Answer, held: int | None, tokens_max: int) -> bool | None:
    """Whether the request had not ended: the cancel knows where one process serves, else the ledger does."""
    if cancel.status == 404:  # ended; with all of it charged, it ended by itself
        return held is not None and held >= tokens_max
    if cancel.status == 200:
        return True
    return None if held is None else held >= tokens_max


def _judge_cancel(
    cancel: Answer, held: int | None, tokens_max: int, look: Callable[[], int | None], sleep: Callable[[float], None]
) -> list[Finding]:
    if cancel.status == 200:
        return [Finding(CANCEL, "ok", "an explicit cancel stopped it at once")]
    if cancel.status != 202:
        return [] if cancel.status == 404 else [Finding(CANCEL, "bad", f"a cancel was refused: {cancel.said}")]
    if held is None or held < tokens_max:
        return [Finding(CANCEL, "ok", "a cancel is passed to other processes")]
    for looks in range(1, LOOKS_MAX + 1):
        sleep(LOOK_AGAIN_S)
        still = look()
        if still is not None and still < tokens_max:
            return [Finding(CANCEL, "ok", f"an explicit cancel had stopped it after {looks * LOOK_AGAIN_S:g} s")]
    return [
        Finding(
            CANCEL, "note", "whether an explicit cancel stopped it could not be seen: it may have been over by then"
        )
    ]


def _held(remote: Remote, before: int | None) -> int | None:
    return _difference(before, used_tokens(remote))


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
