"""The template and its environments: what each parameter may be, what is off, what is on, and what it leads to."""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import Any, Final

import pytest

from rillgate.app.on_lambda import LOCAL_KEY_VARIABLE, METRICS_VARIABLE, TRACING_VARIABLE, read_settings
from rillgate.app.settings.secrets import SecretName
from rillgate.identity.keys import new_key
from rillgate.ledger.store import TTL
from tests.infra.cloudformation import ROOT, Stack, transformed

ENVIRONMENTS: Final = ("default", "dev", "prod", "local")
ARN: Final = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:openai-AbCdEf"
ON_IN_PROD: Final = {"Observability", "ProtectLedger", "Tracing", "BufferedApi"}


def samconfig() -> dict[str, Any]:
    """The file."""
    return tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))


def overrides(environment: str) -> dict[str, str]:
    """Parameters of an environment, as `sam deploy` or `sam local` reads them."""
    config = samconfig()[environment]
    command = config.get("deploy", config.get("local_start_api", {}))["parameters"]
    return dict(each.split("=", 1) for each in shlex.split(command.get("parameter_overrides", "")))


def variables(stack: Stack, function: str = "GatewayFunction") -> dict[str, str]:
    """A function's variables."""
    found: dict[str, str] = stack.resources[function]["Properties"]["Environment"]["Variables"]
    return found


def parameters() -> dict[str, Any]:
    """All that the template declares."""
    found: dict[str, Any] = transformed()["Parameters"]
    return found


def test_parameters_have_a_sentence_and_bounds() -> None:
    """Who is asked by `sam deploy --guided` knows what for, and cannot give what would fail later."""
    for name, one in parameters().items():
        assert re.fullmatch(r"[A-Za-z].*[.]", one["Description"]), name
        bounded = one.keys() & {"AllowedValues", "AllowedPattern", "MaxLength"} or one.keys() >= {
            "MinValue",
            "MaxValue",
        }
        assert bounded, name
        assert "Default" in one, name
        assert one["Type"] in ("String", "Number"), name
        assert "AllowedPattern" not in one or one.get("ConstraintDescription"), name


def test_parameters_defaults_are_allowed() -> None:
    """Pressing return all the way is a deployment."""
    for name, one in parameters().items():
        _check_value(name, str(one["Default"]))


def _check_value(name: str, value: str) -> None:
    one = parameters()[name]
    if "AllowedValues" in one:
        assert value in [str(each) for each in one["AllowedValues"]], name
    if "AllowedPattern" in one:
        assert re.fullmatch(one["AllowedPattern"], value), name
    if "MinValue" in one:
        assert one["MinValue"] <= float(value) <= one["MaxValue"], name
    assert len(value) <= one.get("MaxLength", len(value)), name


def test_parameters_are_all_in_a_group() -> None:
    """The console and the guide show them in order."""
    groups = transformed()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    shown = [name for group in groups for name in group["Parameters"]]
    assert sorted(shown) == sorted(parameters())


