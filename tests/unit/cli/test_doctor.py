"""`rillgate doctor`: what it makes of what it measured, and how it fails. Real gateways: tests/e2e/test_doctor.py."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

from rillgate.cli.checkup import leaving, surroundings
from rillgate.cli.checkup.client import Answer, Remote
from rillgate.cli.checkup.finding import Finding, failed, report_text
from rillgate.cli.checkup.leaving import judge_leaving
from rillgate.cli.checkup.pacing import Pacing, judge
from rillgate.cli.context import Context
from rillgate.cli.main import main
from tests.fakes.clock import FakeClock

NOW_S = 1_795_262_400  # Sat, 21 Nov 2026 12:00:00 GMT


def steps(first_s: float, gap_s: float, pieces: int) -> list[float]:
    """Arrivals one after the other."""
    return [first_s + gap_s * number for number in range(pieces)]


# Pacing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrivals_s", "verdict"),
    [
        (steps(0.3, 0.01, 64), "ok"),
        (steps(30.0, 0.05, 64), "ok"),
        (steps(2.0, 0.0, 64), "bad"),
        (steps(2.0, 0.0015, 64), "bad"),
        (steps(20.0, 0.003, 64), "bad"),
        ([at for burst in (0.5, 1.0, 1.5, 2.0) for at in [burst] * 16], "note"),
        ([at for burst in steps(0.5, 0.05, 32) for at in [burst] * 2], "ok"),
        (steps(0.01, 0.0001, 64), "note"),
        (steps(0.5, 0.1, 7), "note"),
        ([0.5], "note"),
    ],
    ids=[
        "one by one",
        "slow to begin",
        "all at once",
        "in one burst",
        "in the last moment",
        "in four bursts",
        "two at a time",
        "too quick",
        "too few",
        "one",
    ],
)
def test_pacing_is_judged_by_when_pieces_came(arrivals_s: Sequence[float], verdict: str) -> None:
    """Only an answer of which everything came at the end is bad; what proves nothing is said to prove nothing."""
    assert judge(Pacing(0.2, arrivals_s)).verdict == verdict


def test_pacing_measures_gaps_in_milliseconds() -> None:
    """Median, 95th percentile and maximum of the gaps; none for a single piece."""
    pacing = Pacing(0.1, [1.0, 1.1, 1.2, 1.6])
    measured = pacing.measured()
    assert (measured["headers_ms"], measured["first_piece_ms"], measured["total_ms"]) == (100, 1000, 1600)
    assert (measured["gap_median_ms"], measured["gap_max_ms"], measured["bursts"]) == (100, 400, 4)
    assert Pacing(0.1, [1.0]).measured()["gap_max_ms"] == 0


# Leaving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "on_lambda", "over_anyway", "verdict"),
    [
        (False, False, False, "ok"),
        (False, False, True, "note"),
        (True, False, False, "bad"),
        (True, True, False, "note"),
        (None, False, False, "note"),
        (None, True, False, "note"),
    ],
)
def test_leaving_is_a_fault_only_where_it_could_have_been_noticed(
    running: bool | None, on_lambda: bool, over_anyway: bool, verdict: str
) -> None:
    """Lambda hides it by design; an answer that was over anyway proves nothing."""
    finding = judge_leaving(running=running, on_lambda=on_lambda, over_anyway=over_anyway)
    assert finding.verdict == verdict
    assert ("Lambda" in finding.text) is on_lambda


@pytest.mark.parametrize(
    ("status", "held", "running"),
    [
        (404, None, False),
        (404, 40, False),
        (404, 290, True),
        (200, None, True),
        (202, None, None),
        (202, 40, False),
        (202, 290, True),
    ],
)
def test_running_is_seen_by_a_cancel_or_by_what_is_held(status: int, held: int | None, running: bool | None) -> None:
    """A cancel that others are asked for says nothing, and the ledger does; an answer charged whole was not stopped."""
    assert leaving._running(answered(status), held, 256) is running


# Surroundings ---------------------------------------------------------------------------------------------------


class RemoteInTest(Remote):
    """Answers without a network."""

    def __init__(self, url: str, answer: Answer) -> None:
        super().__init__(urlsplit(url), None, now_s=lambda: NOW_S, clock=FakeClock().now)
        self._answer = answer

    def ask(self, *_: Any, **__: Any) -> Answer:
        """The same to everything."""
        return self._answer


def answered(status: int, body: object = None, **headers: str | list[str]) -> Answer:
    """A whole answer; underscores stand for hyphens."""
    pairs = [
        (name.replace("_", "-"), text)
        for name, value in headers.items()
        for text in (value if isinstance(value, list) else [value])
    ]
    return Answer(status, pairs, b"" if body is None else json.dumps(body).encode(), 0.01)


@pytest.mark.parametrize(
    ("url", "status", "verdict"),
    [
        ("https://llm.example", 401, "ok"),
        ("https://llm.example", 400, "bad"),
        ("http://127.0.0.1:8000", 400, "ok"),
        ("http://localhost:8000", 400, "ok"),
    ],
)
def test_keys_that_are_not_required_are_a_fault_beyond_this_machine(url: str, status: int, verdict: str) -> None:
    """A request without one that is refused for its body was let in."""
    assert surroundings.keys_required(RemoteInTest(url, answered(status))).verdict == verdict


@pytest.mark.parametrize(
    ("url", "verdict"), [("http://127.0.0.1:8000", "ok"), ("http://[::1]:8000", "ok"), ("http://llm.example", "bad")]
)
def test_tls_is_needed_beyond_this_machine(url: str, verdict: str) -> None:
    """Keys would travel in clear text."""
    assert surroundings.tls(RemoteInTest(url, answered(200))).verdict == verdict


@pytest.mark.parametrize(
    ("date", "verdict"),
    [
        ("Sat, 21 Nov 2026 12:00:10 GMT", "ok"),
        ("Sat, 21 Nov 2026 12:01:00 GMT", "note"),
        ("Sat, 21 Nov 2026 11:59:00 GMT", "note"),
        ("soon", "skipped"),
        ("", "skipped"),
    ],
)
def test_clock_that_differs_is_noted(date: str, verdict: str) -> None:
    """In both directions; and an answer without a date proves nothing."""
    assert surroundings.clock(answered(200, date=date), NOW_S).verdict == verdict


ORIGIN = "https://app.example"


@pytest.mark.parametrize(
    ("origin", "status", "allowed", "verdict"),
    [
        (ORIGIN, 200, [ORIGIN], "ok"),
        (ORIGIN, 200, ["*"], "ok"),
        (ORIGIN, 400, [], "bad"),
        (ORIGIN, 200, ["https://other.example"], "bad"),
        (ORIGIN, 200, ["*", ORIGIN], "bad"),
        (None, 400, [], "ok"),
        (None, 200, ["*"], "note"),
        (None, 200, [surroundings.STRANGER], "note"),
    ],
)
def test_cors_lets_in_who_is_listed(origin: str | None, status: int, allowed: list[str], verdict: str) -> None:
    """The page's own origin once, not twice as where a Function URL and the gateway both say it; no stranger."""
    answer = answered(
        status, access_control_allow_origin=allowed, access_control_allow_headers="Authorization, content-type"
    )
    assert surroundings.cors(RemoteInTest("https://llm.example", answer), origin).verdict == verdict


