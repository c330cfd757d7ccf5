"""What a refusal says of how much a model can put out."""

from __future__ import annotations

import pytest

from rillgate.domain.errors import ClientError, RillgateError, UpstreamError
from rillgate.domain.request import Target
from rillgate.pipeline.model_caps import MODELS_MAX, ModelCaps

NOVA = Target("aws", "amazon.nova-lite-v1:0")
OTHER = Target("aws", "meta.llama3-8b-instruct-v1:0")
BEDROCK = (
    "Provider 'aws': The maximum tokens you requested exceeds the model limit of 10000. Try again with a maximum "
    "tokens value that is lower than 10000."
)


def refusal(message: str, status: int = 400) -> UpstreamError:
    return UpstreamError(message, retryable=False, status=status)


@pytest.mark.parametrize(
    ("message", "cap"),
    [
        (BEDROCK, 10_000),
        (
            "max_tokens is too large: 16384. This model supports at most 4096 completion tokens, whereas you provided "
            "16384.",
            4_096,
        ),
        (
            "max_tokens: 16384 > 8192, which is the maximum allowed number of output tokens for claude-3-5-haiku",
            8_192,
        ),
        (
            "Unable to submit request because it has a maxOutputTokens value of 16384 but the supported range is from "
            "1 (inclusive) to 8193 (exclusive). Update the value and try again.",
            8_192,
        ),
    ],
)
def test_refusal_that_names_the_models_limit_is_remembered(message: str, cap: int) -> None:
    """The same request is asked for so much, and the next ones begin with it; other models are not concerned."""
    caps = ModelCaps()
    assert caps.learn(NOVA, refusal(message), 16_384) == cap
    assert (caps.of(NOVA, 16_384), caps.of(NOVA, 100), caps.of(OTHER, 16_384)) == (cap, 100, 16_384)


@pytest.mark.parametrize(
    "message",
    [
        "'max_tokens' or 'max_completion_tokens' is too large: 16384. This model's maximum context length is 8192 "
        "tokens and your request has 30 input tokens (16384 > 8192 - 30).",
        "This model's maximum context length is 8192 tokens. However, you requested 16414 tokens (30 in the messages, "
        "16384 in the completion). Please reduce the length of the messages or completion.",
        "This model's maximum context length is 8192 tokens. However, you requested 16384 output tokens and your "
        "prompt contains at least 30 input tokens, for a total of at least 16414 tokens.",
    ],
)
def test_refusal_about_the_context_holds_for_this_prompt_alone(message: str) -> None:
    """Another prompt leaves more or less."""
    caps = ModelCaps()
    assert caps.learn(NOVA, refusal(message), 16_384) == 8_162
    assert caps.of(NOVA, 16_384) == 16_384


@pytest.mark.parametrize(
    ("error", "cap"),
    [
        (refusal(BEDROCK, 429), 16_384),
        (refusal(BEDROCK), 10_000),  # no more than it can do: it means something else
        (refusal(BEDROCK), 100),
        (ClientError(BEDROCK), 16_384),
        (refusal("The request is malformed."), 16_384),
        (refusal("exceeds the model limit of 0"), 16_384),
        (refusal("maximum context length is 8192 tokens, your request has 9000 input tokens"), 16_384),
        (refusal("maximum context length is 8192 tokens"), 16_384),
    ],
)
def test_refusal_about_anything_else_teaches_nothing(error: RillgateError, cap: int) -> None:
    """Nor one that leaves no useful answer."""
    caps = ModelCaps()
    assert caps.learn(NOVA, error, cap) is None
    assert caps.of(NOVA, 16_384) == 16_384


def test_models_that_were_learned_long_ago_are_forgotten() -> None:
    """Names are the clients' to make up."""
    caps = ModelCaps()
    caps.learn(NOVA, refusal(BEDROCK), 16_384)
    for number in range(MODELS_MAX):
        caps.learn(Target("aws", f"model-{number}"), refusal(BEDROCK), 16_384)
    assert caps.of(NOVA, 16_384) == 16_384
    assert caps.of(Target("aws", "model-0"), 16_384) == 10_000
