"""Log lines: what they say, and what they never say."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any, get_type_hints

import pytest

from rillgate.domain.ends import End
from rillgate.telemetry import logs
from rillgate.telemetry.logs import RequestRecord, configure_logs, log_event, log_exception, log_request, tell_request
from rillgate.telemetry.redaction import describe

PROMPT = "my grandmother's maiden name is Unwin"
KEYS = [
    "sk-proj-abcdefghijklmnop1234",
    "rill_0123456789abcdef0123",
    "rillt_eyJ2IjoxLCJpZCI6.R2VuZXJhdGVk-43",
    "gsk_" + "a1" * 20,
    "hf_" + "a1" * 17,
    "AKIA" + "A1" * 8,
    "AIza" + "a1" * 18,
]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Logging of the whole process into a buffer, and afterwards as it was."""
    touched = [logging.getLogger(name) for name in (None, "rillgate", "uvicorn", "uvicorn.error", "uvicorn.asgi")]
    touched += [logging.getLogger(name) for name in ("uvicorn.access", "httpx2", "httpcore2")]
    before = [(each, each.handlers[:], each.level, each.propagate, each.disabled) for each in touched]
    buffer = io.StringIO()
    configure_logs("info", buffer)
    yield buffer
    for each, handlers, level, propagate, disabled in before:
        each.handlers[:], each.propagate, each.disabled = handlers, propagate, disabled
        each.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was logged, each line being one JSON object."""
    text = stream.getvalue()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def record(**fields: Any) -> RequestRecord:
    """A record with its required fields."""
    return RequestRecord(**{"request_id": "req_1", "method": "POST", "route": "/v1/chat/completions", **fields})


def test_request_logged_is_one_line_with_every_field(stream: io.StringIO) -> None:
    """All fields that are known, under their names, in one line."""
    log_request(
        record(
            client_request_id="mine",
            status=200,
            end=End.FINISHED,
            model="bench-1",
            routed_model="m1",
            provider="lab",
            dialect="chat_completions",
            stream=True,
            ttft_ms=12.34567,
            duration_ms=345.0,
            chunks=42,
            bytes=9001,
            input_tokens=9,
            output_tokens=40,
            estimated=False,
            stall_s=0.25,
            pause_s=0.0,
        )
    )
    (line,) = lines(stream)
    timestamp = line.pop("timestamp")
    assert timestamp.endswith("Z")
    assert list(line) == [
        *("level", "event", "service", "request_id", "method", "route", "status", "end", "client_request_id", "model"),
        *("routed_model", "provider", "dialect", "stream", "ttft_ms", "duration_ms", "chunks", "bytes"),
        *("input_tokens", "output_tokens", "estimated", "stall_s", "pause_s"),
    ]
    assert line["event"] == "request"
    assert line["level"] == "info"
    assert line["end"] == "finished"
    assert line["ttft_ms"] == 12.346
    assert line["estimated"] is False


def test_request_logged_leaves_out_what_is_unknown(stream: io.StringIO) -> None:
    """None is no value: the field is absent; 0 and False are values."""
    log_request(record(chunks=0, stream=False, status=404, error="model_not_found"))
    (line,) = lines(stream)
    assert {name for name in line if name not in ("timestamp", "level", "event", "service")} == {
        *("request_id", "method", "route", "chunks", "stream", "status", "error")
    }
    assert (line["chunks"], line["stream"]) == (0, False)


@pytest.mark.parametrize("end", list(End))
def test_request_logged_warns_of_trouble_only(stream: io.StringIO, end: End) -> None:
    """Ends that somebody should look at are warnings; what clients do and limits that worked are not."""
    log_request(record(end=end, status=200))
    quiet = {End.FINISHED, End.BUDGET, End.CLIENT_GONE, End.CANCELLED, End.SHUTDOWN}
    assert lines(stream)[0]["level"] == ("info" if end in quiet else "warning")


def test_request_logged_with_server_error_warns(stream: io.StringIO) -> None:
    """A 5xx without a stream is trouble too."""
    log_request(record(status=503))
    assert lines(stream)[0]["level"] == "warning"


def test_record_type_has_no_place_for_texts_or_keys() -> None:
    """Whoever adds a field has to think about it here."""
    names = set(get_type_hints(RequestRecord, include_extras=True))
    assert names == {
        *("request_id", "client_request_id", "method", "route", "status", "end", "model", "routed_model", "provider"),
        *("dialect", "stream", "ttft_ms", "duration_ms", "chunks", "bytes", "input_tokens", "output_tokens"),
        *("estimated", "stall_s", "pause_s", "error", "key_id", "user", "scopes", "cost_usd", "attempts"),
        *("unaccounted", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens", "queue_bytes_peak"),
        *("ledger_ms", "trace_id", "span_id", "parent_span_id", "upstream_span_id"),
    }


@pytest.mark.parametrize("key", KEYS)
def test_key_in_a_field_is_masked(stream: io.StringIO, key: str) -> None:
    """A client that puts its key where the model belongs finds its length and hash in our logs, and nothing else."""
    log_request(record(model=key, client_request_id=f"Bearer {key}", error=f"lab/{key} is unknown"))
    log_event("start", note=f"key={key}")
    assert key not in stream.getvalue()
    assert key[:16] not in stream.getvalue()
    request, start = lines(stream)
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    assert request["model"] == f"[masked {len(key)} {digest}]"
    assert request["client_request_id"].startswith(f"[masked {len(key) + 7} ")  # with its "Bearer"
    assert start["note"] == f"key=[masked {len(key)} {digest}]"


@pytest.mark.parametrize(
    "name",
    [
        "task-oriented-language-model",
        "gpt-5.2-mini",
        "lab/meta-llama/Llama-4:70b",
        "hf-internal/tiny",
        "disk-optimised-x",
    ],
)
def test_model_name_is_not_masked(stream: io.StringIO, name: str) -> None:
    """Names that merely look a little like keys stay readable."""
    log_request(record(model=name))
    assert lines(stream)[0]["model"] == name


@pytest.mark.parametrize(
    "name",
    ["x" * 10_000_000, 'a"b\\c\nd\r\x00\x1b[31m', "\ud800 lone surrogate", "\u2028, \u202e and \x9b31m"],
    ids=["long", "control", "surrogate", "separators"],
)
def test_odd_model_name_is_cut_and_escaped(stream: io.StringIO, name: str) -> None:
    """Great length, control characters and broken Unicode stay one short line of valid JSON."""
    log_request(record(model=name))
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text[:-1].isprintable()
    assert len(lines(stream)[0]["model"]) <= 200
    text.encode()


@pytest.mark.parametrize("field", ["model", "routed_model"])
def test_prompt_in_the_place_of_a_model_is_length_and_hash(stream: io.StringIO, field: str) -> None:
    """A text where a name belongs is somebody's slip: equal ones can be seen to be equal, and none can be read."""
    for text in (PROMPT, PROMPT, PROMPT + "!"):
        log_request(record(**{field: text}))
    one, same, other = (line[field] for line in lines(stream))
    assert one == same != other
    assert one.startswith(f"[masked {len(PROMPT)} ")
    assert "Unwin" not in stream.getvalue()