@pytest.mark.parametrize(
    ("url", "headers", "function"),
    [
        ("https://llm.example", {}, False),
        ("https://llm.example", {"x_amzn_requestid": "1"}, True),
        ("https://abc.lambda-url.eu-central-1.on.aws", {}, True),
    ],
)
def test_function_is_known_by_what_aws_adds(url: str, headers: dict[str, str], function: bool) -> None:
    """By its name, or by its headers behind another name."""
    answer = answered(200, **headers)
    assert surroundings.on_lambda(RemoteInTest(url, answer), answer) is function


def test_reach_of_another_server_is_bad() -> None:
    """A parked domain answers 200 as well."""
    finding, _ = surroundings.reach(RemoteInTest("https://llm.example", answered(200, {"hello": 1})))
    assert finding.verdict == "bad"


# The command ----------------------------------------------------------------------------------------------------


def run_doctor(*words: str) -> tuple[int, str]:
    """Exit code and what was said."""
    lines: list[str] = []
    context = Context(now_s=lambda: NOW_S, environ={}, say=lines.append)
    return main(["doctor", *words], context), "\n".join(lines)


def test_doctor_of_nothing_says_so_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """A port where nobody listens: one finding that says why, exit code 1, and beforehand what it may spend."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        code, said = run_doctor("--url", url)
        assert code == 1
        assert "bad      reach  it cannot be reached" in said
        assert "96 and 256 tokens of output" in capsys.readouterr().err
        code, said = run_doctor("--url", url, "--json")
        report = json.loads(said)
        assert (code, report["ok"], report["url"]) == (1, False, url)
        assert report["findings"][-1]["verdict"] == "bad"


@pytest.mark.parametrize(
    "url",
    ["llm.example", "ftp://llm.example", "https://", "https://me:pw@llm.example", "https://x:port", "https://x?a=b"],
)
def test_doctor_of_no_address_is_asked_wrongly(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, what to write instead, and nothing is sent."""
    with pytest.raises(SystemExit) as exit_:
        run_doctor("--url", url)
    assert exit_.value.code == 2
    assert "https://llm.example.com" in capsys.readouterr().err


def test_report_cannot_steer_a_terminal_and_fails_for_bad_alone() -> None:
    """What a server says is escaped; notes are no failures."""
    note, bad = Finding("cors", "note", "\x1b[2Jgone"), Finding("keys", "bad", "none")
    assert "\x1b" not in report_text([note, bad])
    assert not failed([note])
    assert failed([note, bad])
