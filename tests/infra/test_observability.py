"""Alarms and dashboard stand on metrics that there are."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from rillgate.telemetry.metric_list import CLOUDWATCH_SPLITS, DIMENSION, METRICS, NAMESPACE
from tests.infra.cloudformation import Stack

OURS = {each.name for metric in METRICS for each in metric.cloudwatch}
LAMBDA = {"Errors", "Throttles", "ConcurrentExecutions", "Duration"}
SEARCH: Final = re.compile(
    r"""SEARCH\('\{Rillgate,service,([a-z,]+)\} MetricName="(\w+)" service="rillgate"', '(?:Sum|p99)', \d+\)"""
)
TOPIC = "arn:aws:sns:eu-central-1:123456789012:oncall"


def observed(**more: str) -> Stack:
    """The nested stack, with what the template hands down."""
    given = {"Service": "rillgate", "FunctionName": "gateway", "FirstTokenMs": "20000", "SpendUsd": "50", **more}
    return Stack("infra/observability.yaml", **given)


def alarms(stack: Stack) -> dict[str, Any]:
    """By logical id."""
    return stack.of_type("AWS::CloudWatch::Alarm")


def test_alarms_stand_on_metrics_that_are_written() -> None:
    """A renamed metric would leave an alarm that never rings."""
    for alarm in alarms(observed()).values():
        (dimension,) = alarm["Dimensions"]
        if alarm["Namespace"] == NAMESPACE:
            assert alarm["MetricName"] in OURS
            assert dimension == {"Name": DIMENSION, "Value": "rillgate"}
        else:
            assert (alarm["Namespace"], dimension["Name"]) == ("AWS/Lambda", "FunctionName")
            assert alarm["MetricName"] in LAMBDA


def test_alarms_are_those_that_an_operator_needs() -> None:
    """Errors, throttles, time to the first token, the budget store, and the rate of spending."""
    named = {alarm["MetricName"] for alarm in alarms(observed()).values()}
    assert named == {"Errors", "Throttles", "TimeToFirstToken", "LedgerFailures", "SettleFailures", "SpendUsd"}
    assert alarms(observed())["FirstToken"]["ExtendedStatistic"] == "p99"


def test_alarms_take_silence_for_peace_and_say_what_they_mean() -> None:
    """A gateway that nobody uses is not broken; sums of nothing are never written."""
    for alarm in alarms(observed()).values():
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["AlarmDescription"].endswith(".")


def test_alarms_go_to_the_topic_where_there_is_one() -> None:
    """And back to it when all is well."""
    for alarm in alarms(observed(TopicArn=TOPIC)).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [TOPIC]
    assert all("AlarmActions" not in alarm for alarm in alarms(observed()).values())


def test_alarms_bounds_are_the_parameters() -> None:
    """As they were given."""
    found = alarms(observed(FirstTokenMs="1500", SpendUsd="3"))
    assert (float(found["FirstToken"]["Threshold"]), float(found["SpendRate"]["Threshold"])) == (1500, 3)


def rows() -> list[list[Any]]:
    """What the dashboard's widgets show, line by line."""
    (dashboard,) = observed().of_type("AWS::CloudWatch::Dashboard").values()
    widgets = json.loads(dashboard["DashboardBody"])["widgets"]
    return [row for widget in widgets for row in widget["properties"]["metrics"]]


def test_dashboard_shows_metrics_that_are_written() -> None:
    """It is JSON, knows no metric that nobody writes, and shows every one that is."""
    shown = [row for row in rows() if isinstance(row[0], str)]
    assert {row[1] for row in shown if row[0] == NAMESPACE} == OURS
    assert {row[1] for row in shown if row[0] == "AWS/Lambda"} <= LAMBDA
    assert {tuple(row[2:4]) for row in shown} == {(DIMENSION, "rillgate"), ("FunctionName", "gateway")}


def test_dashboard_searches_metrics_by_the_dimensions_that_they_have() -> None:
    """A search for others finds nothing, without a word."""
    searches = [row[0] for row in rows() if isinstance(row[0], dict)]
    written = {(split.dimensions, each.name) for split in CLOUDWATCH_SPLITS for each in split.metrics}
    found = set()
    for search in searches:
        matched = SEARCH.fullmatch(search["expression"])
        assert matched, search["expression"]
        found.add((tuple(matched[1].split(",")), matched[2]))
        named = re.findall(r"\$\{PROP\('Dim\.(\w+)'\)\}", search["label"])
        assert tuple(named) == tuple(matched[1].split(","))
    assert found == written, "all that is billed is shown"
