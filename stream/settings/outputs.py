"""Where alerts go: the settings of sinks (data, every change) and receivers (people, incidents)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stream.settings.quantities import Duration, Section, Text, Url, by_default, refused
from stream.settings.secrets import with_files_read
from stream.settings.sources import Client, KafkaSource, Source


class KafkaSink(Section):
    """Alert changes to a Kafka topic, keyed by fingerprint."""

    type: Literal["kafka"] = "kafka"
    name: Text | None = None
    """Name in state, metrics and logs; by default the type, numbered from the second on."""
    topic: Text
    """Topic to write to."""
    client: Client = Field(default_factory=dict)
    """librdkafka's keys; by default those of the first Kafka source."""


class JsonlSink(Section):
    """Alert changes to a file, one JSON object a line."""

    type: Literal["jsonl"] = "jsonl"
    name: Text | None = None
    """Name in state, metrics and logs; by default the type, numbered from the second on."""
    path: Text
    """File to append to."""


class ConsoleSink(Section):
    """Alert changes to the standard output, a line for people each."""

    type: Literal["console"] = "console"
    name: Text | None = None
    """Name in state, metrics and logs; by default the type, numbered from the second on."""


Sink = Annotated[KafkaSink | JsonlSink | ConsoleSink, Field(discriminator="type")]


class Endpoint(Section):
    """An HTTP address that notifications are posted to."""

    url: Url
    """Where to post."""
    timeout: Duration = by_default("10s")
    """Longest wait for an answer."""


class Receiver(Section):
    """Someone to tell of incidents, by one or several ways."""

    name: Text
    """Name that `route.receiver` uses."""
    alertmanager: Endpoint | None = None
    """Prometheus Alertmanager; heed adds `/api/v2/alerts`."""
    webhook: Endpoint | None = None
    """A POST of Alertmanager's webhook object, version 4."""

    @model_validator(mode="after")
    def _tells(self) -> Receiver:
        if not (self.alertmanager or self.webhook):
            raise refused(
                'needs a way to tell: alertmanager or webhook, like alertmanager: {url: "http://127.0.0.1:9093"}'
            )
        return self


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
