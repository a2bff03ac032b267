"""Streams that were there before, in this process or another, and have not come again: what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Known = tuple[int, float, int]  # unseen since (event time, ns), last score, step of the last full look


class Awaited:
    """By name, what was learned of streams, and the partition that brings them (-1: any)."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._partition: dict[str, int] = {}
        self._groups: dict[int, set[str]] = {}  # by partition

    def __bool__(self) -> bool:
        return bool(self._known)

    def expect(self, known: Mapping[str, Known], partition: int = -1, groups: Iterable[str] = ()) -> None:
        """After a restart, or with a partition that comes from elsewhere; ``groups``: those that the streams are of."""
        self._known |= known
        self._partition |= dict.fromkeys(known, partition)
        self._groups.setdefault(partition, set()).update(groups if known else ())

    def take(self, name: str) -> Known | None:
        """A stream is there; what was known of it."""
        self._partition.pop(name, None)
        return self._known.pop(name, None)

    def of(self, partition: int) -> list[str]:
        """Streams that a partition has not brought again."""
        return [name for name, number in self._partition.items() if number == partition]

    def groups_of(self, partition: int) -> set[str]:
        """Groups that may be there through streams alone that a partition has not brought again."""
        if not self.of(partition):
            self._groups.pop(partition, None)
        return self._groups.get(partition, set())

    def known(self, name: str) -> Known:
        """What is known of a stream that is awaited."""
        return self._known[name]

    def forget(self, names: Sequence[str]) -> None:
        """Another process goes on with these."""
        for name in names:
            self.take(name)
