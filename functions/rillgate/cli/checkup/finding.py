"""What a check found, and the report that findings make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rillgate.cli.output import printable

Verdict = Literal["ok", "note", "bad", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's.

    Attributes:
        check: its name.
        verdict: "note" is worth knowing and no fault; "bad" makes the command fail.
        text: what was found, and what to do about it.
        measured: the numbers behind it; durations end in `_ms` or `_s`.
    """

    check: str
    verdict: Verdict
    text: str
    measured: dict[str, Any] = field(default_factory=dict)


def failed(findings: Sequence[Finding]) -> bool:
    """Whether anything is bad."""
    return any(finding.verdict == "bad" for finding in findings)


def report_text(findings: Sequence[Finding]) -> str:
    """A line for each. What a server said in them cannot steer a terminal."""
    width = max(len(finding.check) for finding in findings)
    return "\n".join(f"{of.verdict:<7}  {of.check:<{width}}  {printable(of.text)}" for of in findings)


def report_object(url: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Shape: {"url": "https://…", "ok": true, "findings": [{"check", "verdict", "text", "measured"}]}"""
    return {"url": url, "ok": not failed(findings), "findings": [asdict(finding) for finding in findings]}
