"""What is no text in a prompt: never fewer tokens than a provider counts, as far as its formula is known."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.budget.media import REFERENCE_TOKENS, media_tokens

pixels = st.integers(1, 8000)


def saying(*parts: Any, **fields: Any) -> dict[str, Any]:
    """A request with one message of these parts."""
    return {"messages": [{"role": "user", "content": list(parts)}], **fields}


def image(detail: str | None = None) -> dict[str, Any]:
    """An image part."""
    more = {} if detail is None else {"detail": detail}
    return {"type": "image_url", "image_url": {"url": "https://images.example/a.png", **more}}


def tiles(width: int, height: int) -> int:
    """OpenAI: made to fit 2,048 × 2,048, then to a shorter side of 768, then cut into squares of 512."""
    scale = min(1, 2048 / max(width, height))
    width_f, height_f = width * scale, height * scale
    scale = min(1, 768 / min(width_f, height_f))
    return math.ceil(round(width_f * scale, 6) / 512) * math.ceil(round(height_f * scale, 6) / 512)


def patches(width: int, height: int, side: int, most: int) -> int:
    """Squares of an image that is made smaller until it has at most so many."""
    return min(most, math.ceil(width / side) * math.ceil(height / side))


@given(pixels, pixels, st.sampled_from(["low", "high"]))
def test_image_at_a_named_detail_is_at_least_what_each_formula_gives(width: int, height: int, detail: str) -> None:
    """OpenAI's tiles and patches, also where the model ignores `detail`, and Anthropic's patches."""
    held = media_tokens(saying(image(detail)), "some-model")
    assert held >= 85 + 170 * tiles(width, height)
    assert held >= 2.46 * patches(width, height, 32, 1_536)
    assert held >= 1.2 * patches(width, height, 32, 2_500)
    assert held >= patches(width, height, 28, 4_784)


@given(pixels, pixels, st.sampled_from([None, "auto", "original", "odd"]))
def test_image_at_any_other_detail_is_at_least_what_the_original_costs(
    width: int, height: int, detail: str | None
) -> None:
    """What a newer model takes for auto."""
    assert media_tokens(saying(image(detail)), "some-model") >= 1.2 * patches(width, height, 32, 10_000)


@given(pixels, pixels)
def test_image_for_the_model_with_the_dearest_tiles_is_counted_by_them(width: int, height: int) -> None:
    """gpt-4o-mini, whose tokens are cheap and many; the routed model decides, not the one that was asked for."""
    for model in ("gpt-4o-mini", "openai/GPT-4o-mini-2024-07-18"):
        assert media_tokens(saying(image(), model="fast"), model) >= 2_833 + 5_667 * tiles(width, height)
    assert media_tokens(saying(image("low"), model="gpt-4o-mini")) == 2_833
    assert media_tokens(saying(image("low"), model="gpt-4o-mini"), "gpt-4.1") == 5_000


def data(size: int) -> str:
    """So many bytes in base64."""
    return base64.b64encode(bytes(size)).decode()


@pytest.mark.parametrize(
    ("kind", "bytes_per_second", "tokens_per_second"),
    [("mp3", 16_000, 32), ("mp3", 1_000, 32), ("opus", 2_000, 25), ("wav", 48_000, 10), ("wav", 8_000, 32)],
)
def test_sound_is_at_least_what_its_seconds_cost(kind: str, bytes_per_second: int, tokens_per_second: int) -> None:
    """A minute at various rates: the fewer bytes a second, the closer the bound."""
    part = {"type": "input_audio", "input_audio": {"data": data(60 * bytes_per_second), "format": kind}}
    assert 60 * tokens_per_second <= media_tokens(saying(part)) <= 60 * bytes_per_second


def test_file_is_at_least_a_token_for_each_byte_and_one_page_s_image() -> None:
    """Text is never more tokens than bytes."""
    part = {"type": "file", "file": {"file_data": data(30_000), "filename": "a.pdf"}}
    assert media_tokens(saying(part)) == 35_000


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"file_data": "https://files.example/a.pdf"}},
        {"type": "video_url", "video_url": {"url": "https://videos.example/a"}},
        {"type": "video_url", "video_url": "https://videos.example/a"},
        {"type": "input_audio"},
    ],
)
def test_part_that_is_only_named_counts_a_context_window(part: dict[str, Any]) -> None:
    """How much is behind a name is not known."""
    assert media_tokens(saying(part)) >= REFERENCE_TOKENS


def test_request_without_media_counts_nothing() -> None:
    """Text is another module's matter."""
    assert media_tokens({}) == 0
    assert media_tokens(saying({"type": "text", "text": "Hi"}, "plain", None, 7)) == 0
    assert media_tokens({"messages": [{"role": "user", "content": "https://images.example/a.png"}]}) == 0


def test_parts_of_all_messages_add_up() -> None:
    """Each image is charged again with every request that carries it."""
    one = saying(image("low"), image())["messages"][0]
    spoken = {"role": "assistant", "audio": {"id": "a"}}
    assert media_tokens({"messages": [one, one, spoken]}) == 2 * (5_000 + 12_000) + 16_384


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["image_url", "file", "audio"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "content", "image_url", "file", "data", "url", "detail"]), inner)
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["messages", "model"]), json_values))
def test_any_json_object_gives_a_number(fields: dict[str, Any]) -> None:
    """Whatever a client sends, nothing is raised and nothing is given back."""
    assert media_tokens(fields) >= 0
