"""Receivers, routes and mute times that change while heed runs: all is made and checked before any is swapped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from connectors.keeping.outbox import Outbox
from connectors.sink import Sink
from stream.app.notify import routes_of
from stream.app.sinks import receivers_made
from stream.notify.alert import Message
from stream.notify.notifier import Notifier
from stream.notify.route import Routes
from stream.settings import Receiver, Settings, ways

KEYS = ("receivers", "route", "time_intervals")


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be swapped, and what the log says of it: by kind of change, names."""

    settings: Settings
    routes: Routes | None
    sinks: Mapping[str, Sink]  # of receivers that are new or others
    gone: frozenset[str]  # names of sinks
    told: Mapping[str, list[str]]


class Rerouter:
    """Exchanges who is told of what. ``firing`` gives messages of all that fires, ``readdress`` is called last."""

    def __init__(
        self,
        running: Settings,
        outbox: Outbox,
        notifier: Notifier,
        readdress: Callable[[], None],
        firing: Callable[[], Iterable[Message]],
    ) -> None:
        self._running, self._outbox, self._notifier = running, outbox, notifier
        self._readdress, self._firing = readdress, firing

    def prepare(self, wanted: Settings) -> Change | None:
        """What it takes to go over to these settings, None = nothing; raises ConfigError, and then nothing is left."""
        keys = [key for key in KEYS if getattr(self._running, key) != getattr(wanted, key)]
        if not keys:
            return None
        told = _compared(self._running.receivers, wanted.receivers)
        routes = routes_of(wanted)
        made = receivers_made(wanted, told["receivers_added"] + told["receivers_changed"])
        gone = _addresses(self._running) - _addresses(wanted)
        told = {name: of for name, of in told.items() if of} | {"taken_in": keys}
        return Change(wanted, routes, made, frozenset(gone), told)

    def take_in(self, change: Change) -> None:
        """From now on; nothing in here can fail for a reason that lies in the settings."""
        self._outbox.exchange(change.sinks, change.gone, change.sinks)
        self._notifier.reroute(change.routes, self._firing())
        self._readdress()
        self._running = change.settings


def _compared(old: Iterable[Receiver], new: Iterable[Receiver]) -> dict[str, list[str]]:
    """Names of receivers by what became of them."""
    before, after = ({each.name: each for each in receivers} for receivers in (old, new))
    return {
        "receivers_added": [name for name in after if name not in before],
        "receivers_changed": [name for name in after if name in before and after[name] != before[name]],
        "receivers_removed": [name for name in before if name not in after],
    }


def _addresses(settings: Settings) -> set[str]:
    return {name for receiver in settings.receivers for name in ways(receiver).values()}
