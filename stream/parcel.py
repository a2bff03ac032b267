"""The state of one partition's streams, as it travels from one process to another: taken out, and put in elsewhere.

Two pieces, as in the store: the large one is what readings alone make, true up to its position; the small one is what
was judged and told so far, and may be further. Who gets both reads on from the position of the large piece, and judges
nothing again that the small piece says was judged. A stream's partition is the one that brought its newest reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import REFUSED, Ints, PartitionTable
from connectors.keeping.store import StoreError
from stream.monitor import Monitor
from stream.window_state import part_of, prefixed

Array = npt.NDArray[Any]
Piece = tuple[dict[str, Array], dict[str, Any]]  # columns, and what they are of
_PARTS = ("windows", "sentinel", "gate", "rules")


def streams_of(monitor: Monitor, partition: int) -> Ints:
    """The slots of a partition's streams, in the order of their places in their groups."""
    parts = monitor.parts
    live = np.flatnonzero(parts.windows.partition == partition).astype(np.int32)  # slots that are free have none
    return live[np.lexsort((parts.groups.member[live], parts.groups.of[live]))]


def large(monitor: Monitor, partition: int, position: int) -> Piece:
    """Windows, evidence and what rules look back at; ``position`` is the offset to read next."""
    parts, slots = monitor.parts, streams_of(monitor, partition)
    table, columns = parts.table, dict[str, Array]()
    taken: dict[str, Mapping[str, Array]] = {
        "windows": parts.windows.take(slots, partition),
        "sentinel": parts.sentinel.take_out(slots),
        "gate": {} if parts.gate is None else parts.gate.take(slots)[0],
        "rules": parts.alerts.take_out(slots),
    }
    for part, own in taken.items():
        columns |= prefixed(part, own)
    streams = [
        [table.names[slot], table.groups[slot], dict(table.labels[slot]), table.step[slot], table.origin[slot]]
        for slot in slots.tolist()
    ]
    rasters = [parts.registry.raster(table.groups[slot]) for slot in slots.tolist()]
    return columns, {"position": position, "streams": streams, "rasters": rasters}


def small(monitor: Monitor, partitions: PartitionTable, partition: int, start: int, position: int) -> Piece:
    """What was judged and told: ledger, gate, alerts, incidents. ``start``: where reading began."""
    parts, slots = monitor.parts, streams_of(monitor, partition)
    names = [parts.table.names[slot] for slot in slots.tolist()]
    groups = {parts.table.groups[slot] for slot in slots.tolist()} | monitor.awaited.groups_of(partition)
    columns: dict[str, Array] = {"ledger": parts.ledger.take(slots), "since": monitor.since[slots]}
    if parts.gate is not None:
        columns |= {f"gate.{name}": column for name, column in parts.gate.take(slots)[1].items()}
    awaited = monitor.awaited.of(partition)
    if awaited:
        names += awaited
        columns = _with_awaited(monitor, columns, awaited)
    about = {
        "start": start,
        "position": position,
        "names": names,
        "groups": sorted(groups),
        "judged": monitor.judged.state(partitions.names, partition),
        "judge_from": monitor.judge_from,
        "alerts": parts.alerts.snapshot_of(set(names), groups),
        "incidents": [row for row in parts.incidents.snapshot()["incidents"] if row["group"] in groups],
    }
    return columns, about


