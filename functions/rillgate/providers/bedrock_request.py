"""A request in Chat Completions vocabulary as the body of Amazon Bedrock's Converse.

    turns → messages, in which user and assistant alternate        `bedrock_blocks` writes their parts
    tools → toolConfig, by `bedrock_tools` · cap and sampling → inferenceConfig · schema → outputConfig
    what only one family knows → additionalModelRequestFields

Most models behind Converse refuse what they do not know, so hints go only to families that take them.
Source: Amazon Bedrock API Reference, Converse and ConverseStream, as botocore 1.44.5 describes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rillgate.domain.errors import ClientError
from rillgate.providers.bedrock_blocks import Blocks, cache_point, is_blank
from rillgate.providers.bedrock_tools import one_call_at_a_time, tool_config
from rillgate.providers.claude import claude_of, is_forced, reasoning_is_lost, sampling_of, thinking_of
from rillgate.providers.conversation import Conversation, Text, Turn, conversation_of
from rillgate.providers.json_body import json_body
from rillgate.providers.options import effort_of, end_user_of, output_format_of, stops_of, tool_choice_of

METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")
SERVICE_TIERS = frozenset({"default", "flex", "priority", "reserved"})
CACHING = ("claude", "amazon.nova")
TOP_K = ("claude", "mistral")
EFFORTS = {"minimal": "low"}  # the words that Bedrock knows begin there
STOP_SEQUENCE_PATH = "/stop_sequence"  # Claude's own field that names the sequence it met


def converse_body(fields: Mapping[str, Any], model: str, output_tokens_max: int) -> dict[str, Any]:
    """The JSON of one request, the same for Converse and ConverseStream.

    Shape:  {"messages": [{"role": "user", "content": "Hi"}]}, …, 9
            → {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], "inferenceConfig": {"maxTokens": 9}}
    Raises: ClientError: something that Bedrock does not take, `param` naming the field.
    """
    caches = _is_one_of(model, CACHING) or _is_opaque(model)
    conversation = conversation_of(fields)
    turns = _turns(conversation)
    blocks = Blocks(caches=caches, signed=claude_of(model) is not None)
    body: dict[str, Any] = {
        "messages": [{"role": turn.role, "content": blocks.of_turn(turn)} for turn in turns],
        "inferenceConfig": {"maxTokens": max(1, output_tokens_max)},
    }
    system = _system(conversation.system, caches=caches)
    if system:
        body["system"] = system
    tools = tool_config(fields, turns, model, caches=caches and "amazon.nova" not in model)
    if tools:
        body["toolConfig"] = tools
    _add_sampling(body, fields, model, output_tokens_max, turns)
    _add_output_format(body, fields)
    _add_labels(body, fields)
    return body


def _turns(conversation: Conversation) -> tuple[Turn, ...]:
    """Turns that alternate and begin with the user's, without texts that are blank, which Bedrock refuses."""
    kept = [
        Turn("user" if turn.role == "system" else turn.role, tuple(part for part in turn.parts if not is_blank(part)))
        for turn in conversation.turns
    ]
    turns = Conversation((), tuple(turn for turn in kept if turn.parts)).merged()
    if not turns or turns[0].role != "user":
        raise ClientError(
            "Invalid value for 'messages': a conversation with a model of Bedrock begins with a user's message.",
            param="messages",
            code="invalid_value",
        )
    return turns


def _system(texts: Sequence[Text], *, caches: bool) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for text in texts:
        if not is_blank(text):
            blocks.append({"text": text.text})
            if caches and text.cache:
                blocks.append(cache_point(text.cache))
    return blocks


def _add_sampling(
    body: dict[str, Any], fields: Mapping[str, Any], model: str, output_tokens_max: int, turns: Sequence[Turn]
) -> None:
    """How much to think, how to sample, where to stop, and whether several tools may be called at once."""
    effort = effort_of(fields)
    choice = tool_choice_of(fields)
    own = thinking_of(
        model,
        effort,
        output_tokens_max,
        tool_forced=is_forced(choice, model),
        reasoning_lost=reasoning_is_lost(turns),
    )
    if claude_of(model) is None and effort not in (None, "none"):
        word = EFFORTS.get(str(effort), str(effort))
        if "openai." in model:
            own["reasoning_effort"] = word
        else:
            body.setdefault("outputConfig", {})["effort"] = word
    sampling = sampling_of(model, fields, own)
    config = body["inferenceConfig"]
    if "temperature" in sampling:
        config["temperature"] = sampling["temperature"]
    if "top_p" in sampling:
        config["topP"] = sampling["top_p"]
    if "top_k" in sampling:
        own.update(_top_k(sampling["top_k"], model))
    stops = stops_of(fields)
    if stops:
        config["stopSequences"] = list(stops)
        if claude_of(model) is not None:
            body["additionalModelResponseFieldPaths"] = [STOP_SEQUENCE_PATH]
    own.update(one_call_at_a_time(body.get("toolConfig"), choice, model))
    if own:
        body["additionalModelRequestFields"] = own


def _top_k(top_k: Any, model: str) -> dict[str, Any]:
    """The families that know it, each by its own name; to the others it is a hint that they do not take."""
    if "amazon.nova" in model:
        return {"inferenceConfig": {"topK": top_k}}
    return {"top_k": top_k} if _is_one_of(model, TOP_K) else {}


def _add_output_format(body: dict[str, Any], fields: Mapping[str, Any]) -> None:
    wanted = output_format_of(fields)
    if wanted.kind != "json_schema":
        return
    schema: dict[str, Any] = {"schema": json_body(wanted.schema).decode()}
    if wanted.name:
        schema["name"] = wanted.name
    if wanted.description:
        schema["description"] = wanted.description
    form = {"type": "json_schema", "structure": {"jsonSchema": schema}}
    body.setdefault("outputConfig", {})["textFormat"] = form


def _add_labels(body: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Who is talking, and how urgent it is. Words that Bedrock does not know are hints that it does not take."""
    user = end_user_of(fields)
    if user is not None and METADATA.fullmatch(user):
        body["requestMetadata"] = {"user": user}
    tier = fields.get("service_tier")
    if tier in SERVICE_TIERS:
        body["serviceTier"] = {"type": tier}


def _is_one_of(model: str, signs: Sequence[str]) -> bool:
    return any(sign in model.lower() for sign in signs)


def _is_opaque(model: str) -> bool:
    """Whether the id says nothing of the model behind it: a profile, or a model, of the account's own."""
    return model.startswith("arn:") and re.search(r":(foundation-model|inference-profile)/", model) is None
