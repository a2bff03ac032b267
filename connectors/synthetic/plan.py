"""Where and when faults happen: spread over groups and streams, never two near each other in one group."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from connectors.synthetic.faults import FAULTS, GROUP_FAULTS, LOOKALIKES, SORTS, Fault, Sort
from connectors.synthetic.layout import Layout, Stream
from connectors.synthetic.noise import generator

_PURPOSE = 9
_TRIES = 24  # times tried before a fault is given up
_LOOKED_AT = 32  # groups tried at one time
_STEPS_PER_FAULT = 10


def plan(
    layout: Layout,
    seed: int,
    step_ns: int,
    start_ns: int,
    first: int,
    last: int,
    names: Sequence[str],
    count: int | None,
    lookalikes: bool,
    gap: int,
) -> list[Fault]:
    """Faults (see ``World.plan``) wholly within the steps from ``first`` until before ``last``."""
    unknown = sorted(set(names) - set(FAULTS))
    if unknown:
        raise ValueError(f"unknown fault {unknown[0]!r}; known: {', '.join(FAULTS)}")
    planner = _Planner(layout, generator(seed, _PURPOSE, first), step_ns, start_ns, first, last)
    wanted = (last - first) // _STEPS_PER_FAULT if count is None else count
    found = planner.put(names, wanted, gap)
    if lookalikes:
        found += planner.put(LOOKALIKES, wanted // 2, gap * 2 // 5)
    return sorted(found, key=lambda fault: (fault.start, fault.group))


def suits(name: str, stream: Stream) -> bool:
    """Whether a fault of this name would show on this stream."""
    coarse = stream.per_unit > 0 and 1 / stream.per_unit > 0.3 * stream.sd
    if name == "stuck":
        return not coarse
    if name == "plateau":
        return coarse
    if name == "correlation_break":
        return abs(stream.gain) >= 0.7 or stream.beta >= 0.7
    if name == "venue_lag":
        return stream.second_venue
    if name == "usual_jump":
        return stream.volatility > 0
    return True


class _Planner:
    def __init__(
        self, layout: Layout, rng: np.random.Generator, step_ns: int, start_ns: int, first: int, last: int
    ) -> None:
        self._layout, self._rng, self._step_ns, self._start_ns = layout, rng, step_ns, start_ns
        self._first, self._last = first, last
        self._busy: list[list[tuple[int, int]]] = [[] for _ in layout.group_names]
        self._hit: set[int] = set()
        self._members = [np.flatnonzero(layout.group_of == g) for g in range(len(layout.group_names))]

    def put(self, names: Sequence[str], count: int, gap: int) -> list[Fault]:
        """Up to ``count`` faults, the names in turn in a drawn order, their times spread evenly."""
        found: list[Fault] = []
        turn: list[str] = []
        for i in range(count if names else 0):
            turn = turn or [names[j] for j in self._rng.permutation(len(names))]
            fault = self._one(turn.pop(), (i + self._rng.uniform()) / count, gap)
            found += [fault] if fault else []
        return found

    def _one(self, name: str, share: float, gap: int) -> Fault | None:
        sort = SORTS[name]
        steps = int(self._rng.integers(sort.steps[0], sort.steps[1], endpoint=True))
        room = self._last - self._first - steps
        groups = self._groups(name, sort)
        for attempt in range(_TRIES if room >= 0 and len(groups) else 0):
            at = self._first + int(room * (share if attempt == 0 else self._rng.uniform()))
            for group in self._in_turn(groups):
                if self._free(group, at, at + steps, gap):
                    return self._make(name, sort, group, at, at + steps)
        return None

    def _groups(self, name: str, sort: Sort) -> npt.NDArray[np.intp]:
        fits = [
            kind in sort.groups and any(suits(name, self._layout.streams[s]) for s in members)
            for kind, members in zip(self._layout.group_kinds, self._members, strict=True)
        ]
        return np.flatnonzero(fits)

    def _in_turn(self, groups: npt.NDArray[np.intp]) -> list[int]:
        """Some of the groups in a drawn order, those with the fewest faults first."""
        drawn = self._rng.permutation(groups)[:_LOOKED_AT].tolist()
        return sorted(drawn, key=lambda group: len(self._busy[group]))

    def _free(self, group: int, start: int, stop: int, gap: int) -> bool:
        busy = self._busy[group]
        i = bisect(busy, (start, stop))
        before = i == 0 or busy[i - 1][1] + gap <= start
        return before and (i == len(busy) or stop + gap <= busy[i][0])

    def _make(self, name: str, sort: Sort, group: int, start: int, stop: int) -> Fault:
        busy = self._busy[group]
        busy.insert(bisect(busy, (start, stop)), (start, stop))
        chosen = self._streams(name, sort, group)
        self._hit.update(chosen)
        streams = self._layout.streams
        return Fault(
            name,
            "fault" if name in FAULTS else "lookalike",
            self._layout.group_names[group],
            tuple(streams[s].name for s in chosen),
            self._start_ns + start * self._step_ns,
            self._start_ns + stop * self._step_ns,
            sort.group_wide,
            self._size(sort, upwards=name in GROUP_FAULTS or name == "venue_lag" or streams[chosen[0]].floored),
        )

    def _size(self, sort: Sort, upwards: bool) -> float:
        size = float(self._rng.uniform(*sort.size))
        return size if upwards or not size or self._rng.uniform() < 0.5 else -size

    def _streams(self, name: str, sort: Sort, group: int) -> list[int]:
        """All streams of the group that take part, or one of them, rather one not hit before."""
        fitting = [int(s) for s in self._members[group] if suits(name, self._layout.streams[s])]
        if sort.group_wide:
            return fitting
        fresh = [s for s in fitting if s not in self._hit] or fitting
        return [fresh[int(self._rng.integers(len(fresh)))]]
