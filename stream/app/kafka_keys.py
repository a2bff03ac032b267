"""What clients that are always kafka-python's take of ``client``: those of sinks, dead letters and checks."""

from __future__ import annotations

from stream.settings import KafkaSink, KafkaSource, Settings, sink_client


def of_source(source: KafkaSource) -> dict[str, object]:
    """A source's keys, without those that only librdkafka has where librdkafka reads. Raises ConfigError."""
    return _without_librdkafkas(source.client_config(), source)


def of_sink(sink: KafkaSink, settings: Settings) -> dict[str, object]:
    """A sink's own keys, all of them; or those of the first Kafka source. Raises ConfigError."""
    client = sink_client(sink, settings.sources)
    if sink.client:
        return dict(client)
    return _without_librdkafkas(client, next(each for each in settings.sources if isinstance(each, KafkaSource)))


def _without_librdkafkas(client: dict[str, str], source: KafkaSource) -> dict[str, object]:
    from connectors.kafka.client import known  # only those who use Kafka pay for its import

    return dict(client) if source.client_library == "kafka-python" else known(client)
