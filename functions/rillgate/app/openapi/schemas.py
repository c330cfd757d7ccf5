"""What bodies look like. Bounds, words and names come from the code that reads and writes them, where it has them.

Requests of the two large dialects stay open: fields that are not named here pass through to a provider that speaks the
same dialect. Answers of a provider stay open too; those that Rillgate makes itself are closed.
"""

from __future__ import annotations

from typing import Final

from rillgate.app.openapi.schemas_responses import RESPONSES_SCHEMAS
from rillgate.app.openapi.schemas_ui_stream import UI_STREAM_SCHEMAS
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
from rillgate.app.tickets import LIMITS_MAX, MODELS_MAX, TEXT_CHARS_MAX, TTL_S_DEFAULT
from rillgate.dialects.chat_completions_request import CHOICES_MAX, OUTPUT_TOKENS_BOUND
from rillgate.dialects.embeddings import DIMENSIONS_BOUND, FORMATS, INPUTS_MAX
from rillgate.dialects.messages_request import TOP_K_BOUND
from rillgate.dialects.messages_wire import ERROR_TYPE_DEFAULT, ERROR_TYPES
from rillgate.dialects.plain_chat import OUTPUT_TOKENS_DEFAULT_POST, SYSTEM_PROMPT_DEFAULT, TEMPERATURE_DEFAULT
from rillgate.domain.limits import Meter, Window
from rillgate.identity.gatekeeper import TICKET_TTL_S_MAX, USER_CHARS_MAX

_TEXT_OR_PARTS: Final = either(text(), array(opened({"type": text()}, ["type"])))
_OUTPUT_TOKENS: Final = integer(
    "a cap in tokens; a larger wish than the gateway's own is lowered", 1, OUTPUT_TOKENS_BOUND
)
_MODEL: Final = text("a route's name, `provider/model`, or a model's own name; unset means the gateway's default")

REPORT: Final = opened(
    {
        "stop": text("why it was stopped: `budget`"),
        "scope": text("whose limit that was: `request`, `key:…`, `user:…`, `team:…`, `model:…`, `ticket:…`, `global`"),
        "reset": text("when that limit's window ends", format="date-time"),
        "estimated": boolean("whether the usage is Rillgate's own count"),
    },
    description="What Rillgate itself has to say of an answer, in the chunk or event that ends it.",
)

_USAGE: Final = opened(
    {
        "prompt_tokens": integer("with those of a cache", 0),
        "completion_tokens": integer("with those of reasoning", 0),
        "total_tokens": integer("", 0),
        "prompt_tokens_details": nullable(opened({})),
        "completion_tokens_details": nullable(opened({})),
    },
    ["prompt_tokens", "completion_tokens", "total_tokens"],
)

_CHAT_COMPLETION_REQUEST: Final = opened(
    {
        "messages": array(
            opened(
                {
                    "role": one_of("system", "developer", "user", "assistant", "tool", "function"),
                    "content": nullable(_TEXT_OR_PARTS),
                    "tool_calls": nullable(array(opened({}))),
                    "tool_call_id": nullable(text()),
                },
                ["role"],
            ),
            minItems=1,
        ),
        **optional(
            model=_MODEL,
            stream=boolean("server-sent events instead of one answer", default=False),
            stream_options=opened({"include_usage": nullable(boolean("one more chunk, with usage, before the end"))}),
            max_completion_tokens=_OUTPUT_TOKENS,
            max_tokens=_OUTPUT_TOKENS,
            n=integer("", 1, CHOICES_MAX),
            temperature=number("", 0, 2),
            top_p=number("", 0, 1),
            presence_penalty=number("", -2, 2),
            frequency_penalty=number("", -2, 2),
            seed=integer(),
            stop=either(text(), array(text(), maxItems=4)),
            logprobs=boolean(),
            top_logprobs=integer("", 0, 20),
            tools=array(opened({"type": text()}, ["type"])),
            tool_choice=either(text(), opened({})),
            parallel_tool_calls=boolean(),
            response_format=opened({"type": text()}, ["type"]),
            reasoning_effort=text(),
            user=text(),
        ),
    },
    ["messages"],
    "OpenAI's Chat Completions. Other fields pass through to a provider that speaks it.",
)

