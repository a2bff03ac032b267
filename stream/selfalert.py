"""heed's alert about itself: streams were unseen for longer than `blind` promises."""

from __future__ import annotations

from typing import Literal

from stream.rules.change import Change, Values, fingerprint
from stream.rules.rule_file import read_rules

HOLD = 60_000_000_000  # ns of event time without a breach, until it is resolved
Status = Literal["firing", "resolved"]
NAME = "heed"  # stands for stream and group
_RULE = read_rules(
    """
groups:
  - name: heed
    rules:
      - alert: HeedBlindnessBreached
        expr: age > 0
        labels: {severity: critical}
        annotations:
          summary: "heed did not look at {{ $values.streams }} streams within the time that blind promises"
          description: "The longest is unseen for {{ $values.age }} s. The budget does not carry so many."
""",
    "built in",
)[0]
_LABELS = {"alertname": _RULE.alert, "severity": "critical", "stream": NAME, "group": NAME}


class SelfAlert:
    """Fires with the first breach, is resolved when there was none for a while. Times are event time, ns."""

    def __init__(self) -> None:
        self.starts_at = 0  # 0 = it does not fire
        self._last = 0

    def restore(self, starts_at: int) -> None:
        """After a restart: it fired since ``starts_at``, 0 = it did not."""
        self.starts_at = self._last = starts_at

    def look(self, ts: int, breached: int, longest: int) -> list[Change]:
        """``breached`` streams were unseen for too long at ``ts``, the longest for ``longest`` ns."""
        if breached:
            self._last = ts
            if not self.starts_at:
                self.starts_at = ts
                return [self._change("firing", None, {"streams": float(breached), "age": longest / 1e9}, "expr_true")]
        elif self.starts_at and ts - self._last >= HOLD:
            change = self._change("resolved", ts, {"streams": 0.0, "age": longest / 1e9}, "expr_false")
            self.starts_at = 0
            return [change]
        return []

    def firing(self) -> list[Change]:
        """Itself, while it fires; the numbers of the breach are not kept."""
        return [self._change("firing", None, {"streams": None, "age": None}, "expr_true")] if self.starts_at else []

    def _change(self, status: Status, ends_at: int | None, values: Values, reason: str) -> Change:
        at, key = self.starts_at, fingerprint(_LABELS)
        return Change(_RULE, -1, NAME, NAME, _LABELS, status, at, at, ends_at, key, values, reason)
