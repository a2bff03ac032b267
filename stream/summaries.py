"""Once a minute, what was counted since: late, future and refused readings, and what was shed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EVERY = 60_000_000_000  # ns
_NAMES = {"late": "reading.late", "future": "reading.future", "refused": "stream.refused", "shed": "gate.shed"}


class Summaries:
    """Turns counts that only grow into notes for the log; nothing is said of what did not grow."""

    def __init__(self) -> None:
        self._said: dict[str, int] = {}
        self._next: int | None = None

    def due(self, now: int) -> bool:
        """Whether a minute has passed since the last notes (ns)."""
        if self._next is None:
            self._next = now + EVERY
        return now >= self._next

    def notes(self, now: int, counts: Mapping[str, int]) -> list[tuple[str, dict[str, Any]]]:
        """Notes of what grew: ``counts`` has late, future, refused (readings) and shed (windows)."""
        self._next = now + EVERY
        grown = {name: counts[name] - self._said.get(name, 0) for name in _NAMES}
        self._said = dict(counts)
        return [(_NAMES[name], {"count": n, "in_all": counts[name]}) for name, n in grown.items() if n > 0]
