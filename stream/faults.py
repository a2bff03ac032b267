"""Known faults against what fired: found, missed, how late, and which incidents overlap no fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

GRACE = 10_000_000_000  # ns after its end in which a fault still counts as found


@dataclass(frozen=True, slots=True)
class Known:
    """A fault that is known to have happened: on these streams, or on the whole group where ``streams`` is empty."""

    name: str
    group: str
    streams: frozenset[str]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert that fired."""

    group: str
    stream: str
    starts_at: int


def account(known: Sequence[Known], fired: Sequence[Fired], incidents: Sequence[Fired]) -> dict[str, Any]:
    """The ``faults`` section of a summary.

    A fault is found if an alert fires on one of its streams (on its group for group faults) from its start to its
    end + 10 s. A false alert is an incident that begins at no time and in no group of a fault, same grace.
    """
    delays = [delay for fault in known if (delay := _delay(fault, fired)) is not None]
    by_name: dict[str, list[int]] = {}
    for fault in known:
        found = by_name.setdefault(fault.name, [0, 0])
        found[0] += 1
        found[1] += _delay(fault, fired) is not None
    false = [i for i in incidents if not any(_near(fault, i) and fault.group == i.group for fault in known)]
    return {
        "injected": len(known),
        "found": len(delays),
        "missed": len(known) - len(delays),
        "false_alerts": len(false),
        "delay_p50": round(median(delays) / 1e9, 3) if delays else None,
        "by_name": {name: {"injected": n, "found": hit} for name, (n, hit) in sorted(by_name.items())},
    }


def _near(fault: Known, alert: Fired) -> bool:
    return fault.start <= alert.starts_at <= fault.end + GRACE


def _delay(fault: Known, fired: Sequence[Fired]) -> int | None:
    """From the fault's start to the first alert on it (ns)."""
    hits = [alert.starts_at - fault.start for alert in fired if _near(fault, alert) and _about(fault, alert)]
    return min(hits, default=None)


def _about(fault: Known, alert: Fired) -> bool:
    """Where either is of a whole group, the group decides."""
    return alert.stream in fault.streams if alert.stream and fault.streams else alert.group == fault.group
