"""Full looks: admitted streams packed by group for the model, chunk by chunk, as long as the deadline allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import Ints
from connectors.clock import Clock
from models.contract import F32, Look, ModelError, Scorer, Verdict
from stream.budget import Budget
from stream.groups import Groups
from stream.lag import Lags
from stream.lane import Tick
from stream.sentinel import Sentinel
from stream.windows import Windows

CLIP = 10.0  # normalised values beyond it say nothing more
EXPLAIN = 0.8  # scores from here on keep who explains them
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Looked:
    """What full looks found: columns over the slots looked at, in the order of work. NaN = the model said nothing."""

    slots: Ints
    score: F32
    expected: F32  # [n, 3] low, expected, high in the stream's own units
    explained: dict[int, tuple[Ints, F32]]
    failed: str | None = None  # the model broke: why; the streams from there on were not looked at


@dataclass(frozen=True, slots=True)
class Scale:
    """How windows were brought to one scale: own units = value * spread + centre, per row [n]."""

    centre: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]


class Looks:
    """Packs, scores in chunks, and measures what it cost by the clock it is given."""

    def __init__(
        self, scorer: Scorer, windows: Windows, sentinel: Sentinel, groups: Groups, budget: Budget, clock: Clock
    ) -> None:
        self.scorer, self.budget = scorer, budget
        self._windows, self._sentinel, self._groups, self._clock = windows, sentinel, groups, clock
        self._own_units = not getattr(scorer, "normalised", True)
        self.durations = Lags()  # of the chunks, by the clock

    def look(self, tick: Tick, slots: Ints, deadline: int) -> Looked:
        """Look at ``slots`` in their order until the deadline (ns) stops it; the result may cover only the first."""
        parts: list[tuple[Ints, F32, F32]] = []
        explained: dict[int, tuple[Ints, F32]] = {}
        done, failed = 0, None
        before = self._clock.now()
        while done < slots.size:
            rows = self.budget.chunk(deadline, before, slots.size - done)
            if rows < 1:
                break
            try:
                parts.append(self._chunk(tick, slots[done : done + rows], explained))
            except ModelError as error:
                failed = str(error)
                break
            after = self._clock.now()
            self.budget.spend(rows, (after - before) / 1e9)
            self.durations.add(after, (after - before) / 1e9, 1)
            before, done = after, done + rows
        return Looked(*_joined(parts), explained, failed)

    def _chunk(self, tick: Tick, slots: Ints, explained: dict[int, tuple[Ints, F32]]) -> tuple[Ints, F32, F32]:
        look, place, scale, order = self._pack(tick, slots)
        verdict = self.scorer.score(look)
        slots = slots[order]
        score = np.where(self._heard(verdict)[place], verdict.score[place], np.float32(np.nan))
        self._explain(slots, score, place, verdict, explained)
        return slots, score, _own_units(verdict, place, scale)

    def _heard(self, verdict: Verdict) -> npt.NDArray[np.bool_]:
        """Rows [G, A] of which the model says something finite."""
        bad = getattr(self.scorer, "bad", None)
        fine: npt.NDArray[np.bool_] = np.isfinite(verdict.score)
        return fine if bad is None else fine & ~bad

    def _pack(self, tick: Tick, slots: Ints) -> tuple[Look, tuple[Rows, ...], Scale, Rows]:
        """Arrays [G, A, ...] of these streams, where each went, its scale, and the order in which they are told."""
        of, member_of = self._groups.of, self._groups.member
        order = np.lexsort((member_of[slots], of[slots]))
        slots = slots[order]
        panels, group, place, most = _places(of[slots])
        values, mask, scale = self._values(slots, tick.k)
        members = self._groups.slots[panels]
        width = int(np.flatnonzero((members >= 0).any(axis=0))[-1]) + 1
        evidence, present = self._tokens(members[:, :width], tick)
        member = np.full((panels.size, most), -1, np.int64)
        member[group, place] = member_of[slots]
        packed, valid = _scattered(values, member, group, place), _scattered(mask, member, group, place)
        return Look(packed, valid, member, evidence, present), (group, place), scale, order

    def _values(self, slots: Ints, k: int) -> tuple[F32, npt.NDArray[np.bool_], Scale]:
        """Windows on one scale: centred on and divided by what the steps before the newest say."""
        window = self._windows.window(slots, k)[:, -self.scorer.window :]
        missing = np.isnan(window)
        mask = ~missing
        offset = self._windows.offset[slots]
        if self._own_units:
            own = np.where(mask, window + offset[:, None], 0).astype(np.float32)
            return own, mask, Scale(np.zeros(slots.size), np.ones(slots.size))
        values = np.where(missing, np.float32(0), window)
        n = np.maximum(np.count_nonzero(mask[:, :-1], axis=1), 1).astype(np.float32)
        past = values[:, :-1]
        top = np.maximum(past.max(axis=1), -past.min(axis=1))
        top = np.maximum(top, np.float32(1e-30))  # keeps squares inside float32
        with np.errstate(over="ignore"):
            values /= top[:, None]
            mean = past.sum(axis=1) / n
            spread = np.sqrt(np.maximum((past * past).sum(axis=1) / n - mean * mean, 0))
            spread = np.maximum(spread, np.float32(1e-5))
            values -= mean[:, None]
            values /= spread[:, None]
        np.minimum(np.maximum(values, np.float32(-CLIP), out=values), np.float32(CLIP), out=values)
        np.copyto(values, np.float32(0), where=missing)
        wide = top.astype(np.float64)
        return values, mask, Scale(offset + mean * wide, spread * wide)

    def _tokens(self, members: Ints, tick: Tick) -> tuple[F32, npt.NDArray[np.bool_]]:
        """Evidence of all members [G, S, K, C], and who of them has a reading in this step."""
        known = members >= 0
        slots = members[known]
        tokens = self._sentinel.tokens(slots)
        evidence = np.zeros((*members.shape, *tokens.shape[1:]), np.float32)
        evidence[known] = tokens
        present = known.copy()
        present[known] = self._windows.last[slots] >= tick.k
        return evidence, present

    def _explain(
        self,
        slots: Ints,
        score: F32,
        place: tuple[Rows, ...],
        verdict: Verdict,
        explained: dict[int, tuple[Ints, F32]],
    ) -> None:
        if verdict.stream_weight is None:
            return
        for row in np.flatnonzero(score >= EXPLAIN).tolist():
            members = self._groups.slots[self._groups.of[slots[row]]]
            shares = verdict.stream_weight[place[0][row], place[1][row]]
            top = np.argsort(-shares, kind="stable")[:5]
            top = top[(shares[top] > 0) & (members[top] >= 0)]
            explained[int(slots[row])] = (members[top], shares[top])


def _places(panel: Ints) -> tuple[Ints, Rows, Rows, int]:
    """Of rows sorted by panel [n]: the panels [G], each row's group and place in it [n], and the largest group."""
    begins = np.ones(panel.size, bool)
    np.not_equal(panel[1:], panel[:-1], out=begins[1:])
    first = np.flatnonzero(begins)
    group = np.cumsum(begins) - 1
    place = np.arange(panel.size) - first[group]
    return panel[first], group, place, int(place.max()) + 1


def _scattered(rows: npt.NDArray[Any], member: npt.NDArray[np.int64], group: Rows, place: Rows) -> npt.NDArray[Any]:
    """Rows [n, T] to [G, A, T], zeros where there is none; they stay where they are if all groups are full."""
    if member.size == len(rows):
        return rows.reshape(*member.shape, -1)
    found = np.zeros((*member.shape, rows.shape[1]), rows.dtype)
    found[group, place] = rows
    return found


def _own_units(verdict: Verdict, place: tuple[Rows, ...], scale: Scale) -> F32:
    n = place[0].size
    if verdict.expected is None:
        return np.full((n, 3), np.nan, np.float32)
    quantiles = verdict.expected[place].astype(np.float64)
    with np.errstate(over="ignore"):
        return (quantiles * scale.spread[:, None] + scale.centre[:, None]).astype(np.float32)


def _joined(parts: list[tuple[Ints, F32, F32]]) -> tuple[Ints, F32, F32]:
    if not parts:
        return np.empty(0, np.int32), np.empty(0, np.float32), np.empty((0, 3), np.float32)
    slots, score, expected = zip(*parts, strict=True)
    return np.concatenate(slots), np.concatenate(score), np.concatenate(expected)
