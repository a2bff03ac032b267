"""What rules are told of a step: the numbers of its readings, and what was said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from stream.lane import Tick
from stream.rules.columns import Observed
from stream.sentinel import Evidence, Sentinel
from stream.verdict import BY_SENTINEL, Verdicts
from stream.windows import Windows

_SAID = ("score", "p", "expected", "low", "high", "weight", "age")


def say(verdicts: Verdicts, evidence: Evidence | None, ready: npt.NDArray[np.bool_], whole: bool) -> None:
    """The sentinel's verdict on windows that are ``ready`` [m], which stands unless a full look follows.

    ``evidence`` is that of the streams with a reading, None = there are none; ``whole``: also what it expects.
    """
    if evidence is None:
        return
    known, rows = ready[verdicts.tick.present], np.flatnonzero(ready)
    all_of_them = rows.size == known.size == verdicts.score.size
    to, of = (slice(None), slice(None)) if all_of_them else (rows, known)
    verdicts.score[to], verdicts.p[to] = evidence.score[of], evidence.p[of]
    verdicts.fidelity[to] = BY_SENTINEL
    for name in ("expected", "low", "high") if whole else ():
        getattr(verdicts, name)[to] = getattr(evidence, name)[of]


def of_readings(tick: Tick, windows: Windows, sentinel: Sentinel, every: int) -> Observed:
    """What depends on readings alone, whoever was looked at."""
    nothing = np.zeros(tick.slots.size, np.int8)
    return Observed(tick.start, tick.end, tick.slots, _numbers(tick, windows, sentinel), nothing, tick.step, every)


def of_verdicts(
    verdicts: Verdicts, coverage: npt.NDArray[np.float32], windows: Windows, sentinel: Sentinel, every: int
) -> Observed:
    """All of it; ``coverage`` [m] is that of each stream's group."""
    tick = verdicts.tick
    said = {name: getattr(verdicts, name) for name in _SAID}
    numbers = {**said, **_numbers(tick, windows, sentinel), "coverage": coverage}
    return Observed(tick.start, tick.end, tick.slots, numbers, verdicts.fidelity, tick.step, every)


def _numbers(tick: Tick, windows: Windows, sentinel: Sentinel) -> dict[str, npt.NDArray[Any]]:
    at = tick.at
    flat, silent = sentinel.runs(at)
    return {
        "value": tick.value,
        "rate": windows.rate[at].copy(),
        "imputed": 1 - windows.valid[at] / np.float32(windows.size),
        "flat": flat,
        "silent": silent,
    }
