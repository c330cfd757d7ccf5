"""Which kinds of provider make embeddings, and what the matrix says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rillgate.app.embedders import _BY_KIND, embedder_of
from rillgate.app.settings.schema import KINDS
from rillgate.app.settings.types import ProviderSettings

PAGE = Path(__file__).parents[3] / "docs" / "matrix.md"


@pytest.mark.parametrize("kind", KINDS)
def test_embedder_of_each_kind_is_there_or_is_not(kind: str) -> None:
    """And errors are read as its provider reads them."""
    embedder = embedder_of("lab", ProviderSettings(kind, "http://127.0.0.1:9"))
    assert (embedder is not None) is (kind not in ("anthropic", "embedded"))
    assert embedder is None or embedder.error(503, {}, b"").status == 503


def test_matrix_has_a_column_for_every_kind_that_makes_embeddings() -> None:
    """And names those that make none."""
    section = PAGE.read_text(encoding="utf-8").partition("## `POST /v1/embeddings`")[2]
    (heading,) = [line for line in section.splitlines() if line.startswith("| | ")]
    assert heading == "| | `openai`, `openai_responses` | `azure` | `ollama` | `gemini` | `bedrock` |"
    assert {kind for kind in KINDS if f"`{kind}`" in heading} == set(_BY_KIND)
    assert all(f"`{kind}`" in section.partition("|")[0] for kind in set(KINDS) - set(_BY_KIND))
