"""Who is told of what, from settings: receivers, routes and time intervals put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from connectors.sink import Delivery
from stream.config_text import ConfigError, Problem
from stream.notify.matcher import MatcherError, read_matchers
from stream.notify.notifier import Notifier
from stream.notify.route import Receiver, Route, Routes
from stream.settings import Branch, Settings, TimeInterval, ways
from stream.settings import Receiver as ReceiverSettings
from stream.settings import Route as RouteSettings

RELAYED = "alertmanager"  # the kind of receiver that gets alerts as they are


class Deliveries(Protocol):
    """What is known of deliveries, like connectors.keeping.outbox.Outbox."""

    def counts(self) -> Mapping[str, Delivery]:
        """By sink what became of its messages."""
        ...


def notifier_of(settings: Settings, deliveries: Deliveries, url: str = "") -> Notifier:
    """The stages of a run; without receivers they keep silences alone. ``url``: where people find the page."""

    def busy(sink: str) -> bool:
        return deliveries.counts().get(sink, Delivery()).waiting > 0

    return Notifier(routes_of(settings), settings.server.external_url or url, busy)


def routes_of(settings: Settings) -> Routes | None:
    """Routes with what they inherit filled in; None where nobody is to be told. Raises ConfigError."""
    if not settings.receivers:
        return None
    receivers = {each.name: _receiver(each) for each in settings.receivers}
    intervals = {each.name: each for each in settings.time_intervals}
    top = settings.route
    default = receivers[top.receiver or settings.receivers[0].name]
    routes = [_branch(i, branch, top, default, receivers, intervals) for i, branch in enumerate(top.routes)]
    return Routes(_route(top, top, default, intervals), routes)


def _receiver(each: ReceiverSettings) -> Receiver:
    sinks = ways(each)
    relay = sinks.pop(RELAYED, None)
    return Receiver(each.name, tuple(sinks.values()), relay, each.max_alerts, each.send_resolved, each.resend_delay)


def _branch(
    number: int,
    branch: Branch,
    top: RouteSettings,
    default: Receiver,
    receivers: Mapping[str, Receiver],
    intervals: Mapping[str, TimeInterval],
) -> Route:
    made = _route(branch, top, receivers[branch.receiver] if branch.receiver else default, intervals)
    try:
        made.matchers = read_matchers(branch.matchers)
    except MatcherError as error:
        raise ConfigError([Problem(str(error), ("route", "routes", number, "matchers"))]) from error
    made.goes_on = branch.continue_
    return made


def _route(
    each: Branch | RouteSettings, top: RouteSettings, receiver: Receiver, intervals: Mapping[str, TimeInterval]
) -> Route:
    def own(key: str) -> int:
        found = getattr(each, key)
        return int(getattr(top, key) if found is None else found)

    return Route(
        receiver,
        group_by=top.group_by if each.group_by is None else each.group_by,
        group_wait=own("group_wait"),
        group_interval=own("group_interval"),
        repeat_interval=own("repeat_interval"),
        mute=[intervals[name] for name in each.mute_time_intervals],
        active=[intervals[name] for name in each.active_time_intervals],
    )
