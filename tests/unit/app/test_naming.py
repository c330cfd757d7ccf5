"""Names of models: which provider and model a name leads to, and what can be asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pytest

from rillgate.app.naming import ModelEntry, Names
from rillgate.app.settings.types import (
    EMBEDDED_MODEL,
    OPENAI_BASE_URL,
    OPENAI_MODEL_DEFAULT,
    DefaultModel,
    ProviderSettings,
    RouteSettings,
    Settings,
)
from rillgate.domain.errors import ClientError
from rillgate.domain.request import Timeouts

LAB = ProviderSettings("openai", "http://127.0.0.1:1/v1")
HUB = ProviderSettings("openai", "http://127.0.0.1:2/v1")
OPENAI = ProviderSettings("openai", OPENAI_BASE_URL)
OLLAMA = ProviderSettings("openai", "http://127.0.0.1:11434/v1", ollama=True)
TINY = ProviderSettings("embedded")


def names(
    lists: Mapping[str, Sequence[str]] | None = None,
    *routes: RouteSettings,
    default: DefaultModel | None = None,
    timeouts: Timeouts | None = None,
    first_token_s_given: bool = False,
    **providers: ProviderSettings,
) -> Names:
    """Names for some providers; the first is the default."""
    settings = Settings(
        default=default or DefaultModel(next(iter(providers))),
        providers=providers,
        routes=routes,
        timeouts=timeouts or Timeouts(),
        first_token_s_given=first_token_s_given,
    )
    return Names(settings, lists)


def route(model: str, upstream: str, **timeouts: float) -> RouteSettings:
    """One route."""
    return RouteSettings(model, (upstream,), MappingProxyType(timeouts))


def place(subject: Names, requested: str | None) -> str:
    """Where a name leads, as provider/model."""
    (target,) = subject.resolve(requested).targets
    return f"{target.provider}/{target.model}"


def refused(subject: Names, requested: str | None) -> ClientError:
    """The error for a name that leads nowhere."""
    with pytest.raises(ClientError) as caught:
        subject.resolve(requested)
    assert caught.value.param == "model"
    return caught.value


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        ("bench-1", "lab/bench-1"),
        ("bench-", "lab/bench-"),
        ("bench-a/b", "lab/bench-a/b"),
        ("bench-x-special", "lab/bench-x-special"),
        ("fast", "hub/meta/small"),
        ("v2-1", "hub/prefix-v2-1-suffix"),
        ("hub/own", "lab/detour"),
        ("BENCH-1", None),
        ("xbench-1", None),
    ],
)
def test_names_first_matching_route_wins(requested: str, expected: str | None) -> None:
    """Routes come before everything else, in order; case counts, `*` upstream is the requested name."""
    subject = names(
        {"lab": ["listed"], "hub": ["fast", "bench-1"]},
        route("bench-*", "lab/*"),
        route("bench-x-*", "hub/never"),
        route("fast", "hub/meta/small"),
        route("v[0-9]-?", "hub/prefix-*-suffix"),
        route("hub/own", "lab/detour"),
        lab=LAB,
        hub=HUB,
    )
    if expected is None:
        assert refused(subject, requested).status == 404
    else:
        assert place(subject, requested) == expected
        assert not subject.needs_lists(requested)


@pytest.mark.parametrize("lists", [None, {}, {"lab": [], "hub": ["x"]}])
@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        ("lab/m", "lab/m"),
        ("lab/meta/m:7b", "lab/meta/m:7b"),
        ("lab/hub/m", "lab/hub/m"),
        ("hub//m", "hub//m"),
    ],
)
def test_names_provider_and_model_always_work(
    lists: Mapping[str, Sequence[str]] | None, requested: str, expected: str
) -> None:
    """The part before the first slash is the provider; nobody needs to list the rest, slashes included."""
    subject = names(lists, lab=LAB, hub=HUB)
    assert place(subject, requested) == expected
    assert not subject.needs_lists(requested)


def test_names_slash_without_provider_before_it_is_part_of_the_model() -> None:
    """A model id may contain slashes."""
    subject = names({"lab": ["meta/m"], "hub": ["n"]}, lab=LAB, hub=HUB)
    assert place(subject, "meta/m") == "lab/meta/m"
    assert place(names(None, lab=LAB), "meta/m") == "lab/meta/m"
    assert place(names(None, lab=LAB), "LAB/m") == "lab/LAB/m"


def test_names_bare_name_goes_to_the_one_provider_that_lists_it() -> None:
    """Lists settle bare names where there are several providers."""
    subject = names({"lab": ["a", "b"], "hub": ["c"]}, lab=LAB, hub=HUB)
    assert [place(subject, name) for name in "abc"] == ["lab/a", "lab/b", "hub/c"]
    assert subject.needs_lists("a")


def test_names_ambiguous_name_is_refused_with_its_candidates() -> None:
    """Nobody is charged by guess: the answer names both."""
    error = refused(names({"lab": ["a"], "hub": ["b", "a"]}, lab=LAB, hub=HUB), "a")
    assert (error.status, error.code, error.kind) == (400, "model_ambiguous", "invalid_request_error")
    assert "'lab/a' or 'hub/a'" in error.message


@pytest.mark.parametrize("requested", ["x", "", "lab/", "LAB/a", "a "])
def test_names_unknown_name_is_404(requested: str) -> None:
    """The answer repeats the name and says where the list is."""
    error = refused(names({"lab": ["a"]}, lab=LAB, hub=HUB), requested)
    assert (error.status, error.code, error.kind) == (404, "model_not_found", "invalid_request_error")
    assert repr(requested) in error.message
    assert "GET /v1/models" in error.message


@pytest.mark.parametrize("requested", ["x" * 10_000_000, "lab/" + "\n" * 100_000])
def test_names_error_about_a_huge_name_stays_small(requested: str) -> None:
    """A client's megabytes do not come back."""
    listed = {"lab": [requested], "hub": [requested]}
    assert len(refused(names(None, lab=TINY), requested).message) < 500
    assert len(refused(names(listed, route("lab*", "tiny/*"), lab=LAB, hub=HUB, tiny=TINY), requested).message) < 1500


