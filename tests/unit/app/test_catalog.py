"""The providers' lists: asked for when they are needed, never waited for longer than 2 s, never fatal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import anyio
import pytest

from rillgate.app.catalog import ANSWER_S, FRESH_S, RETRY_S, Catalog
from rillgate.app.naming import ModelEntry
from rillgate.app.settings.types import EMBEDDED_MODEL, DefaultModel, ProviderSettings, Settings
from rillgate.domain.errors import ClientError, UpstreamError
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.anyio

LAB = ProviderSettings("openai", "http://127.0.0.1:1/v1")
HUB = ProviderSettings("openai", "http://127.0.0.1:2/v1")
TINY = ProviderSettings("embedded")


class Providers:
    """Scripted providers and a catalog over them.

    `answers` holds what each lists: ids, or an error to raise. A provider in `silent` answers when it is let go.
    """

    def __init__(self, *, default: DefaultModel | None = None, **providers: ProviderSettings) -> None:
        self.clock = FakeClock()
        self.answers: dict[str, list[str] | BaseException] = {}
        self.silent: dict[str, asyncio.Event] = {}
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.failures: list[tuple[str, str]] = []
        self.told: list[tuple[str, list[str] | None, str | None]] = []
        self.news = {name: asyncio.Event() for name in providers}
        settings = Settings(default=default or DefaultModel(next(iter(providers))), providers=providers)
        self.catalog = Catalog(settings, self.list_models, self.clock, self.failed)
        self.catalog.on_listed.append(self.listed)

    async def list_models(self, provider: str) -> list[str]:
        """One provider's answer."""
        self.asked.append(provider)
        if provider in self.silent:
            try:
                await self.silent[provider].wait()
            except asyncio.CancelledError:
                for _ in range(10):  # closing a connection takes the loop a few turns
                    await asyncio.sleep(0)
                self.cancelled.append(provider)
                raise
        answer = self.answers.get(provider, [])
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def failed(self, provider: str, error: Exception) -> None:
        """The callback for failures."""
        self.failures.append((provider, type(error).__name__))

    def listed(self, provider: str, models: Sequence[str] | None, problem: str | None) -> None:
        """The callback for news."""
        self.told.append((provider, None if models is None else list(models), problem))
        self.news[provider].set()

    async def resolve(self, requested: str | None) -> str:
        """Where a name leads."""
        (target,) = (await self.catalog.resolve(requested)).targets
        return f"{target.provider}/{target.model}"

    async def refused(self, requested: str | None) -> str | None:
        """The code of the error for a name that leads nowhere."""
        with pytest.raises(ClientError) as caught:
            await self.catalog.resolve(requested)
        return caught.value.code


async def test_catalog_start_asks_all_providers_at_once_in_the_background() -> None:
    """Start returns at once; all are asked before any has answered; the embedded one never is."""
    subject = Providers(lab=LAB, hub=HUB, tiny=TINY)
    subject.answers = {"lab": ["a"], "hub": ["b"]}
    subject.silent = {"lab": asyncio.Event(), "hub": asyncio.Event()}
    subject.catalog.start()
    await anyio.wait_all_tasks_blocked()
    assert sorted(subject.asked) == ["hub", "lab"]
    assert subject.catalog.names.models() == [ModelEntry(EMBEDDED_MODEL, "tiny", EMBEDDED_MODEL)]
    subject.silent["hub"].set()
    await subject.news["hub"].wait()
    assert subject.catalog.names.lists == {"tiny": (EMBEDDED_MODEL,), "hub": ("b",)}
    subject.silent["lab"].set()
    assert [entry.id for entry in await subject.catalog.models()] == ["a", "b", EMBEDDED_MODEL]
    assert subject.clock.pending == 0


