"""What windows took in of what was said since the last checkpoint: noted step by step, recalled after a kill.

Readings are read again after a kill, but what a model said of them can't be found out again: how far it was overloaded
then, and whom the gate chose, is past. So the values of such arguments are noted, and only these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.rules.columns import Bools, Names, Slots

SAID = frozenset({"score", "p", "expected", "low", "high", "weight", "age", "coverage", "fidelity"})
MOST_VALUES = 20_000_000  # not written yet, while the disk can't be written; the oldest go first
Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Piece = tuple[dict[str, Array], dict[str, Any]]  # columns, and what they are of
Taken = Mapping[str, tuple[Bools, Floats]]  # by argument: which rows of a step took something in, and what [n]
_Key = tuple[int, int]  # ns from one look to the next, and end of the step
_Noted = dict[str, tuple[Array, Array]]  # by argument: numbers of streams, and values


class Recall:
    """Streams go by a number of their name, since slots are others after a restart.

    ``lost`` are the names, of SAID, that can't be found out again. Piece after piece is kept (``pending``, then
    ``written``) until a checkpoint holds it all (``begin_anew``); all of them are ``restore``-d.
    """

    def __init__(self, names: Names, lost: Collection[str] = SAID) -> None:
        self._names, self.lost = names, frozenset(lost)
        self.anew = False  # the next piece takes the place of all before
        self._number = np.full(0, -1, np.int32)  # by slot
        self._numbers: dict[str, int] = {}
        self._new: list[str] = []  # names that no piece has yet
        self._steps: list[tuple[_Key, _Noted]] = []  # nor these
        self._size = 0  # values in them
        self._held: dict[_Key, _Noted] = {}  # of before the restart, not read again yet

    def note(self, key: _Key, slots: Slots, taken: Taken) -> None:
        """What windows took in of streams [n] at a step. Steps come in the order of their ends."""
        self._pass(key[1])
        if not taken:
            return
        numbers = self._numbers_of(slots)
        noted = {each: (numbers[mine], _narrow(column[mine])) for each, (mine, column) in taken.items()}
        self._steps.append((key, noted))
        self._size += _size(noted)
        while self._size > MOST_VALUES:
            self._size -= _size(self._steps.pop(0)[1])

    def of(self, key: _Key, slots: Slots) -> Taken:
        """What windows of streams [n] took in at a step that is read again."""
        self._pass(key[1])
        noted = self._held.get(key, {})
        return {argument: self._found(slots, *each) for argument, each in noted.items()}

    def _found(self, slots: Slots, numbers: Array, values: Array) -> tuple[Bools, Floats]:
        asked = self._numbers_of(slots)
        place = np.full(len(self._numbers), -1, np.int64)
        place[numbers] = np.arange(len(numbers))
        at = place[asked]
        column = np.full(len(slots), np.nan)
        column[at >= 0] = values[at[at >= 0]]
        return at >= 0, column

    def _pass(self, end: int) -> None:
        if self._held:
            self._held = {key: noted for key, noted in self._held.items() if key[1] >= end}

    def _numbers_of(self, slots: Slots) -> Array:
        top = int(slots.max(initial=-1)) + 1
        if top > len(self._number):
            more = max(top, 2 * len(self._number)) - len(self._number)
            self._number = np.concatenate([self._number, np.full(more, -1, np.int32)])
        found = self._number[slots]
        if (found < 0).any():
            for slot in slots[found < 0].tolist():
                self._number[slot] = self._number_of(self._names.names[slot])
            found = self._number[slots]
        return found

    def _number_of(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = len(self._numbers)
            self._new.append(name)
        return self._numbers[name]

    def forget(self, slots: Slots) -> None:
        """These slots may be given to other streams."""
        self._number[slots[slots < len(self._number)]] = -1

    def pending(self) -> Piece | None:
        """What no piece has yet; None = nothing."""
        if not self._steps:
            return None
        columns: dict[str, Array] = {}
        steps = []
        last: dict[str, str] = {}  # by argument, the column that holds its streams
        for key, noted in self._steps:
            about = []
            for argument, (numbers, values) in noted.items():
                before = last.get(argument)
                if before is None or not np.array_equal(columns[before], numbers):
                    last[argument] = f"of{len(columns)}"
                    columns[last[argument]] = numbers
                columns[f"is{len(columns)}"] = values
                about.append([argument, last[argument], f"is{len(columns) - 1}"])
            steps.append([*key, about])
        return columns, {"first": len(self._numbers) - len(self._new), "names": list(self._new), "steps": steps}

    def written(self) -> None:
        """What was pending is kept."""
        self._new, self._steps, self._size, self.anew = [], [], 0, False

    def begin_anew(self) -> None:
        """There is a checkpoint. What has yet to be read again is not in it, and is kept once more."""
        if not self._held:
            self._numbers = {}
            self._number[:] = -1
        self._new = list(self._numbers)
        self._steps = list(self._held.items())
        self._size = sum(_size(noted) for noted in self._held.values())
        self.anew = True

    def restore(self, pieces: Iterable[Piece]) -> None:
        """After a restart: what was written since the last checkpoint, in its order."""
        names: list[str] = []
        for columns, about in pieces:
            names[about["first"] :] = about["names"]
            for step, end, each in about["steps"]:
                self._held[step, end] = _noted(columns, each)
        self._numbers = {name: number for number, name in enumerate(names)}


def _noted(columns: Mapping[str, Array], each: Sequence[Sequence[str]]) -> _Noted:
    return {argument: (columns[of], columns[values]) for argument, of, values in each}


def _size(noted: _Noted) -> int:
    return sum(values.size for _, values in noted.values())


def _narrow(column: Floats) -> Array:
    """The same values in as few bytes as hold them: conditions and scores need no more than two and four."""
    with np.errstate(over="ignore"):
        for dtype in (np.float16, np.float32):
            narrow = column.astype(dtype)
            if np.array_equal(narrow, column, equal_nan=True):
                return narrow
    return column.copy()
