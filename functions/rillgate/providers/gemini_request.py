"""The body of a request to Gemini, from Chat Completions vocabulary.

    messages → contents and systemInstruction, by `gemini_contents` · tools → functionDeclarations and toolConfig
    cap, sampling, form and thought → generationConfig

Schemas go out as JSON schemas, in the fields that take them; the older ones know a part of OpenAPI only.
Source: Gemini API reference, generateContent, GenerationConfig; google-genai 3.4.0; read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rillgate.domain.errors import ClientError
from rillgate.providers.conversation import conversation_of
from rillgate.providers.gemini_contents import contents_of
from rillgate.providers.gemini_model import gemini_of, thinking_of
from rillgate.providers.options import Tool, effort_of, output_format_of, stops_of, tool_choice_of, tools_of

Fields = Mapping[str, Any]
STOPS_MAX = 5
SEED_BOUND = 2**31  # Gemini's seeds are of 32 bits
CHOICE_MODES = {"": "AUTO", "auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
SERVICE_TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}


def body_of(fields: Fields, model: str, output_tokens_max: int) -> dict[str, Any]:
    """The JSON of one request, the same for a stream and for a whole answer.

    Shape:  {"messages": [{"role": "user", "content": "Hi"}]}, …, 9
            → {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "generationConfig": {"maxOutputTokens": 9}}
    Raises: ClientError: a part, a tool or a setting that cannot be read, or more stop sequences than Gemini takes.
    """
    gemini = gemini_of(model)
    instruction, contents = contents_of(conversation_of(fields), signed=gemini is not None and gemini.wants_signatures)
    body: dict[str, Any] = {"contents": contents}
    if instruction is not None:
        body["systemInstruction"] = instruction
    body |= _tools(fields)
    body["generationConfig"] = _generation(fields, model, max(1, output_tokens_max))
    tier = SERVICE_TIERS.get(fields.get("service_tier") or "")
    if tier is not None:
        body["serviceTier"] = tier
    return body


def _tools(fields: Fields) -> dict[str, Any]:
    tools = tools_of(fields)
    choice = tool_choice_of(fields)
    if not tools:
        return {}
    calling: dict[str, Any] = {"mode": CHOICE_MODES[choice.mode]}
    if choice.mode == "named":
        calling["allowedFunctionNames"] = [choice.name]
    said: dict[str, Any] = {"tools": [{"functionDeclarations": [_declaration(tool) for tool in tools]}]}
    return {**said, "toolConfig": {"functionCallingConfig": calling}} if choice.mode else said


def _declaration(tool: Tool) -> dict[str, Any]:
    said: dict[str, Any] = {"name": tool.name, "description": tool.description}
    return {**said, "parametersJsonSchema": tool.parameters} if tool.parameters else said


def _generation(fields: Fields, model: str, output_tokens_max: int) -> dict[str, Any]:
    config: dict[str, Any] = {"maxOutputTokens": output_tokens_max}
    config |= {theirs: fields[ours] for ours, theirs in _SAMPLING.items() if fields.get(ours) is not None}
    if fields.get("seed") is not None:
        config["seed"] = fields["seed"] % SEED_BOUND
    if (fields.get("n") or 1) > 1:
        config["candidateCount"] = fields["n"]
    stops = [stop for stop in stops_of(fields) if stop]
    if len(stops) > STOPS_MAX:
        raise ClientError(
            f"Invalid value for 'stop': Gemini takes at most {STOPS_MAX} stop sequences, not {len(stops)}.",
            param="stop",
            code="invalid_value",
        )
    if stops:
        config["stopSequences"] = stops
    wanted = output_format_of(fields)
    if wanted.kind != "text":
        config["responseMimeType"] = "application/json"
    if wanted.kind == "json_schema":
        config["responseJsonSchema"] = wanted.schema
    thinking = thinking_of(model, effort_of(fields), output_tokens_max)
    return {**config, "thinkingConfig": thinking} if thinking else config