def test_secrets_and_prompts_run_through_are_not_found(stream: io.StringIO) -> None:
    """However a prompt or key gets near a logger, no line shows it: exceptions, causes, groups, foreign loggers."""
    secrets = [PROMPT, KEYS[0]]
    for secret in secrets:
        try:
            try:
                raise KeyError(secret)
            except KeyError as error:
                raise ExceptionGroup(secret, [ValueError(secret), OSError(5, secret)]) from error
        except ExceptionGroup as error:
            log_exception("crashed", error, request_id="req_1")
            logging.getLogger("asyncio").error("Task failed\n%s", secret, exc_info=error)
            logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=error)
        logging.getLogger("some.library").warning(f"cannot parse {secret}")
        logging.getLogger("some.library").warning("cannot parse %r", {"prompt": secret})
        logging.getLogger("uvicorn.access").info('%s - "%s %s" %d', "1.2.3.4", "GET", f"/chat?message={secret}", 200)
        logging.getLogger("uvicorn.access").error(secret)
        logging.getLogger("httpx2").info("HTTP Request: POST %s", secret)
        logging.getLogger("httpcore2.http11").debug("send_request_headers %s", secret)
    text = stream.getvalue()
    assert len(lines(stream)) == 10
    for secret in secrets:
        assert secret not in text
        assert json.dumps(secret)[1:-1] not in text
        assert not any(word in text for word in secret.split() if len(word) > 5)


def test_exception_described_names_types_and_places_only() -> None:
    """Type, length and hash, the lines of code; the same for what is within a group and for its cause."""

    def fail() -> None:
        raise ValueError(PROMPT)

    def describe_failure() -> dict[str, Any]:
        try:
            fail()
        except ValueError as error:
            try:
                raise ExceptionGroup("several", [error]) from None
            except ExceptionGroup as group:
                return describe(group)
        raise AssertionError

    described = describe_failure()
    assert described["exception"] == "ExceptionGroup"
    (inner,) = described["exceptions"]
    assert inner["exception"] == "ValueError"
    assert inner["message_length"] == len(PROMPT)
    assert len(inner["message_sha256"]) == 16
    assert inner["frames"][-1].startswith("unit/telemetry/test_logs.py:")
    assert inner["frames"][-1].endswith(" in fail")
    assert describe_failure()["exceptions"][0]["message_sha256"] == inner["message_sha256"]


