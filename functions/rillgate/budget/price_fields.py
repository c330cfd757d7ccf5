"""Which fields of a request change its price in a way that the price table does not know.

Place:  dialect.parse → budget.price_fields → ledger.authorize: under a money limit such a request is refused. Pure.
Source: OpenAI's reference of Chat Completions, Anthropic's of Messages and the guides of xAI, Groq, Google and
        OpenRouter on what they add to it, read 2026-11.

Allowed, with the reason:
- `service_tier` auto, default, standard, standard_only, on_demand: the usual price, and auto is what a request without
  the field gets. A project whose default is another tier still pays that one: known to its owner only. Flex, which is
  cheaper, is refused as well: nothing says how much cheaper.
- `prediction`: what is rejected of it counts as output tokens in the provider's usage, and within its cap.
- images: tokens of the model at its price of input (see `media`); `n`, `store`, `metadata`, `logprobs`: no price.

Nothing here raises: what has a shape that no provider knows is left to the provider to refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_PLAIN_TYPES = frozenset({"function", "custom"})
_AUDIO_PARTS = frozenset({"input_audio", "audio", "audio_url", "input_video", "video", "video_url"})
_AUDIO_DATA = ("data:audio/", "data:video/")  # a video has sound
_DATA_FIELDS = (("image_url", "url"), ("file", "file_data"), ("file", "file_url"))


def price_changing(fields: Mapping[str, Any]) -> str | None:
    """The first field that changes the price in a way that is not known; None where there is none.

    Shape: {"service_tier": "priority"} → "service_tier"; {"tools": [{…}, {"type": "web_search"}]} → "tools[1].type"
    Args:  fields: a request in Chat Completions vocabulary, with the fields that compatible hosts add.
    """
    for name, is_usual in _USUAL.items():
        if fields.get(name) is not None and not is_usual(fields[name]):
            return name
    for finder in (_modality, _tool, _media, _long_cache):
        found = next(finder(fields), None)
        if found is not None:
            return found
    return None


def _one_of(*usual: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value.lower() in usual


def _nothing(value: Any) -> bool:
    return not value


def _never(_: Any) -> bool:
    return False


def _is_off(value: Any) -> bool:
    return isinstance(value, dict) and value.get("mode") == "off"


# Field → whether its value leaves the price as it is. null always does.
_USUAL: dict[str, Callable[[Any], bool]] = {
    "service_tier": _one_of("auto", "default", "standard", "standard_only", "on_demand"),
    "speed": _one_of("standard"),  # Anthropic: fast is several times dearer
    "inference_geo": _one_of("global", "not_available"),  # Anthropic: a tenth more for one region
    "audio": _never,  # the voice of a spoken answer
    "web_search_options": _never,  # OpenAI: an empty object is enough to search
    "search_parameters": _is_off,  # xAI
    "enable_search": _nothing,  # Qwen
    "plugins": _nothing,  # OpenRouter: searching, reading of files
    "models": _nothing,  # OpenRouter: other models to fall back to
    "provider": _nothing,  # OpenRouter: another choice of who serves, and so of the price
    "preset": _nothing,  # OpenRouter: any of the above, kept there
    "mcp_servers": _nothing,  # Anthropic: hosted tools
}


def _modality(fields: Mapping[str, Any]) -> Iterator[str]:
    """Answers in sound or images."""
    for number, modality in enumerate(_list(fields.get("modalities"))):
        if modality != "text":
            yield f"modalities[{number}]"


def _tool(fields: Mapping[str, Any]) -> Iterator[str]:
    """Tools that the provider runs. One without a type is a function, unless nothing in it says so (Google's)."""
    for number, tool in enumerate(_list(fields.get("tools"))):
        if not isinstance(tool, dict):
            continue
        kind = tool.get("type")
        if kind is None and not any(key in tool for key in ("function", "custom", "name")):
            yield f"tools[{number}]"
        elif kind is not None and not (isinstance(kind, str) and kind in _PLAIN_TYPES):
            yield f"tools[{number}].type"


def _media(fields: Mapping[str, Any]) -> Iterator[str]:
    """Sound in the prompt, which has a price of its own: as a part, as data, or as an earlier spoken answer."""
    for number, message in enumerate(_list(fields.get("messages"))):
        if not isinstance(message, dict):
            continue
        if message.get("audio") is not None:
            yield f"messages[{number}].audio"
        for place, part in _parts(number, message):
            kind = part.get("type")
            if isinstance(kind, str) and kind in _AUDIO_PARTS:
                yield f"{place}.type"
            for outer, inner in _DATA_FIELDS:
                if _is_sound(part.get(outer), inner):
                    yield f"{place}.{outer}"


def _is_sound(value: Any, key: str) -> bool:
    data = value.get(key) if isinstance(value, dict) else value
    return isinstance(data, str) and data[:16].lower().startswith(_AUDIO_DATA)


def _long_cache(fields: Mapping[str, Any]) -> Iterator[str]:
    """Cache writes that are kept for an hour, which cost more than those of five minutes that the table knows."""
    places: list[tuple[str, Any]] = [("", fields)]
    places += [(f"tools[{number}].", tool) for number, tool in enumerate(_list(fields.get("tools")))]
    for number, message in enumerate(_list(fields.get("messages"))):
        if isinstance(message, dict):
            places.append((f"messages[{number}].", message))
            places += [(f"{place}.", part) for place, part in _parts(number, message)]
    for place, value in places:
        control = value.get("cache_control") if isinstance(value, Mapping) else None
        if isinstance(control, dict) and control.get("ttl") not in (None, "5m"):
            yield f"{place}cache_control.ttl"


def _parts(number: int, message: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts of a message's content that are objects, each with its place."""
    content = message.get("content")
    if isinstance(content, dict):
        yield f"messages[{number}].content", content
        return
    for index, part in enumerate(_list(content)):
        if isinstance(part, dict):
            yield f"messages[{number}].content[{index}]", part


def _list(value: Any) -> list[Any]:
    """A list as it is, nothing for null, anything else as a list of one."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]
