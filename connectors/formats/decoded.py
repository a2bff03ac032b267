"""What goes into a codec and what comes out: messages, readings in columns, and why a message gave none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from connectors.batch import Floats, Ints, Times
from connectors.formats.fieldpath import Headers

NO_VALUE = frozenset({"", "nan", "null", "none", "na", "n/a"})  # text that says: the value is missing
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what msgspec raises for a message


class Undecodable(Exception):
    """A message that gives no readings: ``reason`` is a short word to count by, the text is for people."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages of one topic: payloads, and beside each its key, headers and record time (ns), where there are any."""

    payloads: Sequence[bytes | None]
    keys: Sequence[bytes | None] = ()
    headers: Sequence[Headers] = ()
    record_ts: Times | None = None

    def key(self, row: int) -> bytes | None:
        """The key of a message."""
        return self.keys[row] if self.keys else None

    def header(self, row: int) -> Headers:
        """The headers of a message."""
        return self.headers[row] if self.headers else ()


@dataclass(frozen=True, slots=True)
class Decoded:
    """Readings of n messages, in the messages' order; ``row`` tells which message a reading came in."""

    stream: Ints  # slot in the StreamTable, REFUSED = turned away
    ts: Times
    value: Floats  # NaN = the message says that there is no value; infinite ones are not finite, and counted later
    row: Ints
    bad: list[tuple[int, str, str]] = field(default_factory=list)  # message, reason, text: gave no readings
    counts: Mapping[str, int] = field(default_factory=dict)  # absent fields


class Found:
    """Readings gathered so far, in pieces."""

    def __init__(self) -> None:
        self.bad: list[tuple[int, str, str]] = []
        self.absent = 0
        self._pieces: list[tuple[Ints, Times, Floats, Ints]] = []
        self._single: list[tuple[int, int, float, int]] = []

    def add(self, slot: Ints, ts: Times, value: Floats, row: Ints) -> None:
        """Add readings in columns."""
        self._pieces.append((slot, ts, value, row))

    def add_message(self, row: int, readings: Iterable[tuple[int, int, float]]) -> None:
        """Add the readings of one message: slot, time, value."""
        self._single.extend((*reading, row) for reading in readings)

    def decoded(self) -> Decoded:
        """All readings in the order of their messages."""
        pieces = self._pieces
        if self._single or not pieces:
            pieces = [*pieces, _columns(self._single)]
        slot, ts, value, row = (np.concatenate(column) for column in zip(*pieces, strict=True))
        if len(pieces) > 1:
            order = np.argsort(row, kind="stable")
            slot, ts, value, row = slot[order], ts[order], value[order], row[order]
        return Decoded(slot, ts, value, row, sorted(self.bad), {"absent": self.absent} if self.absent else {})


def _columns(readings: Sequence[tuple[int, int, float, int]]) -> tuple[Ints, Times, Floats, Ints]:
    slot, ts, value, row = zip(*readings, strict=True) if readings else ((), (), (), ())
    return np.array(slot, np.int32), np.array(ts, np.int64), np.array(value, np.float64), np.array(row, np.int32)


def number(where: str, value: object) -> float:
    """A value as a message writes it: a number, also as text; None and text such as NaN give NaN.

    Infinite where it is too large for a float. Raises Undecodable for anything else, true and false too.
    """
    if value is None:
        return np.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Undecodable("wrong_type", f"{where} is not a number but {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        return np.inf
    except ValueError:
        pass
    if isinstance(value, str) and value.strip().lower() in NO_VALUE:
        return np.nan
    raise Undecodable("wrong_type", f"{where} is not a number: {str(value)[:60]!r}")
