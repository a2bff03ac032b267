"""Where alerts go: the settings of sinks (data, every change) and receivers (people, incidents)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stream.settings.quantities import Duration, Section, Size, Text, Whole, by_default, refused
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
    """Name that `route.receiver` uses."""
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


class Route(Section):
    """Who is told of incidents, how they are gathered and how often they are repeated."""

    receiver: Text | None = None
    """Who is told; by default the first receiver."""
    group_by: tuple[Text, ...] = ("alertname", "group")
    """Labels that alerts of one incident share."""
    group_wait: Duration = by_default("5s")
    """How long an incident waits for more alerts before it is told first."""
    group_interval: Duration = by_default("1m")
    """Least time between two tellings of an incident that changed."""
    repeat_interval: Duration = by_default("4h")
    """After which an incident that goes on is told again."""


def sink_client(sink: KafkaSink, sources: tuple[Source, ...]) -> dict[str, str]:
    """A Kafka sink's client keys, by default the first Kafka source's; secrets read from their files.

    Raises ConfigError where a secret's file can't be read.
    """
    if sink.client:
        return with_files_read(sink.client)
    first = next(source for source in sources if isinstance(source, KafkaSource))
    return first.client_config()