async def test_catalog_start_with_embedded_provider_only_asks_nobody() -> None:
    """Its list is known at once, so nothing runs and nothing is waited for."""
    subject = Providers(tiny=TINY)
    subject.catalog.start()
    assert await subject.resolve(None) == f"tiny/{EMBEDDED_MODEL}"
    assert await subject.refused("gpt-9") == "model_not_found"
    assert [entry.id for entry in await subject.catalog.models()] == [EMBEDDED_MODEL]
    assert subject.asked == []
    assert subject.told == [("tiny", [EMBEDDED_MODEL], None)]
    await subject.catalog.close()


@pytest.mark.parametrize("requested", ["lab/x", "hub/meta/x"])
async def test_catalog_settled_name_waits_for_nobody(requested: str) -> None:
    """`provider/model` needs no list, so a dead provider delays no one who names another."""
    subject = Providers(lab=LAB, hub=HUB)
    subject.silent = {"lab": asyncio.Event(), "hub": asyncio.Event()}
    subject.catalog.start()
    assert await subject.resolve(requested) == requested
    await subject.catalog.close()


async def test_catalog_only_provider_is_never_waited_for() -> None:
    """With one provider every name goes there."""
    subject = Providers(lab=LAB)
    assert await subject.resolve("anything") == "lab/anything"
    assert subject.asked == []


async def test_catalog_bare_name_waits_for_the_first_lists() -> None:
    """Before each was asked once, a name that one lists may be another's too: no race decides who is charged."""
    subject = Providers(lab=LAB, hub=HUB)
    subject.answers = {"lab": ["m"], "hub": ["m"]}
    subject.silent = {"hub": asyncio.Event()}
    subject.catalog.start()
    async with anyio.create_task_group() as group:
        codes: list[str | None] = []

        async def ask() -> None:
            codes.append(await subject.refused("m"))

        group.start_soon(ask)
        await subject.news["lab"].wait()
        await anyio.wait_all_tasks_blocked()
        assert subject.catalog.names.lists == {"lab": ("m",)}
        assert codes == []
        subject.silent["hub"].set()
    assert codes == ["model_ambiguous"]


async def test_catalog_unknown_name_asks_again_when_lists_are_old() -> None:
    """A model that was added is found, at most once a minute for names that nobody knows."""
    subject = Providers(lab=LAB, hub=HUB)
    subject.answers = {"lab": ["a"], "hub": ["b"]}
    assert await subject.resolve("a") == "lab/a"
    assert sorted(subject.asked) == ["hub", "lab"]
    subject.answers["lab"] = ["a", "new"]
    assert await subject.refused("new") == "model_not_found"
    subject.clock.advance(FRESH_S)
    assert await subject.refused("new") == "model_not_found"
    assert len(subject.asked) == 2
    subject.clock.advance(0.1)
    assert await subject.resolve("new") == "lab/new"
    assert len(subject.asked) == 4
    assert await subject.refused("other") == "model_not_found"
    assert len(subject.asked) == 4


async def test_catalog_known_name_never_asks_again() -> None:
    """A name that the lists settle costs nothing, however old they are."""
    subject = Providers(lab=LAB, hub=HUB)
    subject.answers = {"lab": ["a"]}
    await subject.resolve("a")
    subject.clock.advance(100 * FRESH_S)
    assert await subject.resolve("a") == "lab/a"
    assert len(subject.asked) == 2


async def test_catalog_ambiguous_name_asks_again_when_lists_are_old() -> None:
    """One of the two may have dropped it since."""
    subject = Providers(lab=LAB, hub=HUB)
    subject.answers = {"lab": ["m"], "hub": ["m"]}
    assert await subject.refused("m") == "model_ambiguous"
    subject.answers["hub"] = []
    subject.clock.advance(FRESH_S + 1)
    assert await subject.resolve("m") == "lab/m"


