"""What requests may ask for, and what becomes of it at each provider: one list, which checks requests and is printed.

A provider says of each feature one of four things. What it cannot do is refused by name; what is a hint is dropped.
`docs/matrix.md` is made from the same tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from rillgate.domain.errors import ClientError

Fields = Mapping[str, Any]


class Handling(StrEnum):
    """What becomes of a feature."""

    PASSED = "passed"  # as the client said it
    TRANSLATED = "translated"  # said in the provider's own words
    DROPPED = "dropped"  # a hint that the provider does not know
    REFUSED = "refused"  # 400, naming the field


class Feature(msgspec.Struct, frozen=True):
    """Something that a request may ask for.

    Attributes:
        name: in the tables.
        text: what it is, for `docs/matrix.md`.
        param: the field, for refusals.
        asked: whether a request in Chat Completions vocabulary asks for it.
    """

    name: str
    text: str
    param: str
    asked: Callable[[Fields], bool]


def check(fields: Fields, handling: Mapping[str, Handling], provider: str) -> None:
    """Refuse a request that asks for what its provider cannot do.

    Args:    handling: by feature, complete. provider: its configured name.
    Raises:  ClientError: 400, `unsupported_parameter`; `param` names the field.
    """
    for feature in FEATURES:
        if handling[feature.name] is Handling.REFUSED and feature.asked(fields):
            raise ClientError(
                f"Provider {provider!r} does not support '{feature.param}' ({feature.text}); leave it out or ask "
                "another model.",
                param=feature.param,
                code="unsupported_parameter",
            )


def _has(name: str) -> Callable[[Fields], bool]:
    return lambda fields: fields.get(name) is not None


def _parts(fields: Fields) -> Iterator[Mapping[str, Any]]:
    for message in fields["messages"]:
        content = message.get("content")
        yield from content if isinstance(content, list) else ()


def _has_part(kind: str) -> Callable[[Fields], bool]:
    return lambda fields: any(part.get("type") == kind for part in _parts(fields))


def _image_urls(fields: Fields) -> bool:
    return any(_url(part).startswith("http") for part in _parts(fields) if part.get("type") == "image_url")


def _url(part: Mapping[str, Any]) -> str:
    given = part.get("image_url")
    return str((given.get("url") if isinstance(given, dict) else given) or "")


def _custom_tools(fields: Fields) -> bool:
    return any(tool.get("type") == "custom" for tool in fields.get("tools") or ())


def _forced_tools(fields: Fields) -> bool:
    choice = fields.get("tool_choice")
    if not isinstance(choice, dict):
        return bool(choice == "required")
    allowed = choice.get("allowed_tools")
    return choice.get("type") == "function" or (isinstance(allowed, dict) and allowed.get("mode") == "required")


def _one_call(fields: Fields) -> bool:
    return fields.get("parallel_tool_calls") is False


def _end_user(fields: Fields) -> bool:
    return any(fields.get(name) for name in ("user", "safety_identifier"))


def _format(kind: str) -> Callable[[Fields], bool]:
    def asked(fields: Fields) -> bool:
        given = fields.get("response_format")
        return isinstance(given, dict) and given.get("type") == kind

    return asked


def _several(fields: Fields) -> bool:
    return (fields.get("n") or 1) > 1


def _penalties(fields: Fields) -> bool:
    return any(fields.get(name) for name in ("presence_penalty", "frequency_penalty"))


def _audio_out(fields: Fields) -> bool:
    return fields.get("audio") is not None or "audio" in (fields.get("modalities") or ())


def _cache_marks(fields: Fields) -> bool:
    marked = [*fields["messages"], *_parts(fields), *(fields.get("tools") or ())]
    return any("cache_control" in item or "prompt_cache_breakpoint" in item for item in marked)


def _reasoning_kept(fields: Fields) -> bool:
    return any(message.get("reasoning_details") for message in fields["messages"])


def _always(fields: Fields) -> bool:
    return True


FEATURES = (
    Feature("text", "text, system prompts, several turns", "messages", _always),
    Feature("images", "images as data", "messages", _has_part("image_url")),
    Feature("image_urls", "images by their address", "messages", _image_urls),
    Feature("documents", "files such as PDF, as data", "messages", _has_part("file")),
    Feature("sound", "recorded sound", "messages", _has_part("input_audio")),
    Feature("tools", "tools, calls and their results", "tools", lambda fields: bool(fields.get("tools"))),
    Feature("custom_tools", "tools that take free text", "tools", _custom_tools),
    Feature(
        "functions", "functions, as tools were once called", "functions", lambda fields: bool(fields.get("functions"))
    ),
    Feature("web_search", "the provider's own search of the web", "web_search_options", _has("web_search_options")),
    Feature("tool_choice", "tools that must be called", "tool_choice", _forced_tools),
    Feature("parallel_tool_calls", "one call at a time", "parallel_tool_calls", _one_call),
    Feature("json_schema", "answers after a JSON schema", "response_format", _format("json_schema")),
    Feature("json_object", "answers in JSON of any form", "response_format", _format("json_object")),
    Feature("stop", "stop sequences", "stop", _has("stop")),
    Feature("temperature", "temperature", "temperature", _has("temperature")),
    Feature("top_p", "nucleus sampling", "top_p", _has("top_p")),
    Feature("top_k", "the k likeliest tokens alone", "top_k", _has("top_k")),
    Feature("penalties", "presence and frequency penalties", "presence_penalty", _penalties),
    Feature("seed", "a seed", "seed", _has("seed")),
    Feature("choices", "several choices at once", "n", _several),
    Feature("logprobs", "probabilities of tokens", "logprobs", lambda fields: bool(fields.get("logprobs"))),
    Feature("logit_bias", "a bias on tokens", "logit_bias", lambda fields: bool(fields.get("logit_bias"))),
    Feature("prediction", "predicted output", "prediction", _has("prediction")),
    Feature("audio_output", "spoken answers", "audio", _audio_out),
    Feature("reasoning_effort", "how much to think", "reasoning_effort", _has("reasoning_effort")),
    Feature("reasoning_kept", "earlier reasoning with its signature", "messages", _reasoning_kept),
    Feature("cache_marks", "marks where a prompt may be cached", "messages", _cache_marks),
    Feature("end_user", "the end user's identifier", "user", _end_user),
    Feature("service_tier", "a service tier", "service_tier", _has("service_tier")),
)