@pytest.mark.parametrize("lists", [None, {"lab": ["a"]}])
def test_names_only_provider_gets_the_name_as_it_is(lists: Mapping[str, Sequence[str]] | None) -> None:
    """With one provider there is nothing to choose, listed or not."""
    subject = names(lists, lab=LAB)
    assert place(subject, "anything") == "lab/anything"
    assert not subject.needs_lists("anything")


@pytest.mark.parametrize("requested", ["gpt-9", "tiny/gpt-9", "tiny/", "routed-1", ""])
def test_names_embedded_list_is_complete(requested: str) -> None:
    """The embedded provider has one model: bare, prefixed or routed, any other is unknown."""
    subject = names(None, route("routed-*", "tiny/*"), tiny=TINY)
    assert refused(subject, requested).code == "model_not_found"


@pytest.mark.parametrize("requested", [None, EMBEDDED_MODEL, f"tiny/{EMBEDDED_MODEL}", "alias"])
def test_names_embedded_model_has_a_name_an_alias_and_is_the_default(requested: str | None) -> None:
    """Its list is known at once, without anybody being asked."""
    subject = names(None, route("alias", f"tiny/{EMBEDDED_MODEL}"), tiny=TINY)
    assert place(subject, requested) == f"tiny/{EMBEDDED_MODEL}"
    assert not subject.needs_lists(requested)


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        (DefaultModel("lab"), "lab/a"),
        (DefaultModel("tiny", backend_named=True), f"tiny/{EMBEDDED_MODEL}"),
        (DefaultModel("openai"), f"openai/{OPENAI_MODEL_DEFAULT}"),
        (DefaultModel("lab", "b"), "lab/b"),
        (DefaultModel("lab", "unlisted"), "lab/unlisted"),
        (DefaultModel("lab", "of-hub"), "hub/of-hub"),
        (DefaultModel("lab", "of-hub", backend_named=True), "lab/of-hub"),
        (DefaultModel("hub", "both", backend_named=True), "hub/both"),
        (DefaultModel("lab", "both"), "lab/both"),
        (DefaultModel("lab", "meta/m", backend_named=True), "lab/meta/m"),
        (DefaultModel("lab", "hub/x", backend_named=True), "hub/x"),
        (DefaultModel("lab", "fast", backend_named=True), "hub/routed"),
    ],
)
def test_names_no_model_named_leads_to_the_default(default: DefaultModel, expected: str) -> None:
    """RILLGATE_MODEL is read like any name, a bare one belongs to the backend; else the backend's own default."""
    lists = {"lab": ["a", "b", "both"], "hub": ["of-hub", "both"]}
    subject = names(lists, route("fast", "hub/routed"), default=default, lab=LAB, hub=HUB, openai=OPENAI, tiny=TINY)
    assert place(subject, None) == expected


