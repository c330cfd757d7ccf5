"""Whatever stands in the configuration, it is accepted or refused in one line, and nothing else happens."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rillgate.app.settings.found import PROVIDER_VARIABLES
from rillgate.app.settings.load import SettingsError, load_settings
from rillgate.app.settings.schema import KINDS, SCHEMA, Each, Rows, Table

NOWHERE = Path("/nonexistent")
NAMES = {"providers": "lab.", "prices": "lab."}


def all_keys() -> list[str]:
    """Every key that can be set, dotted, in the tables and rows of a made-up name; and every section."""
    keys = list(SCHEMA.keys)
    for section, shape in SCHEMA.keys.items():
        inner = shape.row if isinstance(shape, Rows) else shape.inner if isinstance(shape, Each) else shape
        assert isinstance(inner, Table)
        middle = "0." if isinstance(shape, Rows) else NAMES.get(section, "")
        keys += [f"{section}.{middle}{key}" for key in inner.keys]
    return keys


def outcome(flags: dict[str, object], environ: dict[str, str]) -> None:
    """Load, and look at a refusal."""
    refusal = ""
    try:
        load_settings(config=None, flags=flags, environ=environ, cwd=NOWHERE)
    except SettingsError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) <= 1
    assert len(refusal) < 600


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["openai", "embedded", "none", "env:K", "http://127.0.0.1:1/v1", "lab/*", "memory:", "127.0.0.1"])
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
KEYS = st.sampled_from(all_keys())


@given(st.dictionaries(KEYS | st.text(), VALUES, max_size=4))
def test_settings_any_typed_values_are_accepted_or_refused_in_one_line(flags: dict[str, object]) -> None:
    """Values with types of their own, as a file or a program gives them."""
    outcome(flags, {})


@given(
    st.dictionaries(
        KEYS.map(lambda key: "RILLGATE_" + key.upper().replace(".", "__")) | st.text().map("RILLGATE_".__add__),
        st.text() | SCALARS.map(str),
        max_size=4,
    )
)
def test_settings_any_texts_are_accepted_or_refused_in_one_line(environ: dict[str, str]) -> None:
    """Texts, as variables hold them."""
    outcome({}, environ)


@given(
    st.dictionaries(
        st.sampled_from([*sorted(PROVIDER_VARIABLES), "AWS_REGION", "RILLGATE_BACKEND", "RILLGATE_MODEL"]),
        st.text() | st.sampled_from([*KINDS, "http://[", "[::1", "a:b:c", "http://a]b", "eu-west-1"]),
    )
)
def test_settings_any_usual_variables_are_accepted_or_refused_in_one_line(environ: dict[str, str]) -> None:
    """The variables that other tools read too."""
    outcome({}, environ)
