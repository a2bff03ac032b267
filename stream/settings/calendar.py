"""Time intervals in Alertmanager's shape, and whether a time lies in one."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from stream.settings.quantities import Section, Text, Zone, expected, refused

_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = tuple(name.lower() for name in calendar.month_name)  # the first is empty, so that january is 1
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_NUMBER = re.compile(r"-?[0-9]{1,4}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _clock(text: str) -> str:
    if not _CLOCK.fullmatch(text):
        raise expected('a time of day like "22:00", in quotes')
    return text


ClockTime = Annotated[Text, AfterValidator(_clock)]


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


@cache
def _range(text: str, names: tuple[str, ...]) -> tuple[int, int] | None:
    """First and last of ``monday:friday`` or ``-7:-1``; None where it isn't one."""
    ends = [_end(part.strip().lower(), names) for part in text.split(":")]
    if not 1 <= len(ends) <= 2 or None in ends:
        return None
    first, last = ends[0], ends[-1]
    return None if first is None or last is None else (first, last)


def _end(text: str, names: tuple[str, ...]) -> int | None:
    if text and text in names:
        return names.index(text)
    return int(text) if _NUMBER.fullmatch(text) else None


def _ranges(names: tuple[str, ...], least: int, most: int, what: str) -> AfterValidator:
    def check(texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            found = _range(text, names)
            if not found or not all(least <= end <= most for end in found) or not _ordered(found):
                raise refused(f'"{text}" is not {what}')
        return texts

    return AfterValidator(check)


def _ordered(ends: tuple[int, int]) -> bool:
    first, last = ends
    return first <= last if (first < 0) == (last < 0) else first > 0 > last


def _day_range(texts: tuple[str, ...]) -> tuple[str, ...]:
    if any("0" in text.split(":") for text in texts):
        raise refused('days of a month count from 1, or from -1 backwards, like "1:5" or "-3:-1"')
    return texts


Texts = tuple[Annotated[Text, BeforeValidator(lambda value: str(value) if type(value) is int else value)], ...]
Weekdays = Annotated[Texts, _ranges(_DAYS, 0, 6, 'a day or range of days, like "monday:friday"')]
MonthDays = Annotated[
    Texts,
    _ranges((), -31, 31, 'a day or range of days of the month, like "1:5" or "-3:-1"'),
    AfterValidator(_day_range),
]
Months = Annotated[Texts, _ranges(_MONTHS, 1, 12, 'a month or range of months, like "may:august"')]
Years = Annotated[Texts, _ranges((), 1970, 9999, 'a year or range of years, like "2026:2030"')]


class Hours(Section):
    """Part of a day."""

    start_time: ClockTime
    """First minute, `HH:MM`."""
    end_time: ClockTime
    """First minute no longer in it, `HH:MM` up to 24:00."""

    @model_validator(mode="after")
    def _forward(self) -> Hours:
        if _minutes(self.start_time) >= _minutes(self.end_time):
            raise refused(
                "end_time must be later than start_time; over midnight, write two: 22:00 to 24:00 and 00:00 to 05:00"
            )
        return self

    def holds(self, minute: int) -> bool:
        """Whether a minute of the day lies in these hours."""
        return _minutes(self.start_time) <= minute < _minutes(self.end_time)


class Span(Section):
    """Times at which all that is given holds."""

    times: tuple[Hours, ...] = ()
    """Hours of the day; by default all."""
    weekdays: Weekdays = ()
    """Days of the week, like `monday:friday`; by default all."""
    days_of_month: MonthDays = ()
    """Days of the month, like `1:5`, negative from the end; by default all."""
    months: Months = ()
    """Months, like `may:august` or `5:8`; by default all."""
    years: Years = ()
    """Years, like `2026:2030`; by default all."""
    location: Zone = "UTC"
    """Time zone that all this is meant in."""

    def holds(self, time_ns: int) -> bool:
        """Whether a time (ns since the epoch) lies in this span."""
        local = (_EPOCH + timedelta(microseconds=time_ns // 1000)).astimezone(ZoneInfo(self.location))
        minute = local.hour * 60 + local.minute
        return (
            (not self.times or any(hours.holds(minute) for hours in self.times))
            and _within(self.weekdays, _DAYS, local.isoweekday() % 7)
            and _within_month(self.days_of_month, local)
            and _within(self.months, _MONTHS, local.month)
            and _within(self.years, (), local.year)
        )


def _within(texts: Texts, names: tuple[str, ...], value: int) -> bool:
    found = [_range(text, names) for text in texts]
    return not found or any(ends is not None and ends[0] <= value <= ends[1] for ends in found)


def _within_month(texts: Texts, local: datetime) -> bool:
    length = calendar.monthrange(local.year, local.month)[1]
    found = [_range(text, ()) for text in texts]
    days = [[end if end > 0 else length + 1 + end for end in ends] for ends in found if ends]
    return not days or any(first <= local.day <= last for first, last in days)


class TimeInterval(Section):
    """A name for times: the night, the week-end, the month's end."""

    name: Text
    """Name that `closed`, routes and the `active_time_intervals` of rules use."""
    time_intervals: tuple[Span, ...] = Field(min_length=1)
    """Spans; a time lies in the interval where it lies in any of them."""

    def holds(self, time_ns: int) -> bool:
        """Whether a time (ns since the epoch) lies in this interval."""
        return any(span.holds(time_ns) for span in self.time_intervals)
