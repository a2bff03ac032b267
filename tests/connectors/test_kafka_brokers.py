"""Several brokers, of which one dies: what it led can't be read meanwhile, and everything else goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Broker, require_java, wait_for
from kafka.admin import KafkaAdminClient
from test_kafka import Reader, committed, fill, reading

from connectors.kafka.letters import LetterBox
from connectors.source import SourceError

pytestmark = pytest.mark.kafka
LIBRARIES = ("kafka-python", "confluent")
QUICK = "broker.heartbeat.interval.ms=1000\nbroker.session.timeout.ms=6000\n"
CLIENT = {"metadata.max.age.ms": 500}


class Pair:
    """Two brokers in one cluster; the first is its controller too."""

    def __init__(self, folder: Path) -> None:
        self.one, self.two = Broker(folder / "one", QUICK), Broker(folder / "two")
        controller = f"controller.quorum.voters=1@127.0.0.1:{self.one.controller}\n"
        own = f"process.roles=broker\nnode.id=2\nlisteners=PLAINTEXT://{self.two.servers}\n"
        self.two.properties = QUICK + controller + own
        self._topics = 0

    def topic(self) -> str:
        """A new topic: partition 0 on the first broker, 1 on the second."""
        self._topics += 1
        name = f"plant.{self._topics}"
        admin = KafkaAdminClient(bootstrap_servers=self.one.servers)
        admin.create_topics({name: {"assignments": {0: [1], 1: [2]}}}, wait_for_metadata=True)
        admin.close()
        return name

    def close(self) -> None:
        self.two.stop()
        self.one.stop()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    require_java()
    found = Pair(tmp_path_factory.mktemp("pair"))
    try:
        found.one.start()
        committed(found.one.servers, "anybody", "anything")  # while it is alone, so all of what groups need is there
        found.two.start()
        yield found
    finally:
        found.close()


def test_dead_letters_that_no_broker_leads_are_told_of_behind_the_others(pair: Pair) -> None:
    dead = pair.topic()
    fill(pair.one.servers, dead, 4, partition=0)
    fill(pair.one.servers, dead, 5, partition=1)
    pair.two.kill()
    try:
        wait_for(lambda: (told := letters_in(pair, dead))[1] and "no broker leads" in told[1], 90)
        assert letters_in(pair, dead) == ([0] * 4, f"no broker leads {dead}/1: the dead letters there can't be read")
    finally:
        pair.two.start()
    wait_for(lambda: letters_in(pair, dead) == ([0] * 4 + [1] * 5, ""), 90)


def letters_in(pair: Pair, dead: str) -> tuple[list[int], str]:
    """The partitions of all letters that can be read, sorted, and why not all can."""
    found: list[int] = []
    with closing(LetterBox(dead, {"bootstrap.servers": pair.one.servers, **CLIENT})) as box:
        try:
            found.extend(each.partition for each in box.read())
        except SourceError as error:
            return sorted(found), str(error)
    return sorted(found), ""


def told(reader: Reader, plant: str) -> bool:
    return f"no broker leads {plant}/1" in str(reader.source.problem)


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_of_two_brokers_dies_and_comes_back(pair: Pair, library: str) -> None:
    plant = pair.topic()
    fill(pair.one.servers, plant, 5, partition=0)
    fill(pair.one.servers, plant, 5, partition=1)
    with reading(pair.one.servers, plant, client=CLIENT, library=library) as reader:
        reader.readings(10)
        pair.two.kill()
        reader.until(lambda _: told(reader, plant), 90)
        fill(pair.one.servers, plant, 3, partition=0)
        more = reader.readings(3)
        assert [reader.partitions.names[at] for at in set(more.partition.tolist())] == [f"{plant}/0"]
        dead = reader.partitions.number(f"{plant}/1")
        assert dead not in reader.poll(0.5).at_end  # nobody knows where it ends
        pair.two.start()
        fill(pair.one.servers, plant, 2, partition=1)
        assert reader.until(lambda batches: sum(map(len, batches)) >= 2, 90).offset.tolist() == [5, 6]
        reader.until(lambda _: reader.source.problem is None, 90)


@pytest.mark.parametrize("library", LIBRARIES)
def test_who_starts_while_one_of_two_brokers_is_dead_reads_what_there_is(pair: Pair, library: str) -> None:
    plant = pair.topic()
    fill(pair.one.servers, plant, 5, partition=0)
    fill(pair.one.servers, plant, 5, partition=1)
    pair.two.kill()
    with reading(pair.one.servers, plant, client=CLIENT, library=library) as reader:
        first = reader.until(lambda batches: sum(map(len, batches)) >= 5, 90)
        assert {reader.partitions.names[at] for at in first.partition.tolist()} == {f"{plant}/0"}
        reader.until(lambda _: told(reader, plant), 90)
        pair.two.start()
        rest = reader.until(lambda batches: sum(map(len, batches)) >= 5, 90)
        assert rest.offset.tolist() == [0, 1, 2, 3, 4]
        reader.until(lambda _: reader.source.problem is None, 90)