def _with_awaited(monitor: Monitor, columns: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    """And of streams that have not come again since they were put in: what was known of them then."""
    known = [monitor.awaited.known(name) for name in names]
    more: dict[str, Array] = {
        "ledger": np.stack([monitor.parts.ledger.waiting(name) for name in names], axis=1),
        "since": np.array([since for since, _, _ in known], np.int64),
        "gate.latch": np.zeros(len(names), np.float32),
        "gate.last": np.array([last for _, last, _ in known], np.float32),
        "gate.looked": np.array([looked for _, _, looked in known], np.int64),
    }
    return {name: np.concatenate([column, more[name]], axis=-1) for name, column in columns.items()}


def put(monitor: Monitor, partitions: PartitionTable, name: str, pieces: tuple[Piece | None, Piece], now: int) -> int:
    """Go on with partition ``name`` where another process was; the offset to read next. Raises StoreError.

    Call it between two turns. What it brings that fires is not told again.
    """
    first, (columns, about) = pieces
    partition = partitions.number(name)
    try:
        monitor.judged.restore(about["judged"], partitions.number_of)
        if first is None:
            begin(monitor, partition, now)
        else:
            _put_large(monitor, partition, first, now)
        _put_small(monitor, partition, columns, about)
        return int(first[1]["position"] if first is not None else about["start"])
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise StoreError(f"the state of {name} can't be taken up: {type(error).__name__}: {error}") from error


def begin(monitor: Monitor, partition: int, now: int) -> None:
    """A partition of which nothing is known: what it brings may be older than what others have brought here."""
    monitor.parts.windows.begin(partition, now)


def _put_large(monitor: Monitor, partition: int, piece: Piece, now: int) -> None:
    columns, about = piece
    parts, table = monitor.parts, monitor.parts.table
    here = [table.slot_of[each[0]] for each in about["streams"] if each[0] in table.slot_of]
    leave(monitor, np.array(here, np.int32))
    given = np.array([table.slot(*each) for each in about["streams"]], np.int32)
    table.known(given.tolist())
    slots = given[given != REFUSED]
    if slots.size < given.size:
        table.release(slots.tolist())
        raise StoreError(f"{given.size - slots.size} streams of it are over limits.streams")
    parts.registry.adopt(slots, [(step, origin) for step, origin in about["rasters"]])
    try:
        _put_columns(monitor, partition, slots, columns, now)
    except BaseException:  # nothing may be left of streams that are known in part alone
        leave(monitor, slots)
        raise
    monitor.adopt(slots, now)


def _put_columns(monitor: Monitor, partition: int, slots: Ints, columns: Mapping[str, Array], now: int) -> None:
    parts, own = monitor.parts, {part: part_of(columns, part) for part in _PARTS}
    parts.windows.put(slots, partition, own["windows"], now)
    parts.sentinel.put_in(slots, own["sentinel"])
    if parts.gate is not None:
        parts.gate.put(slots, own["gate"])
    parts.alerts.put_in(slots, own["rules"])


def _make_room(monitor: Monitor, slots: Ints) -> None:
    """Columns for these slots, whichever part has not come to them."""
    top = int(slots.max(initial=-1)) + 1
    monitor.parts.windows.grow(top)
    monitor.parts.ledger.grow(top)
    monitor.grow()


def _put_small(monitor: Monitor, partition: int, columns: Mapping[str, Array], about: Mapping[str, Any]) -> None:
    parts, slot_of = monitor.parts, monitor.parts.table.slot_of
    rows = np.array([row for row, name in enumerate(about["names"]) if name in slot_of], np.intp)
    slots = np.array([slot_of[about["names"][row]] for row in rows.tolist()], np.int32)
    parts.ledger.put(slots, columns["ledger"][:, rows])
    monitor.since[slots] = columns["since"][rows]
    if parts.gate is not None:
        parts.gate.put_learned(slots, {name: column[rows] for name, column in part_of(columns, "gate").items()})
    _wait(monitor, partition, columns, about, set(rows.tolist()))
    if about["judge_from"]:
        monitor.learn_until(about["judge_from"])
    orphans = parts.alerts.restore(about["alerts"])
    parts.incidents.adopt(about["incidents"])
    monitor.owed.add(parts.alerts.orphaned(orphans, monitor.last_tick))


def _wait(
    monitor: Monitor, partition: int, columns: Mapping[str, Array], about: Mapping[str, Any], known: set[int]
) -> None:
    """Streams that began after the large piece was taken: what was counted of them waits until they come again."""
    names = about["names"]
    later = [row for row in range(len(names)) if row not in known]
    monitor.parts.ledger.wait({names[row]: columns["ledger"][:, row] for row in later})
    last, looked = columns.get("gate.last"), columns.get("gate.looked")
    monitor.awaited.expect(
        {
            names[row]: (
                int(columns["since"][row]),
                -1.0 if last is None else float(last[row]),
                0 if looked is None else int(looked[row]),
            )
            for row in later
        },
        partition,
        about["groups"],
    )


def leave(monitor: Monitor, slots: Ints) -> None:
    """Another process goes on with these streams: they leave with their alerts, of which nothing is told here."""
    if slots.size == 0:
        return
    parts = monitor.parts
    _make_room(monitor, slots)
    groups = {parts.table.groups[slot] for slot in slots.tolist()}
    parts.alerts.forget(slots, monitor.last_tick, "taken over")
    parts.registry.release(slots)
    monitor.latest.forget(slots)
    monitor.since[slots] = 0
    monitor.streams_seen -= slots.size
    parts.incidents.leave(group for group in groups if parts.groups.mates(group).size == 0)


@dataclass(frozen=True, slots=True)
class Gone:
    """Streams of a partition that leaves, or may, and groups: of all of them, or those that left with the last."""

    streams: list[str]
    groups: list[str]


def of_partition(monitor: Monitor, partition: int) -> Gone:
    """The streams of a partition, and their groups."""
    table, slots = monitor.parts.table, streams_of(monitor, partition).tolist()
    names = [table.names[slot] for slot in slots]
    groups = {table.groups[slot] for slot in slots} | monitor.awaited.groups_of(partition)
    return Gone(names + monitor.awaited.of(partition), sorted(groups))


def leave_partition(monitor: Monitor, partition: int) -> Gone:
    """All streams of a partition leave."""
    parts, all_of_it = monitor.parts, of_partition(monitor, partition)
    leave(monitor, streams_of(monitor, partition))
    left = [group for group in all_of_it.groups if parts.groups.mates(group).size == 0]
    awaited = monitor.awaited.of(partition)
    monitor.parts.ledger.wait_no_more(awaited)
    monitor.awaited.forget(awaited)
    monitor.parts.alerts.wait_no_more(awaited, left)
    monitor.parts.incidents.leave(left)
    monitor.judged.forget(partition)
    monitor.parts.windows.leave(partition)
    return Gone(all_of_it.streams, left)
