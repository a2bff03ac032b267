"""`heed send-test-alert`: a made-up alert the whole way to every receiver and sink, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import typer

from connectors.clock import WallClock
from connectors.sink import Sink
from stream.app.sinks import sinks_of
from stream.rules.change import fingerprint
from stream.rules.message import rfc3339
from stream.settings import RECEIVER, Settings, load

NAME = "HeedTestAlert"
REASON = "test"
NO_END = "0001-01-01T00:00:00Z"  # how Alertmanager writes that an alert goes on
MINUTE = 60_000_000_000  # ns


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to send, and to whom; nobody named = everybody."""

    receivers: Sequence[str] = ()
    sinks: Sequence[str] = ()
    labels: Mapping[str, str] | None = None
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether one sink took it."""

    name: str
    ok: bool
    problem: str = ""


def send_test(config: str | None, overrides: Sequence[str], wanted: Wanted, output: str) -> int:
    """Print what became of the alert; 1 where it did not get through. Raises ConfigError and BadParameter."""
    settings = load(config, overrides, need_sources=False)
    sinks = sinks_of(settings)
    chosen = {name: sinks[name] for name in _chosen(settings, sinks, wanted)}
    now = WallClock().now()
    outcomes = [_sent(name, sink, _message(name, wanted, now)) for name, sink in chosen.items()]
    _tell(outcomes, output)
    return int(not all(outcome.ok for outcome in outcomes))


def _chosen(settings: Settings, sinks: Mapping[str, Sink], wanted: Wanted) -> list[str]:
    if not wanted.receivers and not wanted.sinks:
        return list(sinks)
    known = [receiver.name for receiver in settings.receivers]
    data = [name for name in sinks if not name.startswith(RECEIVER)]
    _known("receiver", wanted.receivers, known)
    _known("sink", wanted.sinks, data)
    bases = {f"{RECEIVER}{name}" for name in wanted.receivers}
    ours = [n for n in sinks if n.startswith(RECEIVER) and (n in bases or n.rpartition("/")[0] in bases)]
    return [*ours, *(name for name in data if name in wanted.sinks)]


def _known(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise typer.BadParameter(f'no {what} is called "{name}", known: {", ".join(known) or "none"}')


def _sent(name: str, sink: Sink, message: Mapping[str, object]) -> Outcome:
    try:
        sink.send([message])
    except Exception as error:  # whatever went wrong, the others are still to be tried
        return Outcome(name, False, str(error) or type(error).__name__)
    finally:
        sink.close()
    return Outcome(name, True)


def _message(name: str, wanted: Wanted, now: int) -> dict[str, Any]:
    """A notification for a receiver, an alert message for a sink."""
    labels = {"alertname": NAME, "severity": "info", "group": "heed", "stream": "heed/test", **(wanted.labels or {})}
    notes = {"summary": "A test of heed's notifications", "description": "Nothing is wrong: somebody ran a test."}
    starts, ends = now - MINUTE, now if wanted.resolved else None
    if name.startswith(RECEIVER):
        return _notification(name.split("/")[1], labels, notes, starts, ends)
    key, status = fingerprint(labels), _status(ends)
    return {
        "id": f"{key}-{starts}", "fingerprint": key, "status": status, "active_at": rfc3339(starts),
        "starts_at": rfc3339(starts), "ends_at": None if ends is None else rfc3339(ends), "labels": labels,
        "annotations": notes, "rule": labels["alertname"], "group": labels["group"], "streams": [],
        "evidence": {}, "model": {"name": None, "digest": None}, "reason": REASON,
    }  # fmt: skip


def _notification(
    receiver: str, labels: dict[str, str], notes: dict[str, str], starts: int, ends: int | None
) -> dict[str, Any]:
    times = {"startsAt": rfc3339(starts), "endsAt": NO_END if ends is None else rfc3339(ends)}
    about = {"labels": labels, "annotations": notes, "generatorURL": "", "fingerprint": fingerprint(labels)}
    return {
        "version": "4", "groupKey": f'{{}}:{{alertname="{labels["alertname"]}"}}', "truncatedAlerts": 0,
        "status": _status(ends), "receiver": receiver, "groupLabels": {"alertname": labels["alertname"]},
        "commonLabels": labels, "commonAnnotations": notes, "externalURL": "",
        "alerts": [{"status": _status(ends), **about, **times}], "reason": REASON,
    }  # fmt: skip


def _status(ends: int | None) -> str:
    return "firing" if ends is None else "resolved"


def _tell(outcomes: Sequence[Outcome], output: str) -> None:
    if output == "json":
        typer.echo(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
        return
    for outcome in outcomes:
        typer.echo(
            f"{'ok' if outcome.ok else 'failed':6}  {outcome.name}{'  ' * bool(outcome.problem)}{outcome.problem}"
        )
