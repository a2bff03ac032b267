"""What one turn of the monitor brought: alert changes with what was known, incidents, notes for the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stream.rules.change import Change
from stream.rules.incident import IncidentChange
from stream.verdict import Verdicts


@dataclass(frozen=True, slots=True)
class Told:
    """An alert change with what was known when it came."""

    change: Change
    verdicts: Verdicts | None  # None: the stream left
    row: int
    coverage: float
    shed: int
    names: Sequence[str] = ()  # of all slots when it came; () = as they are when it is told

    @classmethod
    def alone(cls, change: Change) -> Told:
        """A change that no verdict goes with."""
        return cls(change, None, -1, 1.0, 0)


@dataclass(slots=True)
class Turn:
    """What one step of the monitor brought."""

    told: list[Told] = field(default_factory=list)
    incidents: list[IncidentChange] = field(default_factory=list)
    notes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # for the log: name, details
    ticks: int = 0
