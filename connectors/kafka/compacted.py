"""The topic that state travels through: made where it is missing, and looked at where it is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from connectors.kafka.client import said
from connectors.source import SourceError

CHUNK_BYTES = 512 << 10  # half of what a topic takes by default
_CONFIGS = {
    "cleanup.policy": "compact",
    "segment.bytes": str(64 << 20),  # the newest segment is never compacted
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": str(10 * 60_000),
    "delete.retention.ms": str(60 * 60_000),
    "max.message.bytes": str(1_048_588),
}


class StateTopicError(SourceError):
    """State could not be read or written now; trying again may help."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """A topic as it is. ``remark``: what is wrong with it, None where nothing is."""

    partitions: int
    chunk_bytes: int = CHUNK_BYTES
    remark: str | None = None


def ensured(admin: KafkaAdminClient, topic: str, partitions: int, timeout_ms: int) -> Compacted:
    """The topic, made with so many ``partitions`` where it is missing; raises KafkaError or StateTopicError."""
    found = _partitions(admin, topic)
    if not found:
        _make(admin, topic, partitions, timeout_ms)
        found = _partitions(admin, topic)
    configs = _configs(admin, topic)
    policy, most = configs.get("cleanup.policy"), configs.get("max.message.bytes") or ""
    told = f"the topic {topic} is not compacted (cleanup.policy={policy}): it grows, and state in it can get lost"
    fits = min(CHUNK_BYTES, int(most) // 2) if most.isdecimal() else CHUNK_BYTES
    return Compacted(found, max(1, fits), told if policy and policy != "compact" else None)


def _partitions(admin: KafkaAdminClient, topic: str) -> int:
    """How many there are; 0 = there is no such topic."""
    (found,) = admin.describe_topics([topic])
    if found["error_code"] == TopicAuthorizationFailedError.errno:
        raise StateTopicError(f"this user may not see the topic {topic}: allow DESCRIBE, READ and WRITE")
    if found["error_code"] not in (0, UnknownTopicOrPartitionError.errno):
        raise for_code(found["error_code"])(topic)
    return len(found["partitions"])


def _make(admin: KafkaAdminClient, topic: str, partitions: int, timeout_ms: int) -> None:
    options = {"num_partitions": partitions, "replication_factor": -1, "configs": _CONFIGS}
    try:
        admin.create_topics({topic: options}, timeout_ms=timeout_ms, raise_errors=True)
        admin.wait_for_topics([topic], timeout_ms=timeout_ms)
    except TopicAlreadyExistsError:  # another process was quicker
        admin.wait_for_topics([topic], timeout_ms=timeout_ms)
    except KafkaError as error:
        raise StateTopicError(_by_hand(topic, partitions, error)) from error


def _by_hand(topic: str, partitions: int, error: KafkaError) -> str:
    configs = " ".join(f"--config {name}={value}" for name, value in _CONFIGS.items())
    command = f"kafka-topics.sh --create --topic {topic} --partitions {partitions} {configs}"
    why = "this user may not create topics" if isinstance(error, AuthorizationError) else said(error)
    return f"the topic {topic} is missing and can't be made: {why}; make it by hand: {command}"


def _configs(admin: KafkaAdminClient, topic: str) -> Mapping[str, str | None]:
    """How the topic is set up; nothing where this user may not see that."""
    try:
        told: Any = admin.describe_configs([ConfigResource("TOPIC", topic)], config_filter="all")
    except KafkaError:
        return {}
    return {name: config["value"] for name, config in told.get("topic", {}).get(topic, {}).items()}
