"""An alert rule: a condition, how long it must hold, and what is said of the alerts it raises."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from stream.rules.expression import Expression
from stream.rules.span import Span, parse_span
from stream.rules.terms import EVERY, NEVER_FLAPS, Count, Flapping

__all__ = ["Direction", "NoData", "Rule", "Span", "parse_span"]

NoData = Literal["ok", "alerting", "keep"]
Direction = Literal["above", "below", "both"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A checked rule. ``labels`` hold those of its rule group too."""

    alert: str
    expr: Expression
    hold: Span = Span()  # `for`
    keep_firing_for: Span = Span()
    cool_down: Span = Span()  # after starts_at
    clear_expr: Expression | None = None
    count: Count = EVERY
    flapping: Flapping = NEVER_FLAPS
    no_data: NoData = "keep"
    error: NoData = "keep"
    min_coverage: float = 0.0
    fidelity: int = 0  # the least that the rule trusts, index into columns.FIDELITIES
    direction: Direction = "both"
    min_deviation: float = 0.0
    min_deviation_ratio: float = 0.0  # of what was expected
    data_range: tuple[float, float] | None = None
    active_time_intervals: tuple[str, ...] = ()  # none = always
    limit: int = 0  # most alerts that fire at a time; 0 = none
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

    @property
    def content(self) -> str:
        """16 hex digits by all that decides when it fires; texts and places do not count."""
        clear = None if self.clear_expr is None else self.clear_expr.text
        decides = (
            self.expr.text, clear, self.hold, self.keep_firing_for, self.cool_down, self.count, self.flapping,
            self.no_data, self.error, self.min_coverage, self.fidelity, self.direction, self.min_deviation,
            self.min_deviation_ratio, self.data_range, self.active_time_intervals, self.limit, self.interval,
        )  # fmt: skip
        return hashlib.sha256(repr(decides).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def due(self, end: int, step: int) -> bool:
        """Whether the rule is evaluated at the step that ends at ``end``: at each first step of an interval."""
        interval = self.interval.of(step)
        return interval <= step or end // interval != (end - step) // interval
