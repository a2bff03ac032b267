"""Kafka clients by librdkafka's setting names: what a name means here, and clients that give up cleanly."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.errors import KafkaConnectionError, KafkaTimeoutError

from connectors.kafka import security
from connectors.kafka.quirks import hear_out, overhear

Settings = dict[str, Any]  # keyword arguments of a kafka-python client
Client = TypeVar("Client")

_ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "cooperative-sticky": CooperativeStickyAssignor,
}
_VAGUE = re.compile(r"socket disconnected|timed out|^KafkaTimeoutError|^KafkaConnectionError$")
_COMPRESSIONS = {"none": None, **{name: name for name in ("gzip", "snappy", "lz4", "zstd")}}
_RESETS = {
    **dict.fromkeys(("smallest", "earliest", "beginning"), "earliest"),
    **dict.fromkeys(("largest", "latest", "end"), "latest"),
}
_NO_RESETS = ("error", "none")  # librdkafka and Java: without a committed offset nothing begins


def _text(value: object) -> str:
    return str(value)


def _listed(value: object) -> list[str]:
    names = value if isinstance(value, Sequence) and not isinstance(value, str) else str(value).split(",")
    return [name.strip() for name in map(str, names) if name.strip()]


def _whole(value: object) -> int:
    if isinstance(value, bool):
        raise ValueError(f"write a whole number, not {value}")
    return int(str(value))


def _yes(value: object) -> bool:
    return bool(_one_of({"true": True, "false": False}, str(value).lower()))


def _one_of(known: Mapping[str, object], value: str) -> Any:
    if value not in known:
        raise ValueError(f"one of {', '.join(known)}, not {value!r}")
    return known[value]


def _reset(value: object) -> str:
    if str(value) in _NO_RESETS:
        raise ValueError(f"heed starts at earliest or latest where no offset is committed, never with {value!r}")
    return str(_one_of(_RESETS, str(value)))


def _protocol(value: object) -> str:
    known = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
    return str(_one_of({name: name for name in known}, str(value).upper()))


def _assignors(value: object) -> list[Any]:
    return [_one_of(_ASSIGNORS, name) for name in _listed(value)]


def _compression(value: object) -> str | None:
    found: str | None = _one_of(_COMPRESSIONS, "none" if value is None else str(value))
    return found


def _choice(*known: str) -> Callable[[object], object]:
    return lambda value: _one_of({name: name for name in known}, str(value))


_Setting = tuple[str, Callable[[object], object]]  # kafka-python's name, and how to read the value

_BOTH: dict[str, _Setting] = {
    "bootstrap.servers": ("bootstrap_servers", _listed),
    "client.id": ("client_id", _text),
    "security.protocol": ("security_protocol", _protocol),
    "sasl.mechanism": ("sasl_mechanism", _text),
    "sasl.mechanisms": ("sasl_mechanism", _text),
    "sasl.username": ("sasl_plain_username", _text),
    "sasl.password": ("sasl_plain_password", _text),
    "sasl.kerberos.service.name": ("sasl_kerberos_service_name", _text),
    "request.timeout.ms": ("request_timeout_ms", _whole),
    "socket.timeout.ms": ("request_timeout_ms", _whole),
    "reconnect.backoff.ms": ("reconnect_backoff_ms", _whole),
    "reconnect.backoff.max.ms": ("reconnect_backoff_max_ms", _whole),
    "retry.backoff.ms": ("retry_backoff_ms", _whole),
    "metadata.max.age.ms": ("metadata_max_age_ms", _whole),
    "topic.metadata.refresh.interval.ms": ("metadata_max_age_ms", _whole),
    "connections.max.idle.ms": ("connections_max_idle_ms", _whole),
    "socket.receive.buffer.bytes": ("receive_buffer_bytes", _whole),
    "socket.send.buffer.bytes": ("send_buffer_bytes", _whole),
    "client.dns.lookup": ("client_dns_lookup", _choice("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only")),
    "allow.auto.create.topics": ("allow_auto_create_topics", _yes),
}
_CONSUMER: dict[str, _Setting] = {
    "group.id": ("group_id", _text),
    "group.instance.id": ("group_instance_id", _text),
    "client.rack": ("client_rack", _text),
    "auto.offset.reset": ("auto_offset_reset", _reset),
    "fetch.min.bytes": ("fetch_min_bytes", _whole),
    "fetch.max.bytes": ("fetch_max_bytes", _whole),
    "fetch.wait.max.ms": ("fetch_max_wait_ms", _whole),
    "max.partition.fetch.bytes": ("max_partition_fetch_bytes", _whole),
    "fetch.message.max.bytes": ("max_partition_fetch_bytes", _whole),
    "session.timeout.ms": ("session_timeout_ms", _whole),
    "heartbeat.interval.ms": ("heartbeat_interval_ms", _whole),
    "max.poll.interval.ms": ("max_poll_interval_ms", _whole),
    "max.poll.records": ("max_poll_records", _whole),
    "partition.assignment.strategy": ("partition_assignment_strategy", _assignors),
    "isolation.level": ("isolation_level", _choice("read_uncommitted", "read_committed")),
    "check.crcs": ("check_crcs", _yes),
}
_PRODUCER: dict[str, _Setting] = {
    "compression.type": ("compression_type", _compression),
    "compression.codec": ("compression_type", _compression),
    "linger.ms": ("linger_ms", _whole),
    "batch.size": ("batch_size", _whole),
    "message.max.bytes": ("max_request_size", _whole),
}
KEYS = frozenset({*_BOTH, *_CONSUMER, *_PRODUCER, *security.KEYS})  # the names that `client:` may hold


def known(client: Mapping[str, object]) -> dict[str, object]:
    """Those of the settings that both clients understand."""
    return {name: value for name, value in client.items() if name in KEYS}


def consumer_settings(client: Mapping[str, object]) -> Settings:
    """What ``client`` says to a consumer; raises ValueError for unknown names and values that make no sense."""
    return _settings(client, {**_BOTH, **_CONSUMER})


def producer_settings(client: Mapping[str, object]) -> Settings:
    """What ``client`` says to a producer; raises ValueError for unknown names and values that make no sense."""
    return _settings(client, {**_BOTH, **_PRODUCER})


def _settings(client: Mapping[str, object], known: Mapping[str, _Setting]) -> Settings:
    settings: Settings = {}
    for name, value in client.items():
        if name not in KEYS:
            raise ValueError(f"client.{name}: unknown setting{meant(name)}")
        if name in known:
            setting, read = known[name]
            settings[setting] = _read(name, read, value)
    if not settings.get("bootstrap_servers"):
        raise ValueError("client.bootstrap.servers: missing; write host:port, several with commas between")
    return {**settings, **security.secured(client)}


def _read(name: str, read: Callable[[object], object], value: object) -> object:
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"client.{name}: {error}") from error


def meant(name: str) -> str:
    """A guess at the setting that was meant; empty where none is near."""
    near = difflib.get_close_matches(name.replace("_", "."), sorted(KEYS), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def said(error: Exception) -> str:
    """What went wrong, with its kind told once: some of the client's errors say theirs already, again and again."""
    kind = type(error).__name__
    text = re.sub(rf"^(?:(?:\[Error -?\d+\] |{kind}(?:: |$)))*", "", str(error))
    return f"{kind}: {text}"[:300] if text else kind


