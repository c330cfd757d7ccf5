"""docs/matrix.md is what the code says, and the code does what it says: every cell is asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec
import pytest

from rillgate.app.settings.schema import KINDS
from rillgate.dialects import chat_completions
from rillgate.dialects import messages as messages_dialect
from rillgate.dialects import responses as responses_dialect
from rillgate.dialects import ui_stream as ui_stream_dialect
from rillgate.dialects.responses_reasoning import sealed
from rillgate.dialects.whole import Opaque, Thought
from rillgate.domain.delta import ANTHROPIC_ORIGIN, GOOGLE_ORIGIN, OPENAI_ORIGIN
from rillgate.domain.errors import ClientError
from rillgate.domain.kept_reasoning import seal
from rillgate.domain.ports import Provider
from rillgate.domain.request import ChatRequest
from rillgate.providers.features import FEATURES, Handling
from rillgate.providers.openai_handling import foreign_handling

ROOT: Final = Path(__file__).parents[2]
SCRIPT: Final = ROOT / "scripts" / "matrix"


def script() -> ModuleType:
    """scripts/matrix, which has no suffix."""
    loader = SourceFileLoader("matrix_script", str(SCRIPT))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[loader.name] = module  # where its named tuples look for their own module
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


MATRIX: Final[Any] = script()
NAMES: Final = {feature.name for feature in FEATURES}

# One request with and one without each feature, in each dialect. Everything else in the two is the same.

Fields = dict[str, Any]
Pair = tuple[Fields, Fields]

PIXEL: Final = "iVBORw0KGgo="
PDF: Final = "JVBERi0="
MARK: Final[Fields] = {"cache_control": {"type": "ephemeral"}}
SCHEMA: Final[Fields] = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION: Final[Fields] = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CALL: Final[Fields] = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
SIGNED: Final[Fields] = {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "format": ANTHROPIC_ORIGIN}


def asking(content: Any = "Hi", **more: Any) -> Fields:
    """A request in either dialect; Chat Completions does without `max_tokens` and takes it."""
    return {"max_tokens": 4096, "messages": [{"role": "user", "content": content}], **more}


def beside(part: Fields) -> Pair:
    """A part beside a text."""
    text = {"type": "text", "text": "What is this?"}
    return asking([text]), asking([text, part])


def given(**fields: Any) -> Pair:
    """A field, or several."""
    return asking(), asking(**fields)


def after(*turns: Fields) -> Fields:
    """A conversation that goes on."""
    return asking() | {"messages": [{"role": "user", "content": "Hi"}, *turns]}


def said(text: str, **more: Any) -> Fields:
    """A turn of the model's, answered."""
    return after({"role": "assistant", "content": text, **more}, {"role": "user", "content": "So?"})


