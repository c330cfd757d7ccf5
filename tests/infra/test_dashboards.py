"""Grafana's dashboard: what scripts/dashboards writes, over metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from rillgate.telemetry.metric_list import GEN_AI_FIRST_TOKEN, METRICS, Metric
from tests.infra.cloudformation import ROOT
from tests.infra.promtool import promtool

SCRIPT: Final = ROOT / "scripts" / "dashboards"
GRAFANA: Final = ROOT / "infra" / "container" / "grafana"
BOARD: Final[dict[str, Any]] = json.loads((GRAFANA / "rillgate.json").read_text(encoding="utf-8"))
OF_THE_PROCESS: Final = {  # prometheus_client's own
    *("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"),
}
SCRAPED: Final = {"job", "instance", "le"}  # labels that every series, or every bucket, has


def samples_of(metric: Metric) -> set[str]:
    """The names under which a metric's values are scraped."""
    endings = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    return {metric.name + ending for ending in endings[metric.kind]}


BY_SAMPLE: Final = {name: metric for metric in METRICS for name in samples_of(metric)}


def queries() -> list[str]:
    """Of all panels."""
    return [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", ())]


def names_in(query: str) -> set[str]:
    """The metrics that a query selects."""
    return set(re.findall(r"\b([a-z][a-z0-9_]*)\{", query))


def plain(query: str) -> str:
    """A query with Grafana's variables filled in, as Prometheus gets it."""
    return query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")


def test_dashboards_are_what_the_script_writes(tmp_path: Path) -> None:
    """Nobody changes them by hand, and nobody renames a metric behind them."""
    found = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_dashboards_script_refuses_what_it_does_not_know() -> None:
    """A slip must not look like a check that passed."""
    assert subprocess.run([sys.executable, SCRIPT, "--chek"], capture_output=True, check=False).returncode == 2


def test_dashboard_panels_stand_on_metrics_and_labels_that_there_are() -> None:
    """A panel over a metric that nobody writes is empty for ever."""
    assert len(queries()) > 30
    for query in queries():
        names = names_in(query)
        assert names, query
        assert names <= BY_SAMPLE.keys() | OF_THE_PROCESS, query
        known = SCRAPED | {label for name in names & BY_SAMPLE.keys() for label in BY_SAMPLE[name].labels}
        used = {label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ") if label}
        used |= {label for braces in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)=", braces)}
        assert used <= known, query


def test_dashboard_shows_every_metric() -> None:
    """What is worth counting is worth looking at; the same figure by another name is shown once."""
    shown = {BY_SAMPLE[name] for query in queries() for name in names_in(query) & BY_SAMPLE.keys()}
    assert set(METRICS) - shown == {GEN_AI_FIRST_TOKEN}


def test_dashboard_legends_name_labels_that_their_queries_keep() -> None:
    """Another one would stand there as nothing."""
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            kept = {label for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(", ")}
            kept |= set() if " by " in target["expr"] else {"instance"}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, target


def test_dashboard_panels_lie_beside_each_other_and_say_what_they_show() -> None:
    """No two in one place; each with a title and a sentence."""
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert taken.isdisjoint(cells)
        assert all(x < 24 for x, _ in cells)
        taken |= cells
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"].endswith(".")
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_dashboard_queries_are_ones_that_prometheus_can_read(tmp_path: Path) -> None:
    """By its own parser."""
    rules = [{"record": f"panel:{number}", "expr": plain(query)} for number, query in enumerate(queries())]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    found = promtool("check", "rules", path)
    assert found.returncode == 0, found.stderr.decode()
    path.write_text(path.read_text().replace("rate(", "rete(", 1))
    assert promtool("check", "rules", path).returncode != 0


def test_grafana_is_provisioned_with_what_compose_mounts() -> None:
    """The data source is compose's Prometheus; dashboards are looked for where they are."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    mounted = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    (source,) = yaml.safe_load((GRAFANA / "source.yml").read_text(encoding="utf-8"))["datasources"]
    assert source["type"] == "prometheus"
    host, _, port = source["url"].removeprefix("http://").partition(":")
    assert any(published.endswith(f":{port}") for published in compose["services"][host]["ports"])
    (provider,) = yaml.safe_load((GRAFANA / "boards.yml").read_text(encoding="utf-8"))["providers"]
    board = Path(mounted["./infra/container/grafana/rillgate.json"])
    assert str(board.parent) == provider["options"]["path"]
    home = compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == str(board)
