"""What stands in a log for what may not be in it: length and hash of keys and prompts, exceptions without their values.

The hash is the first 64 bits of a SHA-256: enough to see that two are the same, and to find the line of a key that one
has. Pure; `logs` applies it to every line, X-Ray's and CloudWatch's to what they are told.
"""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

TEXT_CHARS_MAX: Final = 200  # of any string in a line that we did not write ourselves
FRAMES_MAX: Final = 20  # innermost frames of a traceback; frameworks fill the outer ones
INNER_MAX: Final = 5  # members of an exception group that are described; they mostly repeat each other
DEPTH_MAX: Final = 3  # causes of causes

# Keys by their usual prefixes, and whatever follows "Bearer": a key in a model's field is somebody's slip, not ours.
# What stands before keeps names such as "task-oriented-model" whole.
_KEY_LIKE: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:(?i:bearer)\s+\S+"
    r"|(?:sk|rillt?)[-_][\w\-]{12,}(?:\.[\w\-]+)?"
    r"|(?:hf|ghp|gsk|xai)[-_][A-Za-z0-9]{30,}"
    r"|AKIA[A-Z0-9]{16}"
    r"|AIza[\w\-]{30,})"
)

KEY_CHARS_MIN: Final = 8  # the shortest text that is taken for a key: "Bearer" with one character

# What a model is called anywhere. A text in its place may be a prompt: a client's slip, and not ours to keep.
_MODEL_NAME: Final = re.compile(r"[\w.:/@+*\-]{1,128}", re.ASCII)


def shown_name(name: str) -> str:
    """A model's name as it may be shown: length and hash stand for a text that is none."""
    return name if _MODEL_NAME.fullmatch(name) else stand_in(name)


def describe(error: BaseException) -> dict[str, Any]:
    """An exception without the values in it.

    Shape:   ValueError("my prompt") → {"exception": "ValueError", "message_length": 9, "message_sha256": "…16 digits",
             "frames": ["rillgate/pipeline/pump.py:88 in pump"]}, and under "exceptions" the same for the members of
             a group and for its cause. Equal messages have equal hashes, so that two lines can be compared.
    """
    return _describe(error, depth=0)


def _describe(error: BaseException, depth: int) -> dict[str, Any]:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    described: dict[str, Any] = {
        "exception": name,
        **fingerprint(text_of(error)),
        "frames": [f"{short_path(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames],
    }
    inner: list[BaseException] = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        inner.append(cause)
    if inner and depth < DEPTH_MAX:
        described["exceptions"] = [_describe(each, depth + 1) for each in inner[:INNER_MAX]]
    return described


def text_of(value: object) -> str:
    """As `str`, whatever that does."""
    try:
        return str(value)
    except Exception:  # a broken __str__ must not cost us the line
        return ""


def stand_in(text: str) -> str:
    """What a log shows of a key or a prompt: "hi" → "[masked 2 8f434346648f6b96]", its length and its hash."""
    return f"[masked {len(text)} {_hash_of(text)}]"


def masked(text: str) -> str:
    """A text with length and hash in the place of whatever looks like a key in it."""
    return _KEY_LIKE.sub(lambda found: stand_in(found[0]), text)


def fingerprint(text: str, name: str = "message") -> dict[str, Any]:
    """Fields that stand for a text: "hi" → {"message_length": 2, "message_sha256": "8f434346648f6b96"}."""
    return {f"{name}_length": len(text), f"{name}_sha256": _hash_of(text)}


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def short_path(path: str) -> str:
    """The last three parts of a path: enough to find the file, nothing about the machine."""
    return "/".join(PurePath(path).parts[-3:])


def redacted(value: Any) -> Any:
    """A value as a line may show it: strings cut and masked, containers value by value."""
    if isinstance(value, (int, float)):  # most of a line; to ask whether it is a mapping takes longer than all the rest
        return value
    if isinstance(value, str):
        if len(value) < KEY_CHARS_MIN and value.isascii():
            return value
        # Cut first with room to spare, so that megabytes are never searched; mask before the cut that shows.
        text = masked(value[: 4 * TEXT_CHARS_MAX])
        # A lone surrogate is valid in a Python string and in JSON's escapes, not in UTF-8.
        text = text.encode("utf-8", "replace").decode()
        return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"
    if isinstance(value, Mapping):
        return {key: redacted(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(each) for each in value]
    return value
