"""What a refusal says of the API that a model wants, and for which requests that is remembered."""

from __future__ import annotations

from typing import Any

import pytest

from rillgate.domain.delta import GOOGLE_ORIGIN, OPENAI_ORIGIN
from rillgate.domain.errors import ClientError, RillgateError, UpstreamError
from rillgate.domain.request import ChatRequest, Target
from rillgate.pipeline.model_apis import MODELS_MAX, ModelApis, Wanted, helps_nothing

LUNA = Target("openai", "gpt-6-luna")
OTHER = Target("openai", "gpt-4o")
TOOLS = [{"type": "function", "function": {"name": "f"}}]
NO_TOOLS = (
    "Provider 'openai': Function tools with reasoning_effort are not supported for gpt-5.6-terra in "
    "/v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'."
)
OPERATION = "The chatCompletion operation does not work with the specified model, gpt-5.1-codex."


def refusal(message: str, status: int = 400) -> UpstreamError:
    return UpstreamError(message, retryable=False, status=status)


def request(*details: Any, dialect: str = "chat_completions", **fields: Any) -> ChatRequest:
    """A request, perhaps with reasoning of an earlier turn."""
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "reasoning_details": list(details)}]
    return ChatRequest({"messages": messages, **fields}, LUNA.model, stream=True, dialect=dialect)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (refusal(NO_TOOLS), Wanted.WITH_TOOLS),
        (
            refusal(
                "Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions. Please "
                "use /v1/responses instead."
            ),
            Wanted.WITH_TOOLS,
        ),
        (
            refusal("This model is only supported in v1/responses and not in v1/chat/completions.", 404),
            Wanted.ALL,
        ),
        (
            refusal(
                "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to "
                "use v1/completions?",
                404,
            ),
            Wanted.ALL,
        ),
        (refusal(OPERATION), Wanted.ALL),
        (refusal(NO_TOOLS, 429), None),
        (ClientError(NO_TOOLS), None),
        (refusal("The model `gpt-7` does not exist.", 404), None),
        (refusal("Unsupported value: 'reasoning_effort' does not support 'max' with this model."), None),
    ],
)
def test_refusal_says_which_requests_want_the_other_api(error: RillgateError, wanted: Wanted | None) -> None:
    """In the provider's own words alone."""
    assert ModelApis().wanted(error) is wanted


def test_model_that_refuses_tools_is_asked_otherwise_for_tools() -> None:
    """And for a conversation that holds reasoning which only the other API takes back; for nothing else."""
    apis = ModelApis()
    with_tools = request(tools=TOOLS)
    assert not apis.begins_with_other(LUNA, with_tools)
    apis.remember(LUNA, Wanted.WITH_TOOLS)
    assert apis.begins_with_other(LUNA, with_tools)
    assert not apis.begins_with_other(OTHER, with_tools)
    assert not apis.begins_with_other(LUNA, request())
    assert not apis.begins_with_other(LUNA, request(tools=[]))
    assert apis.begins_with_other(LUNA, request({"format": OPENAI_ORIGIN, "data": "gA"}))
    assert not apis.begins_with_other(LUNA, request({"format": GOOGLE_ORIGIN, "data": "gA"}, "x"))


def test_request_that_says_not_to_think_stays_where_it_is_taken() -> None:
    """Other dialects' word for it does not go out, so that it is refused there."""
    apis = ModelApis()
    apis.remember(LUNA, Wanted.WITH_TOOLS)
    fields: dict[str, Any] = {"tools": TOOLS, "reasoning_effort": "none"}
    assert not apis.begins_with_other(LUNA, request(**fields))
    assert apis.begins_with_other(LUNA, request(**fields, dialect="messages"))


def test_model_that_is_not_served_by_the_first_api_is_never_asked_by_it_again() -> None:
    """Whatever else is learned later."""
    apis = ModelApis()
    apis.remember(LUNA, Wanted.ALL)
    apis.remember(LUNA, Wanted.WITH_TOOLS)
    assert apis.begins_with_other(LUNA, request())


@pytest.mark.parametrize(
    ("error", "nothing"),
    [
        (ClientError("Provider 'openai' does not support 'stop'."), True),
        (refusal("The model does not exist.", 404), True),
        (refusal("The responses operation does not work with the specified model, text-embedding-3-small."), True),
        (refusal("The requested model 'babbage-002' cannot be used with the Responses API."), True),
        (refusal("Invalid image."), False),
        (refusal("slow down", 429), False),
        (UpstreamError("oops"), False),
    ],
)
def test_failure_of_the_other_api_may_say_less_than_the_first_refusal(error: RillgateError, nothing: bool) -> None:
    """Where the request cannot be said there, or the model is not there either."""
    assert helps_nothing(error) is nothing


def test_models_that_were_learned_long_ago_are_forgotten() -> None:
    """Names are the clients' to make up."""
    apis = ModelApis()
    for number in range(MODELS_MAX + 1):
        apis.remember(Target("openai", f"model-{number}"), Wanted.ALL)
    assert not apis.begins_with_other(Target("openai", "model-0"), request())
    assert apis.begins_with_other(Target("openai", "model-1"), request())
