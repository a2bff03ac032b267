"""Metrics: the names that were promised, numbers that add up, hostile labels, and documentation that agrees."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from connectors.sink import Delivery
from stream.telemetry import INFERENCE_EDGES, METRICS, Buckets, Build, Figures, Histogram, Telemetry

ROOT = Path(__file__).parent.parent.parent
PROMISED = (
    "heed_source_records_total", "heed_kafka_consumer_lag_records", "heed_late_records_total",
    "heed_dead_letter_records_total", "heed_streams", "heed_windows_total", "heed_lag_seconds",
    "heed_inference_duration_seconds", "heed_budget_utilization_ratio", "heed_coverage_ratio",
    "heed_stream_unseen_seconds_max", "heed_guarantee_violations_total", "heed_rule_evaluations_total", "heed_alerts",
    "heed_notifications_total", "heed_notifications_failed_total", "heed_config_last_reload_successful",
    "heed_build_info",
)  # fmt: skip


def busy() -> Figures:
    """Figures in which every metric has at least one sample."""
    runs = Buckets(INFERENCE_EDGES)
    runs.add(0.004, 3)
    lag = Buckets()
    lag.add(0.02, 7)
    return Figures(
        records={"plant.readings": 11}, kafka_lag={("plant.readings", 3): 5}, late=1, future=2, duplicate=3, missing=4,
        not_finite=5, refused=6, dead_letters={"not_json": 2}, streams={"active": 8, "warmup": 1, "gap": 1},
        windows={"due": 30, "full": 20, "shed": 10}, lag=lag.histogram(), inference={"full": runs.histogram()},
        budget_utilization=0.5, coverage=0.75, unseen_max_seconds=12.5, guarantee_violations=9, model_errors=1,
        rule_evaluations=100, rule_unknown=7, alerts={("anomaly", "firing"): 2},
        notifications={"kafka": Delivery(4, {"timeout": 3}, 2, 5, 6, 7 * 10**9)}, now=10 * 10**9,
        suppressed={"silence": 3}, silences={"active": 1},
        config_ok=False, build=Build("1.2.3", "builtin", "abcd"),
    )  # fmt: skip


def samples(figures: Figures) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a scrape finds: value by name and labels."""
    text = Telemetry(lambda: figures).text().decode()
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in found}


def one(figures: Figures, name: str, **labels: str) -> float:
    return samples(figures)[name, frozenset(labels.items())]


def test_every_promised_metric_is_there_under_its_name() -> None:
    found = {name for name, _ in samples(busy())}
    shown = found | {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}
    assert [name for name in PROMISED if name not in shown] == []
    assert [metric.name for metric in METRICS if metric.name not in shown] == []
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= found


def test_the_numbers_are_those_of_the_figures() -> None:
    figures = busy()
    assert one(figures, "heed_source_records_total", source="plant.readings") == 11
    assert one(figures, "heed_kafka_consumer_lag_records", topic="plant.readings", partition="3") == 5
    assert one(figures, "heed_late_records_total") == 1
    assert one(figures, "heed_unused_readings_total", reason="refused") == 6
    assert one(figures, "heed_windows_total", outcome="shed") == 10
    assert one(figures, "heed_alerts", alertname="anomaly", state="firing") == 2
    assert one(figures, "heed_coverage_ratio") == 0.75
    assert one(figures, "heed_config_last_reload_successful") == 0
    assert one(figures, "heed_build_info", version="1.2.3", model="builtin", digest="abcd") == 1
    kinds = ("total", "waiting", "dead_total", "merged_total", "oldest_seconds")
    sent = [one(figures, f"heed_notifications_{kind}", sink="kafka") for kind in kinds]
    assert sent == [4, 2, 5, 6, 3]
    failed = [one(figures, "heed_notifications_failed_total", sink="kafka", reason=why) for why in ("timeout", "auth")]
    assert failed == [3, 0]


def test_windows_due_are_not_counted_beside_their_own_parts() -> None:
    found = {dict(labels)["outcome"] for name, labels in samples(busy()) if name == "heed_windows_total"}
    assert found == {"full", "shed"}


def test_before_anything_is_measured_a_scrape_works() -> None:
    assert one(Figures(), "heed_lag_seconds_count") == 0
    assert one(Figures(), "heed_lag_seconds_bucket", le="+Inf") == 0
    assert one(Figures(), "heed_coverage_ratio") == 1


def test_a_scrape_reads_what_is_newest() -> None:
    now = [Figures(late=1)]
    telemetry = Telemetry(lambda: now[0])
    assert b"heed_late_records_total 1.0" in telemetry.text()
    now[0] = Figures(late=2)
    assert b"heed_late_records_total 2.0" in telemetry.text()


@given(st.text(max_size=20), st.integers(0, 2**53))
@settings(max_examples=60, deadline=None)
def test_any_text_can_be_a_label(name: str, n: int) -> None:
    found = samples(Figures(records={name: n}, alerts={(name, "firing"): 1}))
    said = name.encode("utf-8", "replace").decode()
    assert found["heed_source_records_total", frozenset({("source", said)})] == n


def test_half_a_surrogate_pair_does_not_stop_a_scrape() -> None:
    assert one(Figures(dead_letters={"\ud800": 3}), "heed_dead_letter_records_total", reason="?") == 3


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(1, 50)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_buckets_hold_what_lasted_at_most_so_long(durations: list[tuple[float, int]]) -> None:
    buckets = Buckets()
    for seconds, n in durations:
        buckets.add(seconds, n)
    found = buckets.histogram()
    expected = [sum(n for seconds, n in durations if seconds <= edge) for edge in (*found.edges, float("inf"))]
    assert list(found.counts) == expected
    assert abs(found.sum - sum(seconds * n for seconds, n in durations)) < 1e-6


def test_a_histogram_that_was_taken_stays_as_it_is() -> None:
    buckets = Buckets((1.0,))
    before = buckets.histogram()
    buckets.add(0.5)
    assert (before, buckets.histogram()) == (Histogram((1.0,), (0, 0), 0.0), Histogram((1.0,), (1, 1), 0.5))


def test_names_follow_the_conventions() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert re.fullmatch(r"heed_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert "stream" not in metric.labels, "as many labels as streams are too many"
        assert {len(labels) for labels, _ in metric.rows(busy())} == {len(metric.labels)}


def test_the_documentation_lists_every_metric_as_it_is() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| ([^|]*) \| (.+) \|$", text, re.MULTILINE)
    listed = [(name, kind, tuple(re.findall(r"`(\w+)`", labels)), meaning) for name, kind, labels, meaning in rows]
    assert listed == [(metric.name, metric.kind, metric.labels, metric.meaning) for metric in METRICS]
