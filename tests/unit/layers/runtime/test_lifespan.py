"""The app's lifespan: once, with its state, and what happens where it has none."""

from __future__ import annotations

from typing import Any

import pytest

from lambda_asgi.cycle import App, Receive, Send
from lambda_asgi.lifespan import Lifespan, LifespanFailed
from tests.unit.layers.runtime.support import Scope

pytestmark = pytest.mark.anyio


def lifespan_app(heard: list[str], **failing: str) -> App:
    """An app that answers each message, with "failed" and a message where `failing` names it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        scope["state"]["pool"] = "open"
        for step in ("startup", "shutdown"):
            heard.append((await receive())["type"])
            if step in failing:
                await send({"type": f"lifespan.{step}.failed", "message": failing[step]})
                return
            await send({"type": f"lifespan.{step}.complete"})

    return app


async def test_lifespan_starts_and_ends_once() -> None:
    """Startup, its state, shutdown."""
    heard: list[str] = []
    lifespan = Lifespan(lifespan_app(heard), "auto")
    await lifespan.startup()
    assert (heard, lifespan.state) == (["lifespan.startup"], {"pool": "open"})
    await lifespan.shutdown()
    await lifespan.shutdown()
    assert heard == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_startup_that_fails_is_an_error_with_the_apps_words(mode: str) -> None:
    """The environment must not serve."""
    with pytest.raises(LifespanFailed, match="no database"):
        await Lifespan(lifespan_app([], startup="no database"), mode).startup()


async def _raises(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("only http")


async def _returns(scope: Scope, receive: Receive, send: Send) -> None:
    return


@pytest.mark.parametrize("app", [_raises, _returns])
async def test_app_without_lifespan_serves_all_the_same(app: Any) -> None:
    """`auto` takes an app as it is, `on` does not, `off` does not ask."""
    lifespan = Lifespan(app, "auto")
    await lifespan.startup()
    await lifespan.shutdown()
    with pytest.raises(LifespanFailed, match="LAMBDA_ASGI_LIFESPAN is on"):
        await Lifespan(app, "on").startup()
    await Lifespan(app, "off").startup()


async def test_shutdown_that_fails_is_no_error_of_the_process() -> None:
    """It ends anyway."""
    lifespan = Lifespan(lifespan_app([], shutdown="late"), "auto")
    await lifespan.startup()
    await lifespan.shutdown()
