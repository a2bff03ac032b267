"""Functions over a stream's own recent steps: what they need to be kept, and how they are worked out.

A window holds this step and those before it, as many as its span has room for, at least one. Steps at which the
argument is absent are left out; so are steps that were not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stream.rules.absence import BYTES_A_ROW
from stream.rules.functions import Function
from stream.rules.ring import bytes_a_row
from stream.rules.span import Span
from stream.rules.truth import Truth

MOST_CELLS = 720  # of a ring; longer spans are kept in cells of several steps
ROW = 4  # bytes, to find a stream's row by its slot
Floats = npt.NDArray[np.float64]


class Stretch(Protocol):
    """A window of n streams that ends with this step. Columns [n]; what is older is relative to ``near``."""

    now: Floats  # the argument at this step, NaN = absent
    near: Floats
    k: int  # number of this step
    seconds: float  # of a step

    def older(self, name: str) -> Floats:
        """What the steps before this one come to, by a name of ring.STATS."""

    def then(self) -> Floats:
        """The value at the step that lies the whole span back."""

    def lasted(self) -> Truth:
        """Whether the argument has been absent over the whole span."""


@dataclass(frozen=True, slots=True)
class Over(Function):
    """A function whose first argument is kept over time, and whose second is a span."""

    stats: tuple[str, ...] = ()
    back: bool = False  # looks at one step in the past, not at a window


@dataclass(frozen=True, slots=True)
class Window:
    """What a call asks for: a function, the text of its argument, and how far back."""

    function: str
    argument: str
    span: Span

    def steps(self, step: int) -> int:
        """Steps of ``step`` ns in the span, this one included."""
        return max(1, -(-self.span.of(step) // step))

    def width(self, step: int) -> int:
        """Steps in a cell of the ring that holds it; 0 = it needs none."""
        return -(-self.steps(step) // MOST_CELLS) if OVER[self.function].stats or OVER[self.function].back else 0

    def cells(self, step: int) -> int:
        """Cells that the ring must hold for it."""
        width = self.width(step)
        return -(-self.steps(step) // width) + OVER[self.function].back if width else 0

    def stats(self, step: int) -> tuple[str, ...]:
        """What the ring must keep for it."""
        function = OVER[self.function]
        return ("count", "sum") if function.back and self.width(step) > 1 else function.stats


def _known(of: Stretch) -> Floats:
    return of.older("count") + ~np.isnan(of.now)


def _total(of: Stretch) -> Floats:
    """The sum of all that is known, relative to ``near``."""
    return of.older("sum") + np.where(np.isnan(of.now), 0.0, of.now - of.near)


def _average(of: Stretch) -> Floats:
    found: Floats = of.near + _total(of) / _known(of)
    return found


def _sum(of: Stretch) -> Floats:
    known = _known(of)
    return np.where(known > 0, of.near * known + _total(of), np.nan)


def _deviation(of: Stretch) -> Floats:
    """Of the population, as Prometheus' ``stddev_over_time``."""
    known, now = _known(of), np.where(np.isnan(of.now), 0.0, of.now - of.near)
    mean = _total(of) / known
    found: Floats = np.sqrt(np.maximum(0.0, (of.older("squares") + now * now) / known - mean * mean))
    return found


def _count(of: Stretch) -> Floats:
    return np.where(_known(of) > 0, _total(of), np.nan)


def _share(of: Stretch) -> Floats:
    return _total(of) / _known(of)


def _delta(of: Stretch) -> Floats:
    found: Floats = of.now - (of.older("first") + of.near)
    return found


def _rate(of: Stretch) -> Floats:
    found: Floats = _delta(of) / ((of.k - of.older("first_k")) * of.seconds)
    return found


def _last(of: Stretch) -> Floats:
    return np.where(np.isnan(of.now), of.older("last") + of.near, of.now)


def _smallest(of: Stretch) -> Floats:
    found: Floats = np.fmin(of.older("min") + of.near, of.now)
    return found


def _largest(of: Stretch) -> Floats:
    found: Floats = np.fmax(of.older("max") + of.near, of.now)
    return found


def _of_number(name: str, run: Callable[[Stretch], Any], *stats: str, back: bool = False) -> Over:
    return Over(("number", "string"), "number", run, f'{name}("value", "5m")', False, stats, back)


def _of_condition(name: str, run: Callable[[Stretch], Any]) -> Over:
    return Over(("condition", "string"), "number", run, f'{name}(score > 1, "10m")', False, ("count", "sum"))


OVER: dict[str, Over] = {
    "avg_over": _of_number("avg_over", _average, "count", "sum"),
    "sum_over": _of_number("sum_over", _sum, "count", "sum"),
    "min_over": _of_number("min_over", _smallest, "min"),
    "max_over": _of_number("max_over", _largest, "max"),
    "stddev_over": _of_number("stddev_over", _deviation, "count", "sum", "squares"),
    "last_over": _of_number("last_over", _last, "last"),
    "delta": _of_number("delta", _delta, "first"),
    "rate_of": _of_number("rate_of", _rate, "first", "first_k"),
    "offset": Over(("number", "string"), "number", lambda of: of.then(), 'offset("value", "1d")', back=True),
    "count_over": _of_condition("count_over", _count),
    "share_over": _of_condition("share_over", _share),
    "absent_for": Over(("number", "string"), "condition", lambda of: of.lasted(), 'absent_for("value", "5m")'),
}


def rings(windows: Iterable[Window], step: int) -> dict[tuple[str, int], tuple[int, tuple[str, ...]]]:
    """What windows need on steps of ``step`` ns: by argument and steps a cell, how many cells and which stats."""
    found: dict[tuple[str, int], tuple[int, tuple[str, ...]]] = {}
    for window in windows:
        key = window.argument, window.width(step)
        cells, stats = found.get(key, (0, ()))
        found[key] = max(cells, window.cells(step)), tuple(sorted({*stats, *window.stats(step)}))
    return found


def memory(windows: Iterable[Window], step: int) -> int:
    """Bytes that windows take for each stream whose steps are ``step`` ns long."""
    needed = rings(windows, step).items()
    return sum(
        ROW + (bytes_a_row(cells, width, stats) if width else BYTES_A_ROW) for (_, width), (cells, stats) in needed
    )