_CHAT_COMPLETION: Final = opened(
    {
        "id": text(),
        "object": one_of("chat.completion"),
        "created": integer("seconds since 1970"),
        "model": text("the one that answered"),
        "choices": array(
            opened(
                {
                    "index": integer("", 0),
                    "message": opened({"role": text(), "content": nullable(text())}, ["role"]),
                    "finish_reason": nullable(text()),
                },
                ["index", "message"],
            )
        ),
        "usage": nullable(ref("Usage")),
        "rillgate": ref("Report"),
    },
    ["id", "object", "choices"],
)

_CHAT_COMPLETION_CHUNK: Final = opened(
    {
        "id": text(),
        "object": one_of("chat.completion.chunk"),
        "created": integer("seconds since 1970"),
        "model": text(),
        "choices": array(
            opened(
                {"index": integer("", 0), "delta": opened({}), "finish_reason": nullable(text())}, ["index", "delta"]
            )
        ),
        "usage": nullable(ref("Usage")),
        "rillgate": ref("Report"),
    },
    ["object", "choices"],
)

_CHAT_EVENT: Final = either(
    ref("ChatCompletionChunk"),
    ref("Error"),
    one_of("[DONE]"),
    description="The `data` of one event. A stream ends with `[DONE]`, or with an error and then nothing.",
)
_EVENT_SOURCE_EVENT: Final = either(
    ref("ChatEvent"), closed({}), description="As `ChatEvent`; `{}` is the data of the named event `done`."
)

_CACHE: Final = either({"type": "null"}, opened({}))
_MESSAGES_PROPERTIES: Final = {
    "messages": array(
        opened({"role": one_of("user", "assistant", "system"), "content": _TEXT_OR_PARTS}, ["role"]), minItems=1
    ),
    **optional(
        model=_MODEL,
        system=_TEXT_OR_PARTS,
        stream=boolean("", default=False),
        temperature=number("", 0, 1),
        top_p=number("", 0, 1),
        top_k=integer("", 0, TOP_K_BOUND),
        stop_sequences=array(text()),
        tools=array(opened({})),
        tool_choice=opened({"type": text()}, ["type"]),
        thinking=opened({"type": text()}, ["type"]),
        metadata=opened({}),
        cache_control=_CACHE,
    ),
}
_MESSAGES_REQUEST: Final = opened(
    {**_MESSAGES_PROPERTIES, "max_tokens": _OUTPUT_TOKENS},
    ["messages", "max_tokens"],
    "Anthropic's Messages. Other fields pass through to Anthropic.",
)
_COUNT_REQUEST: Final = opened(_MESSAGES_PROPERTIES, ["messages"], "As `MessagesRequest`, without a cap.")

