"""Which groups each worker has: a file in its state folder, by which its supervisor notices those at several."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from connectors.batch import StreamTable

EVERY = 5_000_000_000  # ns between two looks at what there is to tell
_NAME = "groups.json"


class Roster:
    """A worker's own groups, written anew where they are others than before."""

    def __init__(self, folder: Path, table: StreamTable) -> None:
        self._path, self._table = folder / _NAME, table
        self._last = 0
        self._written: set[str] | None = None

    def look(self, now: int) -> None:
        """Write them if it is time to; a disk that is full is told by the state, which matters more."""
        if now - self._last < EVERY:
            return
        self._last, groups = now, set(self._table.groups) - {""}
        if groups != self._written:
            with suppress(OSError):
                self._write(groups)

    def _write(self, groups: set[str]) -> None:
        """At once, for whoever reads meanwhile."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(sorted(groups)))
        new.replace(self._path)
        self._written = groups


class Spread:
    """Groups that more than one worker has streams of: each looks at its own part as if it were all.

    ``folders`` tells those of the workers that are up. A group counts when two looks in turn find it so, because
    a partition that moves is told of by both for a while; between looks pass more than ``EVERY``.
    """

    def __init__(self, folders: Callable[[], Iterable[Path]] = tuple) -> None:
        self._folders, self._before = folders, frozenset[str]()
        self.groups: list[str] = []

    def look(self) -> list[str]:
        """Those that are spread now."""
        known = Counter(group for folder in self._folders() for group in listed(folder))
        found = frozenset(group for group, workers in known.items() if workers > 1)
        self.groups, self._before = sorted(found & self._before), found
        return self.groups


def listed(folder: Path) -> list[str]:
    """The groups of the worker that keeps its state there; none while it has told of none."""
    try:
        return list(json.loads((folder / _NAME).read_text()))
    except (OSError, ValueError, TypeError):
        return []


def forget(folder: Path) -> None:
    """Before a worker starts: what it had is no longer so."""
    with suppress(OSError):
        (folder / _NAME).unlink(missing_ok=True)
