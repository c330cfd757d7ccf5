"""A call and its services without any server, for tests of the stages around a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from msgspec.structs import replace

from rillgate.dialects.chat_completions import ChatCompletions
from rillgate.domain.ports import Encoding
from rillgate.domain.principal import ANYBODY, Principal
from rillgate.domain.request import ChatRequest, Endpoint, Target
from rillgate.pipeline.call import Call, Limits, Services, Upstream
from rillgate.pipeline.journal import Journal
from rillgate.pipeline.streams import Streams
from rillgate.providers.openai import OpenAIProvider
from rillgate.telemetry.metrics import Metrics
from rillgate.upstream.exchange import Exchange
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.unit.pipeline.relay_support import WORDS

REQUEST_ID = "req_AAAAAAAAAAAAAAAA"


class Nowhere:
    """A provider that nobody calls."""

    async def endpoint(self) -> Endpoint:
        """An address that is never used."""
        return Endpoint("http://127.0.0.1:9")


def make_services(
    ledger: FakeLedger,
    *,
    mode: Literal["strict", "elastic"] = "strict",
    on_error: Literal["deny", "allow"] = "deny",
    encoding: Callable[[str], Encoding | None] = lambda name: WORDS,
) -> Services:
    """Services over a fake ledger; words are tokens."""
    return Services(
        clock=FakeClock(),
        exchange=Exchange(connections_max=1, user_agent="test"),
        streams=Streams(10),
        metrics=Metrics(),
        limits=Limits(output_tokens_default=100, output_tokens_max=1000),
        encoding=encoding,
        ledger=ledger,
        ledger_mode=mode,
        on_ledger_error=on_error,
    )


def make_call(
    *,
    model: str | None = "fast",
    routed: str = "lab-model",
    principal: Principal = ANYBODY,
    total_s: float = 900,
    stream: bool = True,
    content: Any = "one two three",
    **more: Any,
) -> Call:
    """A call to "lab"; `more` are fields of the request."""
    call = Call(
        request=ChatRequest(
            fields={"messages": [{"role": "user", "content": content}]}, model=model, stream=stream, **more
        ),
        upstreams=(Upstream(Target("lab", routed), OpenAIProvider("lab", own_host=False), Nowhere()),),
        dialect=ChatCompletions(),
        journal=Journal(REQUEST_ID, "POST", 0.0),
        total_s=total_s,
    )
    return replace(call, principal=principal)
