"""A record batch that has rotted on the broker's disk: it costs itself only, with either client."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Broker, all_on
from kafka.admin import KafkaAdminClient
from test_kafka import message, reading, write

from connectors.kafka.source import Library

pytestmark = pytest.mark.kafka
EACH, BATCHES, ROTTEN = 5, 4, 1  # records of a batch, batches, the one that is broken


def rot(segment: Path, inside: bytes) -> None:
    """Flip one bit of a message where it lies, so that its batch's checksum is wrong."""
    at = segment.read_bytes().index(inside) + 3
    with segment.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("library", ["kafka-python", "confluent"])
def test_each_record_of_a_batch_with_a_wrong_checksum_is_a_dead_letter(
    library: Library, own_kafka: Broker, tmp_path: Path
) -> None:
    own_kafka.start()
    servers = own_kafka.servers
    admin = KafkaAdminClient(bootstrap_servers=servers)
    one = {"num_partitions": 1, "replication_factor": 1, "configs": {"retention.ms": "-1"}}
    admin.create_topics({"plant": one, "dead": one}, wait_for_metadata=True)
    admin.close()
    for batch in range(BATCHES):
        write(servers, "plant", [{"value": message(batch * EACH + i)} for i in range(EACH)])
    rot(tmp_path / "kafka" / "log" / "plant-0" / f"{0:020}.log", message(ROTTEN * EACH + 2))
    rotten = range(ROTTEN * EACH, (ROTTEN + 1) * EACH)
    with reading(servers, "plant", dead_letter="dead", library=library) as reader:
        found = reader.readings((BATCHES - 1) * EACH)
        assert found.offset.tolist() == [at for at in range(BATCHES * EACH) if at not in rotten]
        assert found.counts["undecodable.unreadable"] == EACH
        write(servers, "plant", [{"value": message(99)}])
        assert reader.readings(1).offset.tolist() == [BATCHES * EACH]
        assert reader.source.problem is None
    told = [dict(letter.headers) for letter in all_on(servers, "dead")]
    assert [int(headers["__streams.errors.offset"]) for headers in told] == list(rotten)
    assert all(b"crc" in headers["__streams.errors.message"].lower() for headers in told)