@pytest.mark.parametrize("lists", [None, {"lab": []}, {"hub": ["x"]}])
def test_names_no_model_and_no_default_is_400(lists: Mapping[str, Sequence[str]] | None) -> None:
    """The answer names the field and the variable that would set a default."""
    subject = names(lists, lab=LAB, hub=HUB)
    error = refused(subject, None)
    assert (error.status, error.kind) == (400, "invalid_request_error")
    assert "`model`" in error.message
    assert "RILLGATE_MODEL" in error.message
    assert subject.default is None


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        (DefaultModel("lab"), True),
        (DefaultModel("openai"), False),
        (DefaultModel("tiny"), False),
        (DefaultModel("lab", "m"), True),
        (DefaultModel("lab", "m", backend_named=True), False),
        (DefaultModel("lab", "hub/m"), False),
        (DefaultModel("lab", "fast"), False),
    ],
)
def test_names_default_needs_lists_only_where_they_decide(default: DefaultModel, expected: bool) -> None:
    """A request without a name waits for nobody unless a list decides."""
    subject = names(None, route("fast", "hub/x"), default=default, lab=LAB, hub=HUB, openai=OPENAI, tiny=TINY)
    assert subject.needs_lists(None) is expected


def test_names_timeouts_of_the_route_stand_over_the_general_ones() -> None:
    """What a route sets holds for it alone; the rest is general."""
    general = Timeouts(connect_s=1, stall_s=2, total_s=3)
    subject = names(None, route("slow-*", "lab/*", stall_s=20, total_s=0), timeouts=general, lab=LAB)
    assert subject.resolve("slow-1").targets[0].timeouts == Timeouts(connect_s=1, stall_s=20, total_s=0)
    assert subject.resolve("other").targets[0].timeouts == general
    assert subject.resolve("lab/slow").targets[0].timeouts == general


@pytest.mark.parametrize(
    ("provider", "reasoning", "given", "requested", "expected"),
    [
        (LAB, False, False, "m", 60),
        (LAB, True, False, "m", 300),
        (OLLAMA, False, False, "m", 300),
        (OLLAMA, True, True, "m", 60),
        (LAB, True, True, "m", 60),
        (OLLAMA, True, False, "routed", 7),
    ],
)
def test_names_first_token_is_waited_for_longer_where_it_takes_longer(
    provider: ProviderSettings, reasoning: bool, given: bool, requested: str, expected: float
) -> None:
    """300 s for Ollama and for reasoning, unless the configuration says something."""
    subject = names(None, route("routed", "p/m", first_token_s=7), first_token_s_given=given, p=provider)
    assert subject.resolve(requested, reasoning=reasoning).targets[0].timeouts.first_token_s == expected


def test_models_are_listed_by_the_shortest_name_that_leads_to_them() -> None:
    """Bare where that is unambiguous, else provider/model; the default first, then by id."""
    lists = {"lab": ["b", "both", "a"], "hub": ["both", "c"]}
    subject = names(lists, default=DefaultModel("hub", "c"), lab=LAB, hub=HUB, tiny=TINY)
    assert subject.models() == [
        ModelEntry("c", "hub", "c"),
        ModelEntry("a", "lab", "a"),
        ModelEntry("b", "lab", "b"),
        ModelEntry("hub/both", "hub", "both"),
        ModelEntry("lab/both", "lab", "both"),
        ModelEntry(EMBEDDED_MODEL, "tiny", EMBEDDED_MODEL),
    ]
    assert subject.default == ModelEntry("c", "hub", "c")


def test_models_include_routes_without_a_glob_and_an_unlisted_default() -> None:
    """What a configuration names can be asked for even while no provider says anything."""
    routes = (route("fast", "lab/small"), route("x-*", "lab/*"), route("y[12]", "lab/*"), route("z?", "lab/*"))
    subject = names(None, *routes, default=DefaultModel("hub", "big"), lab=LAB, hub=HUB)
    assert subject.models() == [ModelEntry("hub/big", "hub", "big"), ModelEntry("fast", "lab", "small")]
    assert names(None, openai=OPENAI).models() == [ModelEntry(OPENAI_MODEL_DEFAULT, "openai", OPENAI_MODEL_DEFAULT)]


def test_models_default_is_listed_under_the_name_it_was_given() -> None:
    """Where several names lead to the default, the one that RILLGATE_MODEL says is first."""
    subject = names({"lab": ["small"]}, route("fast", "lab/small"), default=DefaultModel("lab", "fast"), lab=LAB)
    assert subject.models() == [ModelEntry("fast", "lab", "small"), ModelEntry("small", "lab", "small")]


