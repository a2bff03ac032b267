"""The configuration: typed, frozen, every mistake told with its place; see docs/configuration.md."""

from stream.config_text import ConfigError, Problem
from stream.settings.calendar import Span, TimeInterval
from stream.settings.findings import findings, rule_paths
from stream.settings.load import config_files, from_mapping, load, load_text
from stream.settings.outputs import (
    ConsoleSink,
    Endpoint,
    JsonlSink,
    KafkaSink,
    Receiver,
    Route,
    Sink,
    sink_client,
)
from stream.settings.quantities import split_address
from stream.settings.root import Budget, Limits, Logging, Model, Server, Settings, State, Windows, names
from stream.settings.show import generate, reference, schema, show
from stream.settings.sources import (
    Decoded,
    Fields,
    FileSource,
    KafkaSource,
    RecordingSource,
    Source,
    StdinSource,
    SyntheticSource,
)
from stream.settings.streams import (
    DEFAULT_STEP,
    Priority,
    StreamEntry,
    StreamRules,
    StreamSettings,
    blind_kept,
)

__all__ = [
    "DEFAULT_STEP",
    "Budget",
    "ConfigError",
    "ConsoleSink",
    "Decoded",
    "Endpoint",
    "Fields",
    "FileSource",
    "JsonlSink",
    "KafkaSink",
    "KafkaSource",
    "Limits",
    "Logging",
    "Model",
    "Priority",
    "Problem",
    "Receiver",
    "RecordingSource",
    "Route",
    "Server",
    "Settings",
    "Sink",
    "Source",
    "Span",
    "State",
    "StdinSource",
    "StreamEntry",
    "StreamRules",
    "StreamSettings",
    "SyntheticSource",
    "TimeInterval",
    "Windows",
    "blind_kept",
    "config_files",
    "findings",
    "from_mapping",
    "generate",
    "load",
    "load_text",
    "names",
    "reference",
    "rule_paths",
    "schema",
    "show",
    "sink_client",
    "split_address",
]
