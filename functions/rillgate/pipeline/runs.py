"""From an admitted request to what serves it: a stream or a whole answer, with its guard at the hold's limit."""

from __future__ import annotations

import msgspec

from rillgate.budget.count import encoding_for_model
from rillgate.budget.guard import Guard
from rillgate.delivery.outlet import Outlet
from rillgate.delivery.responses import Headers
from rillgate.delivery.writer import Send
from rillgate.domain.delta import FinishDelta, ReasoningDelta, RefusalDelta, TextDelta, ToolDelta, UsageDelta
from rillgate.domain.ports import Encoder
from rillgate.domain.request import AnswerHead, UpstreamRequest
from rillgate.domain.usage import Usage
from rillgate.pipeline.admit import Admitted
from rillgate.pipeline.answer_run import Answer, AnswerRun
from rillgate.pipeline.call import Call, Services, Upstream
from rillgate.pipeline.caps import answer_headers, cut_report, length_report
from rillgate.pipeline.charge import completed
from rillgate.pipeline.extension import Extension, is_slice
from rillgate.pipeline.relay import Relay, counted
from rillgate.pipeline.run import Run
from rillgate.pipeline.settle import Timing
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
    timing: Timing,
    outlet: Outlet,
) -> Run:
    """What serves the request."""
    maker = _Maker(call, services, admitted, extension, timing)
    if not call.request.stream:
        return AnswerRun(
            call, services, send, cap=admitted.upstream_cap, headers=maker.headers(), build=maker.build, read=maker.read
        )
    return StreamRun(
        call,
        services,
        send,
        cap=admitted.upstream_cap,
        headers=[*STREAM_HEADERS, *maker.stream_headers(), *maker.headers()],
        encoder=maker.encoder(call.first),
        build=maker.build,
        relay_of=maker.relay,
        outlet=outlet,
    )


class _Maker(msgspec.Struct, frozen=True):
    """Makes what one request's attempts need, each for the upstream that is asked."""

    call: Call
    services: Services
    admitted: Admitted
    extension: Extension
    timing: Timing

    def headers(self) -> Headers:
        """Of the response: levels and cap."""
        grant, cap = self.admitted.grant, self.admitted.upstream_cap
        found = answer_headers(self.call.request, grant, cap, self.services.clock.wall())
        return [(name.encode(), value.encode()) for name, value in found.items()]

    def stream_headers(self) -> Headers:
        """Of a stream in this dialect."""
        return [(name.encode(), value.encode()) for name, value in self.call.dialect.stream_headers]

    def build(self, upstream: Upstream, cap: int) -> UpstreamRequest:
        """The provider's request, with this cap.

        Raises: ClientError: the request asks for what this provider cannot do.
        """
        self.timing.asks(upstream)
        return upstream.provider.build(self.call.request, upstream.target.model, cap)

    def encoder(self, upstream: Upstream) -> Encoder:
        """The client's dialect, for one attempt: nothing of an earlier one was passed on."""
        head = self._head(upstream)
        return self.call.dialect.encoder(head.request_id, head.model, head.created_s)

    def relay(self, upstream: Upstream) -> Relay:
        """What happens to every chunk of this upstream's."""
        call, grant, provider = self.call, self.admitted.grant, upstream.provider
        return Relay(
            provider=upstream.target.provider,
            reader=provider.reader(),
            decoder=provider.decoder(call.request),
            encoder=self.encoder(upstream),
            same_dialect=provider.dialect == call.dialect.name,
            guard=self._guard(upstream),
            choices=call.request.choices,
            include_usage=call.request.include_usage,
            prompt_tokens=self.admitted.prompt_tokens,
            cut_notice=call.request.cut_notice,
            cut_report=lambda: cut_report(grant),
            length_report=length_report(grant),
            on_content=self.timing.content,
        )

    def read(self, upstream: Upstream, body: bytes) -> Answer:
        """A whole answer: the provider's usage, ours where it gives none; and whether it stopped at a budget's cap."""
        reported: Usage | None = None
        stopped = False
        guard = self._guard(upstream)
        deltas = upstream.provider.decode_answer(body, self.call.request)
        for delta in deltas:
            match delta:
                case UsageDelta(said):
                    reported = said
                case FinishDelta(_, reason):
                    stopped |= reason == "length"
                case TextDelta() | ReasoningDelta() | RefusalDelta() | ToolDelta():
                    guard.passes(delta.choice, counted(delta))
        report = length_report(self.admitted.grant) if stopped else {}
        usage = reported
        if usage is None or usage.input_tokens is None or usage.output_tokens is None:
            usage = completed(reported, Usage(self.admitted.prompt_tokens, guard.tokens(), estimated=True))
        told = {**report, "estimated": True} if usage.estimated else report
        dialect = self.call.dialect
        if upstream.provider.dialect == dialect.name:
            written = dialect.answer(body, usage if usage.estimated else None, told)
        else:
            written = dialect.encode_answer(self._head(upstream), deltas, usage, told)
        return Answer(usage, reported, report, written)

    def _guard(self, upstream: Upstream) -> Guard:
        """The count of one attempt, by its model's own encoding."""
        grant, services = self.admitted.grant, self.services
        name, exact = encoding_for_model(upstream.target.model)
        guard = self.extension.guard = Guard(
            grant.output_tokens,
            lambda: services.encoding(name),
            exact=exact,
            soft=is_slice(grant),
            on_mark=self.extension.ask,
        )
        return guard

    def _head(self, upstream: Upstream) -> AnswerHead:
        return AnswerHead(self.call.journal.request_id, upstream.target.model, int(self.services.clock.wall()))
