"""The embedded model of another process."""

from __future__ import annotations

import anyio
import msgspec
import pytest

from rillgate.app.embedded import EmbeddedModel
from rillgate.app.embedded_shared import ModelNews, SharedModel, news_of
from rillgate.domain.errors import UpstreamError
from rillgate.domain.request import Endpoint

pytestmark = pytest.mark.anyio

ADDRESS = Endpoint("http://127.0.0.1:9/v1", (("Authorization", "Bearer fake-secret"),))


def owned(endpoint: Endpoint | None = None, cause: str | None = None, detail: str = "") -> EmbeddedModel:
    """The model as its owner has it."""
    model = EmbeddedModel()
    if endpoint is not None:
        model._answers(endpoint)
    if cause is not None:
        model._die(cause, detail)
    return model


def passed_on(model: EmbeddedModel) -> ModelNews:
    """What there is to tell, as it arrives elsewhere."""
    return msgspec.json.decode(msgspec.json.encode(news_of(model)), type=ModelNews)


async def test_shared_model_waits_until_it_hears_where_the_model_answers() -> None:
    """From then on it is at the very place, with what every call carries."""
    assert news_of(owned()) is None
    model, changes = SharedModel(), []
    model.on_change.append(lambda changed: changes.append(changed.state))
    await model.start()
    assert (model.state, model.pid) == ("starting", None)
    found: list[Endpoint] = []

    async def wait() -> None:
        found.append(await model.endpoint())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        model.hear(passed_on(owned(ADDRESS)))
    assert found == [ADDRESS]
    assert changes == ["ready"]
    await model.stop()


async def test_shared_model_that_died_says_the_same_as_its_owner() -> None:
    """To the operator with what its process said, to clients without."""
    owner = owned(ADDRESS, "was ended by SIGKILL", "bad weights in /somewhere")
    model = SharedModel()
    model.hear(passed_on(owned(ADDRESS)))
    assert model.is_ready()
    model.hear(passed_on(owner))
    assert model.state == "dead"
    assert model.reason == owner.reason
    assert "(bad weights in /somewhere)" in (model.reason or "")
    with pytest.raises(UpstreamError, match="was ended by SIGKILL") as caught:
        await model.endpoint()
    assert "somewhere" not in caught.value.message


async def test_shared_model_stopped_before_it_heard_anything_lets_everybody_go() -> None:
    """Nothing waits for a model whose gateway goes down."""
    model = SharedModel()
    await model.start()
    await model.stop()
    model.hear(passed_on(owned(ADDRESS)))
    with pytest.raises(UpstreamError):
        await model.endpoint()
