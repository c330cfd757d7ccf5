"""JSON lines on stderr: one for each request at its end, and a few for events of the process.

What may not be in a log has no place here: a `RequestRecord` knows no prompt, no completion and no key; an
exception is its type, the length and hash of its message and the lines of code it passed; what other libraries log
is their name, the place of the call and again length and hash, since their text may quote anything. Strings that a
client chose (a model's name) are cut; length and hash stand for what looks like a key in them, and for a name that is
none (`redaction`).

The line is written where it is logged, before the request's task ends: a line that waits in a queue is lost
in a crash, which is when it is wanted.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

from rillgate.domain.ends import End
from rillgate.telemetry.redaction import describe, fingerprint, redacted, short_path, shown_name, text_of

# Loggers whose messages are constants that say what went wrong: uvicorn's, and those of the layer under a function,
# whose lines carry their values beside them, in an attribute of the logger's name.
CONSTANT_MESSAGES: Final = ("uvicorn", "lambda_asgi")
WORD_FIELDS: Final = ("type", "failure")
_WORD: Final = re.compile(r"[A-Za-z.]{1,80}")

SERVICE: Final = "rillgate"  # stands in every line, where several programs write into one place

LEVELS: Final = ("debug", "info", "warning", "error", "critical")

Value = str | int | float | bool | None
"""What a field of an event may hold."""

_log = logging.getLogger("rillgate")
_FIELDS: Final = "rillgate_fields"  # the attribute of a LogRecord that carries our fields

_NAMES: Final = ("model", "routed_model")  # fields that a client may choose

# Ends after which somebody should look at the line.
TROUBLE: Final = frozenset({End.STALLED, End.IDLE, End.DEADLINE, End.UPSTREAM_ERROR, End.TRUNCATED})

# Valid within a JSON string as they are, but not for eyes: DEL and C1 controls (one starts terminal sequences), line
# separators on which many tools split, and marks that turn the direction of text.
_UNSEEN: Final = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


_request_keys: ContextVar[Mapping[str, Value]] = ContextVar("request_keys", default={})  # noqa: B039 (never changed)


def tell_request(**keys: Value) -> None:
    """What stands in every line of the request that this task serves, beside what is told already; None is left out."""
    _request_keys.set({**_request_keys.get(), **keys})


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request, at its end. What is unknown or does not apply stays None and is left out of the line.

    Attributes:
        request_id: ours, as `x-request-id` carries it.
        client_request_id: the client's own (`ids.safe_client_id`).
        route: the route's template, such as "/chat/{model}"; never the path or query as they came.
        status: HTTP status; None when the client left before there was one.
        end: how the stream ended; None for a request that never became a stream or an answer.
        model, routed_model: what the client asked for; what the provider was asked for.
        stream: whether the client asked for a stream.
        ttft_ms, duration_ms: milliseconds from the request to the first content, and to the end.
        chunks: content chunks received from the provider.
        bytes: bytes of the body sent to the client.
        estimated: whether the token counts are ours and not the provider's.
        stall_s: seconds spent waiting for the client to read.
        pause_s: seconds in which the provider was not read.
        cached_input_tokens, cache_write_tokens, reasoning_tokens: parts of the tokens, where there are any.
        queue_bytes_peak: the most that waited for a client that fell behind.
        ledger_ms: milliseconds until the ledger had authorized it, or had refused it.
        error: code of the error reported to the client (`RillgateError.code` or `.kind`).
        key_id, user: who asked.
        scopes: what was charged; of a request that a budget refused, the scope that refused it.
        cost_usd: what was charged, in dollars; None where no price is known.
        attempts: how many upstreams were asked, where it was more than one.
        unaccounted: True where the ledger's store failed and nothing was charged for that.
        trace_id, span_id: of the request, as W3C's Trace Context spells them.
        parent_span_id: the caller's span, where it sent one.
        upstream_span_id: of the last call to a provider, as it was told.
    """

    request_id: str
    method: str
    route: str
    status: int | None = None
    end: End | None = None
    client_request_id: str | None = None
    model: str | None = None
    routed_model: str | None = None
    provider: str | None = None
    dialect: str | None = None
    stream: bool | None = None
    ttft_ms: float | None = None
    duration_ms: float | None = None
    chunks: int | None = None
    bytes: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool | None = None
    stall_s: float | None = None
    pause_s: float | None = None
    queue_bytes_peak: int | None = None
    ledger_ms: float | None = None
    error: str | None = None
    key_id: str | None = None
    user: str | None = None
    scopes: tuple[str, ...] | None = None
    cost_usd: float | None = None
    attempts: int | None = None
    unaccounted: bool | None = None
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    upstream_span_id: str | None = None


