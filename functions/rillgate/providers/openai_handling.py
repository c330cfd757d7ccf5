"""What becomes of each feature at OpenAI and compatible servers where a request came in another dialect.

Place: beside `openai_foreign`, which does what is said here; `docs/matrix.md` is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping

from rillgate.providers.features import FEATURES, Handling

_ALL: Mapping[str, Handling] = {
    **dict.fromkeys((feature.name for feature in FEATURES), Handling.TRANSLATED),
    "web_search": Handling.REFUSED,  # a tool that its own provider runs
    "cache_marks": Handling.DROPPED,  # these servers find by themselves what they have read before
}
_OWN_HOST: Mapping[str, Handling] = {
    **_ALL,
    "top_k": Handling.DROPPED,
    "reasoning_kept": Handling.DROPPED,
}
_OTHER_SERVERS: Mapping[str, Handling] = {
    **_ALL,
    "reasoning_kept": Handling.TRANSLATED,  # its text; nothing there signs
    "service_tier": Handling.DROPPED,
}


def foreign_handling(*, own_host: bool) -> Mapping[str, Handling]:
    """By feature, complete.

    Args: own_host: True for OpenAI's and Azure's own hosts, as `OpenAIProvider` takes it.
    """
    return _OWN_HOST if own_host else _OTHER_SERVERS
