"""Snapshots of several processes, added up."""

from __future__ import annotations

from collections import Counter

import msgspec

from rillgate.domain.ends import End
from rillgate.telemetry.logs import RequestRecord
from rillgate.telemetry.metric_list import LOOP_LAG, METRICS, QUEUE_BYTES
from rillgate.telemetry.metrics import Metrics
from rillgate.telemetry.prometheus import render_values
from rillgate.telemetry.snapshot import Snapshot, Totals, snapshot_of


def counted(*models: str, active: int = 0, lag_s: float = 0.0) -> Metrics:
    """A process that has served a stream of each model, and serves `active` more."""
    metrics = Metrics()
    for model in models:
        stream = metrics.for_stream("lab", model)
        stream.first_token(0.1)
        stream.gap(0.02)
        stream.gap(3.0)
        stream.ended(End.FINISHED, 10, 5)
        metrics.request(
            RequestRecord(
                request_id="req_1",
                method="POST",
                route="/v1/chat/completions",
                status=200,
                end=End.FINISHED,
                provider="lab",
                routed_model=model,
                ttft_ms=100.0,
                duration_ms=500.0,
                input_tokens=10,
                output_tokens=5,
                stall_s=0.25,
            )
        )
    for _ in range(active):
        metrics.for_stream("lab", "m")
    metrics.budget_denied("rate_limit_exceeded")
    metrics.hold_captured()
    metrics.ledger("authorize", 0.003)
    metrics.watch(LOOP_LAG, lambda: lag_s)
    metrics.watch(QUEUE_BYTES, lambda: 100 * active)
    return metrics


def shown(snapshot: Snapshot) -> str:
    """As Prometheus gets it."""
    return render_values(snapshot)[0].decode()


def samples(snapshot: Snapshot) -> dict[str, float]:
    """Lines of the page by what stands before the number."""
    lines = [line for line in shown(snapshot).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def sent(metrics: Metrics) -> Snapshot:
    """A snapshot that has gone through a pipe."""
    return msgspec.json.decode(msgspec.json.encode(snapshot_of(metrics)), type=Snapshot)


def test_snapshot_that_was_sent_shows_what_its_process_shows() -> None:
    """Nothing is lost on the way, and nothing about one process is shown for all."""
    metrics = counted("m", "n", active=2)
    own = [line for line in metrics.render()[0].decode().splitlines() if "llm_" in line or "gen_ai_" in line]
    assert shown(sent(metrics)).splitlines() == own


def test_snapshot_of_nothing_shows_every_family() -> None:
    """A dashboard finds all names, whatever has been counted."""
    assert all(f"# TYPE {metric.name}" in shown(Snapshot()) for metric in METRICS)


def test_totals_are_the_sums_of_the_living() -> None:
    """Counters, gauges and each bucket of a histogram."""
    totals = Totals()
    totals.told(1, sent(counted("m", "m", active=2, lag_s=0.002)))
    totals.told(2, sent(counted("m", "n", active=1, lag_s=0.75)))
    totals.told(3, sent(counted(lag_s=0.01)))
    found = samples(totals.total())
    assert found["llm_active_streams"] == 3
    assert found["llm_workers"] == 3
    assert found["llm_queue_bytes"] == 300
    assert found["llm_loop_lag_seconds"] == 0.75, "the worst of them: a sum would be nobody's"
    assert found['llm_stall_seconds_total{provider="lab"}'] == 1
    assert found['llm_ledger_duration_seconds_count{operation="authorize"}'] == 3
    labels = 'dialect="",end="finished",model="m",provider="lab",route="/v1/chat/completions",status="200"'
    assert found[f"llm_requests_total{{{labels}}}"] == 3
    duration = (
        'gen_ai_server_request_duration_seconds_sum{error_type="",gen_ai_operation_name="chat",'
        'gen_ai_provider_name="lab",gen_ai_request_model="m",provider="lab"}'
    )
    assert found[duration] == 1.5
    assert found['llm_streams_total{end="finished",provider="lab"}'] == 4
    assert found['llm_tokens_total{kind="input",model="m",provider="lab"}'] == 30
    assert found['llm_tokens_total{kind="output",model="n",provider="lab"}'] == 5
    assert found['llm_token_latency_seconds_bucket{le="0.02",model="m",provider="lab"}'] == 3
    assert found['llm_token_latency_seconds_count{model="m",provider="lab"}'] == 6
    assert found['llm_budget_denials_total{reason="rate_limit_exceeded"}'] == 3


def test_totals_told_again_take_the_newer_snapshot() -> None:
    """A process tells what it has counted since it began, not since it told last."""
    metrics = counted("m")
    totals = Totals()
    for _ in range(3):
        totals.told(1, sent(metrics))
    assert samples(totals.total())["llm_holds_captured_total"] == 1


def test_totals_keep_the_counters_of_the_dead_and_drop_their_gauges() -> None:
    """What was shown never goes down but for what is true of the living only, through any number of deaths."""
    totals = Totals()
    totals.told(0, sent(counted("m")))
    before: Counter[str] = Counter()
    for life in range(1, 6):
        totals.told(life, sent(counted("m", active=life)))
        seen = samples(totals.total())
        assert seen["llm_active_streams"] == life
        assert all(seen[name] >= before[name] for name in before)
        totals.gone(life)
        after = samples(totals.total())
        assert (after["llm_active_streams"], after["llm_workers"]) == (0, 1)
        before = Counter({name: value for name, value in after.items() if name.partition("{")[0] not in GAUGES})
        assert all(after[name] == seen[name] for name in before)
    totals.gone(99)  # who never told anything leaves nothing
    assert samples(totals.total())["llm_holds_captured_total"] == 6


GAUGES = {metric.name for metric in METRICS if metric.kind == "gauge"}


def test_totals_past_the_bound_become_other_and_stay_what_they_were_shown_as() -> None:
    """Clients choose names in every process: all together have one bound, and who was within it stays within it."""
    totals = Totals(models_max=2)
    totals.told(1, sent(counted("a")))
    totals.told(2, sent(counted("b", "c", "d")))
    name = 'llm_tokens_total{{kind="input",model="{}",provider="lab"}}'
    first = samples(totals.total())
    assert [first.get(name.format(model)) for model in ("a", "b", "c", "d", "other")] == [10, 10, None, None, 20]
    named = {part for line in first for part in line.split('"') if line.startswith(("gen_ai", "llm_"))}
    assert {"a", "b", "other"} <= named, "whatever a metric calls its label"
    assert named & {"c", "d"} == set()
    totals.gone(1)
    totals.told(3, sent(counted("c", "a")))
    second = samples(totals.total())
    assert [second.get(name.format(model)) for model in ("a", "b", "c", "d", "other")] == [20, 10, None, None, 30]