CHAT: Final[Mapping[str, Pair]] = {
    "text": (asking(), asking("Hello")),
    "images": beside({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}),
    "image_urls": beside({"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}}),
    "documents": beside(
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}
    ),
    "sound": beside({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
    "tools": given(tools=[FUNCTION]),
    "custom_tools": (asking(tools=[FUNCTION]), asking(tools=[FUNCTION, {"type": "custom", "custom": {"name": "sql"}}])),
    "functions": given(functions=[{"name": "weather"}]),
    "web_search": given(web_search_options={}),
    "tool_choice": (asking(tools=[FUNCTION]), asking(tools=[FUNCTION], tool_choice="required")),
    "parallel_tool_calls": (asking(tools=[FUNCTION]), asking(tools=[FUNCTION], parallel_tool_calls=False)),
    "json_schema": given(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}),
    "json_object": given(response_format={"type": "json_object"}),
    "stop": given(stop=["END"]),
    "temperature": given(temperature=0.5),
    "top_p": given(top_p=0.5),
    "top_k": given(top_k=5),
    "penalties": given(presence_penalty=1, frequency_penalty=1),
    "seed": given(seed=7),
    "choices": given(n=2),
    "logprobs": given(logprobs=True),
    "logit_bias": given(logit_bias={"1": 1}),
    "prediction": given(prediction={"type": "content", "content": "Hi"}),
    "audio_output": given(modalities=["text", "audio"], audio={"voice": "a", "format": "wav"}),
    "reasoning_effort": given(reasoning_effort="high"),
    "reasoning_kept": (
        said("Hello"),
        said("Hello", reasoning_content="Hm.", reasoning_details=[SIGNED]),
    ),
    "cache_marks": (asking([{"type": "text", "text": "Hi"}]), asking([{"type": "text", "text": "Hi", **MARK}])),
    "end_user": given(user="user-7"),
    "service_tier": given(service_tier="default"),
}

NATIVE_TOOL: Final[Fields] = {"name": "weather", "input_schema": SCHEMA}
THOUGHT: Final[Fields] = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
MESSAGES: Final[Mapping[str, Pair]] = {
    "text": (asking(), asking("Hello")),
    "images": beside({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}),
    "image_urls": beside({"type": "image", "source": {"type": "url", "url": "https://pictures.example/1.png"}}),
    "documents": beside(
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}
    ),
    "tools": given(tools=[NATIVE_TOOL]),
    "web_search": given(tools=[{"type": "web_search_20260318", "name": "web_search"}]),
    "tool_choice": (asking(tools=[NATIVE_TOOL]), asking(tools=[NATIVE_TOOL], tool_choice={"type": "any"})),
    "parallel_tool_calls": (
        asking(tools=[NATIVE_TOOL], tool_choice={"type": "auto"}),
        asking(tools=[NATIVE_TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True}),
    ),
    "json_schema": given(output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
    "stop": given(stop_sequences=["END"]),
    "temperature": given(temperature=0.5),
    "top_p": given(top_p=0.5),
    "top_k": given(top_k=5),
    "reasoning_effort": given(thinking={"type": "enabled", "budget_tokens": 2048}),
    "reasoning_kept": (
        said("Hello"),
        said("", content=[THOUGHT, {"type": "text", "text": "Hello"}]),
    ),
    "cache_marks": (asking([{"type": "text", "text": "Hi"}]), asking([{"type": "text", "text": "Hi", **MARK}])),
    "end_user": given(metadata={"user_id": "user-7"}),
    "service_tier": given(service_tier="standard_only"),
}

FLAT_TOOL: Final[Fields] = {"type": "function", "name": "weather", "parameters": SCHEMA}
THINKING: Final[Fields] = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
SEALED: Final = sealed(Thought("Hm.", "c2ln", ANTHROPIC_ORIGIN))


def items(*content: Fields, **more: Any) -> Fields:
    """A Responses request of these parts, or of one text."""
    return {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}, *content]}], **more}


def further(*earlier: Fields) -> Fields:
    """A Responses request that goes on."""
    answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
    return {"input": [{"role": "user", "content": "Hi"}, *earlier, answer, {"role": "user", "content": "So?"}]}


RESPONSES: Final[Mapping[str, Pair]] = {
    "text": (items(), {"input": "Hello"}),
    "images": (items(), items({"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"})),
    "image_urls": (items(), items({"type": "input_image", "image_url": "https://pictures.example/1.png"})),
    "documents": (
        items(),
        items({"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}),
    ),
    "sound": (items(), items({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}})),
    "tools": (items(), items(tools=[FLAT_TOOL])),
    "custom_tools": (items(tools=[FLAT_TOOL]), items(tools=[FLAT_TOOL, {"type": "custom", "name": "sql"}])),
    "web_search": (items(), items(tools=[{"type": "web_search"}])),
    "tool_choice": (items(tools=[FLAT_TOOL]), items(tools=[FLAT_TOOL], tool_choice="required")),
    "parallel_tool_calls": (items(tools=[FLAT_TOOL]), items(tools=[FLAT_TOOL], parallel_tool_calls=False)),
    "json_schema": (items(), items(text={"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}})),
    "json_object": (items(), items(text={"format": {"type": "json_object"}})),
    "temperature": (items(), items(temperature=0.5)),
    "top_p": (items(), items(top_p=0.5)),
    "logprobs": (items(), items(top_logprobs=3)),
    "reasoning_effort": (items(), items(reasoning={"effort": "high"})),
    "reasoning_kept": (further(), further({**THINKING, "encrypted_content": SEALED})),
    "cache_marks": (
        items({"type": "input_text", "text": "So?"}),
        items({"type": "input_text", "text": "So?", "prompt_cache_breakpoint": {"mode": "explicit"}}),
    ),
    "end_user": (items(), items(safety_identifier="user-7")),
    "service_tier": (items(), items(service_tier="default")),
}

UI_TOOLS: Final[Fields] = {"weather": {"inputSchema": SCHEMA}}


def ui(*parts: Fields, **more: Any) -> Fields:
    """A request of `useChat`'s with these parts beside a text."""
    return {"messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hi"}, *parts]}], **more}