_MESSAGES_USAGE: Final = opened(
    {
        "input_tokens": nullable(integer("without those of a cache", 0)),
        "output_tokens": nullable(integer("so far, all together", 0)),
        "cache_read_input_tokens": nullable(integer("", 0)),
        "cache_creation_input_tokens": nullable(integer("", 0)),
    }
)
_MESSAGE: Final = opened(
    {
        "id": text(),
        "type": one_of("message"),
        "role": one_of("assistant"),
        "model": text(),
        "content": array(opened({"type": text()}, ["type"])),
        "stop_reason": nullable(text()),
        "stop_sequence": nullable(text()),
        "usage": ref("MessagesUsage"),
        "rillgate": ref("Report"),
    },
    ["type", "role", "content"],
)
_MESSAGES_EVENT: Final = either(
    opened({"type": one_of("message_start"), "message": ref("Message")}, ["type", "message"]),
    opened(
        {"type": one_of("content_block_start"), "index": integer("", 0), "content_block": opened({"type": text()})},
        ["type", "index", "content_block"],
    ),
    opened(
        {"type": one_of("content_block_delta"), "index": integer("", 0), "delta": opened({"type": text()})},
        ["type", "index", "delta"],
    ),
    opened({"type": one_of("content_block_stop"), "index": integer("", 0)}, ["type", "index"]),
    opened(
        {
            "type": one_of("message_delta"),
            "delta": opened({"stop_reason": nullable(text())}),
            "usage": ref("MessagesUsage"),
            "rillgate": ref("Report"),
        },
        ["type", "delta"],
    ),
    opened({"type": one_of("message_stop", "ping")}, ["type"]),
    ref("MessagesError"),
    description="The `data` of an event, named by its `type`. A stream ends with `message_stop`, or with an error.",
)

_ERROR: Final = closed(
    {
        "error": closed(
            {
                "message": text("one sentence, with the way out", minLength=1),
                "type": text("OpenAI's type of error"),
                "param": nullable(text("the field at fault, such as `messages[0].role`")),
                "code": nullable(text("what programs look at")),
            }
        )
    },
    description="An error as OpenAI writes it.",
)
_MESSAGES_ERROR: Final = closed(
    {
        "type": one_of("error"),
        "error": closed(
            {
                "type": one_of(*sorted({*ERROR_TYPES.values(), ERROR_TYPE_DEFAULT})),
                "message": text("one sentence, with the way out", minLength=1),
                "details": closed({"error_code": text("what programs look at")}),
            },
            ["type", "message"],
        ),
        "request_id": text(),
    },
    ["type", "error"],
    "An error as Anthropic writes it.",
)

_LIMIT_AMOUNT: Final = either(integer("", 0), number("dollars", 0))
_LEVEL: Final = closed(
    {
        "meter": one_of(*(meter.value for meter in Meter)),
        "window": one_of(*(window.value for window in Window)),
        "limit": _LIMIT_AMOUNT,
        "used": nullable(_LIMIT_AMOUNT),
        "remaining": nullable(_LIMIT_AMOUNT),
        "resets_at": nullable(text("null for a total", format="date-time")),
    }
)

_EMBEDDINGS_REQUEST: Final = opened(
    {
        "model": text("a route's name, `provider/model`, or a model's own name", minLength=1),
        "input": either(
            text(minLength=1),
            array(text(minLength=1), minItems=1, maxItems=INPUTS_MAX),
            array(integer("a token's id", 0), minItems=1),
            array(array(integer("a token's id", 0), minItems=1), minItems=1, maxItems=INPUTS_MAX),
        ),
        **optional(
            dimensions=integer("how long a vector shall be", 1, DIMENSIONS_BOUND),
            encoding_format=one_of(*FORMATS),
            input_type=text("what the texts are for, in the provider's words"),
            user=text(),
        ),
    },
    ["model", "input"],
    "Token ids go to OpenAI, Azure and compatible servers alone. Other fields pass through to them.",
)
_EMBEDDING_LIST: Final = opened(
    {
        "object": one_of("list"),
        "data": array(
            opened(
                {
                    "object": one_of("embedding"),
                    "index": integer("its place in the input", 0),
                    "embedding": either(array(number()), text("base64 of 32-bit floats, little-endian")),
                },
                ["index", "embedding"],
            )
        ),
        "model": text("the one that answered"),
        "usage": opened({"prompt_tokens": integer("", 0), "total_tokens": integer("", 0)}),
        "rillgate": ref("Report"),
    },
    ["data"],
)

