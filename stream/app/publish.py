"""What the loop shows the page and the metrics: a snapshot now and then, and the server that reads it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np

from connectors.keeping.outbox import Outbox
from connectors.source import Source
from models.contract import Scorer
from stream import __version__
from stream.app.sources import lags_of, problems_of
from stream.lag import Lags
from stream.ledger import FULL, GAP, LITE, WARMUP
from stream.log import lines_lost
from stream.loop import Message
from stream.monitor import Monitor
from stream.notify.notifier import Notifier
from stream.rules.message import message
from stream.settings import Settings
from stream.telemetry import INFERENCE_EDGES, LAG_EDGES, Build, Figures, Histogram
from stream.web.snapshot import Board, Snapshot, State, Streams

EVERY = 250_000_000  # ns between two snapshots
MINUTE = 60_000_000_000  # ns
RECENT = 50  # alert messages


class Publisher:
    """Makes snapshots after turns, when it is time to; ``url`` is where the page is, None without one."""

    def __init__(
        self,
        monitor: Monitor,
        settings: Settings,
        outbox: Outbox,
        scorer: Scorer | None,
        sources: Mapping[str, Source],
        notifier: Notifier | None = None,
    ) -> None:
        self.board = Board()
        self.url: str | None = None
        self._monitor, self._settings, self._outbox = monitor, settings, outbox
        self._scorer, self._sources, self._notifier = scorer, dict(sources), notifier
        self._published, self._draining, self._caught_up = 0, False, 0
        self._firing: dict[str, Message] = {}
        self._recent: deque[Message] = deque(maxlen=RECENT)
        self._minute: deque[tuple[int, int, int]] = deque()  # time, windows looked at, windows judged
        self._config_ok, self._config_time = True, monitor.parts.clock.now()

    def tell(self, said: Message) -> None:
        """An alert changed."""
        self._recent.appendleft(said)
        if said["status"] == "firing":
            self._firing[str(said["fingerprint"])] = said
        else:
            self._firing.pop(str(said["fingerprint"]), None)

    def reloaded(self, ok: bool, now: int) -> None:
        """The configuration was read again: whether it is in force."""
        self._config_ok = ok
        self._config_time = now if ok else self._config_time

    def restore(self) -> None:
        """After a restart: what fires since before."""
        for change in self._monitor.firing():
            self._firing[change.fingerprint] = message(change)

    def draining(self) -> None:
        """The run ends."""
        self._draining = True
        self.publish(self._published + EVERY)

    def publish(self, now: int) -> None:
        """After a turn at ``now`` (ns)."""
        if now - self._published < EVERY and not (self._notifier is not None and self._notifier.touched):
            return
        self._published = now
        silences = self._silences(now)
        state = self._state()
        reasons = self._reasons(state)
        lag = self._monitor.lags.recent()
        budget = self._monitor.latency / 1e9
        looked, judged = self._looked_at(now)
        self.board.publish(
            Snapshot(
                state=state,
                time=now,
                ready=not reasons,
                reasons=reasons,
                summary=self._monitor.summary() | {"lag": lag, "state": state},
                alerts=tuple(self._firing.values()),
                recent=tuple(self._recent),
                suppressed={} if self._notifier is None else self._notifier.shown(now),
                silences=silences,
                incidents_open=len(self._monitor.parts.incidents),
                lag_now=lag["p99"],
                budget_seconds=budget,
                judged=judged,
                streams=self._streams(),
                rules=tuple(self._monitor.parts.alerts.standings()),
                figures=self._figures(lag["p99"] / budget, looked / judged if judged else 1.0, silences),
            )
        )

    def _silences(self, now: int) -> tuple[dict[str, Any], ...]:
        if self._notifier is None:
            return ()
        self._notifier.touched = False
        return self._notifier.silences.told(now)

    def _state(self) -> State:
        if self._draining:
            return "draining"
        if not self._monitor.heard:
            return "starting"
        caught_up, self._caught_up = self._caught_up, self._monitor.catching_up.windows
        if self._monitor.behind or self._caught_up > caught_up:  # now, or at any time since somebody could look
            return "catching_up"
        known = self._monitor.latest.outcome
        judged = np.count_nonzero(known >= 0)
        return "warming" if 2 * np.count_nonzero(known == WARMUP) >= judged else "ready"

    def _reasons(self, state: State) -> tuple[str, ...]:
        """Why heed is not ready."""
        told = [f"source {name}: {problem}" for name, problem in problems_of(self._sources).items()]
        if state == "starting":
            told.append("no source has been read yet")
        if state == "draining":
            told.append("heed is stopping")
        return tuple(told)

    def _looked_at(self, now: int) -> tuple[int, int]:
        """Of the last minute: windows that were looked at, and windows judged."""
        total = self._monitor.parts.ledger.total
        looked, judged = int(total[FULL] + total[LITE]), int(total.sum() - total[GAP] - total[WARMUP])
        self._minute.append((now, looked, judged))
        while self._minute[0][0] < now - MINUTE:
            self._minute.popleft()
        _, looked_before, judged_before = self._minute[0]
        return looked - looked_before, judged - judged_before

    def _streams(self) -> Streams:
        table, latest = self._monitor.parts.table, self._monitor.latest
        names, n = list(table.names), len(table.names)
        score, value, weight = latest.score[:n].copy(), latest.value[:n].copy(), latest.weight[:n].copy()
        outcome, ts = latest.outcome[:n].copy(), latest.ts[:n].copy()
        since = self._monitor.since[: ts.size]
        age = np.where(since > 0, (ts - since) / 1e9, np.nan).astype(np.float32)
        labels = list(table.labels)
        return Streams(names, list(table.groups), score, value, weight, outcome, ts, np.maximum(age, 0), labels)

    def _figures(self, utilization: float, coverage: float, silences: tuple[dict[str, Any], ...]) -> Figures:
        monitor, parts = self._monitor, self._monitor.parts
        counts = parts.windows.counts
        windows = {name: n for name, n in parts.ledger.windows().items() if name != "due"}
        seen = monitor.latest.outcome
        inference = {} if parts.looks is None else {"full": _histogram(parts.looks.durations, INFERENCE_EDGES)}
        return Figures(
            records=self._records(),
            kafka_lag={_topic(name): n for name, n in lags_of(self._sources).items()},
            dead_letters=_by_reason(monitor.source_counts),
            streams={
                "active": int(np.count_nonzero((seen >= 0) & (seen != GAP) & (seen != WARMUP))),
                "warmup": int(np.count_nonzero(seen == WARMUP)),
                "gap": int(np.count_nonzero(seen == GAP)),
            },
            windows=windows,
            lag=_histogram(monitor.lags, LAG_EDGES),
            inference=inference,
            budget_utilization=utilization,
            coverage=coverage,
            unseen_max_seconds=monitor.unseen / 1e9,
            guarantee_violations=monitor.violations,
            model_errors=monitor.model_errors,
            rule_evaluations=parts.alerts.evaluations,
            rule_unknown=parts.alerts.unknown,
            alerts_left_out=parts.alerts.left_out,
            alerts={(name, state): n for name, of in parts.alerts.counts().items() for state, n in of.items()},
            notifications=self._outbox.counts(),
            config_ok=self._config_ok,
            config_seconds=self._config_time / 1e9,
            suppressed={} if self._notifier is None else dict(self._notifier.suppressed),
            silences=Counter(each["status"]["state"] for each in silences) if silences else {},
            log_lines_lost=lines_lost(),
            now=self._published,
            build=self._build(),
            late=counts["late"],
            future=counts["future"],
            duplicate=counts["duplicate"],
            missing=counts["missing"],
            not_finite=counts["not_finite"],
            refused=counts["refused"],
            lost=monitor.source_counts.get("lost", 0),
            unpacked_singly=monitor.source_counts.get("unpacked_singly", 0),
        )

    def _records(self) -> dict[str, int]:
        """Records by source; of several sources read as one only the sum is known."""
        name = next(iter(self._sources)) if len(self._sources) == 1 else "all"
        return {name: self._monitor.source_counts.get("records", 0)}

    def _build(self) -> Build:
        scorer = self._scorer
        return Build(__version__) if scorer is None else Build(__version__, scorer.name, scorer.digest)


def _histogram(lags: Lags, edges: tuple[float, ...]) -> Histogram:
    return Histogram(edges, lags.cumulative(edges), lags.sum)


def _topic(partition: str) -> tuple[str, int]:
    topic, _, number = partition.rpartition("/")
    return (topic, int(number)) if number.isdigit() else (partition, 0)


def _by_reason(counts: Mapping[str, int]) -> dict[str, int]:
    start = "undecodable."
    found = {name[len(start) :]: n for name, n in counts.items() if name.startswith(start)}
    rest = counts.get("undecodable", 0) - sum(found.values())
    return found | ({"undecodable": rest} if rest > 0 else {})


@contextmanager
def publisher(
    monitor: Monitor,
    settings: Settings,
    outbox: Outbox,
    address: tuple[str, int] | None,
    scorer: Scorer | None,
    sources: Mapping[str, Source],
    notifier: Notifier | None = None,
    reload: Callable[[], Future[str]] | None = None,
) -> Iterator[Publisher]:
    """The page and the HTTP interface, for as long as the run lasts; without an address nothing is served.

    ``reload`` is what ``/-/reload`` asks; None = it is off.
    """
    found = Publisher(monitor, settings, outbox, scorer, sources, notifier)
    found.restore()
    found.publish(monitor.parts.clock.now())  # whoever asks before the first turn gets the whole answer too
    if address is None:
        yield found
        return
    from stream.web.routes import application  # only those who serve pay for their import
    from stream.web.server import WebServer

    desk = None if notifier is None else notifier.desk
    server = WebServer(application(found.board, desk, reload), *address)
    server.start()
    found.url = server.url
    try:
        yield found
    finally:
        server.stop()
