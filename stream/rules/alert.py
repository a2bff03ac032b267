"""Alerts: every rule looked at for every stream of a step, and what changed by it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stream.rules.around import Around
from stream.rules.change import Change, Row, orphan, restored
from stream.rules.columns import Bools, Names, Observed, Rows, Slots
from stream.rules.group_watch import GroupTable, watch_of
from stream.rules.life import FIRING, PENDING, STATES
from stream.rules.recall import Notes
from stream.rules.rule import Rule
from stream.rules.standing import Standing
from stream.rules.watch import Watch

__all__ = ["Alerts", "Change", "Interval"]

_Whose = tuple[bool, str]  # whether of a group, and its name


class Interval(Protocol):
    """A named time, such as the night; settings.TimeInterval is one."""

    def holds(self, time_ns: int) -> bool:
        """Whether a time (ns since the epoch) lies in it."""


class Alerts:
    """The alerts of all rules over all streams: one per rule and stream, or per rule and group where only that counts.

    ``names`` tells name, group and labels of a slot; a slot is ``forget``-ed before it is given to another stream.
    ``intervals`` are what rules' ``active_time_intervals`` name; a name that is not there always holds.
    """

    def __init__(self, rules: Sequence[Rule], names: Names, intervals: Mapping[str, Interval] | None = None) -> None:
        self._names, self._intervals = names, intervals or {}
        self._groups = GroupTable()
        self._watches = [watch_of(rule, names, self._groups) for rule in rules]
        self._around = self._past()
        self._place = np.full(64, -1, np.intp)  # by slot: where it stands among the observed
        self._met = np.zeros(64, bool)  # by slot: seen since the start or since it was forgotten
        self._waiting: dict[_Whose, list[tuple[Watch, Row]]] = {}  # restored, of streams and groups not met yet
        self.recall: Notes | None = None  # where it is noted what a restart must not lose of windows
        self._before = [0, 0, 0]  # evaluations, unknown ones, left out: of rules that were replaced

    def update(self, observed: Observed) -> list[Change]:
        """Look at every rule for the streams of one step; what changed, in the order of rules and rows.

        Changes of heed's own alerts about rules are of no slot (-1).
        """
        if len(observed.slots) == 0:
            return []
        self._meet(observed.slots)
        self._place[observed.slots] = np.arange(len(observed.slots))
        rows = Rows.of(observed, self._names, self._around)
        holds = {name: interval.holds(observed.ts) for name, interval in self._intervals.items()}
        changes: list[Change] = []
        with np.errstate(all="ignore"):
            self._around.begin(rows)
            for watch in self._watches:
                if not watch.rule.due(observed.end, observed.step):
                    continue
                names = watch.rule.active_time_intervals
                if names and not any(holds.get(name, True) for name in names):
                    changes += watch.pause(observed, self._place, "outside_active_time_intervals")
                else:
                    changes += watch.look(observed, rows, self._place)
            self._around.finish(rows)
            if self.recall is not None:
                taken = self._around.taken(rows, self.recall.lost)
                self.recall.note((rows.step, observed.end), rows.slots, taken)
        self._place[observed.slots] = -1
        return changes

    def remember(self, observed: Observed) -> None:
        """Take in a step for windows alone: after a restart, what was judged before is read again but not judged."""
        if len(observed.slots) and self.looks_back:
            rows = Rows.of(observed, self._names, self._around)
            with np.errstate(all="ignore"):
                self._around.begin(rows)
                if self.recall is not None:
                    self._around.recall(rows, self.recall.of((rows.step, observed.end), rows.slots))
                self._around.finish(rows)

    @property
    def looks_back(self) -> bool:
        """Whether any rule asks for more than the step at hand."""
        return self._around.looks_back

    def _past(self) -> Around:
        return Around(ask for watch in self._watches for ask in watch.asks)

    def _meet(self, slots: Slots) -> None:
        top = int(slots.max()) + 1
        if top > len(self._met):
            more = max(top, 2 * len(self._met)) - len(self._met)
            self._met = np.concatenate([self._met, np.zeros(more, bool)])
            self._place = np.concatenate([self._place, np.full(more, -1, np.intp)])
        if self._met.take(slots).all():
            return
        new = slots[~self._met[slots]]
        groups = self._groups.meet(new, self._names)
        if self._waiting:
            met = [((False, self._names.names[slot]), slot) for slot in new.tolist()]
            met += [((True, self._groups.names[number]), number) for number in groups]
            for whose, slot in met:
                for watch, row in self._waiting.pop(whose, []):
                    watch.await_row(row, -1)
                    watch.put(slot, row)
        self._met[slots] = True

    def forget(self, slots: Sequence[int] | Slots, ts: int, reason: str) -> list[Change]:
        """Streams ended or expired: resolve what fires, and drop all that is known of their slots.

        Call it before the slots are released, as long as ``names`` still tells whose they are.
        """
        gone = np.unique(np.asarray(slots, dtype=np.int32))
        gone = gone[gone < len(self._met)]
        self._groups.leave(gone)
        changes = [change for watch in self._watches for change in watch.forget(gone, ts, reason)]
        self._groups.close()
        self._around.forget(gone)
        if self.recall is not None:
            self.recall.forget(gone)
        self._met[gone] = False
        return changes

    def suspect(self, slots: Slots | None = None) -> Bools:
        """Whether any rule is pending or firing: by slot, or for each of ``slots``."""
        top = len(self._met) if slots is None else max(len(self._met), int(slots.max(initial=-1)) + 1)
        found = np.zeros(top, bool)
        for watch in self._watches:
            if len(watch.life):
                found[watch.suspects()] = True
        return found if slots is None else found[slots]

    def firing(self) -> list[Change]:
        """What fires now, as it was told; restored alerts of streams not seen since are among them."""
        told = [change for watch in self._watches for change in watch.firing()]
        return told + list(self._fired_waiting())

    def _fired_waiting(self, of: Watch | None = None) -> Iterator[Change]:
        for rows in self._waiting.values():
            for watch, row in rows:
                change = restored(watch.rule, row, -1)
                if change is not None and of in (None, watch):
                    yield change

    def counts(self) -> dict[str, dict[str, int]]:
        """Open alerts by rule name and state."""
        found: dict[str, dict[str, int]] = {}
        for watch in self._watches:
            of_rule = found.setdefault(watch.rule.alert, {"pending": 0, "firing": 0})
            for state in (PENDING, FIRING):
                of_rule[STATES[state]] += int(np.count_nonzero(watch.life.state == state))
        return found

    @property
    def rules(self) -> list[Rule]:
        return [watch.rule for watch in self._watches]

    @property
    def evaluations(self) -> int:
        """Rule x stream evaluations so far."""
        return self._before[0] + sum(watch.evaluations for watch in self._watches)

    @property
    def unknown(self) -> int:
        """Evaluations that came out neither true nor false."""
        return self._before[1] + sum(watch.unknown for watch in self._watches)

    @property
    def left_out(self) -> int:
        """Alerts that could not fire because of their rule's limit, so far."""
        return self._before[2] + sum(watch.left_out for watch in self._watches)

    def by_rule(self) -> dict[str, tuple[int, int]]:
        """Evaluations and unknown ones, by rule key."""
        return {watch.rule.key: (watch.evaluations, watch.unknown) for watch in self._watches}

    def standings(self) -> list[Standing]:
        """How each rule is doing, with a few of the streams that are pending."""
        return [watch.standing() for watch in self._watches]

    def replace(self, rules: Sequence[Rule], ts: int, intervals: Mapping[str, Interval] | None = None) -> list[Change]:
        """Other rules from now on (``ts``, event time); what fired under a rule that is gone or changed is resolved.

        A rule with the same key and the same content keeps its alerts; its texts may be others. Windows that are asked
        for as before are kept. ``intervals`` take the place of those before, where given.
        """
        self._intervals = self._intervals if intervals is None else intervals
        kept = {watch.rule.key: watch for watch in self._watches}
        wanted = {rule.key: rule for rule in rules}
        same = {key for key, watch in kept.items() if key in wanted and wanted[key].content == watch.content}
        changes = []
        for key, watch in kept.items():
            if key not in same:
                changes += self._end(watch, ts, "rule_changed" if key in wanted else "rule_removed")
        for key in same:
            kept[key].rename(wanted[key])
        self._watches = [
            kept[rule.key] if rule.key in same else watch_of(rule, self._names, self._groups) for rule in rules
        ]
        before, self._around = self._around, self._past()
        self._around.restore(before.columns())
        return changes

    def _end(self, watch: Watch, ts: int, reason: str) -> list[Change]:
        changes = watch.end(ts, reason)
        changes += [change.resolved(ts, reason) for change in self._fired_waiting(watch)]
        for whose, rows in list(self._waiting.items()):
            self._waiting[whose] = [(each, row) for each, row in rows if each is not watch]
        for i, count in enumerate((watch.evaluations, watch.unknown, watch.left_out)):
            self._before[i] += count
        return changes

    def snapshot(self) -> list[dict[str, Any]]:
        """Every alert that is not at rest, as plain values, by rule key and stream name."""
        rows = [row for watch in self._watches for row in watch.rows()]
        waiting = [dict(row) for of_stream in self._waiting.values() for _watch, row in of_stream]
        return rows + waiting

    def wait_no_more(self, streams: Sequence[str], groups: Sequence[str] = ()) -> None:
        """Another process goes on with these streams and groups, which have not come again here."""
        for whose in [*((False, name) for name in streams), *((True, name) for name in groups)]:
            for watch, row in self._waiting.pop(whose, []):
                watch.await_row(row, -1)

    def snapshot_of(self, streams: Collection[str], groups: Collection[str]) -> list[dict[str, Any]]:
        """The same of some streams and groups alone."""
        return [
            row
            for row in self.snapshot()
            if "limited" not in row and (row.get("of_group") in groups or row.get("stream") in streams)
        ]

    def restore(self, rows: Iterable[Row]) -> list[Row]:
        """Take up a snapshot again; returns the rows whose rule is gone or changed. Streams may turn up later."""
        watches = {watch.rule.key: watch for watch in self._watches}
        slots = {name: slot for slot, name in enumerate(self._names.names) if name}
        orphans = []
        for row in rows:
            watch, whose = watches.get(row["rule"]), _whose(row)
            slot = (self._groups.number_of if whose[0] else slots).get(whose[1])
            if watch is None or not watch.fits(row):
                orphans.append(row)
            elif "limited" in row:
                watch.limited.put(row["limited"])
            elif slot is None:
                self._wait(whose, watch, row)
            else:
                watch.put(slot, row)
        return orphans

    def _wait(self, whose: _Whose, watch: Watch, row: Row) -> None:
        """Until its stream or group turns up; of several that were kept of the same, the last."""
        rows = self._waiting.setdefault(whose, [])
        for each in [each for each in rows if each[0] is watch]:
            rows.remove(each)
            watch.await_row(each[1], -1)
        rows.append((watch, row))
        watch.await_row(row)

    def orphaned(self, rows: Iterable[Row], ts: int) -> list[Change]:
        """The ends of alerts that fired under a rule that ``restore`` did not find as it was."""
        keys = {watch.rule.key for watch in self._watches}
        changes = []
        for row in rows:
            change = orphan(row)
            if change is not None:
                changes.append(change.resolved(ts, "rule_changed" if row["rule"] in keys else "rule_removed"))
        return changes

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """For a checkpoint: what windows hold, by slot. The state of alerts is the snapshot."""
        return self._around.columns()

    def restore_columns(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of ``columns``, for the same table of names; rules may have changed."""
        self._around.restore(columns)

    def take_out(self, slots: Slots) -> dict[str, npt.NDArray[Any]]:
        """What windows hold of some streams, for ``put_in`` elsewhere."""
        return self._around.take_out(slots)

    def put_in(self, slots: Slots, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of ``take_out``, before the alerts of these streams are restored."""
        if len(slots):
            self._meet(slots)
        self._around.put_in(slots, columns)

    def give_up(self, ts: int, reason: str) -> list[Change]:
        """Resolve restored alerts of streams that have not been seen since, and forget all that waits for them."""
        resolved = [change.resolved(ts, reason) for change in self._fired_waiting()]
        self._waiting.clear()
        for watch in self._watches:
            watch.waiting = [0, 0]
        return resolved


def _whose(row: Row) -> _Whose:
    return ("of_group" in row, row.get("of_group", row["stream"]))
