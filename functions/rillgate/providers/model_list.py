"""The list of models that OpenAI, Anthropic and the servers that speak like them give."""

from __future__ import annotations

import msgspec

from rillgate.domain.errors import UpstreamError
from rillgate.wire.loose_json import UNREADABLE


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


_MODELS = msgspec.json.Decoder(_Models)


def model_ids(name: str, body: bytes) -> list[str]:
    """The ids of `{"data": [{"id": …}]}`.

    Raises: UpstreamError: it is no such list.
    """
    try:
        return [model.id for model in _MODELS.decode(body).data]
    except UNREADABLE as error:
        raise UpstreamError(f"Provider {name!r} sent no list of models.") from error
