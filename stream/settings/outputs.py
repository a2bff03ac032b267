"""Where alerts go: the settings of sinks (data, every change) and receivers (people, incidents)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from stream.notify.matcher import MatcherError, read_matchers
from stream.settings.quantities import (
    Duration,
    DurationOrZero,
    Section,
    Size,
    Text,
    TextOrList,
    Whole,
    by_default,
    refused,
)
from stream.settings.receivers import Alertmanager, Apprise, Email, Exec, Webhook
from stream.settings.secrets import with_files_read
from stream.settings.sources import Client, KafkaSource, Source

RECEIVER = "receiver/"  # begins the names of sinks that get notifications


class KafkaSink(Section):
    """Alert changes to a Kafka topic, keyed by fingerprint."""

    type: Literal["kafka"] = "kafka"
    name: Text | None = None
    """Name in state, metrics and logs; by default the type, numbered from the second on."""
    topic: Text
    """Topic to write to."""
    client: Client = Field(default_factory=dict)
    """librdkafka's keys; by default those of the first Kafka source."""


class Rotate(Section):
    """When a file is put aside, and how many of those are kept."""

    size: Size = by_default("100MiB")
    """Before it would grow larger, the file becomes `<name>.1`, the last one `<name>.2` and so on."""
    keep: Whole = Field(default=5, ge=0, le=1000)
    """How many of those are kept."""


class JsonlSink(Section):
    """Alert changes to a file, one JSON object a line."""

    type: Literal["jsonl"] = "jsonl"
    name: Text | None = None
    """Name in state, metrics and logs; by default the type, numbered from the second on."""
    path: Text
    """File to append to; one that was moved away or removed is begun anew."""
    rotate: Rotate = Rotate()
    """When it is put aside."""


class ConsoleSink(Section):
    """Alert changes to the standard output, a line for people each."""

    type: Literal["console"] = "console"
    name: Text | None = None
    """Name in state, metrics and logs; by default the type, numbered from the second on."""


Sink = Annotated[KafkaSink | JsonlSink | ConsoleSink, Field(discriminator="type")]


class Receiver(Section):
    """Someone to tell of incidents, by one or several ways."""

    name: Text
    """Name that routes use."""
    alertmanager: Alertmanager | None = None
    """Prometheus Alertmanager, or all of a cluster."""
    webhook: Webhook | None = None
    """A POST of Alertmanager's webhook object, version 4."""
    email: Email | None = None
    """Mails."""
    exec: Exec | None = None
    """A program."""
    apprise: Apprise | None = None
    """Chats, pagers and whatever else apprise knows."""
    max_alerts: Whole = Field(default=1000, ge=0, le=100_000)
    """Most alerts in one notification, 0 = all; how many more there are is told. Alertmanager gets all."""
    send_resolved: bool = True
    """Whether to tell that alerts are over. Alertmanager is always told."""
    resend_delay: Duration = by_default("1m")
    """How often an Alertmanager gets the alerts that fire again; it forgets what it does not hear of."""

    @model_validator(mode="after")
    def _tells(self) -> Receiver:
        if not _kinds(self):
            raise refused(
                "needs a way to tell: alertmanager, webhook, email, exec or apprise, "
                'like alertmanager: {url: "http://127.0.0.1:9093"}'
            )
        return self


def _kinds(receiver: Receiver) -> list[str]:
    options = ("name", "max_alerts", "send_resolved", "resend_delay")
    return [kind for kind in type(receiver).model_fields if kind not in options and getattr(receiver, kind)]


def ways(receiver: Receiver) -> dict[str, str]:
    """Kind to sink name of each way in which a receiver is told: ``receiver/oncall``, or with several of them
    ``receiver/oncall/webhook``."""
    kinds, base = _kinds(receiver), f"{RECEIVER}{receiver.name}"
    return {kind: base if len(kinds) == 1 else f"{base}/{kind}" for kind in kinds}


def _matchers(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        read_matchers(texts)
    except MatcherError as error:
        raise refused(str(error)) from None
    return texts


def _group_by(labels: tuple[str, ...]) -> tuple[str, ...]:
    if "..." in labels and len(labels) > 1:
        raise refused('"..." stands for every label, and then stands alone')
    return labels


Matchers = Annotated[TextOrList, AfterValidator(_matchers)]
GroupBy = Annotated[tuple[Text, ...], AfterValidator(_group_by)]


class Branch(Section):
    """A route for some alerts; what it does not say, it has of the route above."""

    matchers: Matchers
    """What the labels have to be, in Alertmanager's syntax, like `severity="page"`; all must hold."""
    receiver: Text | None = None
    """Who is told."""
    continue_: bool = Field(default=False, alias="continue")
    """Whether the routes after this one are looked at too."""
    group_by: GroupBy | None = None
    """Labels that alerts told together share; `[...]` = all, so that each is told alone."""
    group_wait: DurationOrZero | None = None
    """How long the first telling waits for more alerts."""
    group_interval: Duration | None = None
    """Least time between two tellings."""
    repeat_interval: Duration | None = None
    """After which what goes on is told again."""
    mute_time_intervals: tuple[Text, ...] = ()
    """Names of times at which nobody is told."""
    active_time_intervals: tuple[Text, ...] = ()
    """Names of times outside of which nobody is told."""

    @model_validator(mode="before")
    @classmethod
    def _one_level(cls, data: Any) -> Any:
        if isinstance(data, dict) and "routes" in data:
            raise refused(
                "routes have one level here; a tree of them belongs to Alertmanager, to which a receiver can pass on "
                "all alerts",
                "routes",
            )
        return data


class Route(Section):
    """Who is told of incidents, how they are gathered and how often they are repeated."""

    receiver: Text | None = None
    """Who is told of what no route takes; by default the first receiver."""
    group_by: GroupBy = ("alertname", "group")
    """Labels that alerts told together share; `[...]` = all, so that each is told alone."""
    group_wait: DurationOrZero = by_default("5s")
    """How long the first telling waits for more alerts."""
    group_interval: Duration = by_default("1m")
    """Least time between two tellings of alerts that changed."""
    repeat_interval: Duration = by_default("4h")
    """After which what goes on is told again."""
    mute_time_intervals: tuple[Text, ...] = ()
    """Names of times at which nobody is told; not inherited by `routes`."""
    active_time_intervals: tuple[Text, ...] = ()
    """Names of times outside of which nobody is told; not inherited by `routes`."""
    routes: tuple[Branch, ...] = ()
    """Others for some alerts: the first that matches, and those after it where it says `continue`."""


def sink_client(sink: KafkaSink, sources: tuple[Source, ...]) -> dict[str, str]:
    """A Kafka sink's client keys, by default the first Kafka source's; secrets read from their files.

    Raises ConfigError where a secret's file can't be read.
    """
    if sink.client:
        return with_files_read(sink.client)
    first = next(source for source in sources if isinstance(source, KafkaSource))
    return first.client_config()
