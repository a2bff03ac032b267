"""An alert rule: a condition, how long it must hold, and what is said of the alerts it raises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from stream.durations import format_duration, parse_duration
from stream.rules.expression import Expression

NoData = Literal["ok", "alerting", "keep"]
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


@dataclass(frozen=True, slots=True)
class Rule:
    """A checked rule. ``labels`` hold those of its rule group too."""

    alert: str
    expr: Expression
    hold: Span = Span()  # `for`
    keep_firing_for: Span = Span()
    cool_down: Span = Span()  # after starts_at
    clear_expr: Expression | None = None
    no_data: NoData = "keep"
    min_coverage: float = 0.0
    fidelity: int = 0  # the least that the rule trusts, index into columns.FIDELITIES
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    group: str = ""  # the rule group
    interval: Span = Span()  # how often it is evaluated; 0 = at each step
    file: str = ""
    line: int = 0

    @property
    def key(self) -> str:
        """What tells the rule from others, also over restarts and reloads: its alert and its labels."""
        pairs = ", ".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()))
        return f"{self.alert}{{{pairs}}}" if pairs else self.alert

    def due(self, end: int, step: int) -> bool:
        """Whether the rule is evaluated at the step that ends at ``end``: at each first step of an interval."""
        interval = self.interval.of(step)
        return interval <= step or end // interval != (end - step) // interval
