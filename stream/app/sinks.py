"""Sinks from settings, by their names."""

from __future__ import annotations

import sys
from pathlib import Path

from connectors.console import ConsoleSink
from connectors.jsonl import JsonlSink
from connectors.sink import Sink
from stream.config_text import ConfigError, Problem
from stream.settings import ConsoleSink as ConsoleSettings
from stream.settings import JsonlSink as JsonlSettings
from stream.settings import KafkaSink as KafkaSettings
from stream.settings import Settings, names, sink_client


def sinks_of(settings: Settings) -> dict[str, Sink]:
    """Each made; raises ConfigError."""
    made: dict[str, Sink] = {}
    for number, (name, each) in enumerate(zip(names(settings.sinks), settings.sinks, strict=True)):
        try:
            made[name] = _make(each, name, settings)
        except ValueError as error:
            raise ConfigError([Problem(str(error), ("sinks", number))]) from error
    return made


def _make(each: object, name: str, settings: Settings) -> Sink:
    match each:
        case ConsoleSettings():
            return ConsoleSink(sys.stdout, name)
        case JsonlSettings():
            if Path(each.path).is_dir():
                raise ValueError(f"path {each.path!r} is a folder; write the name of a file")
            return JsonlSink(each.path, name=name)
        case KafkaSettings():
            from connectors.kafka_sink import KafkaSink  # only those who write to Kafka pay for its import

            return KafkaSink(each.topic, sink_client(each, settings.sources))
    raise ValueError(f"no such sink: {each!r}")
