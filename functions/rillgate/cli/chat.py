"""`rillgate chat`: ask a running gateway from a terminal, and watch the answer come."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from rillgate.cli.arguments import gateway_url
from rillgate.cli.checkup.client import Remote
from rillgate.cli.context import Context, UsageError
from rillgate.cli.doctor import KEY
from rillgate.cli.talk.answer import ChatFailed, Turn
from rillgate.cli.talk.live_count import AnswerCount, TokenCount
from rillgate.cli.talk.report import final_line, status_text, stop_line
from rillgate.cli.talk.screen import Screen

DEFAULT_URL = "http://127.0.0.1:8000"
STDIN = "-"
FAILED = 1
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it


def add_chat(commands: Any) -> None:
    """Add `rillgate chat` to the commands."""
    parser = commands.add_parser(
        "chat",
        help="ask a running gateway, and see the answer come",
        description="Stream one answer: its text to standard output, what it took to standard error. Ctrl-C cancels "
        "it. Without a prompt it is read from standard input; on a terminal a conversation begins, which Ctrl-D ends.",
    )
    parser.set_defaults(run=chat)
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to ask; - reads standard input")
    parser.add_argument("--model", metavar="M", help="which model to ask (default: the gateway's own)")
    parser.add_argument(
        "--url", type=gateway_url, default=DEFAULT_URL, metavar="URL", help=f"of the gateway (default: {DEFAULT_URL})"
    )
    parser.add_argument(
        "--key", metavar="K", help=f"one of its keys (default: ${KEY}, which no list of processes shows)"
    )
    parser.add_argument("--system", metavar="TEXT", help="a system prompt")
    parser.add_argument("--max-tokens", type=_tokens, metavar="N", help="tokens of an answer at most")


def chat(options: argparse.Namespace, context: Context) -> int:
    """One answer, or a conversation.

    Returns: 0; 1 when an answer failed; 130 when it was interrupted.
    Raises:  UsageError: there is nothing to ask.
    """
    screen = Screen(sys.stdout, sys.stderr, context.environ)
    key = options.key or context.environ.get(KEY) or None
    talk = Conversation(Remote(options.url, key, now_s=context.now_s), screen, options)
    try:
        if not options.prompt and sys.stdin.isatty():
            return talk.converse()
        return talk.say(_prompt(options.prompt))
    except KeyboardInterrupt:
        screen.end()
        return INTERRUPTED


class Conversation:
    """Messages that went to and fro, and what sends them.

    Args: options: model, system prompt and cap, as `chat` takes them.
    """

    def __init__(
        self, remote: Remote, screen: Screen, options: argparse.Namespace, count: TokenCount | None = None
    ) -> None:
        self._remote = remote
        self._screen = screen
        self._fields: dict[str, Any] = {}
        if options.model:
            self._fields["model"] = options.model
        if options.max_tokens:
            self._fields["max_tokens"] = options.max_tokens
        self.messages: list[dict[str, str]] = []
        if options.system:
            self.messages.append({"role": "system", "content": options.system})
        self._count = count or TokenCount()
        self._count.start()

    def converse(self) -> int:
        """Ask for prompts until there are no more. An answer that fails or is interrupted ends itself alone."""
        try:
            import readline  # noqa: F401, PLC0415 (gives `input` history and editing, where there is one)
        except ImportError:
            pass
        while True:
            try:
                prompt = self._screen.ask("> ")
            except EOFError:
                self._screen.say("")
                return 0
            if prompt.strip():
                self.say(prompt)

    def say(self, prompt: str) -> int:
        """One prompt and its answer, shown and kept for the next one; an answer without any text is forgotten.

        Returns: the exit code.
        """
        self.messages.append({"role": "user", "content": prompt})
        turn = Turn(self._remote, {**self._fields, "messages": self.messages})
        count = self._count.answer()
        texts: list[str] = []
        code = 0
        try:
            with turn:
                self._show(turn, count, texts)
            lines = [stop_line(turn), final_line(turn, count)]
        except ChatFailed as error:
            code, lines = FAILED, [f"rillgate: {error}"]
        except KeyboardInterrupt:
            code, lines = INTERRUPTED, ["interrupted", final_line(turn, count)]
        finally:
            self._screen.end()
        for line in filter(None, lines):
            self._screen.say(line)
        if texts:
            self.messages.append({"role": "assistant", "content": "".join(texts)})
        else:
            self.messages.pop()
        return code

    def _show(self, turn: Turn, count: AnswerCount, texts: list[str]) -> None:
        self._screen.status("waiting for the first token")
        for piece in turn.pieces():
            count.add(piece.text)
            if piece.kind == "text":
                texts.append(piece.text)
            self._screen.write(piece.kind, piece.text)
            self._screen.status(status_text(turn, count))


def _prompt(words: list[str]) -> str:
    """The words as one prompt; standard input for none or for "-"."""
    if words not in ([], [STDIN]):
        return " ".join(words)
    try:
        prompt = sys.stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is no text: {error}") from error
    if not prompt.strip():
        raise UsageError('there is nothing to ask: give a prompt, such as rillgate chat "Say hello."')
    return prompt


def _tokens(text: str) -> int:
    """A number of tokens; argparse says what is wrong with any other."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a number of tokens, at least 1, not {text!r}")
    return int(text)
