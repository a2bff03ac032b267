"""Whose keys `client` holds: all of librdkafka's where it reads, and what clients of kafka-python take of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.clock import WallClock
from connectors.kafka.source import KafkaSource
from stream.app.check import check
from stream.app.kafka_keys import of_sink
from stream.app.parts import world_of
from stream.app.sinks import sinks_of
from stream.app.sources import sources_of
from stream.config_text import ConfigError
from stream.settings import KafkaSink, Settings, load

SERVERS = "127.0.0.1:1"
ONLY_LIBRDKAFKAS = {"queued.min.messages": "1000", "statistics.interval.ms": 0}


def configured(folder: Path, *sources: dict[str, object], **sink: object) -> Settings:
    """Kafka sources and one Kafka sink, from a file."""
    path = folder / "heed.yaml"
    made = [{"type": "kafka", "topics": ["t"], **source} for source in sources]
    path.write_text(json.dumps({"sources": made, "sinks": [{"type": "kafka", "topic": "alerts", **sink}]}))
    return load(str(path), ())


def test_a_sink_takes_what_it_knows_of_the_keys_of_a_source_that_librdkafka_reads(tmp_path: Path) -> None:
    client = {"bootstrap.servers": SERVERS, "linger.ms": 3, **ONLY_LIBRDKAFKAS}
    settings = configured(tmp_path, {"client": client, "client_library": "confluent"})
    (sink,) = settings.sinks
    assert isinstance(sink, KafkaSink)
    assert of_sink(sink, settings) == {"group.id": "heed", "bootstrap.servers": SERVERS, "linger.ms": "3"}
    assert list(sinks_of(settings)) == ["kafka"]


@pytest.mark.parametrize(
    ("source", "sink"),
    [
        ({"client_library": "kafka-python", **ONLY_LIBRDKAFKAS}, {}),
        ({"client_library": "confluent"}, {"client": {"bootstrap.servers": SERVERS, **ONLY_LIBRDKAFKAS}}),
    ],
)
def test_elsewhere_a_key_that_only_librdkafka_has_is_a_mistake(
    tmp_path: Path, source: dict[str, Any], sink: dict[str, object]
) -> None:
    library = source.pop("client_library")
    client = {"bootstrap.servers": SERVERS, **source}
    with pytest.raises(ConfigError, match=r"client\.queued\.min\.messages: unknown setting"):
        sinks_of(configured(tmp_path, {"client": client, "client_library": library}, **sink))


@pytest.mark.parametrize("library", ["kafka-python", "confluent"])
def test_a_start_at_neither_end_is_refused(tmp_path: Path, library: str) -> None:
    client = {"bootstrap.servers": SERVERS, "auto.offset.reset": "error"}
    settings = configured(tmp_path, {"client": client, "client_library": library})
    with pytest.raises(ConfigError, match=r"sources\[0\].*auto\.offset\.reset: heed starts at earliest or latest"):
        sources_of(settings, world_of(WallClock(), settings), None)


def test_sources_that_one_id_is_given_to_are_members_of_their_own(tmp_path: Path) -> None:
    client = {"bootstrap.servers": SERVERS, "group.instance.id": "one"}
    three = [{"client": client}, {"client": client, "name": "roads"}, {"client": {"bootstrap.servers": SERVERS}}]
    settings = configured(tmp_path, *three)
    _, made = sources_of(settings, world_of(WallClock(), settings), "heed-1")
    found = [source._connection._settings["group_instance_id"] for source in made.values() if is_kafka(source)]
    for source in made.values():
        source.close()
    assert found == ["one", "one-roads", "heed-1-kafka-2"]


def is_kafka(source: Any) -> bool:
    return isinstance(source, KafkaSource)


@pytest.mark.kafka
def test_a_check_asks_librdkafka_for_its_keys_and_the_brokers_with_those_of_both(
    kafka: str,
    topic: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream.app.check.PATIENCE_S", 60.0)

    def told(library: str, **keys: object) -> dict[str, tuple[str, str]]:
        client = {"bootstrap.servers": kafka, "group.id": "checked", **keys}
        configured(tmp_path, {"topics": [plant], "client": client, "client_library": library})
        check(str(tmp_path / "heed.yaml"), ("model.name=none",), "json")
        said = json.loads(capsys.readouterr().out)
        return {each["about"]: (each["level"], each["said"]) for each in said if " kafka" in each["about"]}

    plant = topic()
    found = told("confluent", **ONLY_LIBRDKAFKAS)
    assert found["source kafka"] == ("ok", f"{kafka} answers") and found["sink kafka"][0] == "note"
    level, said = told("confluent", **{"sesion.timeout.ms": 1})["source kafka"]
    assert level == "failed" and "did you mean 'session.timeout.ms'" in said
    level, said = told("kafka-python", **ONLY_LIBRDKAFKAS)["source kafka"]
    assert level == "failed" and "client.queued.min.messages: unknown setting" in said
