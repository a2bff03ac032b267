"""Where state is kept for all processes of a Kafka group, from settings."""

from __future__ import annotations

from stream.settings import KafkaSink, KafkaSource, Settings, names, sink_client
from stream.shared import Topic


def state_topic(settings: Settings, instance: str) -> Topic:
    """The topic of the group that the one source reads in. Raises ConfigError, ValueError."""
    from connectors.kafka.state import StateTopic  # only those who share their state pay for its import

    client = shared_client(settings)
    return StateTopic(client, topic_name(settings), client["group.id"], instance)


def topic_name(settings: Settings) -> str:
    """The topic in which state is shared."""
    return settings.state.topic or f"{shared_client(settings)['group.id']}.state"


def shared_client(settings: Settings) -> dict[str, str]:
    """The client's keys of the source whose state is shared."""
    return next(source for source in settings.sources if isinstance(source, KafkaSource)).client_config()


def shared_sinks(settings: Settings) -> dict[str, str]:
    """By name, the alert sinks that are topics of the brokers that the source reads from."""
    brokers = shared_client(settings)["bootstrap.servers"]
    named = zip(names(settings.sinks), settings.sinks, strict=True)
    return {
        name: each.topic
        for name, each in named
        if isinstance(each, KafkaSink) and sink_client(each, settings.sources)["bootstrap.servers"] == brokers
    }
