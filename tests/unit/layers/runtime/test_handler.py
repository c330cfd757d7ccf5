"""From `_HANDLER` to an app."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lambda_asgi.handler import HandlerError, load_handler

MODULE = """
async def app(scope, receive, send): ...

def stock(event, context): ...

class Both:
    def __call__(self, first, second, third=None): ...

both = Both()
number = 7
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package's module that can be imported."""
    (tmp_path / "fn").mkdir()
    (tmp_path / "fn" / "handlers.py").write_text(MODULE)
    (tmp_path / "fn" / "broken.py").write_text("def :\n")
    (tmp_path / "fn" / "needs.py").write_text("import there_is_no_such_module\n")
    (tmp_path / "fn" / "raises.py").write_text("raise ValueError('my key')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "fn.handlers"


@pytest.mark.parametrize("name", ["fn.handlers.app", "fn/handlers.app", "fn.handlers.both"])
def test_handler_that_takes_three_arguments_is_an_app(module: str, name: str) -> None:
    """A function, or an object that is a stock handler as well; slashes stand for dots."""
    app: Any = load_handler(name)
    assert callable(app)


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("app", "Runtime.MalformedHandlerName", "'app'"),
        ("", "Runtime.MalformedHandlerName", "module.attribute"),
        ("fn.missing.app", "Runtime.ImportModuleError", "fn.missing"),
        ("fn.needs.app", "Runtime.ImportModuleError", "there_is_no_such_module"),
        ("fn.broken.app", "Runtime.UserCodeSyntaxError", "syntax"),
        ("fn.raises.app", "Function.ValueError", "my key"),
        ("fn.handlers.missing", "Runtime.HandlerNotFound", "'missing'"),
        ("fn.handlers.stock", "Runtime.HandlerNotFound", "scope, receive, send"),
        ("fn.handlers.number", "Runtime.HandlerNotFound", "scope, receive, send"),
    ],
)
def test_handler_that_cannot_be_used_is_refused_with_lambdas_own_type(
    module: str, name: str, kind: str, says: str
) -> None:
    """The types are those that the managed runtime reports."""
    with pytest.raises(HandlerError) as caught:
        load_handler(name)
    assert caught.value.failure.type == kind
    assert says in caught.value.failure.message


def test_handler_whose_import_raises_keeps_the_message_back_where_asked(module: str) -> None:
    """A message may hold what it should not."""
    with pytest.raises(HandlerError) as caught:
        load_handler("fn.raises.app", details="type")
    assert b"my key" not in caught.value.failure.json()