async def test_catalog_silent_provider_is_given_up_after_two_seconds() -> None:
    """The caller gets its answer from what is known, the call is cancelled and its failure told."""
    subject = Providers(lab=LAB, hub=HUB)
    subject.answers = {"lab": ["a"]}
    subject.silent = {"hub": asyncio.Event()}
    async with anyio.create_task_group() as group:
        codes: list[str | None] = []

        async def ask() -> None:
            codes.append(await subject.refused("x"))

        group.start_soon(ask)
        await subject.news["lab"].wait()
        await anyio.wait_all_tasks_blocked()
        subject.clock.advance(ANSWER_S - 0.1)
        await anyio.wait_all_tasks_blocked()
        assert codes == []
        subject.clock.advance(0.1)
    assert codes == ["model_not_found"]
    assert subject.failures == [("hub", "TimeoutError")]
    assert subject.told == [("lab", ["a"], None), ("hub", None, "no answer within 2 s")]
    assert await subject.resolve("a") == "lab/a"
    await subject.catalog.close()
    assert subject.cancelled == ["hub"]


async def test_catalog_call_that_ignores_its_cancellation_holds_nobody_up() -> None:
    """Two seconds are two seconds, whatever the call does; a late error is nobody's."""
    subject = Providers(lab=LAB, hub=HUB)
    release = asyncio.Event()

    async def stubborn(provider: str) -> list[str]:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        raise UpstreamError("too late")

    subject.catalog = Catalog(
        Settings(default=DefaultModel("lab"), providers={"lab": LAB, "hub": HUB}),
        stubborn,
        subject.clock,
        subject.failed,
    )
    async with anyio.create_task_group() as group:
        codes: list[str | None] = []

        async def ask() -> None:
            codes.append(await subject.refused("x"))

        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        subject.clock.advance(ANSWER_S)
    assert codes == ["model_not_found"]
    assert subject.failures == [("lab", "TimeoutError"), ("hub", "TimeoutError")]
    release.set()
    await subject.catalog.close()


@pytest.mark.parametrize("error", [UpstreamError("down"), ValueError(), asyncio.CancelledError()])
async def test_catalog_failure_is_told_and_not_repeated_for_ten_seconds(error: BaseException) -> None:
    """Whatever a call raises, requests go on, and the provider is left in peace for a while."""
    subject = Providers(lab=LAB, hub=HUB)
    subject.answers = {"lab": ["a"], "hub": error}
    assert await subject.refused("x") == "model_not_found"
    assert [provider for provider, _ in subject.failures] == ["hub"]
    assert await subject.refused("x") == "model_not_found"
    subject.clock.advance(RETRY_S - 0.1)
    assert await subject.refused("x") == "model_not_found"
    assert await subject.resolve("a") == "lab/a"
    assert subject.asked.count("hub") == 1
    subject.answers["hub"] = ["x"]
    subject.clock.advance(0.1)
    assert await subject.resolve("x") == "hub/x"
    assert subject.asked == ["lab", "hub", "hub"]
    assert [(provider, models) for provider, models, _ in subject.told] == [
        ("lab", ["a"]),
        ("hub", None),
        ("hub", ["x"]),
    ]


async def test_catalog_failure_leaves_the_old_list() -> None:
    """What a provider listed before stays good while it is down."""
    subject = Providers(lab=LAB, hub=HUB)
    subject.answers = {"lab": ["a"], "hub": ["b"]}
    await subject.catalog.models()
    subject.answers["hub"] = UpstreamError("down")
    subject.clock.advance(FRESH_S + 1)
    assert [entry.id for entry in await subject.catalog.models()] == ["a", "b"]
    assert await subject.resolve("b") == "hub/b"
    assert subject.failures == [("hub", "UpstreamError")]


async def test_catalog_concurrent_callers_share_one_refresh() -> None:
    """A hundred requests for unknown names ask each provider once."""
    subject = Providers(lab=LAB, hub=HUB)
    subject.silent = {"lab": asyncio.Event(), "hub": asyncio.Event()}
    subject.answers = {"lab": ["x"], "hub": []}
    places: list[str] = []

    async def ask() -> None:
        places.append(await subject.resolve("x"))

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(ask)
        group.start_soon(subject.catalog.models)
        await anyio.wait_all_tasks_blocked()
        assert sorted(subject.asked) == ["hub", "lab"]
        subject.silent["lab"].set()
        subject.silent["hub"].set()
    assert places == ["lab/x"] * 100
    assert sorted(subject.asked) == ["hub", "lab"]


