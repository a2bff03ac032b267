"""The metrics of several workers as one text: each worker's own with the label ``worker``, and how they fare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class Together(Collector):
    """``texts``: what each worker's /metrics answered; ``fates``: whether it is up, how often it was restarted."""

    def __init__(self, texts: Mapping[str, str], fates: Mapping[str, tuple[bool, int]], spread: int) -> None:
        self._texts, self._fates, self._spread = texts, fates, spread

    def collect(self) -> Iterator[Metric]:
        """Each family once, with the samples of all workers."""
        merged: dict[str, Metric] = {}
        for worker, text in self._texts.items():
            for family in text_string_to_metric_families(text):
                into = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    into.add_sample(sample.name, {**sample.labels, "worker": worker}, sample.value)
        yield from merged.values()
        yield from self._own()

    def _own(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("heed_worker_up", "Whether the worker's process is up.", labels=["worker"])
        again = CounterMetricFamily("heed_worker_restarts", "How often a worker was started again.", labels=["worker"])
        for worker, (alive, restarts) in self._fates.items():
            up.add_metric([worker], float(alive))
            again.add_metric([worker], restarts)
        spread = GaugeMetricFamily("heed_groups_spread", "Groups whose streams are at more than one worker.")
        spread.add_metric([], self._spread)
        yield from (up, again, spread)

    def text(self) -> bytes:
        """In the text format, ``telemetry.CONTENT_TYPE``."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)