def ui_file(media_type: str, url: str) -> Pair:
    """With and without a file."""
    return ui(), ui({"type": "file", "mediaType": media_type, "url": url})


def ui_after(*parts: Fields) -> Fields:
    """A conversation that goes on after a message of the model's with these parts."""
    answer = {"id": "m2", "role": "assistant", "parts": [*parts, {"type": "text", "text": "Hello"}]}
    return {"messages": [*ui()["messages"], answer, *ui()["messages"]]}


KEPT: Final[Fields] = {"providerMetadata": {"rillgate": {"signature": "c2ln", "format": ANTHROPIC_ORIGIN}}}
UI_STREAM: Final[Mapping[str, Pair]] = {
    "text": (ui(), ui({"type": "text", "text": "Hello"})),
    "images": ui_file("image/png", f"data:image/png;base64,{PIXEL}"),
    "image_urls": ui_file("image/png", "https://pictures.example/1.png"),
    "documents": ui_file("application/pdf", f"data:application/pdf;base64,{PDF}"),
    "sound": ui_file("audio/wav", "data:audio/wav;base64,UklGRg=="),
    "tools": (ui(), ui(tools=UI_TOOLS)),
    "tool_choice": (ui(tools=UI_TOOLS), ui(tools=UI_TOOLS, toolChoice="required")),
    "stop": (ui(), ui(stopSequences=["END"])),
    "temperature": (ui(), ui(temperature=0.5)),
    "top_p": (ui(), ui(topP=0.5)),
    "top_k": (ui(), ui(topK=5)),
    "penalties": (ui(), ui(presencePenalty=1, frequencyPenalty=1)),
    "seed": (ui(), ui(seed=7)),
    "reasoning_effort": (ui(), ui(reasoning="high")),
    "reasoning_kept": (ui_after(), ui_after({"type": "reasoning", "text": "Hm.", **KEPT})),
}

PARSERS: Final[Mapping[str, tuple[Mapping[str, Pair], Callable[[bytes], ChatRequest]]]] = {
    "chat_completions": (CHAT, chat_completions.parse),
    "messages": (MESSAGES, lambda body: messages_dialect.parse(body, {})),
    "responses": (RESPONSES, responses_dialect.parse),
    "ui_stream": (UI_STREAM, ui_stream_dialect.parse),
}
# Models that take all that their kind takes.
MODELS: Final[Mapping[str, str]] = {
    "chat_completions": "gpt-4o",
    "messages": "claude-sonnet-4-5",
    "ollama": "qwen3",
    "bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "gemini": "gemini-3.8-flash",
    "openai_responses": "gpt-6-luna",
}
# Families whose providers take back nothing but their own.
OF_FAMILIES: Final = {"gemini": GOOGLE_ORIGIN, "openai_responses": OPENAI_ORIGIN}


def kept_by(origin: str) -> Mapping[str, Pair]:
    """Reasoning that one family's models encrypted."""
    return {
        "chat_completions": (
            said("Hello"),
            said("Hello", reasoning_details=[{"type": "reasoning.encrypted", "data": "c2ln", "format": origin}]),
        ),
        "messages": (
            said("Hello"),
            after(
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Hello"},
                        {"type": "redacted_thinking", "data": seal(origin, None, "c2ln")},
                    ],
                },
                {"role": "user", "content": "So?"},
            ),
        ),
        "responses": (
            further(),
            further({**THINKING, "summary": [], "encrypted_content": sealed(Opaque("c2ln", origin))}),
        ),
        "ui_stream": (
            ui_after(),
            ui_after(
                {"type": "reasoning", "text": "", "providerMetadata": {"rillgate": {"data": "c2ln", "format": origin}}}
            ),
        ),
    }


CAPS: Final = {"max_tokens"}  # ours goes out instead


def cells() -> Iterator[Any]:
    """Every cell of the page that says something: dialect, column, feature, word."""
    for front in MATRIX.FRONTS:
        for number, column in enumerate(MATRIX.columns()):
            for name in sorted(front.sayable):
                word = MATRIX.cell(front, column, name)
                yield pytest.param(front.name, column, name, word, id=f"{front.name}-{number}-{name}-{word}")


