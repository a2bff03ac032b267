"""Where readings come from: the settings of each type of source, and how a message becomes readings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from stream.settings.quantities import (
    Duration,
    FieldPath,
    FieldPaths,
    Regex,
    Section,
    Template,
    Text,
    TextOrList,
    Whole,
    Zone,
    by_default,
    expected,
    refused,
)
from stream.settings.secrets import is_secret, with_files_read

TimeUnit = Literal["s", "ms", "us", "ns", "rfc3339", "record"]


def _client_values(value: object) -> object:
    """Numbers and booleans as the text librdkafka's documentation shows; a secret must be text already."""
    if not isinstance(value, dict):
        raise expected('a mapping like {bootstrap.servers: "127.0.0.1:9092"}')
    return {key: item if is_secret(str(key)) else _client_text(item) for key, item in value.items()}


def _client_text(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _no_twins(client: dict[str, str]) -> dict[str, str]:
    for key in client:
        if is_secret(key) and f"{key}_file" in client:
            raise refused(f"give {key} or {key}_file, not both")
    return client


_client_schema = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
Client = Annotated[
    dict[str, str],
    BeforeValidator(_client_values),
    AfterValidator(_no_twins),
    WithJsonSchema(_client_schema),
]


class Fields(Section):
    """Which part of a message is what: a path (``a.b[0]``, ``list[].x``), or a template with paths in braces."""

    stream: Template = "stream"
    """Name of the stream."""
    group: Template = "group"
    """Group of the stream; where a message has none, the stream's name up to its last `/`."""
    time: FieldPath = "ts"
    """Event time."""
    value: FieldPaths = ("value",)
    """Value; several (or one that ends with `*`) make a stream each, told apart by `{_field}`."""
    labels: dict[Text, Template] = Field(default_factory=dict)
    """Labels of the stream."""

    @model_validator(mode="after")
    def _streams_differ(self) -> Fields:
        several = len(self.value) > 1 or self.value[0] == "*" or self.value[0].endswith(".*")
        if several and "{_field}" not in self.stream:
            raise refused('with several values the stream must hold {_field}, like "{machine}/{_field}"', "stream")
        return self


class Decoded(Section):
    """What all sources of messages share."""

    type: str
    name: Text | None = None
    """Name in state, metrics and logs; by default the type, numbered from the second on."""
    fields: Fields = Fields()
    """Which part of a message is what."""
    time_unit: TimeUnit = "ms"
    """Unit of the event time; `record` = the Kafka timestamp."""
    zone: Zone | None = None
    """Time zone of times written without one; by default UTC."""


class KafkaSource(Decoded):
    """Messages of Kafka topics, read in a consumer group."""

    type: Literal["kafka"] = "kafka"
    topics: tuple[Text, ...] = ()
    """Topics to read; or give `pattern`."""
    pattern: Regex | None = None
    """Regular expression of the topics to read."""
    client: Client
    """librdkafka's keys; a secret may be given as `KEY_file`, the path of a file that holds it."""
    client_library: Literal["kafka-python", "confluent"] = "kafka-python"
    """What reads: `confluent` is librdkafka, which fetches on threads of its own; it needs heed-monitor[fast]."""
    format: Literal["json", "columns", "msgpack", "arrow", "csv"] = "json"
    """How messages are written."""
    header: tuple[Text, ...] = ()
    """Names of the columns of CSV messages; by default the first row of each message has them."""
    dead_letter_topic: Text | None = None
    """Where messages go that can't be decoded; by default `<group.id>.dlq`."""

    @model_validator(mode="after")
    def _complete(self) -> KafkaSource:
        if bool(self.topics) == bool(self.pattern):
            raise refused("give topics, like topics: [plant.readings], or a pattern (one of the two)")
        if "bootstrap.servers" not in self.client:
            raise refused('bootstrap.servers is required, like bootstrap.servers: "127.0.0.1:9092"', "client")
        if self.header and self.format != "csv":
            raise refused("only CSV has a header: format: csv", "header")
        return self

    def client_config(self) -> dict[str, str]:
        """The client's keys with secrets read from their files; raises ConfigError where one can't be read."""
        return with_files_read({"group.id": "heed", **self.client})


class FileSource(Decoded):
    """Lines of a file that grows and is rotated."""

    type: Literal["file"] = "file"
    path: Text
    """File to follow."""
    format: Literal["json", "columns", "csv"] = "json"
    """JSON a line, with arrays or not, or CSV with a head line; by default by the file's ending, `.csv` or not."""

    @model_validator(mode="before")
    @classmethod
    def _format_by_ending(cls, data: Any) -> Any:
        if isinstance(data, dict) and "format" not in data:
            return {**data, "format": "csv" if str(data.get("path", "")).endswith(".csv") else "json"}
        return data


class StdinSource(Decoded):
    """Lines of the standard input."""

    type: Literal["stdin"] = "stdin"
    format: Literal["json", "columns", "csv"] = "json"
    """JSON a line, with arrays or not, or CSV with a head line."""


class SyntheticSource(Section):
    """Made-up machines, roads and markets with faults at known times."""

    type: Literal["synthetic"] = "synthetic"
    name: Text | None = None
    """Name in state, metrics and logs; by default the type, numbered from the second on."""
    streams: Whole = Field(default=300, ge=1)
    """How many streams, about."""
    step: Duration = by_default("250ms")
    """Time between two readings of a stream."""
    seed: Whole = Field(default=0, ge=0)
    """The same seed makes the same readings."""


class RecordingSource(Section):
    """Recorded readings (Parquet, CSV, JSON lines), read once."""

    type: Literal["recording"] = "recording"
    name: Text | None = None
    """Name in state, metrics and logs; by default the type, numbered from the second on."""
    path: TextOrList
    """Files or globs."""


Source = Annotated[
    KafkaSource | FileSource | StdinSource | SyntheticSource | RecordingSource, Field(discriminator="type")
]