def test_exception_described_survives_broken_and_endless_ones() -> None:
    """A message that raises, a context that is a circle, a group of thousands: still a short description."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    one, two = Broken(), ValueError()
    one.__context__, two.__context__ = two, one
    assert describe(one)["message_length"] == 0
    nested: Exception = ExceptionGroup("g", [ValueError(str(number)) for number in range(5000)])
    for _ in range(50):
        nested = ExceptionGroup("g", [nested] * 50)
    assert len(json.dumps(describe(nested))) < 100_000


def test_foreign_line_is_reduced_to_its_place(stream: io.StringIO) -> None:
    """Another library's text is length and hash beside logger, level and place; uvicorn's warnings are shown."""
    logging.getLogger("some.library").error("secret %s", "text")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn.error").info("Uvicorn running on %s", "http://127.0.0.1:8000")
    foreign, uvicorn = lines(stream)
    assert foreign["event"] == "log"
    assert foreign["logger"] == "some.library"
    assert foreign["level"] == "error"
    assert foreign["message_length"] == len("secret text")
    assert foreign["at"].startswith("unit/telemetry/test_logs.py:")
    assert "message" not in foreign
    assert uvicorn["message"] == "Invalid HTTP request received."


def test_event_logged_has_its_level_and_fields(stream: io.StringIO) -> None:
    """Events are lines with their own fields; those below the level are not written."""
    log_event("start", host="127.0.0.1", port=8000, model=None)
    log_event("details", level="debug")
    log_event("provider list failed", level="warning", provider="lab")
    start, failed = lines(stream)
    assert {name: value for name, value in start.items() if name != "timestamp"} == {
        "level": "info",
        "event": "start",
        "service": "rillgate",
        "host": "127.0.0.1",
        "port": 8000,
    }
    assert (failed["level"], failed["provider"]) == ("warning", "lab")


def test_what_is_told_of_a_request_stands_in_its_lines_alone(stream: io.StringIO) -> None:
    """Also in those of libraries; not in a line about another request, nor in one that is written elsewhere."""

    def serve() -> None:
        tell_request(request_id="req_1", trace_id="t1", cold_start=True)
        tell_request(span_id="s1", cold_start=None)
        log_event("within", port=1)
        logging.getLogger("some.library").warning("within")
        log_event("about_itself", request_id="req_1")
        log_event("about_another", request_id="req_2")

    copy_context().run(serve)
    log_event("after")
    within, library, itself, another, after = lines(stream)
    for line in (within, library, itself):
        assert (line["request_id"], line["trace_id"], line["span_id"]) == ("req_1", "t1", "s1")
        assert "cold_start" not in line
    assert list(within) == ["timestamp", "level", "event", "service", "request_id", "trace_id", "span_id", "port"]
    assert (another["request_id"], "trace_id" in another) == ("req_2", False)
    assert not {"request_id", "trace_id", "span_id"} & set(after)


def test_timestamp_is_rfc3339_in_utc(stream: io.StringIO) -> None:
    """UTC with milliseconds, whatever the machine's zone."""
    entry = logging.LogRecord("rillgate", logging.INFO, __file__, 1, "start", None, None)
    entry.created = 1_795_000_000.25
    formatter = logging.getLogger().handlers[0].formatter
    assert formatter is not None
    assert json.loads(formatter.format(entry))["timestamp"] == "2026-11-18T11:06:40.250Z"


def test_logs_configured_again_write_once(stream: io.StringIO) -> None:
    """A second call replaces the first: one line, in the new place only."""
    second = io.StringIO()
    configure_logs("warning", second)
    log_event("quiet")
    log_event("loud", level="warning")
    assert stream.getvalue() == ""
    assert [line["event"] for line in lines(second)] == ["loud"]


def test_logs_configured_with_unknown_level_are_refused() -> None:
    """The message names the value and the choices."""
    with pytest.raises(ValueError, match="'loud' is none of debug, info"):
        configure_logs("loud")


def test_foreign_line_with_wrong_arguments_is_still_written(stream: io.StringIO) -> None:
    """Arguments that do not fit their template: the template's length and hash stand in."""
    entry = logging.LogRecord("some.library", logging.ERROR, __file__, 1, "bad %d template", (PROMPT,), None)
    formatter = logging.getLogger().handlers[0].formatter
    assert formatter is not None
    line = formatter.format(entry)
    assert json.loads(line)["message_length"] == len("bad %d template")
    assert PROMPT not in line


def test_stream_that_is_closed_loses_the_line_silently(stream: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    """A closed stderr ends no request, and no report of logging's own shows the record."""
    stream.close()
    log_request(record(model=PROMPT))
    logging.getLogger("some.library").error("%s", PROMPT)
    assert capsys.readouterr() == ("", "")


def test_levels_are_those_of_logging() -> None:
    """Each name is one that `logging` knows."""
    assert all(level.upper() in logging.getLevelNamesMapping() for level in logs.LEVELS)
