"""The checks that cost nothing: is it there, is the way to it safe, whom does it let in."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from rillgate.app.loopback import is_loopback_address
from rillgate.cli.checkup.client import CHAT, Answer, Remote, Stream
from rillgate.cli.checkup.finding import Finding

CERTIFICATE_DAYS_MIN = 14
CLOCK_S_MAX = 30.0  # tickets live for minutes; AWS refuses signatures that are five minutes off
STRANGER = "https://rillgate-doctor.example"  # no site: the name is reserved


def reach(remote: Remote) -> tuple[Finding, Answer]:
    """Whether a gateway answers. Raises: `UNREACHABLE`."""
    answer = remote.ask("GET", "/healthz", keyed=False)
    waited_ms = round(answer.waited_s * 1000, 1)
    ours = answer.status == 200 and answer.json == {"status": "ok"} and answer.header("x-request-id") != ""
    if ours:
        finding = Finding("reach", "ok", f"a gateway answers, in {waited_ms} ms", {"answer_ms": waited_ms})
    else:
        finding = Finding("reach", "bad", f"something answers that is no gateway of ours: {answer.said}")
    return finding, answer


def on_lambda(remote: Remote, answer: Answer) -> bool:
    """Whether a function answers, by what AWS adds."""
    host = remote.url.hostname or ""
    return ".lambda-url." in host or any(name.startswith("x-amzn-") for name, _ in answer.headers)


def tls(remote: Remote) -> Finding:
    """Whether others can read along. Raises: `UNREACHABLE`."""
    found = remote.tls()
    if found is None:
        if _is_this_machine(remote):
            return Finding("tls", "ok", "none, on this machine")
        return Finding("tls", "bad", "none: keys and prompts can be read on the way")
    measured = {"version": found.version, "certificate_days": found.days_left}
    text = f"{found.version}, certificate for {found.days_left} days"
    return Finding("tls", "note" if found.days_left < CERTIFICATE_DAYS_MIN else "ok", text, measured)


def clock(answer: Answer, now_s: float) -> Finding:
    """Whether both clocks agree, to a second."""
    try:
        ahead_s = parsedate_to_datetime(answer.header("date")).timestamp() - now_s
    except ValueError:
        return Finding("clock", "skipped", "the answer has no date")
    measured = {"ahead_s": round(ahead_s, 1)}
    if abs(ahead_s) <= CLOCK_S_MAX:
        return Finding("clock", "ok", "agrees with this machine's", measured)
    text = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's: tickets end early or late"
    return Finding("clock", "note", text, measured)


def keys_required(remote: Remote) -> Finding:
    """Whether somebody without a key gets in: by a request that is refused for its body otherwise.

    Raises: `UNREACHABLE`.
    """
    answer = remote.ask("POST", CHAT, {}, keyed=False)
    if answer.status == 401:
        return Finding("keys", "ok", "required")
    if _is_this_machine(remote):
        return Finding("keys", "ok", "not required, on this machine")
    return Finding("keys", "bad", "not required: whoever finds this address spends your tokens")


def key_accepted(remote: Remote) -> Finding:
    """Whether ours is, and for which models. Raises: `UNREACHABLE`."""
    answer = remote.ask("GET", "/v1/models")
    if answer.status != 200 or not isinstance(answer.json, dict):
        return Finding("models", "bad", answer.said)
    models = [str(model.get("id")) for model in answer.json.get("data", [])]
    shown = ", ".join(models[:3]) + (", …" if len(models) > 3 else "")
    return Finding("models", "ok", f"{len(models)} for this key{': ' if shown else ''}{shown}", {"models": len(models)})


def cors(remote: Remote, origin: str | None) -> Finding:
    """Whether pages of `origin` may use it; None to see whether pages of anybody may. Raises: `UNREACHABLE`."""
    asked = origin or STRANGER
    answer = remote.ask(
        "OPTIONS",
        CHAT,
        headers={
            "origin": asked,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,x-client-request-id",
        },
        keyed=False,
    )
    allowed = [value for name, value in answer.headers if name == "access-control-allow-origin"]
    if len(allowed) > 1:
        text = f"sent twice ({', '.join(allowed)}), which browsers refuse: set it in one place, server.cors_origins"
        return Finding("cors", "bad", text)
    lets_in = allowed in ([asked], ["*"]) and answer.status < 300
    if origin is None:
        if lets_in:
            return Finding("cors", "note", "pages of any origin may use it; list yours in server.cors_origins")
        return Finding("cors", "ok", "pages of strangers may not use it; --origin asks for one of yours")
    if lets_in and _names(answer, "authorization"):
        return Finding("cors", "ok", f"pages of {origin} may use it")
    return Finding("cors", "bad", f"pages of {origin} may not use it: list it in server.cors_origins ({answer.status})")


def stream_headers(stream: Stream) -> Finding:
    """Whether an answer's headers keep those in between from buffering it."""
    wrong = []
    if not stream.header("content-type").startswith("text/event-stream"):
        wrong.append(f"content-type is {stream.header('content-type')!r}, not text/event-stream")
    if stream.header("content-encoding"):
        wrong.append(f"something compresses it ({stream.header('content-encoding')}), which buffers")
    if stream.header("content-length"):
        wrong.append("it has a content-length: something read it whole before passing it on")
    if not stream.header("x-request-id"):
        wrong.append("x-request-id is missing")
    if wrong:
        return Finding("headers", "bad", "; ".join(wrong))
    if stream.header("x-accel-buffering") != "no":  # nginx acts on it and takes it away
        return Finding(
            "headers", "ok", "as they should be; x-accel-buffering was taken away by a proxy, which is usual"
        )
    return Finding("headers", "ok", "as they should be")


def _names(answer: Answer, header: str) -> bool:
    allowed = {name.strip().lower() for name in answer.header("access-control-allow-headers").split(",")}
    return header in allowed or "*" in allowed


def _is_this_machine(remote: Remote) -> bool:
    host = remote.url.hostname or ""
    return host == "localhost" or is_loopback_address(host)
