"""One request's way through, top to bottom.

(routes → identity → dialect.parse → naming) → admit [ estimate → ledger.authorize ] → provider.build
    → run [ upstream → relay → writer ] → settle
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from rillgate.delivery.outlet import Outlet, outlet_of
from rillgate.delivery.responses import send_error
from rillgate.delivery.writer import Send
from rillgate.domain.ends import End
from rillgate.domain.errors import BudgetError, BudgetUnavailable, CapacityError, RillgateError
from rillgate.domain.limits import NOTHING
from rillgate.pipeline.admit import Admission, Admitted
from rillgate.pipeline.call import Call, Services
from rillgate.pipeline.ended import error_of
from rillgate.pipeline.extension import Extension
from rillgate.pipeline.hold import record_of, settle_hold
from rillgate.pipeline.place import Place, Receive
from rillgate.pipeline.runs import make_run
from rillgate.pipeline.settle import Timing, settle


async def serve(call: Call, services: Services, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Serve one call over ASGI: answer, stream or error. Raises nothing but cancellation."""
    call.journal.key_id = call.principal.key_id
    call.journal.user = call.principal.user
    admission = Admission(call, services)
    place = Place(call, services.clock, admission, services.cancel_flags)
    try:
        services.streams.add(place)
    except CapacityError as error:
        await _refuse(call, send, error)
        return
    place.open(receive)
    settling: asyncio.Task[None] | None = None
    try:
        admitted = await _admit(call, services, admission, send)
        if admitted is not None:
            settling = await _run(call, services, place, admitted, send=send, outlet=outlet_of(scope))
    finally:
        services.streams.discard(place)
        place.close()
    if settling is not None:
        await asyncio.shield(settling)


async def _admit(call: Call, services: Services, admission: Admission, send: Send) -> Admitted | None:
    """A hold, or an answer that says why there is none."""
    try:
        admitted = await admission.run()
    except RillgateError as error:
        if isinstance(error, BudgetError):
            call.journal.scopes = (error.scope,)
        if isinstance(error, BudgetError | BudgetUnavailable):
            services.metrics.budget_denied(error.code or error.kind)
        await _refuse(call, send, error)
        return None
    if admission.stopped is not None:
        await _stopped(call, services, admission.stopped, send)
    elif admitted is not None and not admitted.grant.accounted:
        services.metrics.unaccounted()
    return admitted


async def _run(
    call: Call,
    services: Services,
    place: Place,
    admitted: Admitted,
    *,
    send: Send,
    outlet: Outlet,
) -> asyncio.Task[None] | None:
    """Run it to its end. Gives what tells the ledger, which goes on by itself."""
    grant = admitted.grant
    timing = Timing(services.clock, services.metrics, call)
    extension = Extension(services, grant)
    try:
        run = make_run(call, services, admitted, extension, send=send, timing=timing, outlet=outlet)
    except BaseException:
        record = record_of(call, grant, None, None, NOTHING)
        services.streams.outlive(settle_hold(services, call.journal.request_id, grant, NOTHING, record))
        raise
    timing.begin()
    place.stage = run
    settling: asyncio.Task[None] | None = None
    try:
        await run.run()
    finally:
        settling = settle(run, call, services, admitted, timing=timing, extension=extension)
    return settling


async def _stopped(call: Call, services: Services, end: End, send: Send) -> None:
    """It was ended while it was being admitted: counted as any other end, and answered if anybody listens."""
    timing = Timing(services.clock, services.metrics, call)
    timing.begin()
    if timing.metrics is not None:
        timing.metrics.ended(end)
    call.journal.end = end
    if end is not End.CLIENT_GONE:
        await _refuse(call, send, error_of(end, call.first.target.provider))


async def _refuse(call: Call, send: Send, error: RillgateError) -> None:
    call.journal.failed(error)
    await send_error(send, call.dialect, error)
