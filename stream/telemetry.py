"""Every metric by name, and what heed measured of itself as Prometheus reads it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from connectors.sink import Delivery, Why

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
LAG_EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)  # s
INFERENCE_EDGES = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)  # s


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations in buckets: ``counts[i]`` of them lasted at most ``edges[i]`` seconds.

    ``counts`` has one number more than ``edges``, the last is how many there were in all; ``sum`` is in seconds.
    """

    edges: tuple[float, ...] = LAG_EDGES
    counts: tuple[int, ...] = (0,) * (len(LAG_EDGES) + 1)
    sum: float = 0.0


class Buckets:
    """Where durations are counted as they come; ``histogram`` is what there is of them so far."""

    def __init__(self, edges: tuple[float, ...] = LAG_EDGES) -> None:
        self._edges, self._counts, self._sum = edges, [0] * (len(edges) + 1), 0.0

    def add(self, seconds: float, n: int = 1) -> None:
        """``n`` times the same duration."""
        self._counts[bisect_left(self._edges, seconds)] += n
        self._sum += seconds * n

    def histogram(self) -> Histogram:
        """A copy that stays as it is."""
        total, cumulative = 0, []
        for count in self._counts:
            total += count
            cumulative.append(total)
        return Histogram(self._edges, tuple(cumulative), self._sum)


@dataclass(frozen=True, slots=True)
class Build:
    """What runs: heed's version, the model's name and its digest."""

    version: str = ""
    model: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """All that the metrics are made of, at one moment. Counts are since the start, or since state began where kept."""

    records: Mapping[str, int] = field(default_factory=dict)  # by source
    kafka_lag: Mapping[tuple[str, int], int] = field(default_factory=dict)  # by topic and partition
    late: int = 0
    future: int = 0
    duplicate: int = 0
    missing: int = 0
    not_finite: int = 0
    refused: int = 0
    lost: int = 0
    unpacked_singly: int = 0
    dead_letters: Mapping[str, int] = field(default_factory=dict)  # by reason
    streams: Mapping[str, int] = field(default_factory=dict)  # by state: active, warmup, gap
    windows: Mapping[str, int] = field(default_factory=dict)  # by outcome; "due", their sum, is left out
    lag: Histogram = field(default_factory=Histogram)
    inference: Mapping[str, Histogram] = field(default_factory=dict)  # by fidelity
    budget_utilization: float = 0.0
    coverage: float = 1.0
    unseen_max_seconds: float = 0.0
    guarantee_violations: int = 0
    model_errors: int = 0
    rule_evaluations: int = 0
    rule_unknown: int = 0
    alerts_left_out: int = 0
    alerts: Mapping[tuple[str, str], int] = field(default_factory=dict)  # by alertname and state
    notifications: Mapping[str, Delivery] = field(default_factory=dict)  # by sink
    suppressed: Mapping[str, int] = field(default_factory=dict)  # by reason
    silences: Mapping[str, int] = field(default_factory=dict)  # by state
    log_lines_lost: int = 0
    now: int = 0  # ns, of the loop's clock
    config_ok: bool = True
    config_seconds: float = 0.0  # since the epoch: when the configuration in force was read
    build: Build = field(default_factory=Build)


Kind = Literal["counter", "gauge", "histogram"]
Rows = Iterable[tuple[tuple[str, ...], float | Histogram]]  # the values of the labels, and the number


