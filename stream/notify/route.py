"""Routes: which receivers an alert goes to, gathered by what, how often, and when not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from stream.notify.matcher import Matcher, all_hold, quoted, shown

ALL = "..."  # in group_by: every label, so that each alert is told alone
MOST_NAMES = 10_000  # that a route remembers
MINUTE = 60_000_000_000  # ns: time intervals change at full minutes
Muting = Literal["mute_time_interval", "active_time_interval"]


class Interval(Protocol):
    """Named times, like stream.settings.calendar.TimeInterval."""

    name: str

    def holds(self, time_ns: int) -> bool:
        """Whether a time lies in it."""
        ...


@dataclass(frozen=True, slots=True)
class Receiver:
    """Someone to be told. ``sinks`` get notifications of what was gathered, ``relay`` every alert as it is."""

    name: str
    sinks: tuple[str, ...] = ()
    relay: str | None = None  # the sink of an Alertmanager
    max_alerts: int = 0  # of one notification, 0 = all
    send_resolved: bool = True
    resend_delay: int = MINUTE  # ns, of the relay


@dataclass(slots=True)
class Route:
    """Alerts for which all ``matchers`` hold go to ``receiver``. Spans in ns."""

    receiver: Receiver
    matchers: tuple[Matcher, ...] = ()
    group_by: tuple[str, ...] = ("alertname", "group")
    group_wait: int = 0
    group_interval: int = 0
    repeat_interval: int = 0
    goes_on: bool = False  # `continue`: later routes are looked at too
    mute: Sequence[Interval] = ()
    active: Sequence[Interval] = ()
    key: str = ""  # unique among the routes; made by Routes
    _names: dict[tuple[str | None, ...], str] = field(default_factory=dict, repr=False)
    _minute: int = field(default=-1, repr=False)
    _muted: tuple[Muting, tuple[str, ...]] | None = field(default=None, repr=False)

    def gathered_by(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The labels that the alerts of one notification share."""
        if ALL in self.group_by:
            return dict(labels)
        return {name: labels[name] for name in self.group_by if name in labels}

    def named(self, labels: Mapping[str, str]) -> str:
        """The name of the alerts that are told together with one of these labels, as Alertmanager writes it."""
        if ALL in self.group_by:
            return self._name(labels)
        values = tuple(map(labels.get, self.group_by))
        found = self._names.get(values)
        if found is None:
            if len(self._names) >= MOST_NAMES:
                self._names.clear()
            found = self._names[values] = self._name(self.gathered_by(labels))
        return found

    def _name(self, labels: Mapping[str, str]) -> str:
        inside = ", ".join(f"{name}={quoted(text)}" for name, text in sorted(labels.items()))
        return f"{self.key}:{{{inside}}}"

    def muted(self, now: int) -> tuple[Muting, tuple[str, ...]] | None:
        """Why nobody is told at ``now``, and the names of the intervals that say so."""
        if not (self.mute or self.active):
            return None
        if now // MINUTE != self._minute:
            self._minute, self._muted = now // MINUTE, self._look(now)
        return self._muted

    def _look(self, now: int) -> tuple[Muting, tuple[str, ...]] | None:
        muting = tuple(interval.name for interval in self.mute if interval.holds(now))
        if muting:
            return "mute_time_interval", muting
        if self.active and not any(interval.holds(now) for interval in self.active):
            return "active_time_interval", tuple(interval.name for interval in self.active)
        return None


class Routes:
    """One level of routes over a default: the first that matches, those after it where it says ``continue``.

    The default takes what no route matches.
    """

    def __init__(self, default: Route, routes: Sequence[Route] = ()) -> None:
        self._default, self._routes = default, list(routes)
        default.key = f"{{}}/{default.receiver.name}"
        taken = {default.key}
        for number, route in enumerate(routes):
            key = f"{{}}/{shown(route.matchers)}/{route.receiver.name}"
            route.key = key if key not in taken else f"{key}/{number}"
            taken.add(route.key)

    def of(self, labels: Mapping[str, str]) -> list[Route]:
        """The routes that an alert takes, at least one."""
        found = []
        for route in self._routes:
            if all_hold(route.matchers, labels):
                found.append(route)
                if not route.goes_on:
                    break
        return found or [self._default]

    @property
    def all(self) -> list[Route]:
        """Every route, the default last."""
        return [*self._routes, self._default]
