"""Fewer messages that say the same in the end: what a sink that was away needs to be told of each alert or incident."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.sink import Message


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that stands for those of ``numbers`` (positions among the messages given, rising)."""

    message: Message
    numbers: tuple[int, ...]


def key_of(message: Message) -> str:
    """What a message is about: an incident (``groupKey``) or an alert (``fingerprint``); empty = nothing known."""
    return str(message.get("groupKey") or message.get("fingerprint") or "")


def compacted(messages: Sequence[Message]) -> list[Kept]:
    """The messages that have to be sent instead of these, in order; every number is in exactly one of them.

    Of a notification's incident: the newest, with the last word on each alert that an older one told; before it the
    first, where that said firing and the newest says resolved. Of an alert: its first and its last firing that wait,
    each with its end; those in between are left out. Messages about nothing known stay as they are.
    """
    about: dict[str, list[int]] = {}
    for number, message in enumerate(messages):
        about.setdefault(key_of(message) or f"\n{number}", []).append(number)
    kept = [each for numbers in about.values() for each in _of_one(messages, numbers)]
    return sorted(kept, key=lambda each: each.numbers[-1])


def _of_one(messages: Sequence[Message], numbers: list[int]) -> list[Kept]:
    if len(numbers) == 1:
        return [Kept(messages[numbers[0]], tuple(numbers))]
    if all(isinstance(messages[number].get("alerts"), (list, tuple)) for number in numbers):
        return _of_incident(messages, numbers)
    return _of_alert(messages, numbers)


def _of_incident(messages: Sequence[Message], numbers: list[int]) -> list[Kept]:
    first, last = messages[numbers[0]], messages[numbers[-1]]
    alone = first.get("status") == "firing" and last.get("status") != "firing"
    before = [Kept(first, (numbers[0],))] if alone else []
    rest = numbers[1:] if alone else numbers
    return [*before, Kept(merged([messages[number] for number in rest]), tuple(rest))]


def merged(messages: Sequence[Message]) -> Message:
    """The newest of an incident's notifications, and after its own alerts what only older ones told, newest word."""
    if len(messages) == 1:
        return messages[0]
    newest = messages[-1]
    latest: dict[str, Mapping[str, Any]] = {}
    for message in reversed(messages):
        for alert in _alerts(message):
            latest.setdefault(_identity(alert), alert)
    alerts = list(latest.values())
    shared = {f"common{what.title()}": _shared(alerts, what) for what in ("labels", "annotations")}
    return {**newest, **shared, "alerts": alerts}


def _alerts(message: Message) -> list[Mapping[str, Any]]:
    found = message.get("alerts")
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, (list, tuple)) else []


def _identity(alert: Mapping[str, Any]) -> str:
    labels = alert.get("labels")
    return str(alert.get("fingerprint") or sorted(labels.items() if isinstance(labels, Mapping) else ()))


def _shared(alerts: Sequence[Mapping[str, Any]], what: str) -> dict[str, str]:
    """The labels or annotations that all alerts have alike."""
    each: Iterable[Mapping[str, str]] = (alert.get(what) or {} for alert in alerts)
    common: dict[str, str] | None = None
    for own in each:
        common = dict(own) if common is None else {k: v for k, v in common.items() if own.get(k) == v}
    return common or {}


def _of_alert(messages: Sequence[Message], numbers: list[int]) -> list[Kept]:
    starts = [messages[number].get("starts_at") for number in numbers]
    told = {number for start in (starts[0], starts[-1]) for number in _ends(numbers, starts, start)}
    kept: list[Kept] = []
    waiting: list[int] = []
    for number in numbers:
        waiting.append(number)
        if number in told:
            kept.append(Kept(messages[number], tuple(waiting)))
            waiting = []
    return kept


def _ends(numbers: list[int], starts: list[object], start: object) -> tuple[int, int]:
    """The first and the last message of the firing that began at ``start``."""
    own = [number for number, each in zip(numbers, starts, strict=True) if each == start]
    return own[0], own[-1]
