"""heed's own alert about a rule that would raise more alerts than its group's limit: how many were left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from stream.rules.change import Change, fingerprint
from stream.rules.rule import Rule
from stream.rules.rule_file import read_rules

HOLD = 60_000_000_000  # ns of step time without anything left out, until it is resolved
NAME = "heed"  # stands for stream and group
_OWN = read_rules(
    """
groups:
  - name: heed
    rules:
      - alert: HeedRuleLimited
        expr: "False"
        labels: {severity: warning}
        annotations:
          summary: "{{ $values.left_out }} alerts of rule {{ $labels.rule }} were left out"
          description: "At most {{ $values.limit }} alerts of a rule of group {{ $labels.rule_group }} fire at a time."
""",
    "built in",
)[0]


class Limited:
    """Fires while a rule has alerts that its limit leaves out, and for a while after. Times are step time, ns."""

    def __init__(self) -> None:
        self.starts_at: int | None = None
        self._last = 0
        self._left_out = 0  # when it was told

    def look(self, rule: Rule, ts: int, left_out: int) -> list[Change]:
        """So many alerts are left out at ``ts``."""
        if left_out:
            self._last = ts
            if self.starts_at is None:
                self.starts_at, self._left_out = ts, left_out
                return [self._change(rule, "firing", None, "limit")]
        elif self.starts_at is not None and ts - self._last >= HOLD:
            return self.end(rule, ts, "limit_kept")
        return []

    def end(self, rule: Rule, ts: int, reason: str) -> list[Change]:
        """Resolve it where it fires."""
        if self.starts_at is None:
            return []
        change = self._change(rule, "resolved", max(ts, self.starts_at), reason)
        self.starts_at = None
        return [change]

    def firing(self, rule: Rule) -> list[Change]:
        """What fires, as it was told."""
        return [] if self.starts_at is None else [self._change(rule, "firing", None, "limit")]

    def _change(self, rule: Rule, status: Literal["firing", "resolved"], ends_at: int | None, reason: str) -> Change:
        labels = {
            "alertname": _OWN.alert, "severity": "warning", "rule": rule.key, "rule_group": rule.group,
            "stream": NAME, "group": NAME,
        }  # fmt: skip
        values = {"left_out": float(self._left_out), "limit": float(rule.limit)}
        at = self.starts_at or 0
        return Change(_OWN, -1, NAME, NAME, labels, status, at, at, ends_at, fingerprint(labels), values, reason)

    def row(self) -> dict[str, Any] | None:
        """Plain values of what fires, None where nothing does; ``put`` takes them up again."""
        if self.starts_at is None:
            return None
        return {"starts_at": self.starts_at, "last": self._last, "left_out": self._left_out}

    def put(self, row: Mapping[str, Any]) -> None:
        """As ``row`` told of it."""
        self.starts_at, self._last, self._left_out = row["starts_at"], row["last"], row["left_out"]
