"""One rule over groups: a condition that is the same for all members raises one alert for the group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.rules.change import Change, Member, Row, Values, group_began_to_fire, values_at
from stream.rules.columns import Names, Observed, Rows, Slots
from stream.rules.life import INACTIVE, Indices
from stream.rules.policy import judged
from stream.rules.rule import Rule
from stream.rules.trust import decided, trusted
from stream.rules.truth import Truth
from stream.rules.watch import Watch

MOST_MEMBERS = 10  # that an alert lists


@dataclass(slots=True)
class GroupTable:
    """Groups that have streams, as if they were streams: a number, and what Names tells of it."""

    names: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: list[Mapping[str, str]] = field(default_factory=list)
    number_of: dict[str, int] = field(default_factory=dict)
    of: npt.NDArray[np.int32] = field(default_factory=lambda: np.full(0, -1, np.int32))  # by slot
    gone: Slots = field(default_factory=lambda: np.empty(0, np.int32))  # groups that lose their last stream
    _members: list[int] = field(default_factory=list)
    _free: list[int] = field(default_factory=list)

    def meet(self, slots: Slots, names: Names) -> list[int]:
        """Streams that were not known before; the numbers of groups that were not."""
        more = int(slots.max(initial=-1)) + 1 - len(self.of)
        if more > 0:
            self.of = np.concatenate([self.of, np.full(max(more, len(self.of)), -1, np.int32)])
        new = []
        for slot in slots.tolist():
            group = names.groups[slot]
            if group not in self.number_of:
                new.append(self._open(group))
            self.of[slot] = self.number_of[group]
            self._members[self.of[slot]] += 1
        return new

    def _open(self, group: str) -> int:
        if not self._free:
            self._free.append(len(self.names))
            self.names.append("")
            self.groups.append("")
            self.labels.append({})
            self._members.append(0)
        number = self._free.pop()
        self.names[number] = self.groups[number] = group
        self.number_of[group] = number
        return number

    def leave(self, slots: Slots) -> None:
        """Streams that are no more; ``gone`` are the groups that have none left, until ``close``."""
        here = slots[(slots < len(self.of))]
        here = here[self.of[here] >= 0]
        for number in self.of[here].tolist():
            self._members[number] -= 1
        numbers = np.unique(self.of[here])
        self.of[here] = -1
        self.gone = numbers[[self._members[number] == 0 for number in numbers.tolist()]]

    def close(self) -> None:
        """The numbers of groups that are gone may be given to others."""
        for number in self.gone.tolist():
            del self.number_of[self.names[number]]
            self.names[number] = self.groups[number] = ""
            self._free.append(number)
        self.gone = self.gone[:0]


@dataclass(frozen=True, slots=True)
class _Step:
    """The streams of a step, and those of them that stand for their groups."""

    streams: Observed
    groups: Observed  # one row for each group, with the numbers of the member that stands for it
    place: Indices  # by group: its row, -1 = not there
    of: Indices  # by stream: the row of its group
    standing: Indices  # by group: the row of the member that stands for it
    drive: npt.NDArray[np.float64]  # by stream: how much it drives the condition, NaN = not at all

    def members(self, row: int) -> list[int]:
        """The streams that drive a group's condition, most of all first."""
        rows = np.flatnonzero((self.of == row) & ~np.isnan(self.drive))
        found: list[int] = rows[np.argsort(-self.drive[rows], kind="stable")].tolist()
        return found

    def reduced(self, truth: Truth) -> Truth:
        """By group: true where it is for any member, else false where it is for any."""
        n = len(self.groups.slots)
        true, false = (np.bincount(self.of, mask, n) > 0 for mask in (truth.true, truth.false))
        return Truth(true, false & ~true)


