"""The end of a hold: what the ledger is told, and the record that stays.

What cannot be settled stays held and is captured when the hold expires, so nothing that was spent is forgotten.
"""

from __future__ import annotations

import asyncio

from rillgate.domain.ends import End
from rillgate.domain.errors import BudgetUnavailable
from rillgate.domain.limits import NOTHING, Amounts
from rillgate.domain.spending import Grant, Record
from rillgate.domain.usage import Usage
from rillgate.pipeline.call import Call, Services, Upstream
from rillgate.telemetry.logs import log_event, log_exception

SETTLE_S = 10.0


async def settle_hold(services: Services, request_id: str, grant: Grant, amounts: Amounts, record: Record) -> None:
    """Tell the ledger; nothing in `amounts` voids the hold. Raises nothing: the client has its answer by now."""
    if not grant.accounted:
        return
    began_s = services.clock.now()
    try:
        async with asyncio.timeout(SETTLE_S):
            await services.ledger.settle(grant, amounts, record)
        return
    except (BudgetUnavailable, TimeoutError):
        pass
    except Exception as error:
        log_exception("ledger_failed", error, request_id=request_id)
    finally:
        services.metrics.ledger("settle", services.clock.now() - began_s)
    services.metrics.settle_failed()
    log_event(
        "settle_failed",
        level="error",
        request_id=request_id,
        tokens=amounts.tokens,
        cost_nanos=amounts.cost_nanos,
        requests=amounts.requests,
    )


def record_of(
    call: Call,
    grant: Grant,
    end: End | None,
    usage: Usage | None,
    amounts: Amounts,
    *,
    upstream: Upstream | None = None,
    failed: Amounts = NOTHING,
) -> Record:
    """The request as usage and audit will read it.

    Args:
        upstream: who answered, or was asked last; the first where nobody was asked.
        failed: the part of `amounts` that attempts before that may have cost.
    """
    target = (upstream or call.first).target
    principal = call.principal
    counted = usage or Usage()
    return Record(
        hold_id=grant.ask.hold_id,
        started_s=grant.started_s,
        scopes=dict.fromkeys(grant.holds, amounts),
        charged=amounts,
        end="" if end is None else end.value,
        key_id=principal.key_id,
        user=principal.user,
        team=principal.team,
        ticket_id=principal.ticket_id,
        model=call.asked_model,
        provider=target.provider,
        routed_model=target.model,
        tags=principal.tags,
        input_tokens=counted.input_tokens,
        output_tokens=counted.output_tokens,
        cached_input_tokens=counted.cached_input_tokens,
        cache_write_tokens=counted.cache_write_tokens,
        reasoning_tokens=counted.reasoning_tokens,
        estimated=counted.estimated,
        priced=call.price is not None,
        failed=failed,
    )
