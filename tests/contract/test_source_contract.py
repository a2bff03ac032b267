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
from connectors.codec import JsonCodec
from connectors.file import FileSource, StdinSource
from connectors.recording import RecordingSource, RecordingWriter
from connectors.replay import ReplaySource
from connectors.source import Source
from connectors.synthetic import SyntheticSource, World

T0 = 1_700_000_000 * SECOND
STEPS, NAMES = 12, ("m1/temp", "m1/load", "m2/temp")
Reading = tuple[str, int, float]


@dataclass
class Case:
    """A source over known, finite content, with the tables and the clock it was made with."""

    source: Source
    streams: StreamTable
    partitions: PartitionTable
    clock: Clock
    readings: list[Reading]

    def named(self, batch: Batch) -> list[Reading]:
        names = [self.streams.names[slot] for slot in batch.stream]
        return list(zip(names, batch.ts.tolist(), batch.value.tolist(), strict=True))

    def polls(self) -> Iterator[Batch]:
        """Every poll until the end, a step at a time."""
        for _ in range(1000):
            if self.source.done:
                return
            yield self.source.poll(self.clock.now() + SECOND)
        pytest.fail("a finite source did not end")


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


# A source that needs a server joins here with a case of its own once its fixture is there (tests/conftest.py).
CASES: list[Callable[[Path], Case]] = [replay, recording, file, stdin, synthetic]
CAN_GO_BACK = [replay, recording, file, synthetic]  # a pipe can't


@pytest.fixture(params=CASES, ids=lambda make: make.__name__)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    made: Case = request.param(tmp_path)
    yield made
    made.source.close()


def test_every_reading_comes_once_in_the_order_of_its_partition(case: Case) -> None:
    assert [reading for batch in case.polls() for reading in case.named(batch)] == case.readings


def test_columns_have_one_length_and_their_kinds(case: Case) -> None:
    kinds = {"stream": np.int32, "ts": np.int64, "arrived": np.int64, "value": np.float64}
    kinds |= {"partition": np.int32, "offset": np.int64}
    for batch in case.polls():
        for name, kind in kinds.items():
            column = getattr(batch, name)
            assert (name, column.dtype, column.shape) == (name, kind, (len(batch),))
        assert batch.backlog is None or batch.backlog.shape == (len(batch),)


def test_nothing_comes_before_it_arrived_and_arrivals_only_rise(case: Case) -> None:
    last = 0
    for batch in case.polls():
        assert (batch.arrived <= case.clock.now()).all()
        if len(batch):
            assert (np.diff(batch.arrived) >= 0).all()
            assert batch.arrived[0] >= last
            last = batch.arrived[-1]


def test_offsets_never_fall_and_positions_lie_behind_them(case: Case) -> None:
    last = -1
    for batch in case.polls():
        if len(batch):
            assert batch.offset[0] >= last
            assert (np.diff(batch.offset) >= 0).all()
            last = int(batch.offset[-1])
            assert batch.positions[int(batch.partition[-1])] > last


def test_each_partition_ends_once_and_is_not_at_its_end_after_that(case: Case) -> None:
    batches = list(case.polls())
    ended = [p for batch in batches for p in batch.ended]
    assert ended == [0]
    assert case.partitions.names[0]
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
    after = [reading for batch in second.polls() for reading in second.named(batch)]
    assert first.named(concat(before)) + after == first.readings
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
    assert 0 <= clock.now() - until < SECOND
    assert (len(batch), batch.at_end, batch.ended) == (0, (0,), ())
    assert not source.done
    source.close()