def configure_logs(level: str = "info", stream: TextIO | None = None) -> None:
    """Send all logging of this process to `stream` (stderr when None) as JSON lines. May be called again.

    uvicorn's loggers are taken over: run it with `log_config=None`, or it takes them back. Its access log stays
    silent, since it would show query strings, and a query string may hold a prompt.

    Raises:
        ValueError: `level` is none of `LEVELS`.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r} is none of {', '.join(LEVELS)}")
    handler = LineHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _log.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
        logger.setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("httpx2", "httpcore2"):  # below WARNING they log URLs and headers, keys among them
        logging.getLogger(name).setLevel(logging.WARNING)


def log_request(record: RequestRecord) -> None:
    """Write the one line of a request, event "request". Level "warning" where the provider or the client failed."""
    fields = shown(record)
    for name in ("ttft_ms", "duration_ms", "stall_s", "pause_s", "ledger_ms"):
        if name in fields:
            fields[name] = round(fields[name], 3)
    _write(logging.WARNING if is_trouble(record) else logging.INFO, "request", fields)


def shown(record: RequestRecord) -> dict[str, Any]:
    """The fields of a record that are known, with stand-ins for names of models that are none."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    for name in _NAMES:
        if name in fields:
            fields[name] = shown_name(fields[name])
    return fields


def is_trouble(record: RequestRecord) -> bool:
    """Whether provider, client or gateway failed, so that somebody should look."""
    return record.end in TROUBLE or (record.status or 0) >= 500


def log_event(event: str, *, level: str = "info", **fields: Value) -> None:
    """Write a line about the process itself: start, model ready, provider list failed, shutdown.

    Args:
        event: its name, a constant.
        level: one of `LEVELS`.
        fields: never prompt or completion text, never a key. None is left out.
    """
    _write(logging.getLevelNamesMapping()[level.upper()], event, fields)


def log_exception(event: str, error: BaseException, **fields: Value) -> None:
    """Write a line about an exception that nothing else reports, level "error"; its message stays out."""
    _write(logging.ERROR, event, {**fields, **describe(error)})


def _write(level: int, event: str, fields: Mapping[str, Any]) -> None:
    if _log.isEnabledFor(level):
        # Not `log`: that looks for the line it was called from, which no line of ours shows.
        _log.handle(_log.makeRecord(_log.name, level, "", 0, event, (), None, extra={_FIELDS: fields}))


class LineFormatter(logging.Formatter):
    """A LogRecord as one line of JSON: timestamp, level, event, what was told of the request, then its fields.

    Args:
        keys: gives what stands in every line.
    """

    def __init__(self, keys: Callable[[], Mapping[str, Value]] = lambda: {"service": SERVICE}) -> None:
        super().__init__()
        self._keys = keys

    def format(self, record: logging.LogRecord) -> str:
        """The line, without an end."""
        ours: Mapping[str, Any] | None = getattr(record, _FIELDS, None)
        fields = ours if ours is not None else self._foreign(record)
        keys = _request_keys.get()
        if fields.get("request_id", keys.get("request_id")) != keys.get("request_id"):
            keys = {}  # it is about another request than the one whose task happened to write it
        line = {
            "timestamp": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "event": record.msg if ours is not None else "log",
            **{
                name: redacted(value) for name, value in {**self._keys(), **keys, **fields}.items() if value is not None
            },
        }
        encoded = msgspec.json.encode(line).decode()
        if encoded.isascii() and "\x7f" not in encoded:
            return encoded
        return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded)

    def _foreign(self, record: logging.LogRecord) -> dict[str, Any]:
        """What another library logged, reduced to what cannot quote anything."""
        fields: dict[str, Any] = {"logger": record.name}
        owner = record.name.partition(".")[0]
        if owner in CONSTANT_MESSAGES and isinstance(record.msg, str) and "\n" not in record.msg.strip():
            fields["message"] = record.msg.strip()  # without its arguments
            for name, value in getattr(record, owner, {}).items():
                fields |= _reduced(name, value)
        else:
            fields |= fingerprint(_message_of(record)) | {"at": f"{short_path(record.pathname)}:{record.lineno}"}
        if record.exc_info and record.exc_info[1] is not None:
            fields |= describe(record.exc_info[1])
        return fields


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # arguments that do not fit their template
        return text_of(record.msg)


def _reduced(name: str, value: object) -> dict[str, Any]:
    """A field of another library's line: numbers, and words in places that hold names of ours, as they are."""
    if value is None or isinstance(value, (bool, int, float)):
        return {name: value}
    text = text_of(value)
    return {name: text} if name in WORD_FIELDS and _WORD.fullmatch(text) else fingerprint(text, name)


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines; what cannot be written is lost without a word."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """A closed stderr must not end a stream, and logging's own report would print the record's arguments."""


def _rfc3339(seconds: float) -> str:
    """UTC with milliseconds: 2026-11-21T11:16:00.123Z."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
