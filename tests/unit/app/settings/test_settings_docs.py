"""docs/configuration.md says what the classes and the schema say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from rillgate.app.embedded_child import ALIAS
from rillgate.app.settings.found import PROVIDER_VARIABLES
from rillgate.app.settings.load import load_settings
from rillgate.app.settings.providers import BASE_URLS
from rillgate.app.settings.schema import KINDS, SCHEMA, TIMEOUTS, Each, Rows, Table
from rillgate.app.settings.types import (
    ANTHROPIC_MODEL_DEFAULT,
    BEDROCK_MODEL_DEFAULT,
    EMBEDDED_MODEL,
    GEMINI_MODEL_DEFAULT,
    OPENAI_MODEL_DEFAULT,
    PATIENT_FIRST_TOKEN_S,
    AuthSettings,
    LedgerSettings,
    LimitSettings,
    PriceSettings,
    ProviderSettings,
    RouteSettings,
    ServerSettings,
)
from rillgate.domain.request import Timeouts

PAGE = Path(__file__).parents[4] / "docs" / "configuration.md"
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| `(RILLGATE_[^`]+)` \| ([^|]+) \|$", re.MULTILINE)

CLASSES: dict[str, type] = {
    "server": ServerSettings,
    "auth": AuthSettings,
    "providers": ProviderSettings,
    "routes": RouteSettings,
    "timeouts": Timeouts,
    "limits": LimitSettings,
    "ledger": LedgerSettings,
    "prices": PriceSettings,
}
FOUND_OUT = {
    "providers": {"found_in", "ollama", "bearer"},
    "routes": {"timeouts"},
    "server": {"inherited", "http_endpoint"},
}
SPELLED = {"providers": "providers.NAME", "routes": "routes[0]", "prices": 'prices."GLOB"'}
# What stands in for an absent key is not the class's own default, but what the loader makes of it.
MEANT = {"providers.NAME.base_url": "by kind", "providers.NAME.api_key": '"none"'}


def keys_of(section: str) -> set[str]:
    """The keys that the schema knows in one section, in each of its rows or in each of its tables."""
    shape = SCHEMA.keys[section]
    inner = shape.row if isinstance(shape, Rows) else shape.inner if isinstance(shape, Each) else shape
    assert isinstance(inner, Table)
    return set(inner.keys)


def literal(field: dataclasses.Field[object]) -> str:
    """A field's default as TOML spells it."""
    if field.default_factory is not dataclasses.MISSING:
        return "{}"
    if field.default is dataclasses.MISSING:
        return "required"
    return {None: "unset", (): "[]"}.get(field.default, f"{field.default!r}".replace("'", '"').replace("True", "true"))  # type: ignore[call-overload,no-any-return]


def expected_rows() -> dict[str, tuple[str, str]]:
    """Default and variable for every key, from the classes."""
    rows = {}
    for section, cls in CLASSES.items():
        for field in dataclasses.fields(cls):
            if field.name in FOUND_OUT.get(section, ()):
                continue
            key = f"{SPELLED.get(section, section)}.{field.name}"
            path = re.sub(r"[^A-Z0-9]+", "__", SPELLED.get(section, section).upper()).strip("_")
            variable = "RILLGATE_PRICES" if section == "prices" else f"RILLGATE_{path}__{field.name.upper()}"
            default = "{}" if field.name == "headers" else MEANT.get(key, literal(field))
            rows[key] = (default, variable)
    return rows


def test_configuration_page_names_every_key_with_default_and_variable() -> None:
    """The tables have one row for each key: no more, no less, and with the default that holds."""
    page = PAGE.read_text(encoding="utf-8")
    rows = {key: (default.strip().strip("`"), variable) for key, _, default, variable, _ in ROW.findall(page)}
    assert rows == expected_rows()


def test_schema_and_classes_know_the_same_keys() -> None:
    """A key that is checked has a place to go to, and the other way round."""
    assert set(SCHEMA.keys) == set(CLASSES)
    for section, cls in CLASSES.items():
        fields = {field.name for field in dataclasses.fields(cls)} - FOUND_OUT.get(section, set())
        extra = set(TIMEOUTS) if section == "routes" else set()
        assert keys_of(section) == fields | extra


def test_configuration_page_example_loads(tmp_path: Path) -> None:
    """The example of the page is accepted as it stands."""
    example = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    (tmp_path / "rillgate.toml").write_text(example[1], encoding="utf-8")
    settings = load_settings(config=None, flags={}, environ={"LAB_KEY": "k"}, cwd=tmp_path)
    assert list(settings.providers) == ["lab", "tiny"]


def test_configuration_page_names_what_is_found_and_what_is_not_used() -> None:
    """Variables and constants on the page are those of the code."""
    page = PAGE.read_text(encoding="utf-8")
    models = (
        EMBEDDED_MODEL,
        OPENAI_MODEL_DEFAULT,
        ANTHROPIC_MODEL_DEFAULT,
        BEDROCK_MODEL_DEFAULT,
        GEMINI_MODEL_DEFAULT,
    )
    for word in (*PROVIDER_VARIABLES, *models, f"{PATIENT_FIRST_TOKEN_S:g} for Ollama"):
        assert word in page
    for kind in KINDS:
        assert f"`{kind}`" in page
    for base_url in BASE_URLS.values():
        assert f"`{base_url}`" in page


def test_embedded_model_has_one_name() -> None:
    """The name by which clients ask is the alias under which the model's process answers."""
    assert EMBEDDED_MODEL == ALIAS
