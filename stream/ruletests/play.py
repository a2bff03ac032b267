"""Runs a test through the alerts that also run live: one step after another, and a look at the times asked about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import StreamTable
from models import evidence
from stream.rules.alert import Alerts
from stream.rules.change import Change
from stream.rules.columns import FIDELITIES, NUMBERS, Observed
from stream.rules.message import message
from stream.rules.rule import Rule, Span
from stream.ruletests.suite import Column, Suite, Trial

Floats = npt.NDArray[np.float64]
MINUTE = 60_000_000_000  # ns
WINDOW = 128  # steps, as windows.size by default
FULL = FIDELITIES.index("full")


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert that fires: its labels, and what is written on it."""

    labels: dict[str, str]
    annotations: dict[str, str]


@dataclass(frozen=True, slots=True)
class Moment:
    """What was found at one time that a test asks about."""

    fired: list[Fired]
    pending: list[tuple[str, int]]  # stream and since when (ns after the start), of the same alert


@dataclass(slots=True)
class _Stream:
    """One stream of a test: its columns [n], and from which step to which it is there."""

    name: str
    group: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    columns: dict[str, Floats] = field(default_factory=dict)
    there: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    slot: int = -1


def play(suite: Suite, trial: Trial) -> list[Moment]:
    """What fires at each time asked about, in the order of ``trial.asked``."""
    last = max((asked.eval_time for asked, _ in trial.asked), default=0)
    steps = last // trial.step + 1
    return list(_Play(suite, trial, _streams(trial.columns, steps, trial.step)).run(steps))


class _Play:
    """The state of one run. The sample at time t is the reading of the step that ends at t."""

    def __init__(self, suite: Suite, trial: Trial, streams: list[_Stream]) -> None:
        self._trial, self._streams = trial, streams
        self._table = StreamTable()
        self._alerts = Alerts([_timed(rule, suite.interval) for rule in suite.rules], self._table)

    def run(self, steps: int) -> Iterator[Moment]:
        asked = [asked for asked, _ in self._trial.asked]
        for i in range(steps):
            self._step(i)
            while asked and asked[0].eval_time < (i + 1) * self._trial.step:
                yield self._moment(asked.pop(0).alertname)

    def _step(self, i: int) -> None:
        end = self._trial.start + i * self._trial.step
        gone = [stream for stream in self._streams if stream.slot >= 0 and not stream.there[i]]
        if gone:
            slots = [stream.slot for stream in gone]
            self._alerts.forget(slots, end, "the stream ended")
            self._table.release(slots)
            for stream in gone:
                stream.slot = -1
        here = [stream for stream in self._streams if stream.there[i]]
        for stream in here:
            if stream.slot < 0:
                stream.slot = self._table.slot(stream.name, stream.group, stream.labels)
        if here:
            self._alerts.update(self._observed(sorted(here, key=lambda stream: stream.slot), i, end))

    def _observed(self, here: Sequence[_Stream], i: int, end: int) -> Observed:
        def column(name: str) -> npt.NDArray[Any]:
            kind = np.float64 if name == "value" else np.float32  # as live, so that comparisons round alike
            return np.array([stream.columns[name][i] for stream in here], kind)

        slots = np.array([stream.slot for stream in here], np.int32)
        fidelity = np.array([stream.columns["fidelity"][i] for stream in here]).astype(np.int8)
        numbers = {name: column(name) for name in NUMBERS}
        return Observed(end - self._trial.step, end, slots, numbers, fidelity, self._trial.step)

    def _moment(self, alertname: str) -> Moment:
        fired = [_fired(change) for change in self._alerts.firing() if change.rule.alert == alertname]
        keys = {rule.key for rule in self._alerts.rules if rule.alert == alertname}
        pending = [
            (str(row["stream"]), int(row["active_at"]) + self._trial.step - self._trial.start)
            for row in self._alerts.snapshot()
            if row["rule"] in keys and row["state"] == "pending"
        ]
        return Moment(fired, pending)