def test_models_hidden_by_a_route_are_not_listed_under_its_name() -> None:
    """A bare name that a route leads elsewhere is not that model's name; hidden behind both, it is left out."""
    lists = {"lab": ["gpt-1"], "hub": ["gpt-2", "other"]}
    subject = names(lists, route("gpt-*", "lab/*"), lab=LAB, hub=HUB)
    assert [entry.id for entry in subject.models()] == ["gpt-1", "hub/gpt-2", "other"]
    catch_all = names(lists, route("*", "lab/*"), lab=LAB, hub=HUB)
    assert [entry.id for entry in catch_all.models()] == ["gpt-1"]


def test_models_whose_id_begins_with_a_providers_name_get_its_provider_too() -> None:
    """`lab/x` listed by hub is not what `lab/x` asks for."""
    subject = names({"hub": ["lab/x"], "lab": []}, lab=LAB, hub=HUB)
    assert subject.models() == [ModelEntry("hub/lab/x", "hub", "lab/x")]


def test_models_every_id_leads_to_its_own_entry() -> None:
    """The list never promises a name that then goes elsewhere."""
    lists = {"lab": ["a", "both", "hub/a", "fast", "", "a"], "hub": ["both", "lab/both", "c", "gpt-1"]}
    subject = names(lists, route("fast", "hub/c"), route("gpt-*", "lab/*"), lab=LAB, hub=HUB, tiny=TINY)
    entries = subject.models()
    assert [entry.id for entry in entries] == [
        "a",
        "c",
        "fast",
        "hub/both",
        "hub/gpt-1",
        "hub/lab/both",
        "lab/both",
        "lab/fast",
        "lab/hub/a",
        EMBEDDED_MODEL,
    ]
    for entry in entries:
        assert place(subject, entry.id) == f"{entry.provider}/{entry.model}"
        assert subject.get(entry.id) == entry


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        ("a", ModelEntry("a", "lab", "a")),
        ("lab/a", ModelEntry("lab/a", "lab", "a")),
        ("x-1", ModelEntry("x-1", "lab", "x-1")),
        ("hub/anything", ModelEntry("hub/anything", "hub", "anything")),
        ("lab/nothing", "model_not_found"),
        ("nothing", "model_not_found"),
        ("both", "model_ambiguous"),
    ],
)
def test_get_finds_what_can_be_asked_for(requested: str, expected: ModelEntry | str) -> None:
    """Any name that leads to a listed model, by a route, or to a provider whose list is not known."""
    subject = names({"lab": ["a", "both"], "third": ["both"]}, route("x-*", "lab/*"), lab=LAB, hub=HUB, third=HUB)
    if isinstance(expected, str):
        with pytest.raises(ClientError) as caught:
            subject.get(requested)
        assert caught.value.code == expected
    else:
        assert subject.get(requested) == expected


def test_get_unlisted_name_at_the_only_provider_is_404_where_its_list_is_known() -> None:
    """A request may try such a name; the list of models does not claim that it exists."""
    assert names(None, lab=LAB).get("x") == ModelEntry("x", "lab", "x")
    with pytest.raises(ClientError):
        names({"lab": ["a"]}, lab=LAB).get("x")


def test_names_route_with_several_upstreams_leads_to_them_in_order() -> None:
    """Each with the patience of its own provider under the route's timeouts; a star is the requested name."""
    several = RouteSettings("fast-*", ("p/*", "slow/other"), MappingProxyType({"idle_s": 5.0}), retries=2)
    subject = names(None, several, p=LAB, slow=OLLAMA)
    routed = subject.resolve("fast-1")
    assert [(target.provider, target.model) for target in routed.targets] == [("p", "fast-1"), ("slow", "other")]
    assert [target.timeouts.first_token_s for target in routed.targets] == [60, 300]
    assert {target.timeouts.idle_s for target in routed.targets} == {5.0}
    assert routed.retries == 2
    assert subject.resolve("p/fast-1").retries == 0


def test_names_route_leaves_out_an_upstream_that_cannot_exist() -> None:
    """The embedded provider has one model; a later upstream that asks it for another is no way out."""
    several = RouteSettings("fast-*", ("p/*", "own/*"))
    subject = names(None, several, p=LAB, own=ProviderSettings("embedded"))
    assert [target.provider for target in subject.resolve("fast-1").targets] == ["p"]
