"""What a monitor is made of."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.batch import StreamTable
from connectors.clock import Clock
from stream.gate import Gate
from stream.groups import Groups
from stream.ledger import Ledger
from stream.looks import Looks
from stream.registry import Registry
from stream.rules.alert import Alerts
from stream.rules.incident import Incidents
from stream.sentinel import Sentinel
from stream.windows import Windows


@dataclass(frozen=True, slots=True)
class Parts:
    """What a monitor is made of; app.py puts it together. ``gate`` and ``looks`` are None where there is no model."""

    table: StreamTable
    windows: Windows
    groups: Groups
    sentinel: Sentinel
    gate: Gate | None
    looks: Looks | None
    alerts: Alerts
    incidents: Incidents
    ledger: Ledger
    registry: Registry
    clock: Clock