def _fired(change: Change) -> Fired:
    return Fired(dict(change.labels), dict(message(change)["annotations"]))


def _timed(rule: Rule, interval: int) -> Rule:
    """As in promtool, a rule whose group says nothing else is evaluated every ``evaluation_interval``."""
    return rule if rule.interval != Span() else replace(rule, interval=Span(ns=interval))


def _streams(columns: Iterable[Column], steps: int, step: int) -> list[_Stream]:
    """The streams of a test, with every column of ``steps`` steps: as given, or as it would be live."""
    found: dict[str, _Stream] = {}
    for column in columns:
        stream = found.setdefault(column.stream, _Stream(column.stream))
        stream.group = stream.group or column.group
        stream.labels |= column.labels
        _take(stream, column, steps)
    for stream in found.values():
        stream.group = stream.group or stream.name.rpartition("/")[0] or stream.name
        _fill(stream, step)
    return list(found.values())


def _take(stream: _Stream, column: Column, steps: int) -> None:
    """One column, and what it says of when the stream is there: from its first sample on, but not after `stale`."""
    samples, n = column.samples, min(len(column.samples), steps)
    values = np.full(steps, np.nan)
    values[:n] = samples.value[:n]
    stream.columns[column.column] = values
    sign = np.zeros(steps, np.int8)  # 1 = there from here on, -1 = gone from here on
    sign[:n] = np.where(samples.stale[:n], -1, np.where(samples.given[:n], 1, 0))
    known = np.flatnonzero(sign)
    there = np.zeros(steps, np.bool_)
    for at, until in pairwise([*known.tolist(), steps]):
        there[at:until] = sign[at] > 0
    stream.there = stream.there | there if len(stream.there) else there


def _fill(stream: _Stream, step: int) -> None:
    """Columns that the test doesn't set: what follows from the readings, and a full look at each step."""
    n = len(stream.there)
    value = stream.columns.setdefault("value", np.full(n, np.nan))
    value[~np.isfinite(value)] = np.nan  # such readings are left out live
    read = ~np.isnan(value)
    flat, silent = _runs(value, stream.there)
    derived = {
        "coverage": np.ones(n), "age": np.zeros(n), "fidelity": np.where(stream.there, FULL, 0).astype(np.float64),
        "rate": _average(read, max(1, MINUTE // step)) * 1e9 / step, "imputed": 1 - _average(read, WINDOW),
        "silent": silent, "flat": flat,
    }  # fmt: skip
    for name in (*NUMBERS, "fidelity"):
        stream.columns.setdefault(name, derived.get(name, np.full(n, np.nan)))
    np.nan_to_num(stream.columns["fidelity"], copy=False)


def _average(flags: npt.NDArray[np.bool_], steps: int) -> Floats:
    """The share of true flags among the last ``steps``, or among all so far."""
    total = np.concatenate([[0.0], np.cumsum(flags)])
    n = np.arange(1, len(flags) + 1)
    first = np.maximum(0, n - steps)
    share: Floats = (total[n] - total[first]) / (n - first)
    return share


def _runs(value: Floats, there: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """``flat`` and ``silent`` of each step, as the sentinel counts them; but `flat` needs no warm-up here."""
    counts, last = np.zeros((evidence.HITS + 1, 1), np.int32), np.nan
    warm = np.ones(1, np.bool_)
    flat, silent = np.zeros(len(value)), np.zeros(len(value))
    for i, number in enumerate(value.tolist()):
        if not np.isnan(number):
            evidence.run_lengths(counts, np.array([number == last]))
            counts[evidence.GAP_LONGEST] = np.maximum(counts[evidence.GAP_LONGEST], counts[evidence.GAP])
            counts[evidence.GAP], last = 0, number
        elif there[i]:
            counts[evidence.GAP] += 1
        flat[i], silent[i] = evidence.flatness(counts, warm)[0], evidence.silence(counts)[0]
    return flat, silent
