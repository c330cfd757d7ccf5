"""Prometheus' alerts and the runbook: rules that ring when they should, each with a section that says what to do."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from tests.infra.cloudformation import ROOT
from tests.infra.promtool import CONFIGURATION, RULES, promtool
from tests.infra.test_dashboards import BY_SAMPLE, OF_THE_PROCESS, SCRAPED

TESTS: Final = ROOT / "tests" / "infra" / "rules_test.yml"
RUNBOOK: Final = ROOT / "docs" / "runbook.md"
TEMPLATE: Final = ROOT / "infra" / "observability.yaml"
(GROUP,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALERTS: Final[dict[str, dict[str, Any]]] = {rule["alert"]: rule for rule in GROUP["rules"]}
OF_THE_SCRAPE: Final = {"up"}


def cloudwatch_alarms() -> set[str]:
    """The logical ids of the template's alarms."""
    text = TEMPLATE.read_text(encoding="utf-8")
    return set(re.findall(r"^  (\w+):\n    Type: AWS::CloudWatch::Alarm$", text, re.MULTILINE))


def sections() -> dict[str, str]:
    """The runbook's sections about alarms: the names in the heading, and the text below it."""
    text = RUNBOOK.read_text(encoding="utf-8")
    alarms = text.partition("\n## Alarms\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^### (.+)\n((?:(?!### ).*\n)*)", alarms, re.MULTILINE))


def test_alert_rules_are_valid_and_ring_when_they_should() -> None:
    """By Prometheus' own tools: each alert rings in its case, and none on a day on which all is well."""
    for arguments in (("check", "rules", RULES), ("test", "rules", TESTS)):
        found = promtool(*arguments)
        assert found.returncode == 0, (found.stdout + found.stderr).decode()


def test_alert_rules_are_all_tested() -> None:
    """Whoever adds one shows that it rings."""
    cases = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    rung = {test["alertname"] for case in cases for test in case.get("alert_rule_test", ()) if test.get("exp_alerts")}
    assert rung == ALERTS.keys()


def test_alert_rules_stand_on_metrics_and_labels_that_there_are() -> None:
    """A renamed metric would leave an alert that never rings."""
    for rule in ALERTS.values():
        names = set(re.findall(r"\b((?:llm|gen_ai|process)_\w+|up)\b", rule["expr"]))
        assert names
        assert names <= BY_SAMPLE.keys() | OF_THE_PROCESS | OF_THE_SCRAPE, rule["alert"]
        known = SCRAPED | {label for name in names & BY_SAMPLE.keys() for label in BY_SAMPLE[name].labels}
        used = set(re.findall(r"(\w+)[=!]~?\"", rule["expr"]))
        used |= {label for group in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in group.split(", ")}
        assert used <= known, rule["alert"]


def test_every_alarm_has_its_section_in_the_runbook_and_every_section_its_alarm() -> None:
    """Whoever is woken at night finds what it means and what to do."""
    headed = [name for heading in sections() for name in heading.split(", ")]
    assert len(set(headed)) == len(headed)
    assert set(headed) == ALERTS.keys() | cloudwatch_alarms()
    for heading, body in sections().items():
        assert "**Means**" in body, heading
        assert "**Do**" in body, heading


def test_alerts_lead_to_their_sections() -> None:
    """By the anchor that the heading gets."""
    anchors = {
        name: re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in sections()
        for name in heading.split(", ")
    }
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{anchors[name]}"
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_prometheus_scrapes_what_compose_runs() -> None:
    """Its configuration is valid, and names the service, its port and the job that the rules know."""
    configuration = yaml.safe_load((CONFIGURATION / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = configuration["scrape_configs"]
    assert job["job_name"] == "rillgate"
    ((target,),) = [each["targets"] for each in job["static_configs"]]
    service, _, port = target.partition(":")
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert (
        "./infra/container/prometheus/metrics.conf:/etc/nginx/nginx.conf:ro" in compose["services"][service]["volumes"]
    )
    assert f"listen {port};" in (CONFIGURATION / "metrics.conf").read_text(encoding="utf-8")
    (rules,) = configuration["rule_files"]
    assert f"./infra/container/prometheus/rules.yml:{rules}:ro" in compose["services"]["prometheus"]["volumes"]
