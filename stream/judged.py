"""Up to which step each lane of each partition was judged: what comes again after a restart is not judged again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from connectors.batch import Ints, Times
from stream.watermark import NEVER

Bools = npt.NDArray[np.bool_]
Raster = tuple[int, int]  # step and origin of a lane, ns


class Judged:
    """The last step judged, by lane and number of the partition; streams that leave take nothing of it with them."""

    def __init__(self) -> None:
        self._last: dict[Raster, Times] = {}  # by partition

    def note(self, raster: Raster, k: int, partition: Ints) -> None:
        """Step ``k`` is judged, or was, for streams of these partitions [m]."""
        last = self._grown(raster, int(partition.max(initial=-1)) + 1)
        last[partition] = np.maximum(last[partition], k)

    def again(self, raster: Raster, k: int, partition: Ints) -> Bools:
        """Which of the streams of these partitions [m] were judged at step ``k`` before."""
        last = self._grown(raster, int(partition.max(initial=-1)) + 1)
        if k > last.max(initial=NEVER):
            return np.zeros(partition.size, bool)
        again: Bools = last[partition] >= k
        return again

    def _grown(self, raster: Raster, n: int) -> Times:
        last = self._last.get(raster, np.empty(0, np.int64))
        if n > last.size:
            last = self._last[raster] = np.append(last, np.full(n - last.size, NEVER))
        return last

    def state(self, names: Sequence[str], of: int | None = None) -> list[tuple[int, int, str, int]]:
        """Step, origin, name of the partition and last step, for the state; of one partition if asked."""
        return [
            (*raster, names[partition], int(last[partition]))
            for raster, last in self._last.items()
            for partition in (range(last.size) if of is None else range(of, min(of + 1, last.size)))
            if last[partition] > NEVER
        ]

    def restore(self, rows: Iterable[Sequence[int | str]], number_of: Mapping[str, int]) -> int:
        """Take in what ``state`` gave; the end of the latest of these steps (its start, ns)."""
        latest = 0
        for step, origin, name, k in rows:
            number = number_of[str(name)]
            self._grown((int(step), int(origin)), number + 1)[number] = int(k)
            latest = max(latest, int(k) * int(step) + int(origin))
        return latest

    def forget(self, partition: int) -> None:
        """Another process has it now."""
        for last in self._last.values():
            last[partition : partition + 1] = NEVER
