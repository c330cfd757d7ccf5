"""What goes out to a provider, as bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from rillgate.domain.errors import ClientError


def json_body(value: Any) -> bytes:
    """JSON of something that came from a client, who chose how deep it goes.

    Raises: ClientError: too deep to be written.
    """
    try:
        return msgspec.json.encode(value)
    except RecursionError as error:
        raise ClientError("The request is nested too deeply.", code="invalid_json") from error
