"""The stages in their order: silences, routes, gathering, mutes, repeats; alert messages in, notifications out."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stream.notify.alert import Alert, Message
from stream.notify.desk import Asked, Desk
from stream.notify.gathering import Gathering
from stream.notify.notification import notification
from stream.notify.relay import Relay
from stream.notify.route import Route, Routes
from stream.notify.silence import Silence, SilenceError, Silences
from stream.rules.message import rfc3339

Row = tuple[str, str]  # kind and key of what the state keeps
Addressed = tuple[str, Mapping[str, object]]  # the name of a sink, and what it gets


@dataclass(slots=True)
class Noticed:
    """What one turn brought: notifications by sink, and whether the state should be written at once."""

    send: list[Addressed] = field(default_factory=list)
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Why somebody is not told of an alert: ids of silences, names of time intervals."""

    silenced_by: tuple[str, ...] = ()
    muted_by: tuple[str, ...] = ()


class Notifier:
    """Tells receivers of incidents. Time is an argument, and all that a restart needs is in ``take_rows``.

    ``url`` is where people find heed, ``busy`` tells whether an earlier notification still waits for a sink.
    """

    def __init__(self, routes: Routes | None, url: str = "", busy: Callable[[str], bool] = lambda sink: False) -> None:
        self._routes, self._url, self._busy = routes, url, busy
        self.silences, self.desk = Silences(), Desk()
        self.suppressed: Counter[str] = Counter()  # alerts by what kept them back, since the start
        self._alerts: dict[str, Alert] = {}
        self._gatherings: dict[str, Gathering] = {}
        self._due: list[tuple[int, str]] = []  # a heap; an entry whose time is not its gathering's is old
        self._relays = _relays_of(routes)
        self._dirty: set[Row] = set()
        self._answers: list[tuple[Asked, dict[str, Any] | SilenceError]] = []
        self._firing: dict[str, Message] | None = None  # after a restart: what fires, until the first step
        self.touched = False  # silences are not what was last shown

    # -- one turn

    def step(self, messages: Sequence[Message], now: int, more: bool = False) -> Noticed:
        """Take in what changed up to ``now`` (ns): requests, silences, alerts; what is to be told.

        Where ``more`` of what changed at once is to come, notifications wait for it, so that a storm is told as one.
        """
        found = Noticed()
        self._serve(now, found)
        self._agree(now)
        if self.silences.step(now):
            self._weigh_again(now)
        if self._routes is not None:
            for message in messages:
                self._take(Alert.of(message, now), now)
            if not more:
                self._look(now, found)
            for relay in self._relays.values():
                self._relay(relay, now, found)
        found.urgent |= bool(found.send)
        return found

    def _serve(self, now: int, found: Noticed) -> None:
        for asked in self.desk.take():
            self._answers.append((asked, self._change(asked, now)))
            found.urgent = self.touched = True

    def _change(self, asked: Asked, now: int) -> dict[str, Any] | SilenceError:
        try:
            if isinstance(asked.what, str):
                return self.silences.expire(asked.what, now).told(now)
            if isinstance(asked.what, Silence):
                return self.silences.adopt(asked.what).told(now)
            return self.silences.add(asked.what, now).told(now)
        except SilenceError as error:
            return error

    def answer(self, now: int) -> None:
        """After the commit: those who asked are told what came of it."""
        for asked, said in self._answers:
            if isinstance(said, SilenceError):
                asked.answer.set_exception(said)
            else:
                asked.answer.set_result(said)
        self._answers = []

    def _agree(self, now: int) -> None:
        """After a restart with other rules: what fires unknown to anyone here is taken, what fires no more is over."""
        if self._firing is None:
            return
        firing, self._firing = self._firing, None
        for key, message in firing.items():
            if key not in self._alerts or not self._alerts[key].firing:
                self._take(Alert.of(message, now), now)
        for key, alert in self._alerts.items():
            if alert.firing and key not in firing:
                alert.resolve(rfc3339(now), now)
                self._pass_on(alert, now)

    def _weigh_again(self, now: int) -> None:
        """Silences begin or end: who is silenced now, and who no more."""
        self.touched = True
        for key, alert in self._alerts.items():
            by = self.silences.of(alert.labels)
            if by == alert.silenced_by:
                continue
            freed, alert.silenced_by = not by, by
            self._dirty.add(("alert", key))
            if freed:
                self._release(alert, now)

    def _release(self, alert: Alert, now: int) -> None:
        for route in self._routes_of(alert):
            gathering = self._gatherings.get(route.named(alert.labels))
            if gathering is not None and alert.fingerprint in gathering.alerts:
                gathering.released(alert, now)
                self._plan(gathering)
            relay = self._relays.get(route.key)
            if relay is not None and alert.fingerprint in relay.alerts:
                relay.released(alert)

    # -- alerts

    def _take(self, newer: Alert, now: int) -> None:
        alert = self._alerts.get(newer.fingerprint)
        if alert is None:
            alert = self._alerts[newer.fingerprint] = newer
        else:
            alert.take(newer)
        alert.silenced_by = self.silences.of(alert.labels)
        self._pass_on(alert, now)

    def _pass_on(self, alert: Alert, now: int) -> None:
        self._dirty.add(("alert", alert.fingerprint))
        for route in self._routes_of(alert):
            if route.receiver.sinks:
                gathering = self._gathering(route, alert)
                due = gathering.due
                gathering.take(alert, now)
                if due != gathering.due:
                    self._plan(gathering)
                else:
                    self._dirty.add(("gathering", gathering.key))
            if route.receiver.relay:
                self._relays[route.key].take(alert)

    def _routes_of(self, alert: Alert) -> list[Route]:
        return [] if self._routes is None else self._routes.of(alert.labels)

    def _gathering(self, route: Route, alert: Alert) -> Gathering:
        key = route.named(alert.labels)
        found = self._gatherings.get(key)
        if found is None:
            found = self._gatherings[key] = Gathering(route, route.gathered_by(alert.labels), key)
        return found

    def _plan(self, gathering: Gathering) -> None:
        self._dirty.add(("gathering", gathering.key))
        if gathering.due is not None:
            heapq.heappush(self._due, (gathering.due, gathering.key))

    # -- telling

    def _look(self, now: int, found: Noticed) -> None:
        while self._due and self._due[0][0] <= now:
            due, key = heapq.heappop(self._due)
            gathering = self._gatherings.get(key)
            if gathering is not None and gathering.due == due:
                self._tell(gathering, now, found)

    def _tell(self, gathering: Gathering, now: int, found: Noticed) -> None:
        receiver = gathering.route.receiver
        telling = gathering.look(now, self.suppressed)
        if telling is not None:
            said = notification(
                telling.alerts, telling.reason, receiver.name, gathering.key, gathering.labels, now,
                self._url, receiver.max_alerts,
            )  # fmt: skip
            found.send += [(sink, said) for sink in receiver.sinks]
        self._let_go(gathering.gone)
        if gathering.over(now):
            del self._gatherings[gathering.key]
            self._dirty.add(("gathering", gathering.key))
        else:
            self._plan(gathering)

    def _relay(self, relay: Relay, now: int, found: Noticed) -> None:
        receiver = relay.route.receiver
        assert receiver.relay is not None
        for alerts, reason in relay.look(now, self.suppressed, self._busy(receiver.relay)):
            said = notification(alerts, reason, receiver.name, relay.key, {}, now, self._url)
            found.send.append((receiver.relay, said))
        self._dirty.update(("alert", alert.fingerprint) for alert in relay.marked)
        relay.marked.clear()
        self._let_go(relay.gone)

    def _let_go(self, gone: list[Alert]) -> None:
        """Alerts that are over and that nobody waits to hear of are forgotten."""
        for alert in gone:
            self._dirty.add(("alert", alert.fingerprint))
            if not alert.held_by:
                self._alerts.pop(alert.fingerprint, None)
        gone.clear()

    # -- what others see

    def shown(self, now: int) -> dict[str, Suppressed]:
        """By fingerprint, the alerts that somebody is not told of at ``now``, and why."""
        muted = dict(self._muted(now))
        silenced = {key: alert.silenced_by for key, alert in self._alerts.items() if alert.silenced_by}
        return {key: Suppressed(silenced.get(key, ()), muted.get(key, ())) for key in silenced.keys() | muted.keys()}

    def _muted(self, now: int) -> Iterable[tuple[str, tuple[str, ...]]]:
        parts: Iterable[Gathering | Relay] = (*self._relays.values(), *self._gatherings.values())
        for part in parts:
            muting = part.route.muted(now)
            if muting is not None:
                yield from ((key, muting[1]) for key in part.alerts)

    # -- state

    def take_rows(self) -> dict[Row, Any]:
        """What changed since the last call, as plain values; None = it is gone."""
        dirty, self._dirty = self._dirty, set()
        dirty |= {("silence", key) for key in self.silences.changed}
        self.silences.changed.clear()
        known: Mapping[str, Callable[[str], Alert | Gathering | Silence | None]] = {
            "alert": self._alerts.get,
            "gathering": self._gatherings.get,
            "silence": self.silences.get,
        }
        return {row: None if (part := known[row[0]](row[1])) is None else part.row() for row in dirty}

    def restore(self, rows: Mapping[Row, Any], firing: Iterable[Message]) -> None:
        """Take up what the state kept; ``firing``: the messages of all alerts that fire."""
        of_kind: dict[str, dict[str, Any]] = {"silence": {}, "gathering": {}, "alert": {}}
        for (kind, key), row in rows.items():
            of_kind.setdefault(kind, {})[key] = row
        self.silences.restore(of_kind["silence"])
        self._take_up(of_kind["gathering"], of_kind["alert"])
        self._firing = _by_fingerprint(firing) if self._routes is not None else None

    def reroute(self, routes: Routes | None, firing: Iterable[Message]) -> None:
        """Other routes and receivers from now on, as after a restart; ``firing``: the messages of all that fires.

        What was gathered on a route that is still there goes on as it stands.
        """
        self._remake(routes, *self._told())
        self._firing = _by_fingerprint(firing) if self._routes is not None else None

    def of(self, ours: Callable[[Mapping[str, str]], bool]) -> dict[str, Any]:
        """What is known of the alerts whose labels are ``ours``, for ``adopt`` in another process."""
        gatherings, alerts = self._told()
        mine = {key: row for key, row in alerts.items() if ours(row["labels"])}
        return {"alerts": mine, "gatherings": _only(gatherings, mine)}

    def adopt(self, rows: Mapping[str, Any], firing: Iterable[Message], now: int) -> None:
        """Go on with what another process told of alerts; ``firing``: the messages of those that fire."""
        gatherings, alerts = self._told()
        for key, row in rows["gatherings"].items():
            gatherings[key] = _joined(gatherings[key], row) if key in gatherings else row
        self._dirty |= {("alert", key) for key in rows["alerts"]} | {("gathering", key) for key in rows["gatherings"]}
        self._remake(self._routes, gatherings, alerts | rows["alerts"])
        if self._routes is not None:
            for key, message in _by_fingerprint(firing).items():
                if key not in self._alerts or not self._alerts[key].firing:
                    self._take(Alert.of(message, now), now)

    def leave(self, ours: Callable[[Mapping[str, str]], bool]) -> None:
        """Another process goes on with these alerts: nothing is told of them here."""
        gatherings, alerts = self._told()
        kept = {key: row for key, row in alerts.items() if not ours(row["labels"])}
        left = _only(gatherings, kept)
        self._dirty |= {("alert", key) for key in alerts.keys() - kept.keys()}
        self._dirty |= {("gathering", key) for key in gatherings}
        self._remake(self._routes, left, kept)

    def _told(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Rows of all gatherings and alerts."""
        gatherings = {key: each.row() for key, each in self._gatherings.items()}
        return gatherings, {key: each.row() for key, each in self._alerts.items()}

    def _remake(self, routes: Routes | None, gatherings: Mapping[str, Any], alerts: Mapping[str, Any]) -> None:
        before, self._relays = self._relays, _relays_of(routes)
        for key in self._relays.keys() & before.keys():
            self._relays[key].due = before[key].due
        self._routes, self._gatherings, self._due, self._firing = routes, {}, [], None
        self._take_up(gatherings, alerts)
        self.touched = True

    def _take_up(self, gatherings: Mapping[str, Any], alerts: Mapping[str, Any]) -> None:
        """Rows of gatherings and alerts, under the routes there are now."""
        self._restore_gatherings(gatherings)
        self._alerts = {key: Alert.restored(key, row) for key, row in alerts.items()}
        over = {key: set(row["over"]) for key, row in gatherings.items()}
        for alert in list(self._alerts.values()):
            self._rejoin(alert, over)
            if not alert.held_by:
                self._let_go([alert])
        for gathering in self._gatherings.values():
            gathering.replan()
            self._plan(gathering)

    def _restore_gatherings(self, rows: Mapping[str, Any]) -> None:
        """Those of routes that are there no more are forgotten."""
        routes = {route.key: route for route in ([] if self._routes is None else self._routes.all)}
        for key, row in rows.items():
            route = routes.get(row["route"])
            if route is None or not route.receiver.sinks:
                self._dirty.add(("gathering", key))
                continue
            self._gatherings[key] = Gathering(route, row["labels"], key)
            self._gatherings[key].restore(row)

    def _rejoin(self, alert: Alert, over: Mapping[str, set[str]]) -> None:
        """Where the routes are others now, an alert that fires is told anew, at once."""
        for route in self._routes_of(alert):
            key = route.named(alert.labels)
            if route.receiver.sinks and (alert.firing or alert.fingerprint in over.get(key, ())):
                gathering = self._gatherings.get(key) if key in over else None
                if gathering is not None and (not alert.firing or gathering.knows(alert)):
                    gathering.join(alert)
                elif alert.firing:
                    self._gathering(route, alert).take(alert, 0)
            if route.receiver.relay and (alert.firing or route.key in alert.relayed):
                self._relays[route.key].rejoin(alert)


def _relays_of(routes: Routes | None) -> dict[str, Relay]:
    """One for each route whose receiver is an Alertmanager."""
    return {route.key: Relay(route) for route in ([] if routes is None else routes.all) if route.receiver.relay}


def _by_fingerprint(messages: Iterable[Message]) -> dict[str, Message]:
    return {str(message["fingerprint"]): message for message in messages}


def _only(gatherings: Mapping[str, Any], alerts: Container[str]) -> dict[str, Any]:
    """Rows of gatherings with some of their alerts alone; those that have none of them are left out."""
    found = {}
    for key, row in gatherings.items():
        told = {each: at for each, at in row["told"].items() if each in alerts}
        held = {each: why for each, why in row["held"].items() if each in alerts}
        over, back = ([each for each in row[name] if each in alerts] for name in ("over", "back"))
        if told or held or over or back:
            found[key] = {**row, "told": told, "held": held, "over": over, "back": back}
    return found


def _joined(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of the same gathering in two processes."""
    since = [row["since"] for row in (ours, theirs) if row["since"] is not None]
    due = [row["due"] for row in (ours, theirs) if row["due"] is not None]
    return {
        **ours,
        "told": ours["told"] | theirs["told"],
        "held": ours["held"] | theirs["held"],
        "over": [*ours["over"], *theirs["over"]],
        "back": [*ours["back"], *theirs["back"]],
        "since": min(since, default=None),
        "sent_at": max(ours["sent_at"], theirs["sent_at"]),
        "due": min(due, default=None),
    }
