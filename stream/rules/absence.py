"""For how many steps something has been absent, by stream: all that ``absent_for`` needs to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.rules.truth import Truth

Array = npt.NDArray[Any]
BYTES_A_ROW = 5


class Absence:
    """Runs of steps at which a value was looked for and absent; steps that were not judged don't count."""

    def __init__(self) -> None:
        self._run = np.zeros(0, np.int32)
        self._ever = np.zeros(0, bool)

    @property
    def size(self) -> int:
        """Rows there is room for."""
        return len(self._run)

    def advance(self, k: int) -> None:
        """Time alone changes nothing."""

    def write(self, k: int, rows: npt.NDArray[np.intp] | slice, values: npt.NDArray[np.float64]) -> None:
        """The values of one step."""
        absent = np.isnan(values)
        self._run[rows] = np.where(absent, np.minimum(self._run[rows], 2**31 - 2) + 1, 0)
        self._ever[rows] |= ~absent

    def lasted(self, rows: npt.NDArray[np.intp] | slice, now: npt.NDArray[np.float64], steps: int) -> Truth:
        """Whether it has been absent for ``steps``, this one included; unknown while it may have been longer."""
        absent = np.isnan(now)
        long = absent & (self._run[rows] + 1 >= steps)
        return Truth(long, ~long & (self._ever[rows] | ~absent))

    def clear(self, rows: npt.NDArray[np.intp]) -> None:
        """Rows are given to other streams, or to none."""
        self._run[rows], self._ever[rows] = 0, False

    def grow(self, rows: int) -> None:
        """Room for at least ``rows`` rows."""
        more = max(rows, len(self._run) * 5 // 4, 16) - len(self._run)
        self._run = np.concatenate([self._run, np.zeros(more, np.int32)])
        self._ever = np.concatenate([self._ever, np.zeros(more, bool)])

    def of(self, rows: npt.NDArray[np.intp]) -> dict[str, Array]:
        """``columns`` of some rows."""
        return {name: column[rows] for name, column in self.columns().items()}

    def join(self, other: Any, rows: npt.NDArray[np.intp], theirs: npt.NDArray[np.intp]) -> None:
        """Rows of another Absence, into rows that are empty here."""
        self._run[rows], self._ever[rows] = other._run[theirs], other._ever[theirs]

    def columns(self) -> dict[str, Array]:
        """For a checkpoint."""
        return {"run": self._run, "ever": self._ever}

    def restore(self, columns: Mapping[str, Array]) -> bool:
        """The inverse of ``columns``; false where they are something else."""
        if set(columns) != {"run", "ever"}:
            return False
        self._run, self._ever = columns["run"].copy(), columns["ever"].copy()
        return True
