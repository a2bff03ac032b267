"""What a model is trained on: frames as the monitor saw them, and which of their rows lay in a fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.contract import F32, Bools, Look, ModelError

I32 = npt.NDArray[np.int32]
NO_FAULT = -1


@dataclass(frozen=True, slots=True)
class Examples:
    """F frames of groups, padded to S members; frames of one group stand in the order of time.

    ``target`` is 1 where a fault can be seen, 0 where all is well, NaN where neither is sure (such rows are ignored,
    as are absent members). ``fault`` numbers the faults: rows of one fault have the same number, also across members,
    ``NO_FAULT`` elsewhere. ``features`` are the gate's (models/gating.py).
    """

    values: F32  # [F, S, T]
    mask: Bools  # [F, S, T]
    evidence: F32  # [F, S, K, C]
    present: Bools  # [F, S]
    target: F32  # [F, S]
    fault: I32 | None = None  # [F, S]
    features: F32 | None = None  # [F, S, 16]

    def __post_init__(self) -> None:
        shape = self.present.shape
        for name, column in self.columns().items():
            if column.shape[:2] != shape:
                raise ModelError(f"examples: {name} is {list(column.shape)}, present is {list(shape)}")

    def __len__(self) -> int:
        """F, the number of frames."""
        return len(self.present)

    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays that there are, by name."""
        named = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: column for name, column in named.items() if column is not None}

    def take(self, frames: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Examples:
        """Some of the frames."""
        return Examples(**{name: column[frames] for name, column in self.columns().items()})  # type: ignore[arg-type]

    def look(self) -> Look:
        """All frames as full looks at every member that is present."""
        everyone = np.arange(self.present.shape[1], dtype=np.int64)
        member = np.where(self.present, everyone, np.int64(-1))
        return Look(self.values, self.mask, member, self.evidence, self.present)

    def counted(self) -> Bools:
        """Rows [F, S] that training looks at: present, and known to be in a fault or not."""
        return self.present & ~np.isnan(self.target)

    def save(self, path: Path) -> None:
        """Write them to an uncompressed ``.npz`` file."""
        with path.open("wb") as file:
            np.savez(file, **self.columns())  # type: ignore[arg-type]


def load(path: Path) -> Examples:
    """Read what ``save`` wrote; raises ModelError where it is something else."""
    known = {each.name for each in fields(Examples)}
    try:
        with np.load(path, allow_pickle=False) as file:
            return Examples(**{name: file[name] for name in file.files if name in known})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not a file of examples: {error}") from None


def concat(parts: Sequence[Examples]) -> Examples:
    """Examples of several runs: groups are padded to the largest, faults of different parts kept apart."""
    members = max(part.present.shape[1] for part in parts)
    shared = set.intersection(*(set(part.columns()) for part in parts))
    padded = [_padded(part, members) for part in parts]
    joined = {name: np.concatenate([part[name] for part in padded]) for name in shared - {"fault"}}
    if "fault" in shared:
        joined["fault"] = _renumbered([part["fault"] for part in padded])
    return Examples(**joined)


def _padded(part: Examples, members: int) -> dict[str, npt.NDArray[np.generic]]:
    """The columns with rows for absent members, up to ``members``."""
    missing = members - part.present.shape[1]
    columns = {}
    for name, column in part.columns().items():
        empty = NO_FAULT if name == "fault" else 0
        width = [(0, 0), (0, missing)] + [(0, 0)] * (column.ndim - 2)
        columns[name] = np.pad(column, width, constant_values=empty)
    return columns


def _renumbered(faults: Sequence[npt.NDArray[np.generic]]) -> I32:
    first, parts = 0, []
    for fault in faults:
        numbers = fault.astype(np.int32)
        parts.append(np.where(numbers == NO_FAULT, np.int32(NO_FAULT), numbers + np.int32(first)))
        first = max(first, int(parts[-1].max(initial=NO_FAULT)) + 1)
    return np.concatenate(parts)
