"""Streams that were there before, in this process or another, and have not come again: what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Known = tuple[int, float, int]  # unseen since (event time, ns), last score, step of the last full look


class Awaited:
    """By name, what was learned of streams, and the partition that brings them (-1: any)."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._partition: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def expect(self, known: Mapping[str, Known], partition: int = -1) -> None:
        """After a restart, or with a partition that comes from elsewhere."""
        self._known |= known
        self._partition |= dict.fromkeys(known, partition)

    def take(self, name: str) -> Known | None:
        """A stream is there; what was known of it."""
        self._partition.pop(name, None)
        return self._known.pop(name, None)

    def of(self, partition: int) -> list[str]:
        """Streams that a partition has not brought again."""
        return [name for name, number in self._partition.items() if number == partition]

    def known(self, name: str) -> Known:
        """What is known of a stream that is awaited."""
        return self._known[name]

    def forget(self, names: Sequence[str]) -> None:
        """Another process goes on with these."""
        for name in names:
            self.take(name)
