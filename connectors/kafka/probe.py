"""Whether a broker lets a client in, and topics are there and may be used: asked once, nothing is read or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from connectors.kafka.client import Opening, Settings, consumer_settings, producer_settings, said
from connectors.kafka.quirks import make_no_topics

MISSING = "no topic"
_SETTINGS: Settings = {"allow_auto_create_topics": False, "metrics_enabled": False, "enable_auto_commit": False}


def probe(client: Mapping[str, object], topics: Sequence[str], reads: bool, timeout_s: float) -> str | None:
    """What is wrong, None where nothing is; ``reads`` = as a member of the client's group."""
    wait = round(timeout_s * 1000)
    try:
        settings = consumer_settings(client)
        producer_settings(client)
        kept = {**settings, "group_id": settings.get("group_id") if reads else None}
        consumer = Opening().consumer({**kept, **_SETTINGS, "bootstrap_timeout_ms": wait})
    except KafkaError as error:
        return said(error)
    except Exception as error:  # what kafka-python does not like about its settings is of many kinds
        return str(error)
    try:
        return _tried(consumer, topics, reads, wait)
    except KafkaError as error:
        return said(error)
    finally:
        consumer.close(autocommit=False, timeout_ms=wait)


def refused(client: Mapping[str, object]) -> str | None:
    """What librdkafka does not like about its settings, None where nothing; no broker is asked."""
    try:
        from connectors.kafka.confluent import ConfluentConsumer
    except ImportError as error:
        return f"client_library: confluent needs heed-monitor[fast]: {error}"
    try:
        ConfluentConsumer(client, {}).close()
    except ValueError as error:
        return str(error)
    return None


def _tried(consumer: KafkaConsumer, topics: Sequence[str], reads: bool, timeout_ms: int) -> str | None:
    make_no_topics(consumer)
    there = consumer.topics()
    missing = [topic for topic in topics if topic not in there]
    if missing:
        return f"{MISSING} {', '.join(missing)} there, or none that this user may see"
    if reads and topics:
        parts = [TopicPartition(topic, 0) for topic in topics]
        consumer.end_offsets(parts, timeout_ms=timeout_ms)
        consumer.committed(parts[0], timeout_ms=timeout_ms)
    return None
