"""What several workers say of their streams, groups and last minutes, as one answer in the same shape."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stream.ledger import LOOKED, OUTCOMES
from stream.web.joined import moment
from stream.web.snapshot import HISTORY

LOOKED_AT = tuple(OUTCOMES[code] for code in LOOKED)
COULD = (*LOOKED_AT, "shed", "sentinel")  # gaps and warm-up could not be looked at
HELD_S = 5  # so long a worker's last moment stands for those that it has no other of
Row = Mapping[str, Any]


def streams(said: Sequence[Row], sort: str, limit: int) -> dict[str, Any]:
    """The first streams of all; one that several know stands once, with the newest that any of them has."""
    known: dict[str, Row] = {}
    rows = [row for each in said for row in each["streams"]]
    for row in rows:
        own = known.setdefault(row["stream"], row)
        known[row["stream"]] = row if moment(row["ts"]) > moment(own["ts"]) else own
    found = heapq.nsmallest(limit, known.values(), key=_rank(sort))
    return {"streams": found, "total": sum(each["total"] for each in said) - len(rows) + len(known)}


def _rank(sort: str) -> Callable[[Row], Any]:
    """Names from A, numbers from the largest; those of which the number isn't known come last."""
    if sort == "name":
        return lambda row: row["stream"]
    return lambda row: (row[sort] is None, -(row[sort] or 0))


def coverage(said: Sequence[Row], limit: int) -> dict[str, Any]:
    """Each group once, with the windows that it has at all of them; what was looked at least comes first."""
    known: dict[str, list[Row]] = {}
    rows = [row for each in said for row in each["groups"]]
    for row in rows:
        known.setdefault(row["group"], []).append(row)
    groups = [_group(known[name]) for name in sorted(known)]
    groups.sort(key=lambda row: (row["coverage"] is None, row["coverage"] or 0))
    total = sum(each["total"] for each in said) - len(rows) + len(known)
    return {**looked_at(said), "groups": groups[:limit], "total": total}


def _group(same: Sequence[Row]) -> Row:
    if len(same) == 1:
        return same[0]
    counts = added([row["windows"] for row in same])
    looked, could = (sum(counts[outcome] for outcome in of) for of in (LOOKED_AT, COULD))
    return {**same[0], "coverage": looked / could if could else None, "windows": counts}


def looked_at(rows: Iterable[Row]) -> dict[str, Any]:
    """Coverage of what several judged, by how much each judged; 1 while nobody did."""
    counts = [(row["coverage"], row["judged"]) for row in rows if row["judged"]]
    judged = sum(own for _, own in counts)
    return {"coverage": sum(share * own for share, own in counts) / judged if judged else 1.0, "judged": judged}


def added(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Sums by name."""
    return {name: sum(each.get(name, 0) for each in counts) for name in (counts[0] if counts else ())}


def history(said: Sequence[Row]) -> dict[str, Any]:
    """A moment for every second of which any worker tells: the worst lag, and the coverage of all."""
    seconds: dict[int, dict[int, Row]] = {}
    for worker, each in enumerate(said):
        for row in _moments(each):
            seconds.setdefault(int(row["time"]), {})[worker] = row
    found, held = [], dict[int, Row]()
    for second in sorted(seconds):
        held |= seconds[second]
        found.append(_moment([row for row in held.values() if second - int(row["time"]) < HELD_S]))
    return {name: [row[name] for row in found[-HISTORY:]] for name in ("time", "lag", "coverage", "judged")}


def _moments(said: Row) -> list[dict[str, Any]]:
    """Columns as rows."""
    return [dict(zip(said, row, strict=True)) for row in zip(*said.values(), strict=True)]


def _moment(rows: Sequence[Row]) -> dict[str, Any]:
    return {**{name: max(row[name] for row in rows) for name in ("time", "lag")}, **looked_at(rows)}
