"""One step as the sentinel sees it: where it lies in time, what the readings amount to, and how streams are cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models import calibrate, level
from models.seasonal import DAY, FIVE_MINUTES, MINUTE, WEEK, At
from stream.evidence_columns import CHUNK

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
Ix = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Seen:
    """What there is to see in m readings, in units of their streams."""

    x: F32
    outside: F32  # of the range so far, in widths
    day: F32  # residuals
    week: F32 | None
    change: F32  # from the last reading
    young: F32  # 1 / (n + 1)
    least: int  # readings of the youngest
    warm: Bools


@dataclass(frozen=True, slots=True)
class Step:
    """What all streams looked at together share."""

    period: int  # of 5 minutes, since the epoch
    day: int  # bin
    week: int | None  # bin, where steps are long enough for the table
    whole: bool  # a step is 5 minutes or more: each reading is a visit to the tables
    hold: int  # steps after which a shift is accepted
    bar: np.float32

    @classmethod
    def at(cls, ts: int, step_ns: int, false_alarms: float) -> Step:
        period = ts // FIVE_MINUTES
        week = WEEK.bin(period) if step_ns >= MINUTE else None
        bar = np.float32(calibrate.bar(step_ns, false_alarms))
        return cls(period, DAY.bin(period), week, step_ns >= FIVE_MINUTES, level.hold(step_ns), bar)


def chunks(slots: I32) -> Iterator[tuple[At, int, int]]:
    """Parts of at least CHUNK streams; a range of slots is a slice, so that its columns are views."""
    m = len(slots)
    parts = max(1, m // CHUNK)
    a_range = m > 0 and int(slots[-1]) - int(slots[0]) + 1 == m
    first = int(slots[0]) if m else 0
    for i in range(parts):
        a, b = i * m // parts, (i + 1) * m // parts
        yield slice(first + a, first + b) if a_range else slots[a:b].astype(np.intp), a, b


def slots_of(at: At, which: Ix) -> Ix:
    """Slots of some of the streams that ``at`` selects."""
    found: Ix = which + at.start if isinstance(at, slice) else at[which].astype(np.intp, copy=False)
    return found