def test_environments_are_those_that_are_documented() -> None:
    """And each lints."""
    config = samconfig()
    assert tuple(name for name in config if name != "version") == ENVIRONMENTS
    names = [config[name]["global"]["parameters"]["stack_name"] for name in ENVIRONMENTS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environment_gives_values_that_the_template_takes(environment: str) -> None:
    """Known parameters, allowed values, rules kept."""
    given = overrides(environment)
    for name, value in given.items():
        _check_value(name, value)
    stack = Stack(**given)
    assert all(stack.rule_holds(name) for name in stack.template["Rules"])


def test_environment_default_has_nothing_that_costs_at_rest() -> None:
    """No alarm, no dashboard, no API, no canary, no protected table."""
    stack = Stack(**overrides("default"))
    assert {one["Type"] for one in stack.resources.values()} == {
        "AWS::CloudFormation::Stack",
        "AWS::IAM::Role",
        "AWS::Lambda::Alias",
        "AWS::Lambda::Function",
        "AWS::Lambda::LayerVersion",
        "AWS::Lambda::Permission",
        "AWS::Lambda::Url",
        "AWS::Lambda::Version",
        "AWS::Logs::LogGroup",
    }
    assert [name for name, one in stack.resources.items() if one["Type"] == "AWS::CloudFormation::Stack"] == ["Tables"]


def test_environment_prod_has_all_of_it() -> None:
    """What is off by default is on, and the canary goes back on alarms."""
    given = overrides("prod")
    assert {name for name, value in given.items() if value == "on"} >= ON_IN_PROD
    stack = Stack(**given)
    (group,) = stack.of_type("AWS::CodeDeploy::DeploymentGroup").values()
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert len(group["AlarmConfiguration"]["Alarms"]) == 3
    assert {"Observed", "HttpApi", "BufferedFunction"} <= stack.resources.keys()
    assert stack.resources["Tables"]["Properties"]["Parameters"] == {"Protected": "on"}
    assert all(one["TracingConfig"] == {"Mode": "Active"} for one in stack.of_type("AWS::Lambda::Function").values())


@pytest.mark.parametrize(
    ("rule", "given", "holds"),
    [
        ("LocalKeyNeedsMemory", {"LocalKey": new_key()}, False),
        ("LocalKeyNeedsMemory", {"LocalKey": new_key(), "Ledger": "memory"}, True),
        ("CanaryNeedsAlarms", {"Deployment": "Canary10Percent5Minutes"}, False),
        ("CanaryNeedsAlarms", {"Deployment": "Canary10Percent5Minutes", "Observability": "on"}, True),
        ("CanaryNeedsAlarms", {"Deployment": "AllAtOnce"}, True),
    ],
)
def test_rule_stops_what_would_not_work(rule: str, given: dict[str, str], holds: bool) -> None:
    """Before anything is made."""
    assert Stack(**given).rule_holds(rule) is holds


def test_local_key_is_never_shown() -> None:
    """Not in the console either."""
    assert parameters()["LocalKey"]["NoEcho"] is True
    assert re.fullmatch(parameters()["LocalKey"]["AllowedPattern"], new_key())


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"Tracing": "on"}, SecretName("ssm", "/rillgate/openai-key")),
        ({"ProviderKeySecretArn": ARN}, SecretName("secret", ARN)),
        ({"ProviderKeyParameter": "", "ProviderBaseUrl": "http://10.0.0.7:8000/v1"}, None),
    ],
)
def test_variables_of_a_function_are_a_configuration(given: dict[str, str], key: SecretName | None) -> None:
    """What the template sets is what the settings read, with nothing left over."""
    stack = Stack(**given, CorsOrigins="https://a.example,https://b.example", DefaultModel="gpt-4.1-mini")
    settings = read_settings({**variables(stack), "RILLGATE_LEDGER__URL": "dynamodb://table"})
    provider = settings.providers["openai"]
    assert provider.api_key == key
    assert provider.base_url == given.get("ProviderBaseUrl", "https://api.openai.com/v1")
    assert settings.server.cors_origins == ("https://a.example", "https://b.example")
    assert (settings.default.model, settings.ledger.mode) == ("gpt-4.1-mini", "strict")
    assert settings.keys_required
    assert settings.server.metrics == "off"
    assert settings.notices == ()


def test_variables_with_a_configuration_leave_providers_to_it() -> None:
    """Its own are the only ones."""
    found = variables(Stack(ConfigSource="my.toml"))
    assert found["RILLGATE_CONFIG"] == "my.toml"
    assert not [name for name in found if name.startswith("RILLGATE_PROVIDERS")]


def test_variables_name_the_table_of_the_stack_or_memory() -> None:
    """And a local key only beside the latter."""
    assert variables(Stack())["RILLGATE_LEDGER__URL"] == "dynamodb://<Tables.Outputs.TableName>"
    local = variables(Stack(Ledger="memory", LocalKey=new_key()))
    assert local["RILLGATE_LEDGER__URL"] == "memory:"
    assert LOCAL_KEY_VARIABLE in local
    assert LOCAL_KEY_VARIABLE not in variables(Stack())


