"""What is said about an answer: while it comes, and at its end."""

from __future__ import annotations

from rillgate.cli.output import printable
from rillgate.cli.talk.answer import Turn
from rillgate.cli.talk.live_count import AnswerCount


def status_text(turn: Turn, count: AnswerCount) -> str:
    """The status line.

    Shape: "42 tokens, 61 tokens/s"
    """
    tokens = count.tokens()
    pace = _pace(turn, tokens)
    return f"{tokens} tokens" + (f", {pace}" if pace else "")


def final_line(turn: Turn, count: AnswerCount) -> str:
    """What an answer took. Counts that are ours, where the gateway gave none, are marked as about so many.

    Shape: "9 tokens in, 42 out (12 of reasoning); first after 0.31 s, 61 tokens/s; m-2026-11 from lab/m"
    """
    said = turn.tokens
    about = "about " if said.output is None or turn.report.get("estimated") else ""
    tokens = count.tokens() if said.output is None else said.output
    reasoning = f" ({said.reasoning} of reasoning)" if said.reasoning else ""
    used = f"{tokens} out{reasoning}" if said.input is not None else f"{tokens} tokens out{reasoning}"
    parts = [f"{about}{said.input} tokens in, {used}" if said.input is not None else f"{about}{used}"]
    times = [f"first after {turn.first_s:.2f} s"] if turn.first_s is not None else []
    parts.append(", ".join(filter(None, [*times, _pace(turn, tokens)])))
    parts.append(" from ".join(filter(None, [turn.model, _upstream(turn.upstream)])))
    return "; ".join(filter(None, parts))


def stop_line(turn: Turn) -> str:
    """Why an answer is shorter than its model would have made it; "" where it is not."""
    report = turn.report
    if report.get("stop") == "budget":
        until = f", until {report['reset']}" if report.get("reset") else ""
        return printable(f"cut: the budget of {report.get('scope')} is used up{until}")
    match turn.finish_reason:
        case "" | "stop":
            return ""
        case "length":
            return "cut: it reached the most tokens that it may have"
        case reason:
            return printable(f"stopped: {reason}")


def _upstream(header: str) -> str:
    """Who answered, and which attempt that was where it was not the first: "lab/m; attempt=2" → "lab/m, attempt 2"."""
    name, _, more = header.partition(";")
    number = more.strip().removeprefix("attempt=")
    return name if number in ("", "1") else f"{name}, attempt {number}"


def _pace(turn: Turn, tokens: int) -> str:
    """Tokens a second from the first piece to the last; "" where that says nothing."""
    if turn.first_s is None or turn.last_s is None or turn.last_s <= turn.first_s:
        return ""
    return f"{(tokens - 1) / (turn.last_s - turn.first_s):.0f} tokens/s"