class Opening:
    """Makes a client and can give up: a client that fails to connect would leave its thread behind."""

    def __init__(self) -> None:
        self.trouble: str | None = None  # why the latest connection failed; None = it did not
        self._inner: Any = None

    def consumer(self, settings: Settings) -> KafkaConsumer:
        """A consumer that has spoken to a broker; raises KafkaError."""
        return self._open(KafkaConsumer, settings)

    def producer(self, settings: Settings) -> KafkaProducer:
        """A producer that has spoken to a broker; raises KafkaError."""
        return self._open(KafkaProducer, settings)

    def admin(self, settings: Settings) -> KafkaAdminClient:
        """An admin client that has spoken to a broker; raises KafkaError."""
        return self._open(KafkaAdminClient, settings)

    def give_up(self) -> None:
        """Stop connecting: the call that waits for it raises KafkaError."""
        if self._inner is not None:
            with suppress(RuntimeError):  # it gave up by itself in the same moment
                self._inner.close()

    def _open(self, kind: Callable[..., Client], settings: Settings) -> Client:
        try:
            return kind(kafka_client=self._made, **settings)
        except KafkaTimeoutError as error:
            self.give_up()
            raise KafkaConnectionError(self.trouble or said(error)) from error
        except BaseException:
            self.give_up()
            raise

    def _made(self, **settings: Any) -> Any:
        self._inner = KafkaConsumer.DEFAULT_CONFIG["kafka_client"](**settings)
        overhear(self._inner, self._heard)
        hear_out(self._inner)
        return self._inner

    def _heard(self, error: Exception | None) -> None:
        """A closed socket, or an answer that took too long, explains less than what went before it."""
        if error is None or self.trouble is None or not _VAGUE.search(str(error)):
            self.trouble = None if error is None else said(error)
