"""Alert changes that come about between turns, by other rules or after a restart: told with the next turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stream.rules.alert import Alerts, Interval
from stream.rules.change import Change
from stream.rules.incident import Incidents
from stream.rules.rule import Rule
from stream.turn import Told, Turn


class Owed:
    """What the next turn has to tell beside its own."""

    def __init__(self, alerts: Alerts, incidents: Incidents) -> None:
        self._alerts, self._incidents = alerts, incidents
        self._changes: list[Change] = []

    def add(self, changes: Sequence[Change]) -> None:
        """Tell these with the next turn."""
        self._changes += changes

    def drop(self, theirs: Callable[[Mapping[str, str]], bool]) -> None:
        """Nothing is told of alerts with such labels: another process goes on with them."""
        self._changes = [change for change in self._changes if not theirs(change.labels)]

    def replace_rules(self, rules: Sequence[Rule], ts: int, intervals: Mapping[str, Interval] | None = None) -> int:
        """Other rules from now on (``ts``, event time, ns); returns how many alerts end by it."""
        changes = self._alerts.replace(rules, ts, intervals)
        self.add(changes)
        return len(changes)

    def settle(self, turn: Turn) -> None:
        """Tell what is owed."""
        if not self._changes:
            return
        changes, self._changes = self._changes, []
        turn.told += [Told.alone(change) for change in changes]
        turn.incidents += self._incidents.gather(changes, max(change.ends_at or change.starts_at for change in changes))