def test_streaming_function_runs_the_layer_and_the_buffered_one_the_stock_runtime() -> None:
    """The wrapper and its layer belong together."""
    functions = Stack(BufferedApi="on").of_type("AWS::Lambda::Function")
    gateway, buffered = functions["GatewayFunction"], functions["BufferedFunction"]
    assert gateway["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/bootstrap"
    assert "AWS_LAMBDA_EXEC_WRAPPER" not in buffered["Environment"]["Variables"]
    assert [len(one["Layers"]) for one in (gateway, buffered)] == [2, 1]
    assert {one["Runtime"] for one in functions.values()} == {"python3.13"}
    assert {tuple(one["Architectures"]) for one in functions.values()} == {("arm64",)}
    assert buffered["Timeout"] <= 30
    assert "ReservedConcurrentExecutions" not in gateway
    assert Stack(ReservedConcurrency="0").of_type("AWS::Lambda::Function")["GatewayFunction"][
        "ReservedConcurrentExecutions"
    ] in (0, "0")


@pytest.mark.parametrize(
    ("tracing", "layers", "mode", "variable"), [("on", (3, 2), "Active", "on"), ("off", (2, 1), "PassThrough", None)]
)
def test_tracing_is_lambdas_own_a_layer_and_a_variable_together(
    tracing: str, layers: tuple[int, int], mode: str, variable: str | None
) -> None:
    """Each alone would show nothing, or try in vain; both functions have all of it, and nobody pays for it when off."""
    stack = Stack(Tracing=tracing, BufferedApi="on")
    functions = stack.of_type("AWS::Lambda::Function")
    gateway, buffered = functions["GatewayFunction"], functions["BufferedFunction"]
    assert (len(gateway["Layers"]), len(buffered["Layers"])) == layers
    there = {f"<{name}>" for name in stack.of_type("AWS::Lambda::LayerVersion")}
    assert set(gateway["Layers"]) == there  # SAM gives layers other names, by their content
    assert set(buffered["Layers"]) < there
    for name, function in (("GatewayFunction", gateway), ("BufferedFunction", buffered)):
        assert function["TracingConfig"] == {"Mode": mode}
        assert variables(stack, name).get(TRACING_VARIABLE) == variable


@pytest.mark.parametrize("metrics", ["all", "basic"])
def test_metrics_are_those_that_were_chosen(metrics: str) -> None:
    """By both functions."""
    stack = Stack(Metrics=metrics, BufferedApi="on")
    for name in ("GatewayFunction", "BufferedFunction"):
        assert variables(stack, name)[METRICS_VARIABLE] == metrics


def test_new_code_layers_and_releases_are_new_versions() -> None:
    """An alias that stays on an old version is a deployment that did nothing."""

    def version(template: dict[str, Any]) -> tuple[str, Any]:
        found = [(name, one) for name, one in template["Resources"].items() if one["Type"] == "AWS::Lambda::Version"]
        ((name, one),) = found
        return name, one["Properties"]["Description"]

    usual = version(transformed())
    assert usual[1] == {"Ref": "Release"}  # a new one replaces the version
    for package in (
        "GatewayFunction",
        "RuntimeLayer",
        "DependenciesLayer",
    ):  # a layer behind a condition needs a Release
        assert version(transformed(changed=package))[0] != usual[0], package
    assert "${Release}" in str(transformed()["Resources"]["GatewayFunction"]["Properties"]["Description"])


def test_table_is_what_the_ledger_makes_itself() -> None:
    """Two string keys, on demand, items that expire by the ledger's own attribute."""
    (table,) = Stack("infra/tables.yaml").of_type("AWS::DynamoDB::Table").values()
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert [(one["AttributeName"], one["KeyType"]) for one in table["KeySchema"]] == [("pk", "HASH"), ("sk", "RANGE")]
    assert {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]} == {
        "pk": "S",
        "sk": "S",
    }
    assert table["TimeToLiveSpecification"] == {"AttributeName": TTL, "Enabled": True}


@pytest.mark.parametrize(("protected", "expected"), [("on", True), ("off", False)])
def test_table_is_protected_where_that_is_asked_for(protected: str, expected: bool) -> None:
    """Recovery to a point in time, no deletion by mistake, a key of the account. It outlives the stack either way."""
    stack = Stack("infra/tables.yaml", Protected=protected)
    (table,) = stack.of_type("AWS::DynamoDB::Table").values()
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": expected}
    assert table["DeletionProtectionEnabled"] is expected
    assert table["SSESpecification"] == {"SSEEnabled": expected}
    (resource,) = stack.resources.values()
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_outputs_say_what_to_do_next() -> None:
    """The URL, a first key for this stack's ledger, and a stream with that key."""
    outputs = Stack().outputs
    assert outputs["Url"]["Value"] == "<GatewayUrl.FunctionUrl>"
    assert "dynamodb://<Tables.Outputs.TableName>?region=eu-central-1" in outputs["KeyCommand"]["Value"]
    assert outputs["KeyCommand"]["Value"].startswith("rillgate keys create --ledger ")
    assert "curl -N <GatewayUrl.FunctionUrl>v1/chat/completions" in outputs["CurlCommand"]["Value"]
    assert "KeyCommand" not in Stack(Ledger="memory").outputs
