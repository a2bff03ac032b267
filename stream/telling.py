"""Alert messages with all that was known when the alert changed: who else was off, what was looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from connectors.batch import StreamTable
from models.contract import Scorer
from stream.rules import message as wire
from stream.turn import Told


def teller(table: StreamTable, scorer: Scorer | None) -> Callable[[Told], dict[str, Any]]:
    """What makes the message of an alert change in a run with this model."""

    def tell(told: Told) -> dict[str, Any]:
        context = _context(told, scorer)
        message = wire.message(told.change, context)
        message["streams"] += _explaining(told, table)
        return message

    return tell


def _context(told: Told, scorer: Scorer | None) -> wire.Told:
    name, digest = (scorer.name, scorer.digest) if scorer is not None else ("sentinel", None)
    if told.verdicts is None:
        return wire.Told(name, digest)
    return wire.Told(name, digest, told.shed, told.verdicts.tick.start, told.coverage)


def _explaining(told: Told, table: StreamTable) -> list[dict[str, Any]]:
    """The streams of the group that the model attended to most, with their share of its attention."""
    verdicts = told.verdicts
    if verdicts is None or not told.change.stream or told.change.slot not in verdicts.explained:
        return []
    slots, shares = verdicts.explained[told.change.slot]
    others = [(s, w) for s, w in zip(slots.tolist(), shares.tolist(), strict=True) if s != told.change.slot]
    names = told.names or table.names
    return [_row(told, names, slot, share) for slot, share in others]


def _row(told: Told, names: Sequence[str], slot: int, share: float) -> dict[str, Any]:
    verdicts = told.verdicts
    assert verdicts is not None
    columns = {"value": verdicts.tick.value}
    columns |= {name: getattr(verdicts, name) for name in ("expected", "low", "high", "score")}
    rows = np.flatnonzero(verdicts.tick.slots == slot)  # none where it is closed now: its group still knows it
    numbers = {name: _plain(column[rows[0]]) if rows.size else None for name, column in columns.items()}
    value, expected = numbers["value"], numbers["expected"]
    known = value is not None and expected is not None and value != expected
    direction = ("above" if value > expected else "below") if known else None  # type: ignore[operator]
    return {"stream": names[slot], "share": round(share, 4), "direction": direction, **numbers}


def _plain(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
