"""What every source promises, tried on all of them."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from connectors.batch import SECOND, Batch, PartitionTable, StreamTable, concat
from connectors.clock import Clock, ReplayClock, WallClock
from connectors.file import FileSource, StdinSource
from connectors.formats.codec import JsonCodec
from connectors.recordings.recording import RecordingSource, RecordingWriter
from connectors.recordings.replay import ReplaySource
from connectors.source import Merged, Source
from connectors.synthetic import SyntheticSource, World

T0 = 1_700_000_000 * SECOND
STEPS, NAMES = 12, ("m1/temp", "m1/load", "m2/temp")
Reading = tuple[str, int, float]


@dataclass
class Case:
    """A source over known, finite content, with the tables and the clock it was made with.

    Where it never ends (``ends`` is false), the content has been read once all partitions are at their end.
    """

    source: Source
    streams: StreamTable
    partitions: PartitionTable
    clock: Clock
    readings: list[Reading]
    ends: bool = True

    def named(self, batch: Batch) -> list[Reading]:
        names = [self.streams.names[slot] for slot in batch.stream]
        return list(zip(names, batch.ts.tolist(), batch.value.tolist(), strict=True))

    def partition_of(self, batch: Batch) -> dict[str, str]:
        """Which partition brought a stream, by their names."""
        both = zip(batch.stream, batch.partition, strict=True)
        return {self.streams.names[slot]: self.partitions.names[partition] for slot, partition in both}

    def polls(self) -> Iterator[Batch]:
        """Every poll until all was read, a step at a time."""
        for _ in range(1000):
            if self.source.done:
                return
            batch = self.source.poll(self.clock.now() + SECOND)
            yield batch
            if not self.ends and batch.at_end and len(batch.at_end) == len(self.partitions.names):
                return
        pytest.fail("a finite source did not end")


def one_by_one(readings: list[Reading], partition_of: dict[str, str]) -> list[Reading]:
    """Readings one partition after the other; in one partition in the order in which they stand."""
    return sorted(readings, key=lambda reading: partition_of[reading[0]])


def content() -> list[Reading]:
    return [(name, T0 + i * SECOND, i + j / 8) for i in range(STEPS) for j, name in enumerate(NAMES)]


def lines() -> str:
    found = [{"stream": name, "ts": ts // SECOND, "value": value} for name, ts, value in content()]
    return "".join(json.dumps(reading) + "\n" for reading in found)


def replay(folder: Path) -> Case:
    (folder / "a.jsonl").write_text(lines())
    streams, partitions, clock = StreamTable(), PartitionTable(), ReplayClock()
    source = ReplaySource([folder / "a.jsonl"], streams, partitions, clock)
    return Case(source, streams, partitions, clock, content())


def recording(folder: Path) -> Case:
    path = folder / "r.parquet"
    if not path.exists():
        of = replay(folder)
        writer = RecordingWriter(path)
        for batch in of.polls():
            writer.turn(of.clock.now(), batch, of.streams, of.partitions)
        writer.close()
    streams, partitions, clock = StreamTable(), PartitionTable(), ReplayClock()
    return Case(RecordingSource(path, streams, partitions, clock), streams, partitions, clock, content())


def file(folder: Path) -> Case:
    (folder / "a.jsonl").write_text(lines())
    streams, partitions, clock = StreamTable(), PartitionTable(), ReplayClock(T0 + 60 * SECOND)
    decode = JsonCodec(None, "s", None, streams).decode
    source = FileSource(folder / "a.jsonl", decode, partitions, clock, follow=False)
    return Case(source, streams, partitions, clock, content())


def stdin(folder: Path) -> Case:
    read_end, write_end = os.pipe()
    os.write(write_end, lines().encode())
    os.close(write_end)
    streams, partitions, clock = StreamTable(), PartitionTable(), WallClock()
    source = StdinSource(JsonCodec(None, "s", None, streams).decode, partitions, clock, read_end)
    return Case(source, streams, partitions, clock, content())


def synthetic(folder: Path) -> Case:
    world = World(4, seed=1, step_ns=SECOND, start_ns=T0)
    values = world.step(0, STEPS)
    readings = [
        (name, T0 + i * SECOND, values[i, j])
        for i in range(STEPS)
        for j, name in enumerate(world.names)
        if not np.isnan(values[i, j])
    ]
    streams, partitions, clock = StreamTable(), PartitionTable(), ReplayClock(T0)
    source = SyntheticSource(world, streams, partitions, clock, end_ns=T0 + STEPS * SECOND)
    return Case(source, streams, partitions, clock, readings)


def merged(folder: Path) -> Case:
    streams, partitions, clock = StreamTable(), PartitionTable(), ReplayClock(T0 + 60 * SECOND)
    decode = JsonCodec(None, "s", None, streams).decode
    sources = []
    for machine in ("m1", "m2"):
        path = folder / f"{machine}.jsonl"
        path.write_text("".join(line for line in lines().splitlines(keepends=True) if f'"{machine}/' in line))
        sources.append(FileSource(path, decode, partitions, clock, follow=False))
    return Case(Merged(sources, clock), streams, partitions, clock, content())


# Kafka, which needs a broker, is tried with the same checks in test_kafka_contract.py.
CASES: list[Callable[[Path], Case]] = [replay, recording, file, stdin, synthetic, merged]
CAN_GO_BACK = [replay, recording, file, synthetic, merged]  # a pipe can't


@pytest.fixture(params=CASES, ids=lambda make: make.__name__)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    made: Case = request.param(tmp_path)
    yield made
    made.source.close()


def test_every_reading_comes_once_in_the_order_of_its_partition(case: Case) -> None:
    batch = concat(list(case.polls()))
    whose = case.partition_of(batch)
    assert one_by_one(case.named(batch), whose) == one_by_one(case.readings, whose)


def test_columns_have_one_length_and_their_kinds(case: Case) -> None:
    kinds = {"stream": np.int32, "ts": np.int64, "arrived": np.int64, "value": np.float64}
    kinds |= {"partition": np.int32, "offset": np.int64}
    for batch in case.polls():
        for name, kind in kinds.items():
            column = getattr(batch, name)
            assert (name, column.dtype, column.shape) == (name, kind, (len(batch),))
        assert batch.backlog is None or batch.backlog.shape == (len(batch),)


def test_nothing_comes_before_it_arrived_and_arrivals_only_rise_in_a_partition(case: Case) -> None:
    last: dict[int, int] = {}
    for batch in case.polls():
        assert (batch.arrived <= case.clock.now()).all()
        for number in set(batch.partition.tolist()):
            arrived = batch.arrived[batch.partition == number]
            assert (np.diff(arrived) >= 0).all()
            assert arrived[0] >= last.get(number, 0)
            last[number] = int(arrived[-1])


def test_offsets_never_fall_in_a_partition_and_positions_lie_behind_them(case: Case) -> None:
    last: dict[int, int] = {}
    for batch in case.polls():
        for number in set(batch.partition.tolist()):
            offset = batch.offset[batch.partition == number]
            assert offset[0] >= last.get(number, -1)
            assert (np.diff(offset) >= 0).all()
            last[number] = int(offset[-1])
            assert batch.positions[number] > last[number]


def test_each_partition_ends_once_and_is_not_at_its_end_after_that(case: Case) -> None:
    batches = list(case.polls())
    ended = [p for batch in batches for p in batch.ended]
    assert sorted(ended) == list(range(len(case.partitions.names)))
    assert ended and all(case.partitions.names)
    gone: set[int] = set()
    for batch in batches:
        assert not gone & {*batch.at_end, *batch.partition.tolist(), *batch.ended}
        gone |= set(batch.ended)


def test_after_the_end_every_poll_is_empty(case: Case) -> None:
    for _ in case.polls():
        pass
    for _ in range(3):
        batch = case.source.poll(case.clock.now() + SECOND)
        assert (len(batch), batch.at_end, batch.ended, dict(batch.positions)) == (0, (), (), {})
    assert case.source.done


def test_it_can_be_closed_twice_and_told_what_is_durable(case: Case) -> None:
    batch = case.source.poll(case.clock.now() + SECOND)
    case.source.commit({case.partitions.names[p]: offset for p, offset in batch.positions.items()})
    case.source.commit({"some/other": 7})
    case.source.close()
    case.source.close()


@pytest.mark.parametrize("make", CAN_GO_BACK, ids=lambda make: make.__name__)
@pytest.mark.parametrize("polls", [0, 1, 3, 7])
def test_reading_on_from_its_positions_loses_nothing_and_repeats_nothing(
    make: Callable[[Path], Case], polls: int, tmp_path: Path
) -> None:
    first = make(tmp_path)
    before = [batch for batch, _ in zip(first.polls(), range(polls), strict=False)]
    positions = {first.partitions.names[p]: at for p, at in concat(before).positions.items()}
    first.source.close()
    second = make(tmp_path)
    second.source.seek(positions)
    rest = concat(list(second.polls()))
    whose = first.partition_of(concat(before)) | second.partition_of(rest)
    came = first.named(concat(before)) + second.named(rest)
    assert one_by_one(came, whose) == one_by_one(second.readings, whose)
    second.source.close()


def quiet_file(folder: Path) -> Source:
    (folder / "a.jsonl").write_text("")
    return FileSource(
        folder / "a.jsonl", JsonCodec(None, "s", None, StreamTable()).decode, PartitionTable(), WallClock()
    )


def quiet_stdin(folder: Path) -> Source:
    read_end, _ = os.pipe()
    return StdinSource(JsonCodec(None, "s", None, StreamTable()).decode, PartitionTable(), WallClock(), read_end)


def quiet_synthetic(folder: Path) -> Source:
    clock = WallClock()
    return SyntheticSource(World(4, 1, start_ns=clock.now() + 60 * SECOND), StreamTable(), PartitionTable(), clock)


@pytest.mark.parametrize("make", [quiet_file, quiet_stdin, quiet_synthetic], ids=lambda make: make.__name__)
def test_where_nothing_comes_a_poll_takes_the_time_it_was_given_and_says_that_it_is_at_the_end(
    make: Callable[[Path], Source], tmp_path: Path
) -> None:
    source, clock = make(tmp_path), WallClock()
    until = clock.now() + 60_000_000
    batch = source.poll(until)
    assert 0 <= clock.now() - until < 5 * SECOND
    assert (len(batch), batch.at_end, batch.ended) == (0, (0,), ())
    assert not source.done
    source.close()
