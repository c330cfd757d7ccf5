"""From an admitted request to what serves it: a stream or a whole answer, with its guard at the hold's limit."""

from __future__ import annotations

from collections.abc import Callable

from rillgate.budget.guard import Guard
from rillgate.delivery.responses import Headers
from rillgate.delivery.writer import Send
from rillgate.domain.delta import FinishDelta, ReasoningDelta, RefusalDelta, TextDelta, ToolDelta, UsageDelta
from rillgate.domain.usage import Usage
from rillgate.pipeline.admit import Admitted
from rillgate.pipeline.answer_run import Answer, AnswerRun
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.caps import answer_headers, cut_report, length_report
from rillgate.pipeline.charge import completed
from rillgate.pipeline.extension import Extension, is_slice
from rillgate.pipeline.relay import Relay, counted
from rillgate.pipeline.run import Run
from rillgate.pipeline.stream_run import StreamRun

STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


def make_run(
    call: Call,
    services: Services,
    admitted: Admitted,
    extension: Extension,
    *,
    send: Send,
    on_content: Callable[[], None],
    release: Callable[[], None] | None,
) -> Run:
    """What serves the request.

    Raises:
        ClientError: the provider's request cannot be written.
    """
    grant = admitted.grant
    guard = extension.guard = Guard(
        grant.output_tokens,
        lambda: services.encoding(admitted.encoding_name),
        exact=admitted.exact,
        soft=is_slice(grant),
        on_mark=extension.ask,
    )
    outgoing = call.provider.build(call.request, call.target.model, admitted.upstream_cap)
    headers = _headers(call, services, admitted)
    if not call.request.stream:
        return AnswerRun(
            call,
            services,
            send,
            outgoing=outgoing,
            headers=headers,
            read=lambda body: _read_answer(call, guard, admitted, body),
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
        prompt_tokens=admitted.prompt_tokens,
        cut_notice=call.request.cut_notice,
        cut_report=lambda: cut_report(grant),
        length_report=length_report(grant),
        on_content=on_content,
    )
    return StreamRun(
        call,
        services,
        send,
        outgoing=outgoing,
        relay=relay,
        headers=[*STREAM_HEADERS, *headers],
        opening=encoder.open(),
        heartbeat=encoder.heartbeat(),
        release=release,
    )


def _headers(call: Call, services: Services, admitted: Admitted) -> Headers:
    found = answer_headers(call.request, admitted.grant, admitted.upstream_cap, services.clock.wall())
    return [(name.encode(), value.encode()) for name, value in found.items()]


def _read_answer(call: Call, guard: Guard, admitted: Admitted, body: bytes) -> Answer:
    """The provider's usage of a whole answer, ours where it gives none; and whether it stopped at a budget's cap."""
    reported: Usage | None = None
    stopped = False
    for delta in call.provider.decode_answer(body):
        match delta:
            case UsageDelta(usage):
                reported = usage
            case FinishDelta(_, reason):
                stopped |= reason == "length"
            case TextDelta() | ReasoningDelta() | RefusalDelta() | ToolDelta():
                guard.passes(delta.choice, counted(delta))
    report = length_report(admitted.grant) if stopped else {}
    if reported is not None and reported.input_tokens is not None and reported.output_tokens is not None:
        return Answer(reported, reported, report)
    ours = Usage(admitted.prompt_tokens, guard.tokens(), estimated=True)
    return Answer(completed(reported, ours), reported, report)
