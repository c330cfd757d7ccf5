"""How many tokens the images, sounds and files of a prompt are at most: for holds only, and meant to be too many.

Place:  dialect.parse → budget.media → ledger.authorize, beside budget.estimate, which counts the text. Pure.

Sizes in pixels, seconds and pages are not looked for: a part counts what the greediest of the common models makes of
the largest one. The provider's usage is the truth at settlement, and what was held too much is free again then.

Images, tokens at most for each (documentation as of 2026-11, unless measured by users as said):
    OpenAI, tiles        85 + 170 × 8 = 1,445 (gpt-4o, gpt-4.1); 2,833 + 5,667 × 8 = 48,169 (gpt-4o-mini)
    OpenAI, patches      1,536 × 2.46 = 3,779 (gpt-4.1-nano; `detail` changes nothing); 2,500 × 1.2 = 3,000 at detail
                         high, 10,000 × 1.2 = 12,000 at original, which newer models take for auto (1.2 as measured)
    Anthropic            1,568, or 4,784 where the model reads 2,576 pixels; knows no `detail`
    Google               1,120, 2,240 at its highest resolution; before Gemini 3 258 for each tile
Sound: 10 tokens a second (OpenAI), 32 (Google). Video: 300 a second (Google, with its sound).
Pages of a PDF: their text, and an image each.

Known to be too few: a file of very many nearly empty pages; gpt-4o-mini under another name (an Azure deployment, say);
an image more than fifteen times as wide as high where Google cuts it into tiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IMAGE_TOKENS = 12_000
IMAGE_TOKENS_AT_DETAIL = 5_000  # with `detail` low or high
TILE_TOKENS_MINI = 5_667  # gpt-4o-mini
BASE_TOKENS_MINI = 2_833
TILES_MAX = 8  # of 512 pixels: an image is made to fit 768 × 2,048

SOUND_BYTES_PER_TOKEN = 31  # 8 kbit/s, the least that MP3 knows, at 32 tokens a second
WAVE_BYTES_PER_TOKEN = 250  # 8,000 samples a second of one byte
VIDEO_BYTES_PER_TOKEN = 16  # 40 kbit/s at 300 tokens a second
SPOKEN_ANSWER_TOKENS = 16_384  # of an earlier answer that is only named: some fourteen minutes of OpenAI's 20 a second
REFERENCE_TOKENS = 200_000  # of a file or video that is only named: what fills many a context window

_IMAGES = frozenset({"image_url", "image", "input_image", "image_file"})
_SOUNDS = frozenset({"input_audio", "audio", "audio_url"})
_VIDEOS = frozenset({"video_url", "video", "input_video"})
_FILES = frozenset({"file", "input_file", "document"})
_DATA_KEYS = ("data", "file_data", "url", "file_url")


def media_tokens(fields: Mapping[str, Any], model: str | None = None) -> int:
    """Tokens of all that is no text in the messages, at most.

    Shape: a message with one image → 12_000; without any → 0. Nothing raises.
    Args:  fields: a request in Chat Completions vocabulary.
           model: the routed model; what the client asked for where there is none.
    """
    name = str(model or fields.get("model"))
    messages = fields.get("messages")
    return sum(_message_tokens(message, name) for message in _dicts(messages))


def _message_tokens(message: dict[str, Any], model: str) -> int:
    spoken = SPOKEN_ANSWER_TOKENS if isinstance(message.get("audio"), dict) else 0
    return spoken + sum(_part_tokens(part, model) for part in _dicts(message.get("content")))


def _part_tokens(part: dict[str, Any], model: str) -> int:
    kind = part.get("type")
    if not isinstance(kind, str):
        return 0
    inner = part.get(kind)
    value = inner if isinstance(inner, dict) else {**part, "url": inner}
    if kind in _IMAGES:
        return _image_tokens(value.get("detail", part.get("detail")), model)
    size = _data_bytes(value)
    if kind in _SOUNDS:
        wave = value.get("format") == "wav"
        return _tokens(size, WAVE_BYTES_PER_TOKEN if wave else SOUND_BYTES_PER_TOKEN)
    if kind in _VIDEOS:
        return _tokens(size, VIDEO_BYTES_PER_TOKEN)
    if kind in _FILES:
        return IMAGE_TOKENS_AT_DETAIL + _tokens(size, 1)  # a token is a byte at least; and the image of a page
    return 0


def _image_tokens(detail: Any, model: str) -> int:
    if "gpt-4o-mini" in model.lower():
        return BASE_TOKENS_MINI if detail == "low" else BASE_TOKENS_MINI + TILES_MAX * TILE_TOKENS_MINI
    return IMAGE_TOKENS_AT_DETAIL if detail in ("low", "high") else IMAGE_TOKENS


def _data_bytes(value: dict[str, Any]) -> int | None:
    """Bytes of what comes along in base64, at most; None where it is only named."""
    for key in _DATA_KEYS:
        data = value.get(key)
        if isinstance(data, str) and not data[:8].lower().startswith(("http:", "https:", "gs:", "s3:")):
            return -(-len(data) * 3 // 4)
    return None


def _tokens(size: int | None, bytes_per_token: int) -> int:
    return REFERENCE_TOKENS if size is None else -(-size // bytes_per_token)


def _dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; an object alone is a list of one."""
    if isinstance(value, dict):
        return [value]
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
