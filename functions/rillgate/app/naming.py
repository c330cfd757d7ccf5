"""From the name that a client asks for to a provider, its model and the timeouts that hold.

A name is settled by, in this order: the first route that matches; `provider/model`, which always works; the one
provider that lists it; the only provider there is. Pure: what providers list comes in as a value, and may be unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property

import msgspec

from rillgate.app.settings.types import (
    EMBEDDED_MODEL,
    PATIENT_FIRST_TOKEN_S,
    RouteSettings,
    Settings,
)
from rillgate.domain.errors import ClientError
from rillgate.domain.request import Target, Timeouts

NAME_SHOWN_CHARS_MAX = 120  # of a name that an error repeats; a client may send megabytes
CANDIDATES_SHOWN_MAX = 8

_GLOB_CHARACTERS = frozenset("*?[")


class ModelEntry(msgspec.Struct, frozen=True):
    """One model that can be asked for: `id` is the name to ask by, `provider` and `model` are where that leads."""

    id: str
    provider: str
    model: str


class _Place(msgspec.Struct, frozen=True):
    provider: str
    model: str
    route: RouteSettings | None = None

    @property
    def pair(self) -> tuple[str, str]:
        return self.provider, self.model


class Routed(msgspec.Struct, frozen=True):
    """Where one request goes.

    Attributes:
        targets: in failover order, at least one.
        retries: how many more rounds over them there may be.
    """

    targets: tuple[Target, ...]
    retries: int = 0


class Names:
    """What every name means, for one configuration and what its providers listed last.

    Args:
        settings: providers, routes, timeouts and the default.
        lists: model ids by provider, in the provider's order; a provider whose list is unknown is absent. The
            embedded provider's list is always known.
    """

    def __init__(self, settings: Settings, lists: Mapping[str, Sequence[str]] | None = None) -> None:
        self._settings = settings
        self._providers = settings.providers
        known = {name: (EMBEDDED_MODEL,) for name, provider in self._providers.items() if provider.is_embedded}
        self.lists: Mapping[str, tuple[str, ...]] = {
            **{name: tuple(dict.fromkeys(filter(None, ids))) for name, ids in (lists or {}).items()},
            **known,
        }
        self._listed_by: dict[str, list[str]] = {}
        for provider in self._providers:
            for model in self.lists.get(provider, ()):
                self._listed_by.setdefault(model, []).append(provider)

    def resolve(self, requested: str | None, *, reasoning: bool = False) -> Routed:
        """Where a request for `requested` goes: to the first target, and to the others where that one fails.

        Args:
            requested: the name that the client gave; None when it gave none.
            reasoning: whether the request asks for reasoning, which may take long before its first token.
        Raises: ClientError: unknown (404, `model_not_found`), ambiguous (400, `model_ambiguous`), or no name was
            given and there is no default (400).
        """
        place = self._default_place() if requested is None else self._place(requested)
        targets = tuple(
            Target(each.provider, each.model, self._timeouts(each, reasoning=reasoning))
            for each in self._in_order(place, requested)
        )
        return Routed(targets, 0 if place.route is None else place.route.retries)

    def needs_lists(self, requested: str | None) -> bool:
        """Whether the answer for `requested` depends on what the providers list."""
        if requested is not None:
            return self._settled(requested) is None and len(self._providers) > 1
        default = self._settings.default
        if default.model is not None:
            return not default.backend_named and self.needs_lists(default.model)
        return self._fixed_default() is None

    def models(self) -> list[ModelEntry]:
        """All models that can be asked for by a name of their own, the default first, then by id.

        A model's id is its bare name where that leads to it and `provider/model` elsewhere; a model that a route
        hides behind both is left out. Routes without a glob are names too.
        """
        default = self.default
        return sorted(self._entries.values(), key=lambda entry: (entry != default, entry.id))

    def get(self, requested: str) -> ModelEntry:
        """The entry for one id, as GET /v1/models/{id} asks for it.

        Raises: ClientError: as `resolve`, and 404 where the provider's list is known and lacks the model.
        """
        entry = self._entries.get(requested)
        if entry is not None:
            return entry
        place = self._place(requested)
        ids = self.lists.get(place.provider)
        if ids is not None and place.model not in ids and place.route is None:
            raise _unknown(requested)
        return ModelEntry(requested, *place.pair)

    @cached_property
    def default(self) -> ModelEntry | None:
        """The entry that answers when a request names no model; None where that is not known."""
        try:
            place = self._default_place()
        except ClientError:
            return None
        asked = self._settings.default.model
        entries = [entry for entry in self._entries.values() if (entry.provider, entry.model) == place.pair]
        return next((entry for entry in entries if entry.id == asked), entries[0] if entries else None)

    @cached_property
    def _entries(self) -> dict[str, ModelEntry]:
        """By id. Every id resolves to its entry's provider and model."""
        pairs = [(provider, model) for provider in self._providers for model in self.lists.get(provider, ())]
        try:
            pairs.append(self._default_place().pair)
        except ClientError:
            pass  # no default, or not known yet: nothing to add
        entries: dict[str, ModelEntry] = {}
        for route in self._settings.routes:
            if not _GLOB_CHARACTERS.intersection(route.model):
                self._enter(entries, route.model, None)
        for provider, model in pairs:
            if not self._enter(entries, model, (provider, model)):
                self._enter(entries, f"{provider}/{model}", (provider, model))
        return entries

    def _enter(self, entries: dict[str, ModelEntry], name: str, wanted: tuple[str, str] | None) -> bool:
        """Add `name` if it leads to the wanted provider and model (to any, for None); say whether it does."""
        try:
            pair = self._place(name).pair
        except ClientError:
            return False
        if wanted not in (None, pair):
            return False
        entries[name] = ModelEntry(name, *pair)
        return True

    def _place(self, requested: str) -> _Place:
        settled = self._settled(requested)
        if settled is not None:
            return self._checked(settled, requested)
        listing = self._listed_by.get(requested, [])
        if len(listing) > 1:
            raise _ambiguous(requested, listing)
        if listing:
            return _Place(listing[0], requested)
        if len(self._providers) == 1:
            return self._checked(_Place(next(iter(self._providers)), requested), requested)
        raise _unknown(requested)

    def _in_order(self, place: _Place, requested: str | None) -> list[_Place]:
        """All places of a route, from `place` on, which is its first; of the others those that can exist."""
        if place.route is None:
            return [place]
        name = requested if requested is not None else self._settings.default.model or ""
        others = [_upstream_place(upstream, name, place.route) for upstream in place.route.upstream[1:]]
        return [place, *(other for other in others if self._may_exist(other))]

    def _settled(self, requested: str) -> _Place | None:
        """What routes and `provider/model` say, whatever anyone lists."""
        for route in self._settings.routes:
            if fnmatchcase(requested, route.model):
                return _upstream_place(route.upstream[0], requested, route)
        provider, slash, model = requested.partition("/")
        return _Place(provider, model) if slash and provider in self._providers else None

    def _checked(self, place: _Place, requested: str) -> _Place:
        """`place`, unless it cannot exist: the embedded provider's list is complete."""
        if not self._may_exist(place):
            raise _unknown(requested)
        return place

    def _may_exist(self, place: _Place) -> bool:
        return bool(place.model) and (not self._providers[place.provider].is_embedded or place.model == EMBEDDED_MODEL)

    def _default_place(self) -> _Place:
        default = self._settings.default
        if default.model is not None:
            return self._named_default(default.model)
        fixed = self._fixed_default()
        if fixed is not None:
            return fixed
        ids = self.lists.get(default.provider)
        if ids:
            return _Place(default.provider, ids[0])
        message = f"No model is named, and provider {default.provider!r} lists none: name one in `model`, or set "
        raise ClientError(message + "RILLGATE_MODEL where the gateway runs", param="model")

    def _named_default(self, name: str) -> _Place:
        """RILLGATE_MODEL, read like any name; a bare one that this does not settle belongs to the backend."""
        default = self._settings.default
        settled = self._settled(name)
        if settled is not None:
            return self._checked(settled, name)
        listing = self._listed_by.get(name, [])
        alone = len(listing) == 1 and not default.backend_named
        return self._checked(_Place(listing[0] if alone else default.provider, name), name)

    def _fixed_default(self) -> _Place | None:
        """The default model that is known without asking the backend's provider."""
        name = self._settings.default.provider
        model = self._providers[name].default_model
        return None if model is None else _Place(name, model)

    def _timeouts(self, place: _Place, *, reasoning: bool) -> Timeouts:
        """The general timeouts, with more patience where they are not set, under the route's own."""
        timeouts = self._settings.timeouts
        patient = reasoning or self._providers[place.provider].ollama
        if patient and not self._settings.first_token_s_given:
            timeouts = replace(timeouts, first_token_s=PATIENT_FIRST_TOKEN_S)
        return replace(timeouts, **place.route.timeouts) if place.route is not None else timeouts


def _upstream_place(upstream: str, requested: str, route: RouteSettings) -> _Place:
    provider, _, model = upstream.partition("/")
    return _Place(provider, model.replace("*", requested), route)


def shown_name(name: str) -> str:
    """A model's name as an error repeats it."""
    return repr(name) if len(name) <= NAME_SHOWN_CHARS_MAX else f"{name[:NAME_SHOWN_CHARS_MAX]!r}…"


def _unknown(requested: str) -> ClientError:
    message = f"The model {shown_name(requested)} does not exist here: GET /v1/models lists those that do"
    return ClientError(message, status=404, code="model_not_found", param="model")


def _ambiguous(requested: str, providers: Sequence[str]) -> ClientError:
    names = [shown_name(f"{provider}/{requested}") for provider in providers[:CANDIDATES_SHOWN_MAX]]
    message = f"The model {shown_name(requested)} is listed by more than one provider: ask for {' or '.join(names)}"
    return ClientError(message, code="model_ambiguous", param="model")
