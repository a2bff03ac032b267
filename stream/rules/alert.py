"""Alerts: every rule looked at for every stream of a step, and what changed by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.rules.around import Around, Ask
from stream.rules.change import Change, Row, began_to_fire, restored, values_at
from stream.rules.columns import Bools, Names, Observed, Rows, Slots
from stream.rules.expression import Expression, compile_expression
from stream.rules.life import ACTIVE_AT, FIRING, INACTIVE, NEVER, PENDING, STARTS_AT, STATES, Indices, Life, Spans
from stream.rules.rule import Rule
from stream.rules.standing import SHOWN, Standing
from stream.rules.trust import trusted, without_data
from stream.rules.truth import Truth

__all__ = ["Alerts", "Change"]

_TIMES = ("active_at", "starts_at", "off_since", "cool_until")


@dataclass(slots=True)
class _Watch:
    """One rule and its open alerts. The expressions are its own: they remember what they found out of names."""

    rule: Rule
    expr: Expression
    clear: Expression | None
    life: Life = field(default_factory=Life)
    told: dict[int, Change] = field(default_factory=dict)  # what fires, by slot
    evaluations: int = 0  # rule x stream
    unknown: int = 0  # of these, neither true nor false
    evaluated: int = 0  # end of the last step it was evaluated at, ns

    @classmethod
    def of(cls, rule: Rule) -> _Watch:
        clear = None if rule.clear_expr is None else compile_expression(rule.clear_expr.text)
        return cls(rule, compile_expression(rule.expr.text), clear)

    def expressions(self) -> list[Expression]:
        return [self.expr] if self.clear is None else [self.expr, self.clear]

    def forget(self, slots: Slots) -> None:
        self.expr.forget(slots)
        if self.clear is not None:
            self.clear.forget(slots)


class Alerts:
    """The alerts of all rules over all streams: one per rule and stream.

    ``names`` tells name, group and labels of a slot; a slot is ``forget``-ed before it is given to another stream.
    """

    def __init__(self, rules: Sequence[Rule], names: Names) -> None:
        self._names = names
        self._watches = [_Watch.of(rule) for rule in rules]
        self._around = Around(_asks(self._watches))
        self._place = np.full(64, -1, np.intp)  # by slot: where it stands among the observed
        self._met = np.zeros(64, bool)  # by slot: seen since the start or since it was forgotten
        self._waiting: dict[str, list[tuple[_Watch, Row]]] = {}  # restored, of streams not met yet

    def update(self, observed: Observed) -> list[Change]:
        """Look at every rule for the streams of one step; what changed, in the order of rules and rows."""
        if len(observed.slots) == 0:
            return []
        self._meet(observed.slots)
        self._place[observed.slots] = np.arange(len(observed.slots))
        rows = Rows.of(observed, self._names, self._around)
        changes: list[Change] = []
        with np.errstate(all="ignore"):
            self._around.begin(rows)
            for watch in self._watches:
                if watch.rule.due(observed.end, observed.step):
                    changes += self._look(watch, observed, rows)
            self._around.finish(rows)
        self._place[observed.slots] = -1
        return changes

    def remember(self, observed: Observed) -> None:
        """Take in a step for windows alone: after a restart, what was judged before is read again but not judged."""
        if len(observed.slots) and self.looks_back:
            rows = Rows.of(observed, self._names, self._around)
            with np.errstate(all="ignore"):
                self._around.begin(rows)
                self._around.finish(rows)

    @property
    def looks_back(self) -> bool:
        """Whether any rule asks for more than the step at hand."""
        return self._around.looks_back

    def _meet(self, slots: Slots) -> None:
        top = int(slots.max()) + 1
        if top > len(self._met):
            more = max(top, 2 * len(self._met)) - len(self._met)
            self._met = np.concatenate([self._met, np.zeros(more, bool)])
            self._place = np.concatenate([self._place, np.full(more, -1, np.intp)])
        if self._met.take(slots).all():
            return
        if self._waiting:
            for slot in slots[~self._met[slots]].tolist():
                self._bind(slot, self._waiting.pop(self._names.names[slot], []))
        self._met[slots] = True

    def _look(self, watch: _Watch, observed: Observed, rows: Rows) -> list[Change]:
        truth = trusted(watch.rule, watch.expr.over(rows), observed)
        known = int(np.count_nonzero(truth.true) + np.count_nonzero(truth.false))
        watch.evaluations += len(observed.slots)
        watch.evaluated = observed.end
        watch.unknown += len(observed.slots) - known
        filled, life = without_data(watch.rule, truth, observed), watch.life
        if not len(life) and not filled.true.any():
            return []
        at = self._open(life, filled.true, observed.slots)
        clear = None if watch.clear is None else trusted(watch.rule, watch.clear.over(rows), observed)
        signs = life.signs(at, filled, clear)
        began, ended = life.advance(observed.ts, signs, _spans(watch.rule, observed.step))
        changes = self._tell_ended(watch, observed, at[ended], truth)
        began = began[np.argsort(at[began])]
        changes += self._tell_began(watch, observed, began, at[began], truth)
        life.rest(signs.seen, observed.ts)
        return changes

    def _open(self, life: Life, true: Bools, slots: Slots) -> Indices:
        """Give a row to each stream that needs one; where the rows stand among the observed, -1 = not there."""
        at = self._place[life.slot]
        fresh = true.copy()
        fresh[at[at >= 0]] = False
        new = np.flatnonzero(fresh)
        if not len(new):
            return at
        life.open(slots[new])
        return np.concatenate([at, new])

    def _tell_ended(self, watch: _Watch, observed: Observed, places: Indices, truth: Truth) -> list[Change]:
        if not len(places):
            return []
        changes, places = [], np.sort(places)
        for place, values in zip(places.tolist(), values_at(observed, places), strict=True):
            told = watch.told.pop(int(observed.slots[place]))
            reason = _why_ended(watch.rule, bool(truth.false[place]))
            changes.append(told.resolved(observed.ts, reason, values))
        return changes

    def _tell_began(
        self, watch: _Watch, observed: Observed, began: Indices, places: Indices, truth: Truth
    ) -> list[Change]:
        if not len(began):
            return []
        changes, times = [], watch.life.times
        for row, place, values in zip(began.tolist(), places.tolist(), values_at(observed, places), strict=True):
            slot, reason = int(observed.slots[place]), "expr_true" if truth.true[place] else "no_data"
            active_at, starts_at = int(times[ACTIVE_AT, row]), int(times[STARTS_AT, row])
            change = began_to_fire(watch.rule, slot, self._names, active_at, starts_at, values, reason)
            watch.told[slot] = change
            changes.append(change)
        return changes

    def forget(self, slots: Sequence[int] | Slots, ts: int, reason: str) -> list[Change]:
        """Streams ended or expired: resolve what fires, and drop all that is known of their slots.

        Call it before the slots are released, as long as ``names`` still tells whose they are.
        """
        gone = np.unique(np.asarray(slots, dtype=np.int32))
        gone = gone[gone < len(self._met)]
        changes = []
        for watch in self._watches:
            rows = np.isin(watch.life.slot, gone)
            fired = sorted(watch.life.slot[rows & (watch.life.state == FIRING)].tolist())
            changes += [watch.told.pop(slot).resolved(ts, reason) for slot in fired]
            watch.life.drop(rows)
            watch.forget(gone)
        self._around.forget(gone)
        self._met[gone] = False
        return changes

    def suspect(self, slots: Slots | None = None) -> Bools:
        """Whether any rule is pending or firing: by slot, or for each of ``slots``."""
        top = len(self._met) if slots is None else max(len(self._met), int(slots.max(initial=-1)) + 1)
        found = np.zeros(top, bool)
        for watch in self._watches:
            if len(watch.life):
                found[watch.life.slot[watch.life.state != INACTIVE]] = True
        return found if slots is None else found[slots]

    def firing(self) -> list[Change]:
        """What fires now, as it was told; restored alerts of streams not seen since are among them."""
        told = [change for watch in self._watches for change in watch.told.values()]
        return told + list(self._fired_waiting())

    def _fired_waiting(self) -> Iterator[Change]:
        for rows in self._waiting.values():
            for watch, row in rows:
                change = restored(watch.rule, row, -1)
                if change is not None:
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
        return sum(watch.evaluations for watch in self._watches)

    @property
    def unknown(self) -> int:
        """Evaluations that came out neither true nor false."""
        return sum(watch.unknown for watch in self._watches)

    def by_rule(self) -> dict[str, tuple[int, int]]:
        """Evaluations and unknown ones, by rule key."""
        return {watch.rule.key: (watch.evaluations, watch.unknown) for watch in self._watches}

    def standings(self) -> list[Standing]:
        """How each rule is doing, with a few of the streams that are pending."""
        return [self._standing(watch) for watch in self._watches]

    def _standing(self, watch: _Watch) -> Standing:
        state, slots = watch.life.state, watch.life.slot
        pending, names = np.flatnonzero(state == PENDING), self._names
        shown = [
            (names.names[slot], names.groups[slot], int(watch.life.times[ACTIVE_AT, row]))
            for row, slot in zip(pending[:SHOWN].tolist(), slots[pending[:SHOWN]].tolist(), strict=True)
        ]
        firing = int(np.count_nonzero(state == FIRING))
        counts = (len(pending), firing, watch.evaluations, watch.unknown)
        return Standing(watch.rule, *counts, watch.evaluated, tuple(shown))

    def snapshot(self) -> list[dict[str, Any]]:
        """Every alert that is not at rest, as plain values, by rule key and stream name."""
        rows: list[dict[str, Any]] = []
        for watch in self._watches:
            for i, slot in enumerate(watch.life.slot.tolist()):
                row = {"rule": watch.rule.key, "stream": self._names.names[slot], **watch.life.row(i)}
                told = watch.told.get(slot)
                rows.append(row if told is None else {**row, **told.row()})
        waiting = [dict(row) for of_stream in self._waiting.values() for _watch, row in of_stream]
        return rows + waiting

    def restore(self, rows: Iterable[Row]) -> list[Row]:
        """Take up a snapshot again; returns the rows whose rule is gone. Streams may turn up later."""
        watches = {watch.rule.key: watch for watch in self._watches}
        slots = {name: slot for slot, name in enumerate(self._names.names) if name}
        orphans = []
        for row in rows:
            watch, slot = watches.get(row["rule"]), slots.get(row["stream"])
            if watch is None:
                orphans.append(row)
            elif slot is None:
                self._waiting.setdefault(row["stream"], []).append((watch, row))
            else:
                self._bind(slot, [(watch, row)])
        return orphans

    def _bind(self, slot: int, rows: Iterable[tuple[_Watch, Row]]) -> None:
        for watch, row in rows:
            active, starts, off, cool = (NEVER if row[name] is None else int(row[name]) for name in _TIMES)
            slots = np.array([slot], np.int32)
            watch.life.open(slots, STATES.index(row["state"]), (active, starts, off, cool))
            change = restored(watch.rule, row, slot)
            if change is not None:
                watch.told[slot] = change

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """For a checkpoint: what windows hold, by slot. The state of alerts is the snapshot."""
        return self._around.columns()

    def restore_columns(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """The inverse of ``columns``, for the same table of names; rules may have changed."""
        self._around.restore(columns)

    def give_up(self, ts: int, reason: str) -> list[Change]:
        """Resolve restored alerts of streams that have not been seen since, and forget all that waits for them."""
        resolved = [change.resolved(ts, reason) for change in self._fired_waiting()]
        self._waiting.clear()
        return resolved


def _asks(watches: Iterable[_Watch]) -> list[Ask]:
    return [ask for watch in watches for expression in watch.expressions() for ask in expression.asks]


def _spans(rule: Rule, step: int) -> Spans:
    return Spans(rule.hold.of(step), rule.keep_firing_for.of(step), rule.cool_down.of(step))


def _why_ended(rule: Rule, false: bool) -> str:
    if rule.clear_expr is not None:
        return "clear_expr"
    return "expr_false" if false else "no_data"
