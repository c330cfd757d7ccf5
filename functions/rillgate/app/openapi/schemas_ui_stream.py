"""What bodies of AI SDK's UI message stream look like; see `schemas`."""

from __future__ import annotations

from typing import Final

from rillgate.app.openapi.shapes import (
    Schema,
    array,
    boolean,
    either,
    integer,
    number,
    one_of,
    opened,
    optional,
    ref,
    text,
)
from rillgate.dialects.chat_completions_request import OUTPUT_TOKENS_BOUND
from rillgate.dialects.ui_stream_messages import ROLES
from rillgate.dialects.ui_stream_request import TOP_K_BOUND
from rillgate.dialects.ui_stream_wire import FINISH_REASONS

_PARTS: Final = array(opened({"type": text()}, ["type"]))
_METADATA: Final = opened(
    {
        "requestId": text("cancels it"),
        "model": text("the one that answers"),
        "usage": opened({"inputTokens": integer("", 0), "outputTokens": integer("", 0)}),
        "rillgate": ref("Report"),
    }
)
_REQUEST: Final = opened(
    {
        "messages": array(
            opened({"id": text(), "role": one_of(*ROLES), "parts": _PARTS}, ["role", "parts"]), minItems=1
        ),
        **optional(
            id=text("the chat's"),
            trigger=text(),
            messageId=text(),
            model=text("a route's name, `provider/model`, or a model's own name; unset means the gateway's default"),
            instructions=text(),
            maxOutputTokens=integer(
                "a cap in tokens; a larger wish than the gateway's own is lowered", 1, OUTPUT_TOKENS_BOUND
            ),
            temperature=number("", 0, 2),
            topP=number("", 0, 1),
            topK=integer("", 0, TOP_K_BOUND),
            presencePenalty=number("", -2, 2),
            frequencyPenalty=number("", -2, 2),
            seed=integer(),
            stopSequences=array(text()),
            reasoning=text(),
            tools=opened({}, description="by name: `description`, and `inputSchema` as JSON"),
            toolChoice=either(text(), opened({})),
            stream=boolean("false for the whole message", default=True),
        ),
    },
    ["messages"],
    "What `useChat` sends, and settings of AI SDK's calls under their names. Other fields are the page's own.",
)
_MESSAGE: Final = opened(
    {"id": text(), "role": one_of("assistant"), "metadata": _METADATA, "parts": _PARTS},
    ["id", "role", "metadata", "parts"],
)
_CHUNK: Final = either(
    opened({"type": one_of("start"), "messageId": text(), "messageMetadata": _METADATA}, ["type"]),
    opened(
        {
            "type": one_of("finish"),
            "finishReason": one_of(*sorted({*FINISH_REASONS.values(), "other"})),
            "messageMetadata": _METADATA,
        },
        ["type", "finishReason"],
    ),
    opened({"type": one_of("start-step", "finish-step", "abort")}, ["type"]),
    opened({"type": one_of("error"), "errorText": text()}, ["type", "errorText"]),
    opened({"type": text(pattern="^(text|reasoning)-(start|delta|end)$"), "id": text()}, ["type", "id"]),
    opened(
        {"type": text(pattern="^tool-input-(start|delta|available|error)$"), "toolCallId": text()},
        ["type", "toolCallId"],
    ),
    one_of("[DONE]"),
    description="The `data` of one event: a chunk of the protocol, version 1. A stream ends with `[DONE]`, or with "
    "`error` or `abort` and then nothing.",
)

UI_STREAM_SCHEMAS: Final[dict[str, Schema]] = {
    "UiStreamRequest": _REQUEST,
    "UiMessage": _MESSAGE,
    "UiChunk": _CHUNK,
}