class GroupWatch(Watch):
    """One rule and its open alerts by group; ``slot`` in its columns is the number of a group."""

    def __init__(self, rule: Rule, names: Names, groups: GroupTable) -> None:
        super().__init__(rule, groups)
        self._streams, self._groups = names, groups
        self._now: _Step | None = None

    def look(self, observed: Observed, rows: Rows, place: Indices) -> list[Change]:
        """As Watch.look; ``place`` is that of streams, and is not used."""
        step = self._now = self._step(observed, self.expr.drives(rows))
        truth = judged(self.rule, self.expr, rows, observed)
        filled = step.reduced(decided(self.rule, truth, observed))
        clear = None
        if self.clear is not None:
            clear = step.reduced(trusted(self.rule, self.clear.over(rows), observed))
        return self._standing(self._follow(step.groups, step.place, step.reduced(truth), filled, lambda: clear))

    def pause(self, observed: Observed, place: Indices, reason: str) -> list[Change]:
        """As Watch.pause."""
        step = self._now = self._step(observed, np.full(len(observed.slots), np.nan))
        return self._standing(super().pause(step.groups, step.place, reason))

    def _step(self, observed: Observed, drive: npt.NDArray[np.float64]) -> _Step:
        by_drive = np.argsort(-drive, kind="stable")  # the first of a group drives it most
        numbers, first, of = np.unique(
            self._groups.of[observed.slots[by_drive]], return_index=True, return_inverse=True
        )
        standing, of_stream = by_drive[first], np.empty(len(of), np.intp)
        of_stream[by_drive] = of
        columns = {name: column[standing] for name, column in observed.numbers.items()}
        groups = replace(observed, slots=numbers, numbers=columns, fidelity=observed.fidelity[standing])
        place = np.full(len(self._groups.names), -1, np.intp)
        place[numbers] = np.arange(len(numbers))
        return _Step(observed, groups, place, of_stream, standing, drive)

    def _standing(self, changes: list[Change]) -> list[Change]:
        """The changes are told of the members that stand for their groups."""
        step, found = self._now, []
        for change in changes:
            number = self._groups.number_of.get(change.group, -1)
            if step is None or number < 0 or change.rule is not self.rule:
                found.append(change)
            else:
                slot = int(step.streams.slots[step.standing[step.place[number]]])
                found.append(replace(change, slot=slot))
        return found

    def _begin(self, slot: int, place: int, times: tuple[int, int], values: Values, reason: str) -> Change:
        step = self._now
        assert step is not None
        rows = step.members(place)
        listed = np.array(rows[:MOST_MEMBERS], np.intp)
        names = [self._streams.names[slot] for slot in step.streams.slots[listed].tolist()]
        columns = values_at(step.streams, listed)
        members = tuple(Member(name, 1 / len(rows), each) for name, each in zip(names, columns, strict=True))
        return group_began_to_fire(self.rule, self._groups.names[slot], members, times, values, reason)

    def _gone(self, slots: Slots) -> Slots:
        return self._groups.gone

    def suspects(self) -> Slots:
        """Slots of streams whose group is pending or firing."""
        open_ones = self.life.slot[self.life.state != INACTIVE]
        return np.flatnonzero(np.isin(self._groups.of, open_ones)).astype(np.int32)

    def rows(self) -> list[dict[str, Any]]:
        """As Watch.rows, by group."""
        return [row if "limited" in row else {**row, "stream": "", "of_group": row["stream"]} for row in super().rows()]

    def put(self, slot: int, row: Row) -> None:
        """As Watch.put; no stream stands for the group yet."""
        super().put(slot, row)
        if slot in self.told:
            self.told[slot] = replace(self.told[slot], slot=-1)


def watch_of(rule: Rule, names: Names, groups: GroupTable) -> Watch:
    """The watch that a rule needs: by group where all of its conditions are."""
    conditions: Iterable[bool] = (each.by_group for each in (rule.expr, rule.clear_expr) if each is not None)
    return GroupWatch(rule, names, groups) if all(conditions) else Watch(rule, names)
