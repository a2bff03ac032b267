"""An alert rule: a condition, how long it must hold, and what is said of the alerts it raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from stream.rules.expression import Expression
from stream.rules.span import Span, parse_span

__all__ = ["NoData", "Rule", "Span", "parse_span"]

NoData = Literal["ok", "alerting", "keep"]


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
