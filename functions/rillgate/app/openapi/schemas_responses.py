"""What bodies of OpenAI's Responses look like; see `schemas`."""

from __future__ import annotations

from typing import Final

from rillgate.app.openapi.shapes import (
    Schema,
    array,
    boolean,
    closed,
    either,
    integer,
    nullable,
    number,
    one_of,
    opened,
    optional,
    ref,
    text,
)
from rillgate.dialects.chat_completions_request import OUTPUT_TOKENS_BOUND
from rillgate.dialects.responses_items import ROLES
from rillgate.dialects.responses_request import REFUSED

_NUMBERED: Final = {"sequence_number": integer("from 0, without gaps", 0)}
_ITEM: Final = opened({"type": one_of("message", "reasoning", "function_call"), "id": text()}, ["type", "id"])
_PLACE: Final = {"output_index": integer("", 0), **_NUMBERED}

_REQUEST: Final = opened(
    {
        "input": either(text(minLength=1), array(opened({"role": one_of(*ROLES), "type": text()}), minItems=1)),
        **optional(
            model=text("a route's name, `provider/model`, or a model's own name; unset means the gateway's default"),
            instructions=text(),
            stream=boolean("server-sent events instead of one answer", default=False),
            max_output_tokens=integer(
                "a cap in tokens; a larger wish than the gateway's own is lowered", 1, OUTPUT_TOKENS_BOUND
            ),
            temperature=number("", 0, 2),
            top_p=number("", 0, 1),
            tools=array(opened({"type": one_of("function"), "name": text(minLength=1)}, ["type", "name"])),
            tool_choice=either(text(), opened({})),
            parallel_tool_calls=boolean(),
            text=opened({"format": nullable(opened({"type": text()}))}),
            reasoning=opened({"effort": nullable(text())}),
            metadata=opened({}),
            store=boolean("taken, and answered as false"),
            background=one_of(False),
            top_logprobs=one_of(0),
        ),
        **{name: {"type": "null", "description": remedy} for name, remedy in REFUSED.items()},
    },
    ["input"],
    "OpenAI's Responses. Nothing is stored: items that OpenAI keeps, and tools that it runs, are refused by name.",
)

_USAGE: Final = opened(
    {
        "input_tokens": integer("with those of a cache", 0),
        "output_tokens": integer("with those of reasoning", 0),
        "total_tokens": integer("", 0),
    },
    ["input_tokens", "output_tokens", "total_tokens"],
)
_RESPONSE: Final = opened(
    {
        "id": text(),
        "object": one_of("response"),
        "created_at": integer("seconds since 1970"),
        "model": text("the one that answered"),
        "status": one_of("in_progress", "completed", "incomplete", "failed"),
        "output": array(_ITEM),
        "error": nullable(opened({"code": text(), "message": text()}, ["code", "message"])),
        "incomplete_details": nullable(opened({"reason": one_of("max_output_tokens", "content_filter")}, ["reason"])),
        "usage": nullable(_USAGE),
        "store": one_of(False),
        "rillgate": ref("Report"),
    },
    ["id", "object", "created_at", "model", "status", "output"],
)
_EVENT: Final = either(
    opened(
        {
            "type": one_of(*(f"response.{what}" for what in ("created", "in_progress"))),
            "response": ref("Response"),
            **_NUMBERED,
        },
        ["type", "response", "sequence_number"],
    ),
    opened(
        {
            "type": one_of(*(f"response.{what}" for what in ("completed", "incomplete", "failed"))),
            "response": ref("Response"),
            **_NUMBERED,
        },
        ["type", "response", "sequence_number"],
    ),
    opened(
        {
            "type": one_of("response.output_item.added", "response.output_item.done"),
            "item": _ITEM,
            **_PLACE,
        },
        ["type", "item", "output_index", "sequence_number"],
    ),
    opened(
        {
            "type": text(
                pattern=r"^response\.(content_part|output_text|refusal|function_call_arguments|reasoning_summary_part"
                r"|reasoning_summary_text)\.(added|delta|done)$"
            ),
            "item_id": text(),
            **_PLACE,
        },
        ["type", "item_id", "output_index", "sequence_number"],
    ),
    opened(
        {"type": one_of("error"), "code": nullable(text()), "message": text(), "param": nullable(text()), **_NUMBERED},
        ["type", "message", "sequence_number"],
    ),
    description="The `data` of an event, named by its `type`. A stream ends with `response.completed`, "
    "`response.incomplete`, or `error` and `response.failed`.",
)

RESPONSES_SCHEMAS: Final[dict[str, Schema]] = {
    "ResponsesRequest": _REQUEST,
    "Response": _RESPONSE,
    "ResponsesEvent": _EVENT,
    "InputTokens": closed({"input_tokens": integer("an estimate", 0), "object": one_of("response.input_tokens")}),
}
