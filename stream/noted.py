"""What is noted of windows, apart for each partition, in pieces that travel with its state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from connectors.batch import Ints
from stream.rules.columns import Bools, Names, Slots
from stream.rules.recall import SAID, Floats, Piece, Recall, Taken

NOTE = "note"  # and a number: the kind of a piece


class Noted:
    """A Recall for each partition. Pieces are put behind one another; the small piece says how many count.

    ``partition_of`` tells the partitions [n] of slots [n].
    """

    def __init__(self, names: Names, partition_of: Callable[[Slots], Ints], lost: Collection[str] = SAID) -> None:
        self.lost = frozenset(lost)
        self._names, self._partition_of = names, partition_of
        self._recalls: dict[int, Recall] = {}
        self._counts: dict[int, int] = {}  # pieces that the topic has and that count
        self._next: dict[int, int] = {}  # and with those under way

    def note(self, key: tuple[int, int], slots: Slots, taken: Taken) -> None:
        """What windows took in of streams [n] at a step."""
        if not taken and not self._recalls:
            return
        for number, mine in self._each(slots):
            own = {argument: (rows[mine], column[mine]) for argument, (rows, column) in taken.items()}
            self._at(number).note(key, slots[mine], own)

    def of(self, key: tuple[int, int], slots: Slots) -> Taken:
        """What windows of streams [n] took in at a step that is read again."""
        found: dict[str, tuple[Bools, Floats]] = {}
        for number, mine in self._each(slots) if self._recalls else ():
            for argument, (rows, column) in self._at(number).of(key, slots[mine]).items():
                whole = found.setdefault(argument, (np.zeros(len(slots), bool), np.full(len(slots), np.nan)))
                whole[0][mine], whole[1][mine] = rows, column
        return found

    def _each(self, slots: Slots) -> list[tuple[int, Bools]]:
        partition = self._partition_of(slots)
        return [(number, partition == number) for number in np.unique(partition).tolist()]

    def _at(self, number: int) -> Recall:
        if number not in self._recalls:
            self._recalls[number] = Recall(self._names, self.lost)
        return self._recalls[number]

    def forget(self, slots: Slots) -> None:
        """These slots may be given to other streams."""
        for recall in self._recalls.values():
            recall.forget(slots)

    # -- pieces

    def piece(self, number: int) -> tuple[int, dict[str, Piece]]:
        """For a partition, how many pieces count from now on, and the new one by its kind, if there is any."""
        recall = self._at(number)
        count = 0 if recall.anew else self._counts.get(number, 0)
        pending = recall.pending()
        self._next[number] = count + (pending is not None)
        return self._next[number], {} if pending is None else {f"{NOTE}{count}": pending}

    def kept(self, numbers: Iterable[int], whole: Collection[int]) -> None:
        """The pieces of these partitions came through; of ``whole`` ones with the large piece."""
        for number in numbers:
            self._counts[number] = self._next[number]
            self._at(number).written()
            if number in whole:
                self._at(number).begin_anew()

    def take_up(self, number: int, pieces: Sequence[Piece]) -> None:
        """Go on with a partition and the pieces that count, in their order."""
        self._counts[number] = len(pieces)
        self._at(number).restore(pieces)

    def leave(self, number: int) -> None:
        """Another process has it."""
        for known in (self._recalls, self._counts, self._next):
            known.pop(number, None)
