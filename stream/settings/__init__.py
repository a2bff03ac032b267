"""The configuration: typed, frozen, every mistake told with its place; see docs/configuration.md."""

from stream.config_text import ConfigError, Problem
from stream.settings.calendar import Span, TimeInterval
from stream.settings.findings import findings, rule_paths
from stream.settings.load import config_files, from_mapping, load, load_text
from stream.settings.outputs import (
    RECEIVER,
    ConsoleSink,
    JsonlSink,
    KafkaSink,
    Receiver,
    Route,
    Sink,
    sink_client,
    ways,
)
from stream.settings.quantities import split_address
from stream.settings.receivers import (
    Alertmanager,
    Apprise,
    Email,
    Endpoint,
    Exec,
    TlsConfig,
    Webhook,
)
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
    "RECEIVER",
    "Alertmanager",
    "Apprise",
    "Budget",
    "ConfigError",
    "ConsoleSink",
    "Decoded",
    "Email",
    "Endpoint",
    "Exec",
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
    "TlsConfig",
    "Webhook",
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
    "ways",
]
