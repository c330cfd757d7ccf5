"""Prompts and keys go to every place that writes a line, and none of them comes out."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rillgate.telemetry.lambda_logs import configure_lambda_logs
from rillgate.telemetry.logs import LineFormatter, LineHandler, configure_logs
from tests.streaming.log_sites import cases_commands, cases_function, cases_gateway, sites
from tests.streaming.log_sites.world import CASES, KEYS, PROMPT, WORDS, World, error_with_secrets
from tests.unit.telemetry.lambda_logging import logging_restored

pytestmark = pytest.mark.anyio

MODULES = (cases_commands, cases_function, cases_gateway)  # importing them is what declares their cases


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[World]:
    """Around one case: logging at its most talkative, and everything that prints seen."""
    layer = logging.getLogger("lambda_asgi")
    before = layer.handlers[:], layer.level, layer.propagate
    monkeypatch.setenv("SSL_CERT_FILE", os.environ.get("SSL_CERT_FILE", ""))
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    with logging_restored() as log:
        world = World(tmp_path, monkeypatch, capfd, log)
        configure_logs("debug", log)
        handler = LineHandler(log)
        handler.setFormatter(LineFormatter())
        layer.handlers[:], layer.propagate = [handler], False
        layer.setLevel(logging.DEBUG)
        for name in (None, "asyncio", "uvicorn", "uvicorn.error", "uvicorn.access", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        for name in ("rillgate", "lambda_asgi"):
            logging.getLogger(name).addFilter(world.see_record)
        for name in ("builtins.print", "os.write"):
            monkeypatch.setattr(name, world.see_print(name))
        yield world
        layer.filters.clear()
    layer.handlers[:], layer.propagate = before[0], before[2]
    layer.setLevel(before[1])


def test_every_site_has_a_case() -> None:
    """A new line of the program needs a case in tests/streaming/log_sites; one that is gone leaves none behind."""
    found = sites.sites()
    assert len(found) == len(set(found)), "two sites that cannot be told apart"
    assert sorted(set(found) - set(CASES)) == [], "sites without a case"
    assert sorted(set(CASES) - set(found)) == [], "cases without a site"


def test_sites_are_found_in_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a line is written with."""
    source = """
import logging, os, sys
log = logging.getLogger(__name__)
class A:
    def b(self):
        log_event("one", level="warning")
        log_event(logging.ERROR, "two words")
        log_exception("three", error)
        log_request(record)
        log.warning("x")
        self.logger.exception("y")
        logging.getLogger("z").info("z")
        print("p")
        sys.stderr.write("q")
        os.write(sys.stderr.fileno(), b"r")
        os.write(1, b"no line")
        math.log(2)
"""
    (tmp_path / "a.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(sites, "SOURCES", (tmp_path,))
    assert [site.removeprefix("a.py A.b ") for site in sites.sites()] == sorted(
        [
            *("one", "two_words", "three", "log_request", "log.warning", "self.logger.exception"),
            *("logging.getLogger('z').info", "print", "sys.stderr.write", "os.write"),
        ]
    )


@pytest.mark.parametrize("site", sorted(CASES))
async def test_site_is_reached_and_shows_no_secret(site: str, world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """The case gets to its line, with secrets in whatever that line is made of."""
    await CASES[site](world)
    await asyncio.sleep(0)
    seen = _everything(world, capfd)
    assert _reached(site, world, seen), sorted(world.reached)
    check(seen)


@pytest.mark.parametrize("configure", [lambda log: configure_logs("debug", log), configure_lambda_logs])
@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL])
async def test_loggers_of_others_show_no_secret(
    world: World, capfd: pytest.CaptureFixture[str], configure: object, level: int
) -> None:
    """asyncio's, uvicorn's, the HTTP client's and anybody's: messages, arguments, tracebacks, extra fields."""
    assert callable(configure)
    configure(world.log)
    error = error_with_secrets()
    for name in (
        *("asyncio", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "httpx2", "httpcore2.http11"),
        *("aws_xray_sdk", "botocore", "some.library", "concurrent.futures", "lambda_asgi", "root"),
    ):
        logger = logging.getLogger(name)
        logger.log(level, "said %s", PROMPT)
        logger.log(level, f"Traceback\n{PROMPT}", exc_info=error)
        logger.log(level, "failed", exc_info=error, stack_info=True)
        logger.log(level, "fields", extra={"lambda_asgi": {"reason": PROMPT, "type": PROMPT, "count": 1}})
        logger.log(level, error)
    loop = asyncio.get_running_loop()  # its own report, of what nobody waited for
    loop.default_exception_handler({"message": f"unhandled: {PROMPT}", "exception": error, "detail": PROMPT})
    check(_everything(world, capfd))


def _everything(world: World, capfd: pytest.CaptureFixture[str]) -> str:
    out, err = capfd.readouterr()
    return f"{world.log.getvalue()}\n{out}\n{err}"


def _reached(site: str, world: World, seen: str) -> bool:
    where, _, what = site.rpartition(" ")
    if what in sites.LOGGING:  # its event has a name that the source does not show
        return any(reached.startswith(f"{where} ") for reached in world.reached)
    if what == "sys.stdout.write":  # a method of a stream cannot be watched: what it prints is there
        return bool(seen.strip())
    return site in world.reached


def check(text: str) -> None:
    """No word of what was said, and no key, however it is spelled."""
    lowered = text.lower()
    assert lowered.strip(), "nothing was written at all"
    spelled = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), lowered)
    for secret in (*WORDS, *KEYS):
        assert secret.lower() not in lowered, secret
        assert secret.lower() not in spelled, secret
        assert json.dumps(secret)[1:-1].lower() not in lowered, secret


def test_check_finds_what_it_looks_for() -> None:
    """It can fail."""
    check("a line")
    for text in ("", " unwin ", "GRANDMOTHER", "x kl1entkey y"):
        with pytest.raises(AssertionError):
            check(text)
