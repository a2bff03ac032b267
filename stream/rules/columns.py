"""What rules may ask of n streams at one step: the names they use, and the columns behind the names.

Numbers (NaN = absent; what is absent makes a comparison unknown):

- ``score``: 1 is the alarm boundary; ``p``: tail probability; ``value``: the reading of this step
- ``expected``, ``low``, ``high``: what the model (or the sentinel) expected of ``value``
- ``weight``: attention the stream deserves; ``age``: seconds since its last full look; ``rate``: readings a second
- ``coverage``: share of the windows due that got a look; ``imputed``: share of the window that was filled in
- ``silent``: the current run of steps without a reading, relative to the longest run seen before (at least 4)
- ``flat``: the current run of equal values, relative to the longest run seen before (at least 4)

Strings: ``stream``, ``group``, ``labels["x"]`` ("" where a stream has no such label, as in Prometheus), and
``fidelity``: "sentinel", "lite" or "full", absent where nothing was said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Slots = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Numbers = Mapping[str, npt.NDArray[Any]]

NUMBERS = (
    "score",
    "p",
    "value",
    "expected",
    "low",
    "high",
    "weight",
    "age",
    "rate",
    "coverage",
    "imputed",
    "silent",
    "flat",
)
STRINGS = ("stream", "group", "fidelity")
FIDELITIES = ("", "sentinel", "lite", "full")  # by code; 0 = nothing was said
_FIDELITY_TEXTS = np.array([None, *FIDELITIES[1:]], dtype=object)


class Names(Protocol):
    """What is known of a slot as long as its stream lives; connectors.batch.StreamTable is one."""

    names: list[str]
    groups: list[str]
    labels: list[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of n streams at one step.

    ``numbers`` are float32 or float64 columns of length n, NaN where absent; a name left out is absent everywhere.
    """

    ts: int  # start of the step, event time, ns
    end: int  # end of the step, ns
    slots: Slots  # [n], each at most once
    numbers: Numbers
    fidelity: npt.NDArray[np.int8]  # [n], index into FIDELITIES
    step: int = 0  # length of a step, ns; 0 = end - ts
    every: int = 1  # steps from one look at these streams to the next

    def __post_init__(self) -> None:
        if self.step <= 0:
            object.__setattr__(self, "step", self.end - self.ts)


class Around(Protocol):
    """What is known beside a row itself: earlier steps of its stream, other streams of its group."""

    def window(self, window: Any, rows: Rows) -> Any:
        """What a function over time (over.Window) comes to, for each row."""

    def members(self, rows: Rows) -> Any:
        """Which rows belong together (grouped.Members)."""


@dataclass(slots=True)
class Rows:
    """The rows that an expression is evaluated over: n streams, or a few of them.

    ``found`` keeps what several rules ask for at the same step.
    """

    names: Names
    slots: Slots
    numbers: Numbers
    fidelity: npt.NDArray[np.int8]
    ts: int = 0
    step: int = 1  # ns from one look to the next
    around: Around | None = None
    found: dict[object, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, observed: Observed, names: Names, around: Around | None = None) -> Rows:
        step = max(1, observed.step * observed.every)
        return cls(names, observed.slots, observed.numbers, observed.fidelity, observed.ts, step, around)

    def once(self, key: object, find: Callable[[Rows], Any]) -> Any:
        """What ``find`` says, asked for once."""
        if key not in self.found:
            self.found[key] = find(self)
        return self.found[key]

    def number(self, name: str) -> Any:
        """A column, or one NaN where there is none."""
        column = self.numbers.get(name)
        return np.nan if column is None else column

    def text(self, name: str) -> npt.NDArray[Any]:
        """Strings as objects, None where absent."""
        if name == "fidelity":
            texts: npt.NDArray[Any] = _FIDELITY_TEXTS[self.fidelity]
            return texts
        table = self.names.names if name == "stream" else self.names.groups
        return _objects([table[slot] for slot in self.slots])

    def label(self, name: str) -> npt.NDArray[Any]:
        table = self.names.labels
        return _objects([table[slot].get(name, "") for slot in self.slots])


def _objects(texts: list[str]) -> npt.NDArray[Any]:
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    return column
