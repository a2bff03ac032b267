"""Terms of a rule that are neither a condition nor a length of time: ``3 of 5`` steps, ``6 in 1h`` changes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from stream.rules.span import Span, parse_span

MOST_COUNTED = 60  # steps; one bit each in a column of int64
MOST_CHANGES = 50  # of an alert that may flap; each takes eight bytes
_COUNT = re.compile(r"\s*(\d{1,4})\s+of\s+(\d{1,4})\s*", re.ASCII)
_FLAPPING = re.compile(r"\s*(\d{1,4})\s+in\s+(\S.*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Count:
    """In how many of the last steps the condition has to be true. Off where both are 1."""

    least: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.least} of {self.of}"


@dataclass(frozen=True, slots=True)
class Flapping:
    """An alert flaps that changed at least so often within so long. Off where ``changes`` is 0."""

    changes: int = 0
    within: Span = Span()

    def __str__(self) -> str:
        return f"{self.changes} in {self.within}"


EVERY, NEVER_FLAPS = Count(), Flapping()


def parse_count(text: object) -> Count:
    """``3 of 5``; ValueError tells what is wrong."""
    found = _COUNT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f'{text!r} is not a count: write it like "3 of 5"')
    least, of = int(found[1]), int(found[2])
    if not 1 <= least <= of <= MOST_COUNTED:
        raise ValueError(f'"{text}": the first number is 1 or more, the second no smaller and at most {MOST_COUNTED}')
    return Count(least, of)


def parse_flapping(text: object) -> Flapping:
    """``6 in 1h`` or ``6 in 60 steps``; ValueError tells what is wrong."""
    found = _FLAPPING.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f'{text!r} is no measure of flapping: write it like "6 in 1h", changes in a time')
    changes, within = int(found[1]), parse_span(found[2])
    if not 3 <= changes <= MOST_CHANGES:
        raise ValueError(f'"{text}": from 3 to {MOST_CHANGES} changes can be asked for')
    if within == Span():
        raise ValueError(f'"{text}": the time must be longer than 0')
    return Flapping(changes, within)


def parse_range(value: object) -> tuple[float, float]:
    """``[0, 150]``, lowest and highest; ValueError tells what is wrong."""
    ends = value if isinstance(value, list) else []
    if len(ends) != 2 or not all(_is_number(end) for end in ends):
        raise ValueError(f"{value!r} is not a range: write the lowest and the highest, like [0, 150]")
    low, high = (float(end) for end in ends)
    if not low < high:
        raise ValueError(f"{value!r} is not a range: the first number must be smaller than the second")
    return low, high


def parse_deviation(value: object) -> float:
    """A number of 0 or more; ValueError tells what is wrong."""
    if not _is_number(value) or not 0 <= float(str(value)) < math.inf:
        raise ValueError(f"{value!r} is not a deviation: write a number of 0 or more")
    return float(str(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
