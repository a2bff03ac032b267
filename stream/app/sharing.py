"""Where state is kept for all processes of a Kafka group, from settings."""

from __future__ import annotations

from stream.settings import KafkaSink, KafkaSource, Settings, names, sink_client
from stream.shared import Topic


def state_topic(settings: Settings, instance: str) -> Topic:
    """The topic of the group that the one source reads in. Raises ConfigError, ValueError."""
    from connectors.kafka_state import StateTopic  # only those who share their state pay for its import

    source = _source(settings)
    client = source.client_config()
    return StateTopic(client, settings.state.topic or f"{client['group.id']}.state", client["group.id"], instance)


def shared_sinks(settings: Settings) -> dict[str, str]:
    """By name, the alert sinks that are topics of the brokers that the source reads from."""
    brokers = _source(settings).client_config()["bootstrap.servers"]
    named = zip(names(settings.sinks), settings.sinks, strict=True)
    return {
        name: each.topic
        for name, each in named
        if isinstance(each, KafkaSink) and sink_client(each, settings.sources)["bootstrap.servers"] == brokers
    }


def _source(settings: Settings) -> KafkaSource:
    return next(source for source in settings.sources if isinstance(source, KafkaSource))
