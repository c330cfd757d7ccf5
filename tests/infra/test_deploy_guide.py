"""The guide, against the template that it speaks of."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from rillgate.telemetry.metric_list import METRICS
from tests.infra.cloudformation import ROOT, transformed
from tests.infra.test_template import ENVIRONMENTS, overrides

GUIDE: Final = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def deployers_policy() -> list[dict[str, Any]]:
    """Statements of the one policy in the guide."""
    (text,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    statements: list[dict[str, Any]] = json.loads(text)["Statement"]
    return statements


def test_guide_policy_of_the_deployer_names_every_action() -> None:
    """No wildcard among actions, and none among resources but for looking."""
    for statement in deployers_policy():
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert all(re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action) for action in actions)
        assert actions == sorted(actions), statement["Sid"]
        assert statement["Resource"] != "*" or statement["Sid"] == "Look"


def test_guide_policy_of_the_deployer_knows_every_service_of_the_default_environment() -> None:
    """A resource of a service that the deployer may not use would end the deployment half way."""
    services = {action.split(":")[0] for one in deployers_policy() for action in _as_list(one["Action"])}
    kinds = {one["Type"].split("::")[1] for one in transformed()["Resources"].values() if "Condition" not in one}
    assert {kind.lower() for kind in kinds | {"DynamoDB"}} <= services


def _as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_guide_names_parameters_environments_and_metrics_that_there_are() -> None:
    """A renamed one would send readers astray."""
    declared = transformed()["Parameters"].keys()
    named = set(re.findall(r"^\| `([A-Z][A-Za-z]+)`", GUIDE, re.MULTILINE))
    assert named
    assert named <= declared
    assert all(f"| `{name}` |" in GUIDE for name in ENVIRONMENTS)
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert "(metrics.md)" in GUIDE
    assert all(f"`{each.name}`" in page for metric in METRICS for each in metric.cloudwatch)


def test_guide_recipe_repeats_what_prod_sets() -> None:
    """The command's list replaces the file's."""
    recipe = GUIDE.partition("```yaml")[2].partition("```")[0]
    assert all(f"{name}={value}" in recipe for name, value in overrides("prod").items())


def test_guide_costs_add_up() -> None:
    """The column of a million is the sum that it says."""
    rows = re.findall(r"^\| [^|]+\|[^|]*\|[^|]*\| \$([0-9.]+) \| \$([0-9.]+) \|$", GUIDE, re.MULTILINE)
    together = re.search(r"\*\*together\*\* \| \| \| \*\*\$([0-9.]+)\*\* \| \*\*\$([0-9.]+)\*\*", GUIDE)
    assert together is not None
    *parts, metrics = rows
    assert metrics == ("9.00", "9.00")
    for column in (0, 1):
        assert round(sum(float(row[column]) for row in parts), 2) == float(together[column + 1])
