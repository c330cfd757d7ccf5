"""The context of an invocation, with the names that Lambda's own runtime gives its parts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambda_asgi.clock import Clock
from lambda_asgi.runtime_api import Invocation


@dataclass(frozen=True)
class LambdaContext:
    """As a stock handler gets it; `client_context` and `identity` are plain dicts, or None."""

    aws_request_id: str
    invoked_function_arn: str
    function_name: str
    function_version: str
    memory_limit_in_mb: str
    log_group_name: str
    log_stream_name: str
    client_context: Any
    identity: Any
    tenant_id: str | None
    trace_id: str
    deadline_s: float
    _clock: Clock

    @classmethod
    def of(cls, invocation: Invocation, environ: Mapping[str, str], clock: Clock) -> LambdaContext:
        """What the invocation and the environment say."""

        def env(name: str) -> str:
            return environ.get("AWS_LAMBDA_" + name, "")

        return cls(
            aws_request_id=invocation.request_id,
            invoked_function_arn=invocation.function_arn,
            function_name=env("FUNCTION_NAME"),
            function_version=env("FUNCTION_VERSION"),
            memory_limit_in_mb=env("FUNCTION_MEMORY_SIZE"),
            log_group_name=env("LOG_GROUP_NAME"),
            log_stream_name=env("LOG_STREAM_NAME"),
            client_context=_json(invocation.client_context),
            identity=_json(invocation.identity),
            tenant_id=invocation.tenant_id or None,
            trace_id=invocation.trace_id,
            deadline_s=invocation.deadline_s if invocation.deadline_s is not None else math.inf,
            _clock=clock,
        )

    def get_remaining_time_in_millis(self) -> int:
        """Until Lambda ends the invocation; 0 when that is past. Without a deadline, a day."""
        remaining_s = min(self.deadline_s - self._clock.wall(), 86_400.0)
        return max(0, int(remaining_s * 1000))


def _json(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