def built(dialect: str, provider: Provider, fields: Fields) -> Fields:
    """The body that goes to the provider."""
    parse = PARSERS[dialect][1]
    request = provider.build(parse(msgspec.json.encode(fields)), MODELS[provider.dialect], 4096)
    body: Fields = msgspec.json.decode(request.body)
    return body


@pytest.mark.parametrize(("dialect", "column", "name", "word"), list(cells()))
def test_matrix_cell_is_what_happens(dialect: str, column: Any, name: str, word: str) -> None:
    """Passed: there as it was said; translated: another body; dropped: the same body; refused: 400, by its name."""
    provider: Provider = column.provider
    without, with_ = PARSERS[dialect][0][name]
    if name == "reasoning_kept" and provider.dialect in OF_FAMILIES:
        without, with_ = kept_by(OF_FAMILIES[provider.dialect])[dialect]
    plain = built(dialect, provider, without)
    match word:
        case "passed":
            body = built(dialect, provider, with_)
            assert {key: body[key] for key in with_.keys() - CAPS} == {key: with_[key] for key in with_.keys() - CAPS}
        case "translated":
            assert built(dialect, provider, with_) != plain
        case "dropped":
            assert built(dialect, provider, with_) == plain
        case _:
            assert word == "refused"
            with pytest.raises(ClientError) as refused:
                built(dialect, provider, with_)
            assert refused.value.status == 400
            assert refused.value.code in ("unsupported_parameter", "invalid_value")  # the field, or this value of it
            assert (refused.value.param or "").startswith(param(dialect, name))


def param(dialect: str, name: str) -> str:
    """How the field of a feature is called, or where it begins."""
    if dialect != "chat_completions" and name in ("web_search", "custom_tools"):
        return "tools"  # what its own provider runs is a tool there
    if (dialect, name) == ("responses", "logprobs"):
        return "top_logprobs"
    return next(feature.param for feature in FEATURES if feature.name == name)


def test_matrix_page_is_what_the_code_says() -> None:
    """As its check finds it, too."""
    assert (ROOT / "docs" / "matrix.md").read_text(encoding="utf-8") == MATRIX.page()
    checked = subprocess.run([sys.executable, str(SCRIPT), "--check"], check=False, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_matrix_check_of_another_page_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 and how to print it anew."""
    page = tmp_path / "docs" / "matrix.md"
    page.parent.mkdir()
    page.write_text("old", encoding="utf-8")
    monkeypatch.setattr(MATRIX, "ROOT", tmp_path)
    monkeypatch.setattr(MATRIX, "PAGE", page)
    assert MATRIX.main(["--check"]) == 1
    assert "scripts/matrix > docs/matrix.md" in capsys.readouterr().out


def test_matrix_has_a_column_for_every_kind_of_provider() -> None:
    """Those that can be configured."""
    headings = " ".join(column.heading for column in MATRIX.columns())
    assert {kind for kind in KINDS if f"`{kind}`" not in headings} == set()


def test_tables_of_providers_are_complete() -> None:
    """Every feature has a word at every provider, and no table one for what is no feature."""
    for column in MATRIX.columns():
        for handling in (column.provider.handling, column.foreign):
            assert set(handling) == NAMES, column.heading
            assert {Handling(word) for word in handling.values()} <= set(Handling)
    assert foreign_handling(own_host=True) != foreign_handling(own_host=False)


def test_dialects_have_words_for_features_alone() -> None:
    """And this file has a request for each of them."""
    for front in MATRIX.FRONTS:
        assert front.sayable <= NAMES
        assert set(PARSERS[front.name][0]) == front.sayable
    for name, (without, with_) in CHAT.items():
        (feature,) = [feature for feature in FEATURES if feature.name == name]
        assert feature.asked(with_)
        assert name == "text" or not feature.asked(without)
    for front in MATRIX.FRONTS[1:]:
        pairs, parse = PARSERS[front.name]
        for name in front.sayable - front.refused:
            (feature,) = [feature for feature in FEATURES if feature.name == name]
            asked = [feature.asked(parse(msgspec.json.encode(fields)).fields) for fields in pairs[name]]
            assert asked == [name == "text", True] or name == "web_search"
