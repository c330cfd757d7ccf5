"""All targets, and what has to be among what they cover."""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module

import rillgate.providers
import rillgate.wire
from tests.fuzz.edges import edge_targets
from tests.fuzz.requests import parsers, request_targets
from tests.fuzz.server import server_targets
from tests.fuzz.streams import modules_of, readers, stream_targets
from tests.fuzz.target import Target

# Parsers that no rule finds. Whoever writes one that reads from outside adds it, here and as a target.
LISTED = frozenset(
    {
        "lambda_asgi.events",
        "lambda_asgi.http1",
        "rillgate.app.access",
        "rillgate.app.aws_secrets",
        "rillgate.app.auth",
        "rillgate.app.forwarded",
        "rillgate.app.http_protocol",
        "rillgate.app.settings.load",
        "rillgate.app.tickets",
        "rillgate.identity.keys",
        "rillgate.identity.tickets",
        "rillgate.ledger.dynamodb",
        "rillgate.upstream.aws",
        "rillgate.upstream.aws_metadata",
        "rillgate.upstream.entra",
        "rillgate.upstream.fast.reader",
        "rillgate.wire.loose_json",
    }
)


@cache
def targets() -> dict[str, Target]:
    """Every target by its name."""
    found = [*stream_targets(), *request_targets(), *edge_targets(), *server_targets()]
    assert len({target.name for target in found}) == len(found)
    return {target.name: target for target in found}


def missing() -> set[str]:
    """Modules that read from outside and that no target covers."""
    covered = {module for target in targets().values() for module in target.covers}
    wanted = {module for module, _ in [*readers(), *parsers(), *parsers(rillgate.wire)]}
    return (wanted | _providers() | LISTED) - covered


def _providers() -> set[str]:
    """Modules that define a provider."""
    return {
        name
        for name in modules_of(rillgate.providers)
        for _, cls in inspect.getmembers(import_module(name), inspect.isclass)
        if cls.__module__ == name and hasattr(cls, "decode_models")
    }