async def test_catalog_cancelled_caller_leaves_the_refresh_to_the_others() -> None:
    """One client that goes away does not take the answer from the rest."""
    subject = Providers(lab=LAB, hub=HUB)
    subject.silent = {"lab": asyncio.Event()}
    subject.answers = {"lab": ["x"]}
    places: list[str] = []

    async def ask(scope: anyio.CancelScope) -> None:
        with scope:
            places.append(await subject.resolve("x"))

    first, second = anyio.CancelScope(), anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(ask, first)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(ask, second)
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        await anyio.wait_all_tasks_blocked()
        assert subject.cancelled == []
        subject.silent["lab"].set()
    assert places == ["lab/x"]
    assert first.cancelled_caught


async def test_catalog_default_by_list_waits_for_the_list() -> None:
    """The first model that the provider lists is the default; while it lists none there is no default."""
    subject = Providers(lab=LAB)
    subject.answers = {"lab": UpstreamError("down")}
    with pytest.raises(ClientError) as caught:
        await subject.catalog.resolve(None)
    assert (caught.value.status, caught.value.param) == (400, "model")
    subject.answers = {"lab": ["z", "a"]}
    subject.clock.advance(RETRY_S)
    assert await subject.resolve(None) == "lab/z"
    assert [entry.id for entry in await subject.catalog.models()] == ["z", "a"]


async def test_catalog_get_asks_where_the_name_is_not_listed() -> None:
    """GET /v1/models/{id} finds a model that was added since."""
    subject = Providers(lab=LAB)
    subject.answers = {"lab": ["a"]}
    assert await subject.catalog.get("a") == ModelEntry("a", "lab", "a")
    subject.answers = {"lab": ["a", "b"]}
    with pytest.raises(ClientError):
        await subject.catalog.get("b")
    subject.clock.advance(FRESH_S + 1)
    assert await subject.catalog.get("b") == ModelEntry("b", "lab", "b")


async def test_catalog_news_is_told_once() -> None:
    """A list is told when it is first known and when it has changed, not at every refresh."""
    subject = Providers(lab=LAB, tiny=TINY)
    subject.answers = {"lab": ["a"]}
    subject.catalog.start()
    await subject.catalog.models()
    subject.clock.advance(FRESH_S + 1)
    await subject.catalog.models()
    subject.answers = {"lab": ["a", "b"]}
    subject.clock.advance(FRESH_S + 1)
    await subject.catalog.models()
    assert subject.asked == ["lab"] * 3
    assert subject.told == [("tiny", [EMBEDDED_MODEL], None), ("lab", ["a"], None), ("lab", ["a", "b"], None)]


async def test_catalog_close_ends_what_is_under_way() -> None:
    """No task and no timer is left, and a call in flight has been cancelled."""
    subject = Providers(lab=LAB, hub=HUB)
    subject.silent = {"lab": asyncio.Event(), "hub": asyncio.Event()}
    before = asyncio.all_tasks()
    subject.catalog.start()
    await anyio.wait_all_tasks_blocked()
    await subject.catalog.close()
    assert sorted(subject.cancelled) == ["hub", "lab"]
    assert asyncio.all_tasks() == before
    assert subject.clock.pending == 0
    await subject.catalog.close()


async def test_catalog_reasoning_reaches_the_timeouts() -> None:
    """A request for reasoning is given more patience, also by way of the catalog."""
    subject = Providers(lab=LAB)
    assert (await subject.catalog.resolve("m", reasoning=True)).targets[0].timeouts.first_token_s == 300
    assert (await subject.catalog.resolve("m")).targets[0].timeouts.first_token_s == 60
