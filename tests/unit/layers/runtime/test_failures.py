"""What Lambda is told about an error."""

from __future__ import annotations

import base64
import json
import re

import pytest

from lambda_asgi.failures import TRAILER_JSON_BYTES_MAX, Failure


class _Odd2Name(Exception):
    pass


class _Unsayable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("x"), "Function.ValueError"), (_Odd2Name(), "Function.OddName"), (_Unsayable(), "Function.Unsayable")],
)
def test_type_is_one_that_lambda_accepts(error: Exception, kind: str) -> None:
    """Anything but letters after the dot would be rewritten there."""
    failure = Failure.of(error)
    assert failure.type == kind
    assert re.fullmatch(r"(Runtime|Function)\.[A-Z][a-zA-Z]+", failure.type)


def test_name_without_letters_is_unknown() -> None:
    """An exception may be called anything."""
    assert Failure.of(type("_1", (Exception,), {})()).type == "Function.Unknown"


@pytest.mark.parametrize("message", ["x" * 100_000, "\u4f60" * 100_000, '"\\' * 50_000, ""])
def test_trailers_fit_into_what_the_runtime_api_reads(message: str) -> None:
    """With a long message and many frames, they stay decodable and under 4 KiB with everything around them."""

    def raise_at(depth: int) -> None:
        if depth == 0:
            raise ValueError(message)
        raise_at(depth - 1)

    try:
        raise_at(200)
    except ValueError as error:
        failure = Failure.of(error)
    trailers = dict(failure.trailers())
    text = base64.b64decode(trailers["Lambda-Runtime-Function-Error-Body"])
    assert len(text) <= TRAILER_JSON_BYTES_MAX
    assert json.loads(text)["errorType"] == "ValueError"
    assert sum(len(name) + len(value) + 4 for name, value in trailers.items()) < 4_096 - 5


def test_outer_frames_are_left_out_of_the_trailers_first() -> None:
    """The message and the innermost frames are what helps."""
    frames = [f"{number}: {'x' * 150}" for number in range(20)]
    trailers = dict(Failure("Function.X", "short", frames).trailers())
    error = json.loads(base64.b64decode(trailers["Lambda-Runtime-Function-Error-Body"]))
    assert error["errorMessage"] == "short"
    assert error["stackTrace"] == frames[-len(error["stackTrace"]) :]
    assert len(error["stackTrace"]) > 5


def test_details_type_leaves_the_message_out() -> None:
    """What an exception says may be a client's text."""
    failure = Failure.of(ValueError("secret"), details="type")
    assert b"secret" not in failure.json()
    assert "secret" not in str(failure.trailers())
