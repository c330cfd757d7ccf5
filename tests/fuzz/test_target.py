"""The fuzzer finds what it is for: parsers that are broken in each way that it looks for."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rillgate.domain.errors import ClientError
from tests.fuzz import engine
from tests.fuzz.mutate import INPUT_BYTES_MAX, joined_message, mutated, split_messages
from tests.fuzz.target import Finding, Outcome, Shape, Target, check, refused
from tests.fuzz.test_growth import assert_linear

ROOT = Path(__file__).parents[2]
SEEDS = [b'data: {"a": [1, {"b": "c"}]}\n\n', b'{"a": [1, {"b": "c"}]}', b""]


def target_of(run: Callable[[Sequence[bytes]], Outcome], *, cut: bool = True, shape: Shape = "lines") -> Target:
    """A target of this name alone."""
    return Target("made_up", frozenset(), lambda: SEEDS, run, shape, cut)


def checked(run: Callable[[Sequence[bytes]], Outcome]) -> None:
    """Hold it to everything for one input."""
    check(target_of(run), b"data: hello\n\n", random.Random(0))


def test_check_of_a_parser_that_keeps_to_it_finds_nothing() -> None:
    """Or everything would be a finding."""
    checked(b"".join)


def test_check_finds_what_depends_on_the_cut() -> None:
    """The commonest mistake of a parser that takes pieces."""
    with pytest.raises(Finding, match="cut into"):
        checked(lambda pieces: [piece.strip() for piece in pieces])


def test_check_finds_what_is_raised_and_not_declared() -> None:
    """It flies out as it is."""
    with pytest.raises(UnicodeDecodeError):
        checked(lambda pieces: (b"".join(pieces) + b"\xff").decode())


def test_check_finds_what_is_logged() -> None:
    """Even at a level that nobody shows."""

    def run(pieces: Sequence[bytes]) -> Outcome:
        logging.getLogger("rillgate.wire").debug("%r", pieces)

    with pytest.raises(Finding, match="logged"):
        checked(run)


def test_check_finds_what_comes_out_without_bound() -> None:
    """A few bytes that become megabytes."""
    with pytest.raises(Finding, match="bytes became"):
        checked(lambda pieces: b"x" * 1_000_000)


@pytest.mark.parametrize(
    "error", [ClientError(""), ClientError("x" * 3_000), ClientError("fine", status=200), ClientError("\ud800")]
)
def test_refused_finds_errors_that_no_client_can_be_told(error: ClientError) -> None:
    """No words, too many, no error's status, or what no dialect can write."""
    with pytest.raises((Finding, UnicodeEncodeError)):
        refused(error)


def test_growth_finds_what_looks_at_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop over all that has come, for each piece."""
    monkeypatch.setattr("tests.fuzz.test_growth.OURS", ("test_target.py",))

    def again(pieces: Sequence[bytes]) -> Outcome:
        held = b""
        for piece in pieces:
            held += piece
            for _ in held:
                pass

    def once(pieces: Sequence[bytes]) -> Outcome:
        for piece in pieces:
            for _ in piece:
                pass

    assert_linear(target_of(once), b"x", 1)
    with pytest.raises(AssertionError, match="steps became"):
        assert_linear(target_of(again), b"x", 1)


@pytest.mark.parametrize("shape", ["bytes", "lines", "json", "messages"])
def test_mutations_are_the_same_for_the_same_number_and_bounded(shape: Shape) -> None:
    """A finding of one machine is a finding of every machine."""

    def some(number: int) -> list[bytes]:
        rng = random.Random(number)
        return [mutated(rng.choice(SEEDS), shape, SEEDS, rng) for _ in range(300)]

    assert some(1) == some(1)
    assert some(1) != some(2)
    assert len(set(some(1))) > 200
    assert max(map(len, some(1))) <= INPUT_BYTES_MAX


def test_messages_that_are_split_join_to_the_same_bytes() -> None:
    """Lengths and checksums are those of AWS."""
    stream = joined_message(b"\x01a\x00", b"{}") + joined_message(b"", b"")
    assert split_messages(stream) == [(b"\x01a\x00", b"{}"), (b"", b"")]
    assert split_messages(stream + b"\0" * 20) == split_messages(stream)


def test_fuzz_names_the_input_and_tries_what_was_found_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Findings come first, and an exception carries its input."""
    monkeypatch.setattr(engine, "FINDINGS", tmp_path)
    (tmp_path / "made_up").mkdir()
    (tmp_path / "made_up" / "once").write_bytes(b"found before")
    seen: list[bytes] = []

    def run(pieces: Sequence[bytes]) -> Outcome:
        seen.append(b"".join(pieces))
        if len(seen) == 2:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken") as caught:
        engine.fuzz(target_of(run, cut=False), 10)
    assert seen[0] == b"found before"
    assert caught.value.__notes__ == [f"made_up of {SEEDS[0]!r}"]


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m tests.fuzz`, as `make fuzz` calls it."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def test_command_tries_each_target_that_is_named() -> None:
    """For its share of the time; 0 where nothing was found."""
    done = run_command("--minutes", "0.02", "--target", "keys", "--target", "ticket*")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" inputs\n") == 4
    assert done.stdout.endswith("4 targets, 0 s each: nothing\n")


def test_command_says_which_targets_there_are() -> None:
    """Where none has the name."""
    done = run_command("--target", "nothing")
    assert done.returncode == 2
    assert "no target is named nothing; there are access, " in done.stderr
