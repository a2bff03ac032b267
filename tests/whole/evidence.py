"""The columns of a checkpoint in the order of names: two runs may have met streams and partitions in another order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.keeping.store import read_arrays

Array = npt.NDArray[Any]
BY_THE_CLOCK = (  # they tell when readings were read, and how many with the first: no other run repeats that
    "windows.behind_until",
    "windows.marks.high_at",
    "windows.slot._since",  # the watermark when a stream was first met: it counts while it has no reading of use
)
ONE = ("windows.counts", "windows.lane0.head", "windows.marks.now", "rules.index")  # about no stream in particular


def evidence(state: Path) -> dict[str, Any]:
    """All that depends on readings alone, by the column's name, a row or column for each stream in their order."""
    columns, about = read_arrays(state / "checkpoint.npz")
    table = about["table"]
    slots = np.argsort(table["names"], kind="stable")
    slots = slots[[table["names"][slot] != "" for slot in slots]]
    partitions = np.argsort(about["partitions"])
    found: dict[str, Any] = {"positions": about["positions"], "registry": about["registry"]}
    for name in ("names", "groups", "labels", "step", "origin"):
        found[f"table.{name}"] = [table[name][slot] for slot in slots]
    for name, column in columns.items():
        if name not in BY_THE_CLOCK and name != "groups.slots":  # which `of` and `member` tell
            found[name] = _ordered(name, column, columns, slots, partitions)
    found["groups.of"] = [about["panels"][panel] for panel in found["groups.of"]]
    found["windows.slot.partition"] = np.argsort(partitions)[found["windows.slot.partition"]]
    return found


def _ordered(name: str, column: Array, columns: Mapping[str, Array], slots: Array, partitions: Array) -> Any:
    if name in ONE or name.endswith((".head", ".k")) or ".held." in name:  # which nobody has once all is judged
        return column
    if name == "windows.lane0.open":
        return column[:, 0]  # which steps; when their last reading arrived, and whether they had waited, is the clock's
    if name == "windows.lane0.slots":
        return np.sort(np.argsort(slots)[column])
    if name.startswith("windows.marks."):
        return column[partitions]
    if ".kept." in name:  # a place for each stream that a rule asks for
        places = columns[name.partition(".kept.")[0] + ".row"][slots]
        return np.take(column, places, axis=-1)
    if name.startswith("rules.") and name.endswith(".row"):
        return column[slots] >= 0
    axis = min(_axis(name), column.ndim - 1)
    return np.take(column, slots, axis) if column.shape[axis] else column  # no stream needs that table


def _axis(name: str) -> int:
    """Along which of its axes a column has its streams."""
    if name == "sentinel.past":
        return 2
    inside = name.startswith("sentinel.") or name in ("gate.state", "windows.open.total", "windows.open.count")
    return 1 if inside or name == "windows.open._last_ts" else 0


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Sequence[str]:
    """Names of what is not the same in both, bit for bit."""
    return sorted(name for name in {*one, *other} if not _same(one.get(name), other.get(name)))


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray):
        return type(one) is type(other) and bool(one == other)
    return (one.shape, one.dtype) == (other.shape, other.dtype) and one.tobytes() == other.tobytes()
