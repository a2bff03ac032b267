"""The whole configuration: one frozen tree, every key with a default but ``sources``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from stream.settings.calendar import TimeInterval
from stream.settings.outputs import Branch, ConsoleSink, KafkaSink, Receiver, Route, Sink
from stream.settings.quantities import (
    Address,
    Duration,
    DurationOrZero,
    Number,
    Section,
    Share,
    Size,
    Text,
    Url,
    Whole,
    by_default,
    refused,
)
from stream.settings.sources import KafkaSource, Source
from stream.settings.streams import StreamEntry

Place = tuple[str | int, ...]


class Windows(Section):
    """How readings become windows."""

    size: Whole = Field(default=128, ge=8, le=4096)
    """Steps of a window."""
    every: Whole = Field(default=1, ge=1, le=4096)
    """A window is judged every so many steps."""
    lateness: DurationOrZero = by_default("2s")
    """How long a step waits for readings that come late."""
    future: DurationOrZero = by_default("1m")
    """A reading further ahead of its arrival is set aside."""
    idle: Duration = by_default("30s")
    """A partition without readings for so long holds nobody up."""
    ttl: Duration = by_default("1h")
    """A stream without readings for so long is forgotten."""


class Limits(Section):
    """What heed may take."""

    streams: Whole = Field(default=100_000, ge=1, le=10_000_000)
    """Most streams at a time; more are refused and counted."""
    message_bytes: Size = by_default("1MiB")
    """Largest message read."""
    memory: Size = by_default("4GiB")
    """Most memory; `heed check` says what the limit on streams needs."""


class Model(Section):
    """What scores windows."""

    name: Literal["builtin", "none"] | None = None
    """The shipped model, or none: the sentinel alone; by default `builtin` where no `path` is given."""
    path: Text | None = None
    """A model of your own: a directory with a card, or an ONNX file."""
    false_alarms: Number = Field(default=0.1, gt=0, le=1000)
    """Nominal false alarms per stream and day at score 1."""

    @model_validator(mode="before")
    @classmethod
    def _builtin_unless_told(cls, data: Any) -> Any:
        return {"name": "builtin", **data} if isinstance(data, dict) and not data.get("path") else data

    @model_validator(mode="after")
    def _one(self) -> Model:
        if self.name and self.path:
            raise refused("give a name or a path, not both")
        return self


class Budget(Section):
    """How late, how blind and how dear heed may be."""

    latency: Duration = by_default("250ms")
    """Lag allowed: p99 of the time from due to verdict."""
    blind: Duration = by_default("30s")
    """Longest time a stream with windows due goes without a full look."""
    cores: Whole = Field(default=1, ge=1, le=1024)
    """CPU cores the model may use."""
    policy: Literal["weight", "gate", "last", "oldest", "round_robin", "random"] = "weight"
    """By what the looks that are afforded are given."""
    explore: Share = 0.25
    """Share of them given by chance, so that nothing is overlooked for good."""
    slack: Share = Field(default=0.05, le=0.9)
    """Share of the latency budget kept free for bursts."""


class State(Section):
    """Where heed keeps what a restart must not lose, and how often."""

    path: Text = "./state"
    """Directory, made where it is missing."""
    commit: Duration = by_default("1s")
    """Between two commits of alerts, ledger and positions."""
    checkpoint: Duration = by_default("5m")
    """Between two checkpoints of evidence and calibration."""
    shared: bool | None = None
    """Whether state travels with its Kafka partition, through a topic; by default with `--workers`."""
    topic: Text | None = None
    """That topic, which is made where it is missing; by default `<group.id>.state`."""

    @model_validator(mode="after")
    def _often_and_seldom(self) -> State:
        if self.commit > self.checkpoint:
            raise refused("must not be shorter than state.commit", "checkpoint")
        return self


class Outbox(Section):
    """How much may wait for a sink that can't be reached before it is compacted."""

    messages: Whole = Field(default=10_000, ge=1, le=10_000_000)
    """Messages for one sink; beyond, a newer one about the same incident or alert stands for those before it."""
    bytes: Size = by_default("64MiB")
    """The same as a size."""


class Server(Section):
    """The page, metrics and the HTTP interface."""

    listen: Address = "127.0.0.1:8321"
    """Host and port, or `none`; there is no log-in, so think before opening it to others."""
    external_url: Url | None = None
    """Where people find the page, told in notifications; by default the address that is listened on."""


class Logging(Section):
    """Log lines, on the standard error."""

    format: Literal["auto", "console", "json"] = "auto"
    """`auto` is for people on a terminal, JSON elsewhere."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level written."""


class Reload(Section):
    """When a changed configuration is taken in."""

    poll: DurationOrZero = by_default("10s")
    """How often files are looked at for changes; `0s`: only when asked to, by SIGHUP."""