@dataclass(frozen=True, slots=True)
class Described:
    """One metric: its name as Prometheus shows it, and how its numbers are found."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    rows: Callable[[Figures], Rows]


def _one(value: float | Histogram) -> Rows:
    return [((), value)]


def _by(found: Mapping[str, float] | Mapping[str, Histogram] | Mapping[str, int]) -> Rows:
    return [((key,), value) for key, value in found.items()]


UNUSED = ("future", "duplicate", "missing", "not_finite", "refused", "lost")


def _unused(figures: Figures) -> Rows:
    return _by({name: getattr(figures, name) for name in UNUSED})


def _sinks(figures: Figures, number: Callable[[Delivery], float]) -> Rows:
    return [((sink,), number(delivery)) for sink, delivery in figures.notifications.items()]


def _failed(figures: Figures) -> Rows:
    """Every reason is there from the start, so that a rate shows the first failure."""
    reasons = get_args(Why)
    sinks = figures.notifications.items()
    return [((sink, reason), each.failed.get(reason, 0)) for sink, each in sinks for reason in reasons]


def _oldest_seconds(now: int, delivery: Delivery) -> float:
    return max(0, now - delivery.oldest) / 1e9 if delivery.oldest else 0.0


METRICS: tuple[Described, ...] = (
    Described("heed_source_records_total", "counter", ("source",),
              "Records read.", lambda f: _by(f.records)),
    Described("heed_kafka_consumer_lag_records", "gauge", ("topic", "partition"),
              "Records that the broker holds and heed has not read yet.",
              lambda f: [((topic, str(number)), n) for (topic, number), n in f.kafka_lag.items()]),
    Described("heed_kafka_unpacked_singly_total", "counter", (),
              "Records that kafka-python had to unpack one by one: old formats, broken batches, or a version that "
              "heed was not tried with.", lambda f: _one(f.unpacked_singly)),
    Described("heed_late_records_total", "counter", (),
              "Readings that came after their step was closed.", lambda f: _one(f.late)),
    Described("heed_unused_readings_total", "counter", ("reason",),
              "Readings that no window holds: `future`, `duplicate`, `missing`, `not_finite`, `refused` at the limit "
              "on streams, or `lost`: records that were gone at the broker before they could be read.", _unused),
    Described("heed_dead_letter_records_total", "counter", ("reason",),
              "Messages that could not be decoded and were set aside whole.", lambda f: _by(f.dead_letters)),
    Described("heed_streams", "gauge", ("state",),
              "Streams that are judged (`active`), have too little history (`warmup`) or are quiet (`gap`).",
              lambda f: _by(f.streams)),
    Described("heed_windows_total", "counter", ("outcome",),
              "Windows due, by what became of them: `full`, `lite`, `sentinel`, `shed`, `gap`, `warmup`. They add up.",
              lambda f: [row for row in _by(f.windows) if row[0] != ("due",)]),
    Described("heed_lag_seconds", "histogram", (),
              "From when a verdict could have been given to when it was; backlog is left out.", lambda f: _one(f.lag)),
    Described("heed_inference_duration_seconds", "histogram", ("fidelity",),
              "How long one run of the model took.", lambda f: _by(f.inference)),
    Described("heed_budget_utilization_ratio", "gauge", (),
              "Share of the latency budget that is in use; above 1 it is not kept.",
              lambda f: _one(f.budget_utilization)),
    Described("heed_coverage_ratio", "gauge", (),
              "Share of windows due that got a full or a lite look.", lambda f: _one(f.coverage)),
    Described("heed_stream_unseen_seconds_max", "gauge", (),
              "The longest that any stream with windows due has gone without a full look.",
              lambda f: _one(f.unseen_max_seconds)),
    Described("heed_guarantee_violations_total", "counter", (),
              "Looks that `budget.blind` asked for and that did not happen in time.",
              lambda f: _one(f.guarantee_violations)),
    Described("heed_model_errors_total", "counter", (),
              "Runs of the model that failed; the sentinel's verdict stood alone.", lambda f: _one(f.model_errors)),
    Described("heed_rule_evaluations_total", "counter", (),
              "Rules times the streams that they were evaluated over.", lambda f: _one(f.rule_evaluations)),
    Described("heed_rule_unknown_total", "counter", (),
              "Evaluations that could not be decided, because a value was absent; the alert kept its state.",
              lambda f: _one(f.rule_unknown)),
    Described("heed_alerts_left_out_total", "counter", (),
              "Alerts that could not fire because of the limit of their rule group.",
              lambda f: _one(f.alerts_left_out)),
    Described("heed_alerts", "gauge", ("alertname", "state"),
              "Alerts that are `pending` or `firing` now.", lambda f: [(key, n) for key, n in f.alerts.items()]),
    Described("heed_notifications_total", "counter", ("sink",),
              "Messages that a sink took.", lambda f: _sinks(f, lambda d: d.delivered)),
    Described("heed_notifications_failed_total", "counter", ("sink", "reason"),
              "Tries to send that failed: `unreachable`, `timeout`, `server_error`, `rate_limited`, `auth`, `refused`, "
              "or `failed` otherwise.", _failed),
    Described("heed_notifications_waiting", "gauge", ("sink",),
              "Messages on their way to a sink, those on disk included.", lambda f: _sinks(f, lambda d: d.waiting)),
    Described("heed_notifications_oldest_seconds", "gauge", ("sink",),
              "For how long the oldest message has been waiting for a sink, 0 where none does.",
              lambda f: _sinks(f, lambda d: _oldest_seconds(f.now, d))),
    Described("heed_notifications_merged_total", "counter", ("sink",),
              "Messages that were not sent because a newer one about the same incident or alert stands for them.",
              lambda f: _sinks(f, lambda d: d.merged)),
    Described("heed_notifications_dead_total", "counter", ("sink",),
              "Messages that were given up: the sink will never take them. They are kept in the state.",
              lambda f: _sinks(f, lambda d: d.dead)),
    Described("heed_notifications_suppressed_total", "counter", ("reason",),
              "Alerts that a receiver was not told of when it was time to: `silence`, `mute_time_interval`, "
              "`active_time_interval`.", lambda f: _by(f.suppressed)),
    Described("heed_silences", "gauge", ("state",),
              "Silences that are `active`, `pending` or `expired`.", lambda f: _by(f.silences)),
    Described("heed_log_lines_lost_total", "counter", (),
              "Log lines that could not be written: the disk is full, or what reads them is gone.",
              lambda f: _one(f.log_lines_lost)),
    Described("heed_config_last_reload_successful", "gauge", (),
              "1 if the configuration that was read last is in force, else 0.", lambda f: _one(float(f.config_ok))),
    Described("heed_config_last_reload_success_timestamp_seconds", "gauge", (),
              "When the configuration in force was read, in seconds since the epoch.",
              lambda f: _one(f.config_seconds)),
    Described("heed_build_info", "gauge", ("version", "model", "digest"),
              "Always 1; what runs is in the labels.",
              lambda f: [((f.build.version, f.build.model, f.build.digest), 1)]),
)  # fmt: skip


Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
_FAMILIES: dict[Kind, Callable[..., Family]] = {
    "counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily,
}  # fmt: skip


def family(metric: Described, figures: Figures) -> Family:
    """A metric with its samples."""
    found = _FAMILIES[metric.kind](metric.name, metric.meaning, labels=metric.labels)
    for labels, value in metric.rows(figures):
        found.add_metric([_text(label) for label in labels], *_sample(value))
    return found


def _sample(value: float | Histogram) -> tuple[Any, ...]:
    if not isinstance(value, Histogram):
        return (value,)
    edges = [*(str(edge) for edge in value.edges), "+Inf"]
    return list(zip(edges, value.counts, strict=True)), value.sum


def _text(label: str) -> str:
    """UTF-8 can't say half of a surrogate pair, which JSON can."""
    return label.encode("utf-8", "replace").decode("utf-8")


class _Figures(Collector):
    """Reads the newest figures each time someone asks."""

    def __init__(self, read: Callable[[], Figures]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        figures = self._read()
        return [family(metric, figures) for metric in METRICS]


class Telemetry:
    """What `/metrics` answers: the figures that ``read`` gives, and the process' own."""

    def __init__(self, read: Callable[[], Figures]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(read))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """The metrics in the text format, ``CONTENT_TYPE``."""
        return generate_latest(self._registry)
