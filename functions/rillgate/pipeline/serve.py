"""One request's way through, top to bottom.

(routes → dialect.parse → naming) → budget.estimate → provider.build → run [ upstream → relay → writer ] → settle
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from rillgate.budget.count import encoding_for_model
from rillgate.budget.estimate import estimate_prompt, prompt_bytes
from rillgate.budget.guard import Guard
from rillgate.delivery.responses import Headers, send_error
from rillgate.delivery.writer import Send
from rillgate.domain.delta import ReasoningDelta, RefusalDelta, TextDelta, ToolDelta, UsageDelta
from rillgate.domain.errors import CapacityError
from rillgate.domain.ports import Encoding
from rillgate.domain.usage import Usage
from rillgate.pipeline.answer_run import AnswerRun
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.relay import Relay, counted
from rillgate.pipeline.run import Receive, Run
from rillgate.pipeline.settle import Timing, settle
from rillgate.pipeline.stream_run import StreamRun

MESSAGES_INLINE_MAX = 1000
PROMPT_BYTES_INLINE_MAX = 20_000  # a longer prompt is counted in a thread, so that no other stream waits for it
STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


async def serve(call: Call, services: Services, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Serve one call over ASGI: answer, stream or error. Raises nothing but cancellation."""
    journal = call.journal
    output_tokens_max = call.output_tokens_max(services.limits)
    encoding_name, exact = encoding_for_model(call.target.model)
    timing = Timing(services.clock, services.metrics, call)
    guard = Guard(output_tokens_max, lambda: services.encoding(encoding_name), exact=exact)
    run = _make_run(
        call,
        services,
        receive,
        send,
        guard=guard,
        prompt_tokens=await _estimate(call, services.encoding(encoding_name)),
        output_tokens_max=output_tokens_max,
        timing=timing,
        release=scope.get("extensions", {}).get("rillgate.stalled", {}).get("release"),
    )
    try:
        services.streams.add(run)
    except CapacityError as error:
        journal.failed(error)
        await send_error(send, call.dialect, error)
        return
    timing.begin()
    try:
        await run.run()
    finally:
        services.streams.discard(run)
        settle(run, journal, timing)


async def _estimate(call: Call, encoding: Encoding | None) -> int:
    """Prompt tokens, as well as they can be known before the provider says them."""
    fields = call.request.fields
    if len(fields["messages"]) > MESSAGES_INLINE_MAX:
        return await asyncio.to_thread(_estimate_here, fields, encoding)
    if encoding is None or prompt_bytes(fields) <= PROMPT_BYTES_INLINE_MAX:
        return _estimate_here(fields, encoding)
    return await asyncio.to_thread(estimate_prompt, fields, encoding)


def _estimate_here(fields: Mapping[str, Any], encoding: Encoding | None) -> int:
    """Bytes are an upper bound, until the encoder is loaded."""
    return prompt_bytes(fields) if encoding is None else estimate_prompt(fields, encoding)


def _make_run(
    call: Call,
    services: Services,
    receive: Receive,
    send: Send,
    *,
    guard: Guard,
    prompt_tokens: int,
    output_tokens_max: int,
    timing: Timing,
    release: Callable[[], None] | None,
) -> Run:
    outgoing = call.provider.build(call.request, call.target.model, output_tokens_max)
    lowered = _lowered(call, output_tokens_max)
    if not call.request.stream:
        return AnswerRun(
            call,
            services,
            receive,
            send,
            outgoing=outgoing,
            headers=lowered,
            count=lambda body: _count_answer(call, guard, prompt_tokens, body),
        )
    encoder = call.dialect.encoder(call.journal.request_id, call.target.model, int(services.clock.wall()))
    relay = Relay(
        provider=call.target.provider,
        reader=call.provider.reader(),
        decoder=call.provider.decoder(),
        encoder=encoder,
        same_dialect=call.provider.dialect == call.dialect.name,
        guard=guard,
        choices=call.request.choices,
        include_usage=call.request.include_usage,
        prompt_tokens=prompt_tokens,
        cut_notice=call.request.cut_notice,
        on_content=timing.content,
    )
    return StreamRun(
        call,
        services,
        receive,
        send,
        outgoing=outgoing,
        relay=relay,
        headers=[*STREAM_HEADERS, *lowered],
        opening=encoder.open(),
        heartbeat=encoder.heartbeat(),
        release=release,
    )


def _lowered(call: Call, output_tokens_max: int) -> Headers:
    """Says that the cap is lower than what the client asked for."""
    asked = call.request.output_tokens_asked
    if asked is None or asked <= output_tokens_max:
        return []
    return [(b"x-rillgate-output-tokens-max", str(output_tokens_max).encode())]


def _count_answer(call: Call, guard: Guard, prompt_tokens: int, body: bytes) -> Usage:
    """The provider's usage of a whole answer; ours where it gives none."""
    for delta in call.provider.decode_answer(body):
        match delta:
            case UsageDelta(usage):
                return usage
            case TextDelta() | ReasoningDelta() | RefusalDelta() | ToolDelta():
                guard.passes(delta.choice, counted(delta))
    return Usage(input_tokens=prompt_tokens, output_tokens=guard.tokens(), estimated=True)
