"""How a rule is doing: what the list of rules shows beside the rule itself."""

from __future__ import annotations

from dataclasses import dataclass

from stream.rules.rule import Rule

SHOWN = 20  # pending alerts of one rule


@dataclass(frozen=True, slots=True)
class Standing:
    """Counts of one rule since the start, and its state now."""

    rule: Rule
    pending: int = 0
    firing: int = 0
    evaluations: int = 0  # rule x stream
    unknown: int = 0  # of these, neither true nor false
    evaluated: int = 0  # end of the last step it was evaluated at, ns; 0 = not yet
    waiting: tuple[tuple[str, str, int], ...] = ()  # stream, group and active_at (ns) of the first pending ones

    @property
    def state(self) -> str:
        """As Prometheus tells it."""
        return "firing" if self.firing else "pending" if self.pending else "inactive" if self.evaluated else "unknown"
