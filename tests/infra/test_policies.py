"""Who may do what: everything that the code calls is allowed, nothing else is, and who may call the URL is said."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from rillgate.app import aws_secrets
from rillgate.domain.request import ChatRequest
from rillgate.providers.bedrock import BedrockProvider
from tests.infra.cloudformation import ROOT, Stack

SOURCE: Final = ROOT / "functions" / "rillgate"
ARN: Final = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:openai-AbCdEf"
MODEL: Final = "arn:aws:bedrock:*::foundation-model/anthropic.*"
PROFILE: Final = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-x-v1:0"
TABLE: Final = "<Tables.Outputs.TableArn>"
ALL: Final = {
    "ConfigSource": "ssm:/rillgate/config",
    "ProviderKeySecretArn": ARN,
    "BedrockModels": f"{MODEL},{PROFILE}",
    "KmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/1",
    "Deployment": "Canary10Percent5Minutes",
    "Observability": "on",
    "ProtectLedger": "on",
    "Tracing": "on",
    "BufferedApi": "on",
}


def statements(stack: Stack) -> Iterator[dict[str, Any]]:
    """Every statement that allows our functions something, actions and resources as lists."""
    for role in stack.of_type("AWS::IAM::Role").values():
        if role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"] != "lambda.amazonaws.com":
            continue
        assert not role.get("ManagedPolicyArns"), "AWS's own policies allow more than is said here"
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                assert statement["Effect"] == "Allow"
                yield {**statement, **{key: _as_list(statement[key]) for key in ("Action", "Resource")}}


def _as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def allowed(stack: Stack) -> dict[str, set[str]]:
    """Resources by action."""
    found: dict[str, set[str]] = {}
    for statement in statements(stack):
        for action in statement["Action"]:
            found.setdefault(action, set()).update(statement["Resource"])
    return found


def dynamodb_calls() -> set[str]:
    """Operations that the store of the request path calls, from its source: the first argument of each `_call`."""
    tree = ast.parse((SOURCE / "ledger" / "dynamodb.py").read_text(encoding="utf-8"))
    calls = [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_call"
    ]
    assert calls
    return {f"dynamodb:{ast.literal_eval(each)}" for each in calls}


def secret_calls() -> Mapping[str, str]:
    """Operations that fetch keys, as IAM names them."""
    return {
        source: f"{aws_secrets.SERVICES[source]}:{target.rpartition('.')[2]}"
        for source, target in aws_secrets.TARGETS.items()
    }


# An operation of Bedrock's API → the action that allows it, as its reference says under "Permissions".
BEDROCK_ACTIONS: Final = {
    "converse": "bedrock:InvokeModel",
    "converse-stream": "bedrock:InvokeModelWithResponseStream",
}


def bedrock_calls() -> set[str]:
    """What the provider calls, streaming and not, as IAM names it."""
    provider = BedrockProvider("aws")
    fields = {"messages": [{"role": "user", "content": "hi"}]}
    built = [provider.build(ChatRequest(fields, "m", stream=stream), "m", 9) for stream in (True, False)]
    return {BEDROCK_ACTIONS[request.path.rpartition("/")[2]] for request in built}


def callers_of_aws() -> set[str]:
    """Modules that make signed calls."""
    return {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if re.search(r"\b(AwsJsonCalls|Signer)\(", path.read_text(encoding="utf-8"))
        and "class AwsJsonCalls" not in path.read_text()
    }


def test_policy_comparison_knows_every_place_that_calls_aws() -> None:
    """A new caller has to be looked at here, and its calls allowed."""
    assert callers_of_aws() == {"app/stores.py", "app/aws_secrets.py", "app/bedrock_location.py"}


def test_policy_of_the_ledger_is_what_its_store_calls_on_its_table() -> None:
    """Each operation, on the one table, and no other one of DynamoDB."""
    found = allowed(Stack())
    assert {action for action in found if action.startswith("dynamodb:")} == dynamodb_calls()
    assert all(found[action] == {TABLE} for action in dynamodb_calls())


def test_policy_of_a_ledger_in_memory_names_no_table() -> None:
    """There is none."""
    stack = Stack(Ledger="memory")
    assert not any(action.startswith("dynamodb:") for action in allowed(stack))
    assert "Tables" not in stack.resources


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"ssm:GetParameter": {"arn:aws:ssm:eu-central-1:123456789012:parameter/rillgate/openai-key"}}),
        ({"ProviderKeyParameter": ""}, {}),
        ({"ProviderKeySecretArn": ARN}, {"secretsmanager:GetSecretValue": {ARN}}),
        (
            {"ConfigSource": "ssm:/prod/rillgate"},
            {
                "ssm:GetParameter": {
                    "arn:aws:ssm:eu-central-1:123456789012:parameter/prod/rillgate",
                    "arn:aws:ssm:eu-central-1:123456789012:parameter/prod/rillgate/*",
                }
            },
        ),
        ({"ConfigSource": "my.toml"}, {}),
    ],
)
def test_policy_of_keys_is_what_is_fetched_from_where(given: dict[str, str], expected: dict[str, set[str]]) -> None:
    """Only the parameter or the secret that is named, only where one is."""
    found = allowed(Stack(**given))
    calls = secret_calls().values()
    assert {action: found[action] for action in found if action.split(":")[0] in ("ssm", "secretsmanager")} == expected
    assert expected.keys() <= set(calls)


@pytest.mark.parametrize(
    ("models", "expected"), [("", set()), (MODEL, {MODEL}), (f"{MODEL},{PROFILE}", {MODEL, PROFILE})]
)
def test_policy_of_bedrock_is_what_its_provider_calls_on_the_models_that_are_named(
    models: str, expected: set[str]
) -> None:
    """Both ways to call a model and nothing else of Bedrock; without models there is nothing."""
    found = allowed(Stack(BedrockModels=models))
    actions = {action for action in found if action.startswith("bedrock:")}
    assert actions == (bedrock_calls() if expected else set())
    assert all(found[action] == expected for action in actions)


@pytest.mark.parametrize(
    ("models", "taken"),
    [
        ("", True),
        (MODEL, True),
        (f"{MODEL},{PROFILE}", True),
        ("arn:aws-cn:bedrock:cn-north-1:123456789012:application-inference-profile/abc123", True),
        ("*", False),
        (f"{MODEL}, {PROFILE}", False),
        ("arn:aws:bedrock:*:*:*", False),
        ("arn:aws:s3:::bucket", False),
    ],
)
def test_parameter_of_bedrock_takes_arns_of_models_alone(models: str, taken: bool) -> None:
    """Not everything, by mistake."""
    pattern = Stack().template["Parameters"]["BedrockModels"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, models)) is taken


@pytest.mark.parametrize("given", [{}, ALL])
def test_policies_allow_no_wildcard_action_and_hardly_a_wildcard_resource(given: dict[str, str]) -> None:
    """X-Ray alone knows no resources."""
    for statement in statements(Stack(**given)):
        assert not [action for action in statement["Action"] if "*" in action]
        if "*" in statement["Resource"]:
            assert {action.split(":")[0] for action in statement["Action"]} == {"xray"}


@pytest.mark.parametrize("given", [{}, ALL])
def test_policies_allow_nothing_beside_what_is_named_here(given: dict[str, str]) -> None:
    """With every option on as without any."""
    known = dynamodb_calls() | set(secret_calls().values()) | {"logs:CreateLogStream", "logs:PutLogEvents"}
    if given:
        known |= bedrock_calls() | {"kms:Decrypt", "xray:PutTelemetryRecords", "xray:PutTraceSegments"}
    found = allowed(Stack(**given))
    assert found.keys() <= known
    assert found["logs:PutLogEvents"] == {"<Logs.Arn>"}
    assert ("kms:Decrypt" in found, "xray:PutTraceSegments" in found) == (bool(given), bool(given))


@pytest.mark.parametrize(("tracing", "expected"), [("on", True), ("off", False)])
def test_policies_allow_traces_where_there_are_any(tracing: str, expected: bool) -> None:
    """Lambda's daemon sends them with the function's own role."""
    found = allowed(Stack(Tracing=tracing))
    assert ({"xray:PutTelemetryRecords", "xray:PutTraceSegments"} <= found.keys()) is expected
    assert any(action.startswith("xray:") for action in found) is expected


@pytest.mark.parametrize(
    ("deployment", "target", "qualifier"),
    [("off", "<GatewayFunction>", None), ("AllAtOnce", "<GatewayFunction>:live", "live")],
)
def test_url_is_open_to_all_by_both_permissions(deployment: str, target: str, qualifier: str | None) -> None:
    """AWS asks for both; each holds for calls through the URL alone, and on what the URL leads to."""
    stack = Stack(Deployment=deployment)
    (url,) = stack.of_type("AWS::Lambda::Url").values()
    assert (url["AuthType"], url["InvokeMode"], url.get("Qualifier")) == ("NONE", "RESPONSE_STREAM", qualifier)
    permissions = [one for one in stack.of_type("AWS::Lambda::Permission").values() if one["Principal"] == "*"]
    by_action = {one["Action"]: one for one in permissions}
    assert by_action.keys() == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    assert by_action["lambda:InvokeFunctionUrl"]["FunctionUrlAuthType"] == "NONE"
    assert by_action["lambda:InvokeFunction"]["InvokedViaFunctionUrl"] is True
    assert {one["FunctionName"] for one in permissions} == {target}


def test_url_with_iam_is_open_to_nobody() -> None:
    """Who may call it is then for the account to say."""
    stack = Stack(AuthType="AWS_IAM")
    (url,) = stack.of_type("AWS::Lambda::Url").values()
    assert url["AuthType"] == "AWS_IAM"
    assert not [one for one in stack.of_type("AWS::Lambda::Permission").values() if one["Principal"] == "*"]


@pytest.mark.parametrize("given", [{}, ALL])
def test_url_leaves_cors_to_the_app(given: dict[str, str]) -> None:
    """Two answers to a preflight are none."""
    assert all("Cors" not in url for url in Stack(**given).of_type("AWS::Lambda::Url").values())


def test_buffered_api_may_call_its_own_function_alone() -> None:
    """And is not there unless it is asked for."""
    assert not Stack().of_type("AWS::ApiGatewayV2::Api")
    stack = Stack(BufferedApi="on")
    found = [one for one in stack.of_type("AWS::Lambda::Permission").values() if one["Principal"] != "*"]
    assert [one["FunctionName"] for one in found] == ["<BufferedFunction>"]
    assert [one["Principal"] for one in found] == ["apigateway.amazonaws.com"]
