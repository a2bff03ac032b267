"""Lengths of event time as rules write them: durations, or numbers of the stream's own steps."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stream.durations import format_duration, parse_duration

LONGEST = 100 * 365 * 86_400_000_000_000  # ns; keeps sums of times and spans within 64 bits
MOST_STEPS = 1_000_000_000
_STEPS = re.compile(r"(\d{1,10})\s*steps?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """A length of event time: nanoseconds, or a number of steps of the stream at hand."""

    ns: int = 0
    steps: int = 0

    def of(self, step: int) -> int:
        """Nanoseconds, for a stream whose steps are ``step`` ns long."""
        return min(self.ns + self.steps * step, LONGEST)

    def __str__(self) -> str:
        return f"{self.steps} steps" if self.steps else format_duration(self.ns)


def parse_span(text: str | int | float) -> Span:
    """``5m`` or ``120 steps``; ValueError tells what is wrong."""
    steps = _STEPS.fullmatch(text.strip()) if isinstance(text, str) else None
    if steps is None:
        return Span(ns=_bounded(_duration(text), LONGEST, text))
    return Span(steps=_bounded(int(steps[1]), MOST_STEPS, text))


def _duration(text: str | int | float) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{error}, or in steps: 120 steps") from None


def _bounded(number: int, most: int, text: object) -> int:
    if number > most:
        raise ValueError(f"{text!r} is too long: at most 100 years or {MOST_STEPS:,} steps")
    return number
