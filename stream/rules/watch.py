"""One rule over all streams: its condition, its open alerts, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stream.rules.around import Ask
from stream.rules.change import Change, Row, Values, began_to_fire, restored, values_at
from stream.rules.columns import Bools, Names, Observed, Rows, Slots
from stream.rules.expression import Expression, compile_expression
from stream.rules.life import (
    ACTIVE_AT,
    FIRING,
    FLAPPING,
    INACTIVE,
    LEFT_OUT,
    MARKS,
    PENDING,
    STARTS_AT,
    STATES,
    Indices,
    Life,
    Spans,
)
from stream.rules.limited import Limited
from stream.rules.policy import judged, out_of_range
from stream.rules.rule import Rule
from stream.rules.standing import SHOWN, Standing
from stream.rules.trust import decided, trusted
from stream.rules.truth import Truth


class Watch:
    """One rule and its open alerts. The expressions are its own: they remember what they found out of names."""

    def __init__(self, rule: Rule, names: Names) -> None:
        self.rule, self.content, self._names = rule, rule.content, names
        self.expr: Expression = compile_expression(rule.expr.text)
        self.clear = None if rule.clear_expr is None else compile_expression(rule.clear_expr.text)
        self.life = Life(rule.flapping.changes)
        self.told: dict[int, Change] = {}  # what fires, by slot
        self._kept: tuple[Any, list[dict[str, Any]]] = None, []  # rows, and what they were made of
        self.waiting = [0, 0]  # of what fired, and was left out, before a restart: streams that were not seen since
        self.limited = Limited()
        self.evaluations = 0  # rule x stream
        self.unknown = 0  # of these, neither true nor false
        self.evaluated = 0  # end of the last step it was evaluated at, ns
        self.left_out = 0  # alerts that could not fire for the limit, each time counted once

    @property
    def asks(self) -> list[Ask]:
        """The windows that its expressions need to be kept."""
        return [*self.expr.asks, *(() if self.clear is None else self.clear.asks)]

    def look(self, observed: Observed, rows: Rows, place: Indices) -> list[Change]:
        """Look at one step of streams; ``place`` tells where a slot stands among them, -1 = not there."""
        rule = self.rule
        truth = judged(rule, self.expr, rows, observed)

        def clear() -> Truth | None:
            return None if self.clear is None else trusted(rule, self.clear.over(rows), observed)

        return self._follow(observed, place, truth, decided(rule, truth, observed), clear)

    def _follow(
        self, observed: Observed, place: Indices, truth: Truth, filled: Truth, clear: Callable[[], Truth | None]
    ) -> list[Change]:
        """What the condition (``truth``), with what is made of the unknown (``filled``), does to the alerts."""
        rule, life = self.rule, self.life
        known = int(np.count_nonzero(truth.true) + np.count_nonzero(truth.false))
        self.evaluations += len(observed.slots)
        self.evaluated = observed.end
        self.unknown += len(observed.slots) - known
        if not len(life) and not filled.true.any():
            return self._tell_limit(observed.ts) if self.limited.starts_at is not None else []
        at = self._open(filled.true, observed.slots, place)
        signs = life.signs(at, filled, clear(), rule.count)
        spans = self._spans(observed.step)
        ripe, ended = life.advance(observed.ts, signs, spans)
        changes = self._tell_ended(observed, at, ended, truth)
        began = self._within_limit(observed, at, ripe)
        life.fire(began, observed.ts, spans)
        changes += self._tell_began(observed, at, began, truth)
        changes += self._tell_limit(observed.ts) if rule.limit else []
        life.rest(signs.seen, observed.ts, spans.flapping)
        return changes

    def pause(self, observed: Observed, place: Indices, reason: str) -> list[Change]:
        """The rule does not hold at this time: whatever these streams had is over."""
        at = place[self.life.slot]
        fired = self.life.close(at >= 0)
        places = np.sort(at[fired])
        changes = [
            self.told.pop(int(observed.slots[at])).resolved(observed.ts, reason, values)
            for at, values in zip(places.tolist(), values_at(observed, places), strict=True)
        ]
        self.life.rest(at >= 0, observed.ts, self.rule.flapping.within.of(observed.step))
        return changes + (self._tell_limit(observed.ts) if self.rule.limit else [])

    def _spans(self, step: int) -> Spans:
        rule = self.rule
        lengths = (rule.hold, rule.keep_firing_for, rule.cool_down, rule.flapping.within)
        return Spans(*(each.of(step) for each in lengths))

    def _open(self, true: Bools, slots: Slots, place: Indices) -> Indices:
        """Give a row to each stream that needs one; where the rows stand among the observed, -1 = not there."""
        at = place[self.life.slot]
        fresh = true.copy()
        fresh[at[at >= 0]] = False
        new = np.flatnonzero(fresh)
        if not len(new):
            return at
        self.life.open(slots[new])
        return np.concatenate([at, new])

    def _within_limit(self, observed: Observed, at: Indices, ripe: Indices) -> Indices:
        """Of the rows that may fire, those for which there is room."""
        room = self.rule.limit - len(self.told) - self.waiting[0]
        if not self.rule.limit or len(ripe) <= room:
            return ripe
        order = self._in_order(observed, at, ripe)
        left = order[max(0, room) :]
        self.left_out += int(np.count_nonzero(~self.life.marks[LEFT_OUT, left]))
        self.life.leave_out(left)
        return np.sort(order[: max(0, room)])

    def _in_order(self, observed: Observed, at: Indices, rows: Indices) -> Indices:
        """What is pending longest first, then the higher score, then by name."""
        score = observed.numbers.get("score")
        height = np.zeros(len(rows)) if score is None else np.nan_to_num(score[at[rows]])
        names = np.array([self._names.names[slot] for slot in self.life.slot[rows].tolist()])
        return rows[np.lexsort((names, -height, self.life.times[ACTIVE_AT, rows]))]

    def _tell_limit(self, ts: int) -> list[Change]:
        left_out = int(np.count_nonzero(self.life.marks[LEFT_OUT])) + self.waiting[1]
        return self.limited.look(self.rule, ts, left_out)

    def _tell_ended(self, observed: Observed, at: Indices, ended: Indices, truth: Truth) -> list[Change]:
        if not len(ended):
            return []
        changes, ended = [], ended[np.argsort(at[ended])]
        places = at[ended]
        for row, place, values in zip(ended.tolist(), places.tolist(), values_at(observed, places), strict=True):
            reason = "flapping_over" if self.life.marks[FLAPPING, row] else self._why_ended(observed, place, truth)
            changes.append(self.told.pop(int(observed.slots[place])).resolved(observed.ts, reason, values))
        return changes

    def _why_ended(self, observed: Observed, place: int, truth: Truth) -> str:
        if self.rule.clear_expr is not None:
            return "clear_expr"
        return _unless_unknown("expr_false", observed, place, truth)

    def _tell_began(self, observed: Observed, at: Indices, began: Indices, truth: Truth) -> list[Change]:
        if not len(began):
            return []
        changes, times = [], self.life.times
        began = began[np.argsort(at[began])]
        places = at[began]
        outside = out_of_range(self.rule, observed)
        for row, place, values in zip(began.tolist(), places.tolist(), values_at(observed, places), strict=True):
            slot, reason = int(observed.slots[place]), _unless_unknown("expr_true", observed, place, truth)
            if outside is not None and outside[place]:
                reason = "out_of_range"
            if self.life.marks[FLAPPING, row]:
                reason = "flapping"
            own = int(times[ACTIVE_AT, row]), int(times[STARTS_AT, row])
            change = self._begin(slot, place, own, values, reason)
            self.told[slot] = change
            changes.append(change)
        return changes

    def _begin(self, slot: int, place: int, times: tuple[int, int], values: Values, reason: str) -> Change:
        """The alert that begins at a row of the observed; ``times`` are active_at and starts_at."""
        return began_to_fire(self.rule, slot, self._names, *times, values, reason)

    def _gone(self, slots: Slots) -> Slots:
        """What has no alert any more when these streams are gone."""
        return slots

    def forget(self, slots: Slots, ts: int, reason: str) -> list[Change]:
        """Streams are gone: what fires of them is resolved, and nothing of them is known any more."""
        rows = np.isin(self.life.slot, self._gone(slots))
        fired = sorted(self.life.slot[rows & (self.life.state == FIRING)].tolist())
        changes = [self.told.pop(slot).resolved(ts, reason) for slot in fired]
        self.life.drop(rows)
        self.expr.forget(slots)
        if self.clear is not None:
            self.clear.forget(slots)
        return changes

    def end(self, ts: int, reason: str) -> list[Change]:
        """The rule is gone: all that fires is resolved."""
        changes = [self.told[slot].resolved(ts, reason) for slot in sorted(self.told)]
        return changes + self.limited.end(self.rule, ts, reason)

    def rename(self, rule: Rule) -> None:
        """The same rule with other texts, or in another place."""
        self.rule = rule
        self.told = {slot: change.of_rule(rule) for slot, change in self.told.items()}

    def firing(self) -> list[Change]:
        """What fires now, as it was told."""
        return [*self.told.values(), *self.limited.firing(self.rule)]

    def standing(self) -> Standing:
        """How the rule is doing."""
        state, names = self.life.state, self._names
        pending = np.flatnonzero(state == PENDING)
        shown = tuple(
            (names.names[slot], names.groups[slot], int(self.life.times[ACTIVE_AT, row]))
            for row, slot in zip(pending[:SHOWN].tolist(), self.life.slot[pending[:SHOWN]].tolist(), strict=True)
        )
        firing = int(np.count_nonzero(state == FIRING))
        return Standing(self.rule, len(pending), firing, self.evaluations, self.unknown, self.evaluated, shown)

    def suspects(self) -> Slots:
        """Slots that are pending or firing."""
        slots: Slots = self.life.slot[self.life.state != INACTIVE]
        return slots

    def rows(self) -> list[dict[str, Any]]:
        """Every alert that is not at rest, as plain values; the very same ones as long as none changes."""
        made_of = self.life.marked(), list(self.told.values()), self.limited.row()
        if self._kept[0] != made_of:
            self._kept = made_of, self._rows()
        return self._kept[1]

    def _rows(self) -> list[dict[str, Any]]:
        about = {"rule": self.rule.key, "content": self.content}
        found = []
        for slot, own in zip(self.life.slot.tolist(), self.life.rows(), strict=True):
            row = {**about, "stream": self._names.names[slot], **own}
            told = self.told.get(slot)
            found.append(row if told is None else {**row, **told.row()})
        limited = self.limited.row()
        return found if limited is None else [*found, {**about, "stream": "", "limited": limited}]

    def fits(self, row: Row) -> bool:
        """Whether a row of a snapshot is of this very rule; those of older versions do not tell."""
        return bool(row.get("content", self.content) == self.content)

    def await_row(self, row: Row, rows: int = 1) -> None:
        """A row of a snapshot waits for its stream, or does no longer (``rows`` is -1)."""
        self.waiting[0] += rows * (row["state"] == STATES[FIRING])
        self.waiting[1] += rows * bool(row.get(MARKS[LEFT_OUT]))

    def put(self, slot: int, row: Row) -> None:
        """Take up one row again, in place of one that is there: of a group, or a stream, with several partitions."""
        self.life.drop(self.life.slot == slot)
        self.told.pop(slot, None)
        self.life.put(slot, row)
        change = restored(self.rule, row, slot)
        if change is not None:
            self.told[slot] = change


def _unless_unknown(word: str, observed: Observed, place: int, truth: Truth) -> str:
    """Why an alert changed: by its condition, or by what is made of a condition that is unknown."""
    if truth.true[place] or truth.false[place]:
        return word
    value: Any = observed.numbers.get("value")
    return "no_data" if value is None or np.isnan(value[place]) else "error"
