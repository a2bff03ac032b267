"""Faults and harmless look-alikes by name: how long, how large, and what they do to a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens in one group from ``start`` until before ``end`` (ns); afterwards all is as before.

    ``size`` is in local standard deviations of the stream, negative = downwards; for ``venue_lag`` in steps; 0 where
    the kind of fault has none. A look-alike has ``kind`` "lookalike": it is harmless and should not alarm.
    """

    name: str
    kind: Literal["fault", "lookalike"]
    group: str
    streams: tuple[str, ...]
    start: int
    end: int
    group_wide: bool
    size: float


@dataclass(frozen=True, slots=True)
class Sort:
    """What faults of one name have in common: duration in steps and size, both bounds included."""

    steps: tuple[int, int]
    size: tuple[float, float] = (0.0, 0.0)
    groups: tuple[str, ...] = ("machine", "road", "market")
    group_wide: bool = False


_FAULTS = {
    "spike": Sort((3, 4), (12, 18)),
    "level_shift": Sort((36, 60), (10, 15)),
    "drift": Sort((56, 76), (13, 18)),
    "stuck": Sort((60, 76)),
    "dropout": Sort((60, 76)),
    "noise_burst": Sort((32, 52), (8, 11)),
    "correlation_break": Sort((60, 80)),
    "flash_crash": Sort((36, 56), (20, 30), ("market",), group_wide=True),
    "congestion_wave": Sort((60, 80), (12, 16), ("road",), group_wide=True),
    "venue_lag": Sort((60, 80), (12, 20), ("market",)),
}
_LOOKALIKES = {
    "rush_hour": Sort((100, 150), (0.6, 1.1), ("road",), group_wide=True),
    "load_change": Sort((90, 140), (0.6, 1.1), ("machine",), group_wide=True),
    "missing_reading": Sort((1, 1)),
    "plateau": Sort((2, 3)),
    "usual_jump": Sort((60, 100), (0.5, 0.8), ("market",), group_wide=True),
}
SORTS = _FAULTS | _LOOKALIKES

FAULTS = tuple(_FAULTS)
LOOKALIKES = tuple(_LOOKALIKES)
GROUP_FAULTS = tuple(name for name, sort in _FAULTS.items() if sort.group_wide)
DEMO_FAULTS = tuple(name for name in FAULTS if name not in ("correlation_break", "venue_lag"))


def shape(name: str, size: float, steps: int, place: Floats, rng: np.random.Generator) -> Floats:
    """What a fault adds, in local standard deviations: [steps, streams].

    ``place`` [streams] tells where along its group a stream stands, 0 to 1. Faults that are no addition (frozen,
    missing, late values) give nothing here.
    """
    at = (np.arange(steps) + 1.0)[:, None] / steps  # (0, 1]
    whole = np.ones((steps, len(place)))
    if name in ("spike", "level_shift"):
        return size * whole
    if name == "drift":
        return size * at * whole
    if name == "noise_burst":
        return size * rng.standard_normal(whole.shape)
    if name == "flash_crash":
        return size * np.interp(at, [0, 0.2, 0.3, 1], [0, 1, 1, 0.1]) * whole
    if name == "congestion_wave":
        return size * np.interp(at - 0.4 * place, [0, 0.1, 0.5, 0.6], [0, 1, 1, 0])
    if name == "usual_jump":
        return size * np.interp(at, [0, 0.1, 0.2, 1], [1, 1, 1, 0]) * whole
    if name in ("rush_hour", "load_change"):
        return size * np.sin(np.pi * at) ** 2 * whole
    return 0 * whole
