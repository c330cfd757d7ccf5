"""`rillgate chat`: what it asks, shows and says, and how it ends. At a real gateway: tests/e2e/test_chat.py."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from rillgate.cli import chat as chat_module
from rillgate.cli.context import Context
from rillgate.cli.main import _parser, main
from rillgate.cli.talk import live_count
from rillgate.cli.talk.live_count import TokenCount
from rillgate.cli.talk.screen import Screen
from tests.unit.cli.talk.remote import DONE, HELLO, RemoteInTest, delta, finish, text, usage


class Input(io.StringIO):
    """Standard input, a terminal or not."""

    def __init__(self, text: str, *, terminal: bool) -> None:
        super().__init__(text)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> RemoteInTest:
    """The gateway of the command; its token counts are ours alone."""
    remote = RemoteInTest(HELLO)
    monkeypatch.setattr(chat_module, "Remote", lambda url, key, **_: remote_with(remote, url, key))

    def unavailable(_: str) -> Any:
        raise RuntimeError("no rank file")

    monkeypatch.setattr(chat_module, "TokenCount", lambda: TokenCount(unavailable))
    return remote


def remote_with(remote: RemoteInTest, url: Any, key: str | None) -> RemoteInTest:
    """As it was made by the command."""
    remote.url, remote.key = url, key
    return remote


def run(
    *words: str, stdin: str = "", terminal: bool = True, monkeypatch: pytest.MonkeyPatch | None = None, **environ: str
) -> int:
    """The exit code."""
    if monkeypatch is not None:
        monkeypatch.setattr(sys, "stdin", Input(stdin, terminal=terminal))
    return main(["chat", *words], Context(environ=environ))


def test_chat_streams_text_to_stdout_and_says_the_rest_on_stderr(
    remote: RemoteInTest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens in and out, time to the first, pace, model and upstream; usage was asked for, and nothing cancelled."""
    assert run("Say", "hello.") == 0
    captured = capsys.readouterr()
    assert captured.out == "Hello"
    assert captured.err == "9 tokens in, 2 out; first after 2.00 s, 1 tokens/s; m-1 from lab/m\n"
    (body,) = remote.bodies
    assert body == {
        "messages": [{"role": "user", "content": "Say hello."}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert remote.streams[0].closed
    assert remote.cancelled == []


def test_chat_with_every_option_passes_it_on(remote: RemoteInTest) -> None:
    """Model, system prompt, cap; the key from the environment unless one is given."""
    words = ["--model", "lab/m", "--system", "Be brief.", "--max-tokens", "9", "--url", "https://llm.example/v1"]
    assert run(*words, "hi", RILLGATE_KEY="rill_from_environment") == 0
    (body,) = remote.bodies
    assert (body["model"], body["max_tokens"]) == ("lab/m", 9)
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert remote.url.geturl() == "https://llm.example"
    assert remote.key == "rill_from_environment"
    remote.scripts.append(HELLO)
    run("--key", "rill_given", "hi", RILLGATE_KEY="rill_from_environment")
    assert remote.key == "rill_given"


@pytest.mark.parametrize("words", [[], ["-"]])
def test_chat_reads_its_prompt_from_standard_input(
    words: list[str], remote: RemoteInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one where somebody pipes; where "-" says so."""
    assert run(*words, stdin="Two\nlines", terminal=bool(words), monkeypatch=monkeypatch) == 0
    assert remote.bodies[0]["messages"][0]["content"] == "Two\nlines"


def test_chat_without_anything_to_ask_is_asked_wrongly(
    remote: RemoteInTest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and nothing is sent."""
    assert run(stdin=" \n", terminal=False, monkeypatch=monkeypatch) == 2
    assert "there is nothing to ask" in capsys.readouterr().err
    assert remote.bodies == []


@pytest.mark.parametrize("words", [["--max-tokens", "0"], ["--max-tokens", "x"], ["--url", "ftp://x"]])
def test_chat_with_a_wrong_option_is_asked_wrongly(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What to give instead."""
    with pytest.raises(SystemExit) as exit_:
        run(*words, "hi")
    assert exit_.value.code == 2
    assert "give" in capsys.readouterr().err


# How it ends ----------------------------------------------------------------------------------------------------


def test_chat_refused_says_why_in_one_line(remote: RemoteInTest, capsys: pytest.CaptureFixture[str]) -> None:
    """Status, code and message; exit code 1; nothing of it can steer the terminal."""
    error = {"message": "The budget of key:a is used up.\x1b[2J", "type": "insufficient_quota", "code": None}
    remote.status, remote.scripts = 429, [[{"error": error}]]
    assert run("hi") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "rillgate: 429 insufficient_quota: The budget of key:a is used up.\\x1b[2J\n"
    assert remote.cancelled == []


def test_chat_without_a_gateway_names_the_address(remote: RemoteInTest, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1; there is nothing to cancel."""
    remote.refuses = ConnectionRefusedError(111, "Connection refused")
    assert run("hi") == 1
    assert "http://127.0.0.1:8000 cannot be reached: [Errno 111] Connection refused" in capsys.readouterr().err
    assert remote.cancelled == []


def test_chat_error_inside_the_stream_keeps_what_came(remote: RemoteInTest, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error, exit code 1."""
    remote.scripts = [[text("Half"), {"error": {"message": "the model fell over", "code": "upstream_error"}}]]
    assert run("hi") == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("Half", "rillgate: upstream_error: the model fell over\n")


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ([], "its connection ended without [DONE]"),
        ([ConnectionResetError(104, "Connection reset by peer")], "Connection reset by peer"),
    ],
)
def test_chat_stream_without_its_end_has_failed(
    last: list[Any], said: str, remote: RemoteInTest, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bare close is no success."""
    remote.scripts = [[text("Half"), finish(), *last]]
    assert run("hi") == 1
    assert f"the answer broke off: {said}" in capsys.readouterr().err.replace("[Errno 104] ", "")


@pytest.mark.parametrize(
    ("end", "line"),
    [
        (
            finish("length", rillgate={"stop": "budget", "scope": "team:a", "reset": "2026-11-22T00:00:00Z"}),
            "cut: the budget of team:a is used up, until 2026-11-22T00:00:00Z",
        ),
        (finish("length"), "cut: it reached the most tokens that it may have"),
        (finish("content_filter"), "stopped: content_filter"),
    ],
)
def test_chat_answer_that_was_cut_says_why(
    end: Any, line: str, remote: RemoteInTest, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line before the last one; the exit code is that of an answer."""
    remote.scripts = [[text("Half"), end, usage(9, 1), DONE]]
    assert run("hi") == 0
    assert capsys.readouterr().err.splitlines()[0] == line


def test_chat_estimates_are_marked(remote: RemoteInTest, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the provider gave no usage, "about"; reasoning is a part of what came out."""
    remote.scripts = [[text("Hi"), finish(rillgate={"estimated": True}), usage(9, 3), DONE]]
    run("hi")
    assert capsys.readouterr().err.startswith("about 9 tokens in, 3 out;")
    remote.scripts = [[text("Hi"), finish(), usage(9, 30, reasoning=12), DONE]]
    run("hi")
    assert capsys.readouterr().err.startswith("9 tokens in, 30 out (12 of reasoning);")


@pytest.mark.parametrize(
    ("header", "said"),
    [("lab/m; attempt=1", "lab/m"), ("other/n; attempt=2", "other/n, attempt 2"), ("lab/m", "lab/m")],
)
def test_chat_says_who_answered(
    header: str, said: str, remote: RemoteInTest, capsys: pytest.CaptureFixture[str]
) -> None:
    """And which attempt it was, where others had failed."""
    remote.answer_headers = [("x-rillgate-upstream", header)]
    run("hi")
    assert capsys.readouterr().err.endswith(f"m-1 from {said}\n")


def test_chat_shows_a_refusal_and_no_reasoning_where_text_alone_is_wanted(
    remote: RemoteInTest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both spellings of reasoning count as an answer's beginning."""
    script = [delta({"reasoning_content": "Hm"}), delta({"reasoning": "m"}), delta({"refusal": "No."}), finish(), DONE]
    remote.scripts = [script]
    run("hi")
    captured = capsys.readouterr()
    assert captured.out == "No."
    assert "first after 1.00 s" in captured.err


# Ctrl-C ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "headers", "cancelled"),
    [
        ("http://127.0.0.1:8000", [], []),
        ("http://localhost:8000", [], []),
        ("http://127.0.0.1:8000", [("x-amzn-requestid", "1")], ["/v1/requests/req_1/cancel"]),
        ("https://llm.example", [], ["/v1/requests/req_1/cancel"]),
    ],
    ids=["here", "here by name", "a local function", "elsewhere"],
)
def test_chat_interrupted_closes_and_where_that_may_go_unnoticed_cancels(
    url: str, headers: Any, cancelled: list[str], remote: RemoteInTest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 130, and what was used by then."""
    remote.scripts = [[text("Half"), text(" of"), KeyboardInterrupt()]]
    remote.answer_headers += headers
    assert run("--url", url, "hi") == 130
    assert remote.streams[0].closed
    assert remote.cancelled == cancelled
    captured = capsys.readouterr()
    assert captured.out == "Half of"
    assert captured.err == "interrupted\nabout 2 tokens out; first after 1.00 s, 1 tokens/s; m-1 from lab/m\n"


def test_chat_interrupted_before_the_first_header_cancels_by_its_own_id(remote: RemoteInTest) -> None:
    """The gateway's id is not known yet; the one that went with the request is. A cancel that fails is no matter."""
    remote.refuses, remote.fails_to_cancel = KeyboardInterrupt(), True
    assert run("hi") == 130
    own = remote.headers[0]["x-client-request-id"]
    assert own.startswith("chat_")
    assert remote.cancelled == [f"/v1/requests/{own}/cancel"]


def test_chat_whose_reader_has_gone_cancels_as_well(remote: RemoteInTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rillgate chat … | head -1`: not taken for a failure of the network."""

    def broken(*_: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(Screen, "write", broken)
    monkeypatch.setattr(sys, "stdin", Input("", terminal=True))
    options = _parser().parse_args(["chat", "--url", "https://llm.example", "hi"])
    with pytest.raises(BrokenPipeError):  # which the command line ends with
        options.run(options, Context(environ={}))
    assert remote.cancelled == ["/v1/requests/req_1/cancel"]


# The conversation -----------------------------------------------------------------------------------------------


def test_chat_on_a_terminal_without_a_prompt_is_a_conversation(
    remote: RemoteInTest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was said goes with the next prompt; empty lines ask nothing; Ctrl-D ends it."""
    remote.scripts = [HELLO, HELLO]
    code = run("--system", "Be brief.", stdin="one\n\n  \ntwo\n", monkeypatch=monkeypatch)
    assert code == 0
    assert [message["content"] for message in remote.bodies[1]["messages"]] == ["Be brief.", "one", "Hello", "two"]
    captured = capsys.readouterr()
    assert captured.out == "HelloHello"
    assert captured.err.count("> ") == 5


def test_conversation_goes_on_after_a_failure_and_an_interrupt(
    remote: RemoteInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed before any text is forgotten; half an answer stays, for "go on"."""
    failure = [{"error": {"message": "down"}}]
    remote.scripts = [failure, [text("Half"), KeyboardInterrupt()], HELLO]
    assert run(stdin="one\ntwo\nthree\n", monkeypatch=monkeypatch) == 0
    assert [message["content"] for message in remote.bodies[2]["messages"]] == ["two", "Half", "three"]


def test_conversation_interrupted_at_its_prompt_ends(remote: RemoteInTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 130, nothing asked."""

    def interrupted(*_: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    assert run(monkeypatch=monkeypatch) == 130
    assert remote.bodies == []


# The count ------------------------------------------------------------------------------------------------------


def test_live_count_is_in_pieces_until_the_encoding_is_there() -> None:
    """Then in tokens of all that came before, too: " a" is one, whatever pieces it came in."""
    count = TokenCount()
    answer = count.answer()
    for piece in (" a", " a", " a a a"):
        answer.add(piece)
    assert answer.tokens() == 3
    count._encoding = live_count.load_encoding(live_count.USUAL)
    assert answer.tokens() == 5
