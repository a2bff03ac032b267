"""Times as messages write them (counts of a unit, RFC 3339 text) to nanoseconds since the epoch, UTC."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from connectors.batch import Floats, Times

UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # nanoseconds
LAST = 2**63 - 1  # in the year 2262

_TEXT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)? ?(?:([Zz])|([+-])(\d\d):?(\d\d))?", re.ASCII
)
_PLAIN = re.compile(r"[0-9T:. -]*", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadTime(ValueError):
    """A time that can't be read, or that lies outside 1970 to 2262."""


class TimeReader:
    """Reads times of one unit: ``s ms us ns`` (numbers, also as text) or ``rfc3339``.

    ``zone`` (an IANA name, default UTC) is where text without an offset comes from; a time that a clock showed
    twice is the first of the two. Raises ValueError for an unknown unit or zone.
    """

    def __init__(self, unit: str, zone: str | None = None) -> None:
        if unit != "rfc3339" and unit not in UNITS:
            raise ValueError(f"unknown time_unit {unit!r}; one of {', '.join(UNITS)}, rfc3339, record")
        self._unit, self._scale = unit, UNITS.get(unit, 0)
        self._zone = _zone(zone)

    def one(self, value: object) -> int:
        """One time in ns; dates that a format has a type for are what they are, whatever the unit. Raises BadTime."""
        if isinstance(value, np.datetime64 | datetime):
            return _in_range(_of_date(value, self._zone), value)
        if self._scale == 0:
            return self._text(value)
        return _in_range(_scaled(_number(value, self._unit), self._scale), value)

    def column(self, values: Sequence[object] | npt.NDArray[Any]) -> Times:
        """All of them at once; raises BadTime where one is bad or they are of mixed kinds: then read them singly."""
        if isinstance(values, np.ndarray) and values.dtype.kind == "M":
            _all_in_range(values.view(np.int64), LAST)  # NaT is the least of all
            return values.view(np.int64)
        if self._scale == 0:
            return self._texts(values)
        times = _numbers(values)
        if times.dtype.kind == "i":
            _all_in_range(times, LAST // self._scale)
            counted: Times = times.astype(np.int64)
            return counted * self._scale
        if times.dtype.kind == "f" and self._scale >= UNITS["ms"]:
            _all_in_range(times, LAST // self._scale - 1)
            whole = np.floor(times)  # apart from the fraction, so that neither loses digits
            full: Times = whole.astype(np.int64) * self._scale
            rest: Times = np.rint((times - whole) * self._scale).astype(np.int64)
            return full + rest
        raise BadTime("times of mixed kinds")

    def _text(self, value: object) -> int:
        found = _TEXT.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise BadTime(f"not an RFC 3339 time: {str(value)[:60]!r}")
        day, clock, fraction, zulu, sign, hours, minutes = found.groups()
        zone = UTC if zulu else _offset(sign, hours, minutes) if sign else self._zone
        try:
            since = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=zone) - _EPOCH
        except (ValueError, OverflowError) as error:
            raise BadTime(f"not a time: {str(value)[:60]!r} ({error})") from error
        seconds = since.days * 86_400 + since.seconds
        return _in_range(seconds * 10**9 + int((fraction or "").ljust(9, "0")), value)

    def _texts(self, values: Sequence[object] | npt.NDArray[Any]) -> Times:
        """Uniform UTC text (`2024-01-02T03:04:05.6Z`), read by NumPy."""
        texts = [text[:-1] for text in values if isinstance(text, str) and text[-1:] == "Z" and len(text) >= 20]
        if len(texts) < len(values) or not _plain_utc(texts):
            raise BadTime("times of mixed kinds")
        try:
            times: Times = np.array(texts, dtype="datetime64[ns]").view(np.int64)
        except ValueError as error:
            raise BadTime(str(error)) from error
        return times


def _numbers(values: Sequence[object] | npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Whole numbers, also as text, or fractions; of mixed kinds something else, or ValueError."""
    if isinstance(values, np.ndarray):
        return values
    try:
        return np.frombuffer(struct.pack(f"{len(values)}q", *values), np.int64)  # far faster than NumPy's own way
    except struct.error:  # a fraction, a text, or too large
        pass
    if len(values) and isinstance(values[0], str):
        return np.fromiter(map(int, cast(Sequence[str], values)), np.int64, len(values))
    return np.array(values)


def _plain_utc(texts: Sequence[str]) -> bool:
    """True where NumPy reads all of them as RFC 3339 has it: full dates of the years it has, and no offsets."""
    joined = "".join(texts)
    if not _PLAIN.fullmatch(joined) or joined.count("-") != 2 * len(texts):
        return False
    return not texts or "1970" < min(texts) <= max(texts) < "2262-04"


def _of_date(value: np.datetime64 | datetime, zone: tzinfo) -> int:
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[ns]").astype(np.int64))
    since = (value if value.tzinfo else value.replace(tzinfo=zone)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def _zone(name: str | None) -> tzinfo:
    try:
        return UTC if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown zone {name!r}: write an IANA name such as Europe/Berlin") from error


def _offset(sign: str, hours: str, minutes: str) -> tzinfo:
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    if offset >= timedelta(days=1):
        raise BadTime(f"not an offset from UTC: {sign}{hours}:{minutes}")
    return timezone(offset if sign == "+" else -offset)


def _number(value: object, unit: str) -> int | float:
    if isinstance(value, str):
        value = _number_in(value, unit)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadTime(f"not a number of {unit}: {str(value)[:60]!r}")
    return value


def _number_in(text: str, unit: str) -> int | float:
    try:
        return int(text) if text.strip().isdecimal() else float(text)
    except ValueError as error:
        raise BadTime(f"not a number of {unit}: {text[:60]!r}") from error


def _scaled(number: int | float, scale: int) -> int:
    if isinstance(number, int):
        return number * scale
    if not abs(number) < LAST:  # NaN and infinities too
        raise BadTime(f"not a time: {number}")
    whole = int(number // 1)
    return whole * scale + round((number - whole) * scale)


def _in_range(time: int, value: object) -> int:
    if not 0 <= time <= LAST:
        raise BadTime(f"outside 1970 to 2262: {str(value)[:60]!r}")
    return time


def _all_in_range(times: Times | Floats, last: int) -> None:
    if len(times) and not bool(np.all((times >= 0) & (times <= last))):  # False for NaN
        raise BadTime("outside 1970 to 2262")
