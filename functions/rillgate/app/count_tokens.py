"""`POST /v1/messages/count_tokens` and `/v1/responses/input_tokens`: our own estimate of a prompt, with the encoding
that holds are made with.

It asks no provider and costs nothing, and says that it is an estimate: `x-rillgate-estimated: true`. What a request
used is in its answer.
"""

from __future__ import annotations

from starlette.responses import Response

from rillgate.app.answers import json_response
from rillgate.budget.count import encoding_for_model
from rillgate.domain.request import ChatRequest, Target
from rillgate.pipeline.admit import estimate
from rillgate.pipeline.call import Services


async def counted_tokens(parsed: ChatRequest, target: Target, services: Services, **more: str) -> Response:
    """`{"input_tokens": n}`, and what else the dialect says beside it."""
    name, exact = encoding_for_model(target.model)
    prompt = await estimate(parsed.fields, target.model, services.encoding(name), exact=exact)
    response = json_response({"input_tokens": prompt.tokens, **more})
    response.headers["x-rillgate-estimated"] = "true"
    return response