SCHEMAS: Final[dict[str, Schema]] = {
    "Report": REPORT,
    "Usage": _USAGE,
    "ChatCompletionRequest": _CHAT_COMPLETION_REQUEST,
    "ChatCompletion": _CHAT_COMPLETION,
    "ChatCompletionChunk": _CHAT_COMPLETION_CHUNK,
    "ChatEvent": _CHAT_EVENT,
    "EventSourceEvent": _EVENT_SOURCE_EVENT,
    "EmbeddingsRequest": _EMBEDDINGS_REQUEST,
    "EmbeddingList": _EMBEDDING_LIST,
    "PlainChatRequest": closed(
        {
            "prompt": text("what to say to the model", minLength=1),
            **optional(
                system_prompt=text("'' for none", default=SYSTEM_PROMPT_DEFAULT),
                max_tokens=integer("", 1, OUTPUT_TOKENS_BOUND, default=OUTPUT_TOKENS_DEFAULT_POST),
                temperature=number("", 0, 2, default=TEMPERATURE_DEFAULT),
                model=_MODEL,
            ),
        },
        ["prompt"],
    ),
    "MessagesRequest": _MESSAGES_REQUEST,
    "CountTokensRequest": _COUNT_REQUEST,
    "Message": _MESSAGE,
    "MessagesUsage": _MESSAGES_USAGE,
    "MessagesEvent": _MESSAGES_EVENT,
    **RESPONSES_SCHEMAS,
    **UI_STREAM_SCHEMAS,
    "TokenCount": closed({"input_tokens": integer("an estimate", 0)}),
    "Error": _ERROR,
    "MessagesError": _MESSAGES_ERROR,
    "AnyError": either(
        ref("Error"), ref("MessagesError"), description="Anthropic's shape for whoever sends `anthropic-version`."
    ),
    "Model": closed({"id": text(), "object": one_of("model"), "created": integer(), "owned_by": text("the provider")}),
    "ModelList": closed({"object": one_of("list"), "data": array(ref("Model"))}),
    "MessagesModel": closed(
        {
            "type": one_of("model"),
            "id": text(),
            "display_name": text(),
            "created_at": text("not known here", format="date-time"),
            "lifecycle": text(),
        }
    ),
    "MessagesModelList": closed(
        {
            "data": array(ref("MessagesModel")),
            "has_more": boolean(),
            "first_id": nullable(text()),
            "last_id": nullable(text()),
        }
    ),
    "Cancelled": closed({"id": text(), "cancelled": one_of(True)}, description="It has ended."),
    "CancelRequested": closed(
        {"id": text(), "cancelled": one_of(False), "requested": one_of(True)},
        description="Another process may serve it, and is told.",
    ),
    "TicketRequest": closed(
        optional(
            user=text("whom it is for", minLength=1, maxLength=USER_CHARS_MAX),
            ttl_s=integer("seconds; shorter for one use", 1, TICKET_TTL_S_MAX, default=TTL_S_DEFAULT),
            models=array(text("a glob", minLength=1, maxLength=TEXT_CHARS_MAX), maxItems=MODELS_MAX),
            limits=array(
                text("such as `tokens/total=5000`", minLength=1, maxLength=TEXT_CHARS_MAX), maxItems=LIMITS_MAX
            ),
            one_use=boolean("for `?ticket=` on `GET /chat/{model}`", default=False),
        ),
        (),
    ),
    "Ticket": closed(
        {
            "object": one_of("ticket"),
            "ticket": text("`rillt_…`, to be sent as a bearer token, or in the query where it is for one use"),
            "expires_at": text(format="date-time"),
            "one_use": boolean(),
        }
    ),
    "UsageReport": closed(
        {"object": one_of("usage"), "scopes": array(closed({"scope": text(), "limits": array(ref("Level"))}))}
    ),
    "Level": _LEVEL,
    "Health": closed({"status": one_of("ok")}),
    "Ready": closed({"status": one_of("ready")}),
    "NotReady": closed({"status": one_of("not_ready"), "waiting_for": array(text(), minItems=1)}),
}
