"""What Lambda is told about an error: a type it accepts, and a JSON body that fits where it has to go.

Source: Lambda runtime API, invocation error and trailers of a streamed response, read 2026-11-21.
"""

from __future__ import annotations

import base64
import json
import re
import traceback
from dataclasses import dataclass, field
from typing import Any

# Go's HTTP server, which the Runtime API is, refuses trailers that do not fit into its 4 KiB read buffer; base64 adds
# a third to these.
TRAILER_JSON_BYTES_MAX = 2_000
MESSAGE_CHARS_MAX = 500
FRAMES_MAX = 20  # innermost ones; frameworks fill the outer ones


@dataclass(frozen=True)
class Failure:
    """Why an invocation, or INIT, failed.

    Attributes:
        type: as Lambda accepts it, `Function.ValueError`; anything else is rewritten there.
        message: for people.
        frames: lines of code, innermost last.
        status: what the client is answered where nothing was sent yet.
    """

    type: str
    message: str
    frames: list[str] = field(default_factory=list)
    status: int = 500

    @classmethod
    def of(cls, error: BaseException, *, details: str = "message", kind: str = "") -> Failure:
        """An exception as a failure; `kind` stands for its own name where given, as in `Runtime.ImportModuleError`."""
        message = _message(error) if details == "message" else ""
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
        lines = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        return cls(kind or f"Function.{_camel(type(error).__name__)}", message, lines)

    def body(self) -> dict[str, Any]:
        """The error as Lambda's own runtimes describe one."""
        return {"errorMessage": self.message, "errorType": self.type.partition(".")[2], "stackTrace": self.frames}

    def json(self) -> bytes:
        """For the error endpoints."""
        return _dump(self.body())

    def trailers(self) -> list[tuple[str, str]]:
        """For the end of a streamed response; outer frames are left out until they fit."""
        body = self.body()
        text = _dump(body)
        while len(text) > TRAILER_JSON_BYTES_MAX and body["stackTrace"]:
            body["stackTrace"] = body["stackTrace"][1:]
            text = _dump(body)
        while len(text) > TRAILER_JSON_BYTES_MAX:
            body["errorMessage"] = body["errorMessage"][: len(body["errorMessage"]) // 2]
            text = _dump(body)
        return [
            ("Lambda-Runtime-Function-Error-Type", self.type),
            ("Lambda-Runtime-Function-Error-Body", base64.b64encode(text).decode()),
        ]


TRAILER_NAMES = "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MESSAGE_CHARS_MAX]
    except Exception:  # a broken __str__ must not hide the error itself
        return ""


def _camel(name: str) -> str:
    """Letters only, beginning with a capital: the pattern is (Runtime|Function)\\.[A-Z][a-zA-Z]+."""
    letters = re.sub("[^A-Za-z]", "", name)
    return letters[:1].upper() + letters[1:] if len(letters) > 1 else "Unknown"


def _dump(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
