"""Sinks and receivers from settings, by their names, and the outbox that serves them."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from pathlib import Path
from zlib import crc32

from connectors.console import ConsoleSink
from connectors.jsonl import JsonlSink
from connectors.keeping.outbox import Outbox
from connectors.sink import Sink
from stream.app.kafka_keys import of_sink
from stream.app.receivers import receiver_sinks
from stream.config_text import ConfigError, Place, Problem
from stream.settings import RECEIVER, Settings, names
from stream.settings import ConsoleSink as ConsoleSettings
from stream.settings import JsonlSink as JsonlSettings
from stream.settings import KafkaSink as KafkaSettings


def outbox_of(settings: Settings) -> Outbox:
    """An outbox for all sinks and receivers; people get what is true now, programs every change. Raises ConfigError."""
    sinks = sinks_of(settings)
    seed = crc32(f"{os.uname().nodename}/{os.getpid()}".encode())  # no two processes try at the same moments
    return Outbox(sinks, [name for name in sinks if name.startswith(RECEIVER)], seed)


def sinks_of(settings: Settings) -> dict[str, Sink]:
    """Each made: ``kafka``, ``jsonl-2``, and of receivers ``receiver/oncall``; raises ConfigError."""
    made: dict[str, Sink] = {}
    for number, (name, each) in enumerate(zip(names(settings.sinks), settings.sinks, strict=True)):
        try:
            made[name] = _make(each, name, settings)
        except ValueError as error:
            raise _wrong(error, ("sinks", number)) from error
    return made | receivers_made(settings, [each.name for each in settings.receivers])


def receivers_made(settings: Settings, wanted: Collection[str]) -> dict[str, Sink]:
    """The sinks of these receivers, by their names; raises ConfigError."""
    made: dict[str, Sink] = {}
    for number, receiver in enumerate(settings.receivers):
        try:
            made |= receiver_sinks(receiver) if receiver.name in wanted else {}
        except ValueError as error:
            raise _wrong(error, ("receivers", number)) from error
    return made


def _wrong(error: ValueError, place: Place) -> ConfigError:
    return ConfigError([Problem(str(error), place)])


def _make(each: object, name: str, settings: Settings) -> Sink:
    match each:
        case ConsoleSettings():
            return ConsoleSink(sys.stdout, name)
        case JsonlSettings():
            if Path(each.path).is_dir():
                raise ValueError(f"path {each.path!r} is a folder; write the name of a file")
            return JsonlSink(each.path, each.rotate.size, each.rotate.keep, name)
        case KafkaSettings():
            from connectors.kafka.sink import KafkaSink  # only those who write to Kafka pay for its import

            return KafkaSink(each.topic, of_sink(each, settings))
    raise ValueError(f"no such sink: {each!r}")
