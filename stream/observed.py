"""What rules are told of a step: the numbers of its readings, and what was said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from stream.lane import Tick
from stream.rules.columns import Observed
from stream.sentinel import Sentinel
from stream.verdict import Verdicts
from stream.windows import Windows

_SAID = ("score", "p", "expected", "low", "high", "weight", "age")


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
