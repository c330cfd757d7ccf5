"""Where the program writes a line for an operator: found in its source, so that no place can be forgotten.

A site is a file, a function and what it writes: `pipeline/run.py Run._mapped request_failed`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
SOURCES: Final = (ROOT / "functions" / "rillgate", ROOT / "layers" / "runtime" / "python" / "lambda_asgi")

# What writes lines of a log, and what writes past any log.
LOGGING: Final = {"log_event", "log_exception", "log_request"}
METHODS: Final = {"debug", "info", "warning", "error", "critical", "exception", "log"}
PRINTING: Final = {"print", "warnings.warn", "traceback.print_exc", "traceback.print_exception", "faulthandler.enable"}
STREAMS: Final = ("sys.stdout.", "sys.stderr.")

# The one place of each program that hands a record to `logging`: everything else goes through it.
SINKS: Final = {"telemetry/logs.py _write", "lambda_asgi/logs.py log_event"}


def sites() -> list[str]:
    """All of them, sorted."""
    return sorted(
        site
        for source in SOURCES
        for path in source.rglob("*.py")
        for site in _of(path)
        if site.rpartition(" ")[0] not in SINKS
    )


def place_of(path: Path) -> str:
    """How a site spells a file."""
    source = next(source for source in SOURCES if path.is_relative_to(source))
    inner = path.relative_to(source).as_posix()
    return inner if source == SOURCES[0] else f"{source.name}/{inner}"


def _of(path: Path) -> Iterator[str]:
    yield from _within(ast.parse(path.read_text(encoding="utf-8")), place_of(path), [])


def _within(node: ast.AST, place: str, names: list[str]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and (what := _written(child)) is not None:
            yield f"{place} {'.'.join(names) or '<module>'} {what}"
        inner = [child.name] if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else []
        yield from _within(child, place, [*names, *inner])


def _written(call: ast.Call) -> str | None:
    """What a call writes: the name of its event, or the call itself; None where it writes nothing."""
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if last in LOGGING:
        texts = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        return texts[0].replace(" ", "_") if texts else last
    if last in METHODS and "log" in name.rpartition(".")[0].lower():
        return name
    if name in PRINTING or (name.startswith(STREAMS) and last == "write"):
        return name
    if name == "os.write" and "stderr" in ast.unparse(call.args[0]):
        return name
    return None
