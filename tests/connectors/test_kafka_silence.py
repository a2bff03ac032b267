"""Brokers that say nothing for a while: what waited with producers is waited for, once, and nobody for ever."""

from __future__ import annotations

import pytest
from conftest import Broker, free_port
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from test_kafka import Reader, fill, reading

from connectors.batch import SECOND, Batch
from connectors.kafka.partitions import GRACE, UNPLACED, Partition

pytestmark = pytest.mark.kafka
NOW = 10_000 * SECOND


def test_one_that_has_spoken_is_waited_for_until_it_speaks_again() -> None:
    part = Partition(TopicPartition("t", 0), "t/0", 0, position=5, end=5)
    part.wait(UNPLACED, False)
    part.came(NOW)
    assert part.at_end and not part.waited_for(NOW)
    part.back(NOW + SECOND, 5 * SECOND)
    assert part.since == NOW + SECOND and part.grace == 5 * SECOND
    assert not part.at_end and part.waited_for(NOW + SECOND)
    part.came(NOW + 2 * SECOND)
    assert part.at_end and not part.waited_for(NOW + 2 * SECOND)


def test_one_that_brings_nothing_is_not_waited_for_a_second_time() -> None:
    part = Partition(TopicPartition("t", 0), "t/0", 0, position=5, end=5)
    part.wait(UNPLACED, False)
    part.back(NOW, SECOND)
    assert part.at_end, "it has never brought anything"
    part.came(NOW)
    part.back(NOW, 10 * GRACE)
    assert part.grace == GRACE
    part.grace = 0  # it is over
    part.back(NOW + SECOND, SECOND)
    assert part.at_end


def test_a_source_that_gives_up_connecting_in_the_moment_of_its_end_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client's own end, on the thread that connects, and the source's meet in the middle of it."""
    with reading(f"127.0.0.1:{free_port()}", "plant") as reader:
        reader.poll(0.3)
        inner = reader.source._connection._opening._inner
        close = inner.close

        def closed_already() -> None:
            close()
            raise RuntimeError("NetworkSelector closed!")

        monkeypatch.setattr(inner, "close", closed_already)


def of(reader: Reader, batch: Batch, plant: str) -> tuple[list[bool], list[bool]]:
    """Of both partitions of a topic, whether they count as read to their end, and whether they are waited for."""
    numbers = [reader.partitions.number(f"{plant}/{at}") for at in (0, 1)]
    return [number in batch.at_end for number in numbers], [number in batch.held for number in numbers]


@pytest.mark.parametrize("library", ["kafka-python", "confluent"])
def test_after_a_silence_partitions_are_waited_for_until_they_speak_or_their_time_is_up(
    own_kafka: Broker, library: str
) -> None:
    own_kafka.start()
    admin = KafkaAdminClient(bootstrap_servers=own_kafka.servers)
    admin.create_topics({"plant": {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    for partition in (0, 1):
        fill(own_kafka.servers, "plant", 5, partition)
    with reading(own_kafka.servers, "plant", library=library) as reader:
        reader.readings(10)
        reader.until(lambda batches: batches and of(reader, batches[-1], "plant") == ([True] * 2, [False] * 2), 60)
        with own_kafka.paused():
            reader.until(lambda batches: batches and "no broker" in str(reader.source.problem), 60)
            assert of(reader, reader.poll(), "plant") == ([False] * 2, [False] * 2)
        fill(own_kafka.servers, "plant", 3, 0)
        reader.until(lambda batches: batches and of(reader, batches[-1], "plant") == ([True, False], [False, True]), 60)
        assert reader.source.problem is None
        reader.until(lambda batches: batches and of(reader, batches[-1], "plant") == ([True] * 2, [False] * 2), 60)