class Settings(Section):
    """heed's configuration."""

    sources: tuple[Source, ...] = ()
    """Where readings come from; the one key without a default."""
    streams: tuple[StreamEntry, ...] = ()
    """What holds for streams by name; the first match wins."""
    windows: Windows = Windows()
    """How readings become windows."""
    limits: Limits = Limits()
    """What heed may take."""
    model: Model = Model()
    """What scores windows."""
    evidence: Literal["full", "lean"] = "full"
    """What the sentinel keeps per stream; `lean` takes less memory and knows no weeks."""
    budget: Budget = Budget()
    """How late, how blind and how dear heed may be."""
    rule_files: tuple[Text, ...] = ()
    """Rule files or globs, relative to the configuration file; by default the built-in rules."""
    time_intervals: tuple[TimeInterval, ...] = ()
    """Named times, in Alertmanager's shape."""
    seed: DurationOrZero = by_default("0s")
    """How much of its topics' history heed learns from first when it starts without state of its own."""
    sinks: tuple[Sink, ...] = (ConsoleSink(),)
    """Where alert changes go as data; by default the console."""
    receivers: tuple[Receiver, ...] = ()
    """Who can be told of incidents."""
    route: Route = Route()
    """Who is told of incidents, and how often."""
    state: State = State()
    """Where heed keeps what a restart must not lose."""
    outbox: Outbox = Outbox()
    """How much may wait for a sink that can't be reached before it is compacted."""
    server: Server = Server()
    """The page, metrics and the HTTP interface."""
    logging: Logging = Logging()
    """Log lines."""
    reload: Reload = Reload()
    """When changed rules, receivers and routes are taken in; most else needs a restart."""


def contradictions(settings: Settings) -> list[tuple[Place, str]]:
    """What is right in each part and wrong as a whole: names that nothing has, names given twice."""
    return [*_unknown_names(settings), *_lost_sinks(settings), *_twice(settings), *_unshared(settings)]


def _unshared(settings: Settings) -> list[tuple[Place, str]]:
    """State in a topic belongs to the offsets of one group, and kafka-python alone can write both at once."""
    place = ("state", "shared")
    if not settings.state.shared:
        return (
            [(("state", "topic"), "needs shared: true")]
            if settings.state.topic and settings.state.shared is False
            else []
        )
    kafka = [source for source in settings.sources if isinstance(source, KafkaSource)]
    if len(settings.sources) != 1 or not kafka:
        return [(place, "needs one source, of type kafka: the state is kept beside its offsets")]
    if kafka[0].client_library != "kafka-python":
        return [(place, "needs client_library: kafka-python, which can write state and offsets in one transaction")]
    return []


def _unknown_names(settings: Settings) -> list[tuple[Place, str]]:
    intervals = [interval.name for interval in settings.time_intervals]
    receivers = [receiver.name for receiver in settings.receivers]
    found: list[tuple[Place, str]] = [
        (("streams", i, "closed"), _nobody("time interval", entry.closed, intervals, "time_intervals"))
        for i, entry in enumerate(settings.streams)
        if entry.closed and entry.closed not in intervals
    ]
    return found + list(_unknown_in_routes(settings, intervals, receivers))


def _unknown_in_routes(settings: Settings, intervals: list[str], receivers: list[str]) -> Iterator[tuple[Place, str]]:
    route = settings.route
    all_routes: list[tuple[Place, Route | Branch]] = [(("route",), route)]
    all_routes += [(("route", "routes", i), branch) for i, branch in enumerate(route.routes)]
    for place, each in all_routes:
        if each.receiver and each.receiver not in receivers:
            yield (*place, "receiver"), _nobody("receiver", each.receiver, receivers, "receivers")
        for key in ("mute_time_intervals", "active_time_intervals"):
            for i, name in enumerate(getattr(each, key)):
                if name not in intervals:
                    yield (*place, key, i), _nobody("time interval", name, intervals, "time_intervals")


def _nobody(what: str, name: str, names: list[str], where: str) -> str:
    known = f"known: {', '.join(names)}" if names else f"{where} is empty"
    return f'no {what} is called "{name}", {known}'


def _lost_sinks(settings: Settings) -> list[tuple[Place, str]]:
    if any(isinstance(source, KafkaSource) for source in settings.sources):
        return []
    return [
        (("sinks", i), 'needs a client, like client: {bootstrap.servers: "127.0.0.1:9092"}: no source is a Kafka one')
        for i, sink in enumerate(settings.sinks)
        if isinstance(sink, KafkaSink) and "bootstrap.servers" not in sink.client
    ]


def _twice(settings: Settings) -> list[tuple[Place, str]]:
    named: dict[str, list[str | None]] = {
        "sources": [item.name for item in settings.sources],
        "time_intervals": [item.name for item in settings.time_intervals],
        "sinks": [item.name for item in settings.sinks],
        "receivers": [item.name for item in settings.receivers],
    }
    return [
        ((where, i, "name"), f'the name "{name}" is taken already')
        for where, names in named.items()
        for i, name in enumerate(names)
        if name and name in names[:i]
    ]


def names(parts: tuple[Source, ...] | tuple[Sink, ...]) -> list[str]:
    """A name for each source or sink: its own, or its type, numbered from the second on (``kafka``, ``kafka-2``)."""
    taken: set[str | None] = {part.name for part in parts}
    found: list[str] = []
    for part in parts:
        found.append(part.name or _free(part.type, taken))
        taken.add(found[-1])
    return found


def _free(kind: str, taken: set[str | None]) -> str:
    name, count = kind, 1
    while name in taken:
        count += 1
        name = f"{kind}-{count}"
    return name
