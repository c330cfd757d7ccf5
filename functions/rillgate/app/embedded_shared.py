"""One embedded model for several processes: one owns it, the others hear where it answers, or why it never will.

EmbeddedModel ──news_of──► ModelNews ──► SharedModel.hear       its interface is EmbeddedModel's own
"""

from __future__ import annotations

import msgspec

from rillgate.app.embedded import EmbeddedModel
from rillgate.domain.request import Endpoint


class ModelNews(msgspec.Struct, frozen=True, tag="model"):
    """How the model is: it answers, or it is dead. The headers carry its secret: never log it.

    Attributes:
        base_url, headers: as of `Endpoint`; "" and nothing when it is dead.
        cause: why it is dead, for clients too; None while it is not.
        detail: what else the operator should know.
    """

    base_url: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    cause: str | None = None
    detail: str = ""


def news_of(model: EmbeddedModel) -> ModelNews | None:
    """What there is to tell of a model; None while it starts."""
    if model.cause is not None:
        return ModelNews(cause=model.cause, detail=model.detail)
    if model.address is None:
        return None
    return ModelNews(model.address.base_url, model.address.headers)


class SharedModel(EmbeddedModel):
    """The model of another process; it is started and ended there."""

    async def start(self) -> None:
        """Nothing: `hear` says when it answers."""

    def hear(self, news: ModelNews) -> None:
        """Take notice of what became of it."""
        if news.cause is not None:
            self._die(news.cause, news.detail)
        else:
            self._answers(Endpoint(news.base_url, news.headers))
