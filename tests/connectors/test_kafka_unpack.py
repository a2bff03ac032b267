"""Whole record batches give what kafka-python's own loop gives: records, positions and errors."""

from __future__ import annotations

import logging
import struct
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import kafka
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kafka import KafkaConsumer, TopicPartition
from kafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from kafka.consumer.fetcher import Fetcher
from kafka.protocol.consumer import IsolationLevel
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecords
from kafka.record.util import calc_crc32c, encode_varint

from connectors.kafka import unpack as kafka_unpack
from connectors.kafka.columns import of_poll
from connectors.kafka.whole import TESTED, Unpacking, WholeRecords, hand_out_whole

AT = TopicPartition("plant", 3)
CONTROL, TRANSACTIONAL, APPEND_TIME = 0x20, 0x10, 0x08
ENCODERS: list[Callable[[bytes], bytes]] = [bytes, gzip_encode, snappy_encode, lz4_encode, zstd_encode]
Headers = list[tuple[bytes, bytes | None]]
Record = tuple[int, int, bytes | None, bytes | None, Headers]  # ms and offset since the one before, key, value, headers


@dataclass(frozen=True)
class Written:
    """A batch to be; ``gap`` = offsets missing before it, ``removed`` = behind its last record, by compaction."""

    records: Sequence[Record] = ()
    gap: int = 0
    removed: int = 0
    compression: int = 0
    attributes: int = 0
    producer: int = -1
    flip: tuple[int, int] | None = None  # a byte of the records, and what it is xored with, before the checksum
    wrong_sum: bool = False


def varint(number: int) -> bytes:
    found = bytearray()
    encode_varint(number, found.append)
    return bytes(found)


def sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def body(records: Sequence[Record]) -> tuple[bytes, int]:
    """The bytes of the records, and the last one's offset in the batch."""
    found, since, delta = bytearray(), 0, -1
    for ms, step, key, value, headers in records:
        since, delta = since + ms, delta + step
        inside = b"\0" + varint(since) + varint(delta) + sized(key) + sized(value) + varint(len(headers))
        inside += b"".join(sized(name) + sized(text) for name, text in headers)
        found += varint(len(inside)) + inside
    return bytes(found), delta


def batch_bytes(batch: Written, base: int) -> tuple[bytes, int]:
    """The bytes of a batch, and the offset behind it."""
    data, delta = body(batch.records)
    if batch.flip is not None and data:
        at = batch.flip[0] % len(data)
        data = data[:at] + bytes([data[at] ^ batch.flip[1]]) + data[at + 1 :]
    data = ENCODERS[batch.compression](data)
    last = max(0, delta + batch.removed)
    fields = (batch.attributes | batch.compression, last, 1_000, 9_000, batch.producer, 0, -1, len(batch.records))
    summed = struct.pack(">hiqqqhii", *fields) + data
    checksum = calc_crc32c(memoryview(summed)) ^ batch.wrong_sum
    rest = struct.pack(">ibI", 7, 2, checksum) + summed
    return struct.pack(">qi", base, len(rest)) + rest, base + last + 1


def fetched(batches: Sequence[Written], first: int = 100) -> bytes:
    found, base = b"", first
    for batch in batches:
        data, base = batch_bytes(batch, base + batch.gap)
        found += data
    return found


def outcome(make: Callable[..., Any], data: bytes, start: int, sizes: Sequence[int], **more: Any) -> list[Any]:
    """All that the records of a fetch give, a poll at a time: records in one list, the error, the position then."""
    part = make(start, AT, MemoryRecords(data), **more)
    records: list[Any] = []
    for turn in range(10_000):
        size = sizes[turn % len(sizes)]
        try:
            taken = part.take(size)
        except Exception as error:
            return [records, part.next_fetch_offset, type(error), str(error)]
        assert len(taken) <= size
        found = of_poll(list(taken))
        records += zip(
            found.offset.tolist(), found.written.tolist(), found.values, found.keys, found.headers, strict=True
        )
        if not part:
            return [records, part.next_fetch_offset, None, ""]
    raise AssertionError("it never ends")


def same(data: bytes, start: int = 100, sizes: Sequence[int] = (7,), **more: Any) -> tuple[list[Any], int]:
    """Compare both ways; returns what came and how many records had to be unpacked singly."""
    unpacking = Unpacking()
    first = MemoryRecords(data).next_batch()
    if isinstance(first, DefaultRecordBatch):  # a broker's answer begins with the batch that holds the offset
        start = min(start, first.last_offset)
    stock = outcome(Fetcher.PartitionRecords, data, start, sizes, **more)
    whole = outcome(lambda *args, **rest: WholeRecords(unpacking, *args, **rest), data, start, sizes, **more)
    if stock[2] is not None and stock[1] < whole[1]:  # nearer to the batch that the error is about
        bounds = {offset for batch in MemoryRecords(data) for offset in (batch.base_offset, batch.next_offset)}
        assert whole[1] in bounds | {start}
        whole[1] = stock[1]
    assert whole == stock
    return stock, unpacking.singly


short = st.none() | st.binary(max_size=5) | st.sampled_from([b"x" * 62, b"y" * 63, b"z" * 64, b"w" * 9000])
names = st.text(max_size=3).map(str.encode) | st.just("größe".encode())
record_lists = st.lists(
    st.tuples(
        st.integers(-3, 3) | st.integers(-(2**50), 2**50),
        st.integers(1, 3) | st.just(1),
        short,
        short,
        st.lists(st.tuples(names, short), max_size=2) | st.just([]),
    ),
    max_size=12,
)
plain = st.builds(
    Written,
    records=record_lists,
    gap=st.integers(0, 3),
    removed=st.integers(0, 2),
    compression=st.integers(0, 4),
    attributes=st.sampled_from([0, APPEND_TIME]),
)
transactional = st.builds(
    Written,
    records=record_lists,
    compression=st.integers(0, 4),
    attributes=st.just(TRANSACTIONAL),
    producer=st.integers(1, 2),
)
marker = st.builds(
    lambda producer, kind: Written(
        [(0, 1, struct.pack(">hh", 0, kind), b"\0" * 6, [])], 0, 0, 0, TRANSACTIONAL | CONTROL, producer
    ),
    producer=st.integers(1, 2),
    kind=st.integers(0, 1),
)
some_sizes = st.lists(st.integers(1, 30), min_size=1, max_size=3)


@settings(deadline=None, max_examples=150)
@given(st.lists(plain, max_size=6), st.integers(95, 130), some_sizes)
def test_any_batches_give_the_same_records(batches: list[Written], start: int, sizes: list[int]) -> None:
    _, singly = same(fetched(batches), start, sizes)
    assert singly == 0


tails = st.sampled_from([b"", b"\0", b"\2\0", b"\x80\1\0", b"\6\0\0\0", b"\xff", b"x" * 200])


@settings(deadline=None)
@given(st.lists(record_lists, min_size=1, max_size=4), st.lists(tails, max_size=3))
def test_where_records_begin_is_guessed_right_or_not_at_all(batches: list[list[Record]], tails: list[bytes]) -> None:
    bodies = [body(records)[0] for records in batches] + tails  # the tails are no records
    counts = [len(records) for records in batches] + [1] * len(tails)
    blob, stops = b"".join(bodies) + bytes(16), np.cumsum([len(each) for each in bodies])
    guessed = kafka_unpack._guessed(np.frombuffer(blob, np.uint8), stops, counts) if sum(counts) else None
    try:
        walked = kafka_unpack._walk(blob, stops.tolist(), counts).tolist()
    except (kafka_unpack.Surprise, IndexError):
        walked = None
    assert guessed is None or guessed.tolist() == walked


def inside(record: bytes) -> bytes:
    return varint(len(record)) + record


def test_a_record_within_the_first_one_is_not_taken_for_it() -> None:
    forged, decoy = (b"\0" + varint(0) + varint(0) + sized(None) + sized(text) + b"\0" for text in (b"forged", b"xx"))
    within = b"\0" + inside(decoy) + inside(forged)[:-1]  # where the first real record ends, the forged one does
    first = (0, 1, None, b"x" * 8_200 + within, [])  # too long to be guessed
    _, singly = same(fetched([Written([first, *[(0, 1, None, b"v", [])] * 40])]), sizes=[100])
    assert singly == 0
    odd = inside(b"\1" + varint(0) + varint(0) + sized(None) + sized(b"real" + within) + b"\0")  # nor such attributes
    data, stops = odd + inside(decoy), np.array([len(odd) + len(inside(decoy))])
    assert kafka_unpack._guessed(np.frombuffer(data + bytes(16), np.uint8), stops, [2]) is None


def test_where_plain_records_begin_is_found_without_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Written([(at % 3, 1, None, b"v" * (at % 90), []) for at in range(500)])
    monkeypatch.setattr(kafka_unpack, "_walk", lambda *args: pytest.fail("it went the long way"))
    records, singly = same(fetched([batch, batch]), sizes=[5_000])
    assert len(records[0]) == 1_000 and singly == 0


def test_keys_that_are_not_there_take_no_room() -> None:
    batch = Written([(1, 1, None, b"v" * 1000, []) for _ in range(2000)])
    data = WholeRecords(Unpacking(), 100, AT, MemoryRecords(fetched([batch]))).take()
    columns = of_poll(list(data))
    tracemalloc.start()
    keys = list(columns.keys)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert keys == [None] * 2000
    assert peak < 1 << 20, "each was cut from its place to the end of the fetch"


@dataclass(frozen=True)
class Aborted:
    """As a fetch answer tells it."""

    producer_id: int
    first_offset: int


@settings(deadline=None, max_examples=150)
@given(
    st.lists(plain | transactional | marker, max_size=8),
    st.lists(st.builds(Aborted, st.integers(1, 2), st.integers(95, 130)), max_size=3),
    st.booleans(),
    some_sizes,
)
def test_transactions_are_kept_and_left_out_alike(
    batches: list[Written], aborted: list[Aborted], committed: bool, sizes: list[int]
) -> None:
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    _, singly = same(fetched(batches), 100, sizes, isolation_level=level, aborted_transactions=aborted)
    assert singly == 0


@settings(deadline=None, max_examples=300)
@given(
    st.lists(plain, min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(0, 10_000),
    st.integers(1, 255),
    st.integers(95, 120),
    some_sizes,
)
def test_broken_bytes_give_the_same_records_and_then_the_same_error(
    batches: list[Written], which: int, at: int, flip: int, start: int, sizes: list[int]
) -> None:
    which %= len(batches)
    batches[which] = replace(batches[which], flip=(at, flip))
    same(fetched(batches), start, sizes)


@pytest.mark.parametrize("checked", [True, False])
def test_a_wrong_checksum_is_told_behind_the_records_before_it(checked: bool) -> None:
    good = Written([(1, 1, None, b"%d" % i, []) for i in range(9)])
    data = fetched([good, replace(good, wrong_sum=True), good])
    found, _ = same(data, check_crcs=checked)
    assert len(found[0]) == (9 if checked else 27)
    assert ("crc" in found[3]) is checked


def test_a_header_that_is_no_text_is_told_as_the_stock_client_tells_it() -> None:
    bad = Written([(1, 1, b"k", b"v", []), (1, 1, b"k", b"v", [(b"\xff", b"1")]), (1, 1, None, b"w", [])])
    found, singly = same(fetched([bad]))
    assert "Unicode" in str(found[2:])
    assert len(found[0]) == singly == 1


def test_a_fetch_cut_off_in_a_batch_gives_the_batches_before_it() -> None:
    good = Written([(1, 1, None, b"%d" % i, []) for i in range(9)])
    found, singly = same(fetched([good, good])[:-5])
    assert len(found[0]) == 9 and singly == 0


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 5))
@example(b"", 0)
def test_records_of_any_bytes_at_all_are_told_alike(junk: bytes, count: int) -> None:
    fields = (0, 5, 1_000, 9_000, -1, 0, -1, count)
    summed = struct.pack(">hiqqqhii", *fields) + junk
    rest = struct.pack(">ibI", 7, 2, calc_crc32c(memoryview(summed))) + summed
    same(struct.pack(">qi", 100, len(rest)) + rest)


def test_messages_of_the_old_format_come_the_stock_way() -> None:
    from kafka.record.memory_records import MemoryRecordsBuilder

    builder = MemoryRecordsBuilder(magic=1, compression_type=0, batch_size=1 << 14, offset=100)
    for i in range(5):
        builder.append(timestamp=i, key=None, value=b"%d" % i)
    builder.close()
    found, singly = same(bytes(builder.buffer()), check_crcs=True)
    assert len(found[0]) == singly == 5


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Something that is a consumer as far as its fetcher goes."""
    held: Any = KafkaConsumer.__new__(KafkaConsumer)
    held._fetcher = Fetcher.__new__(Fetcher)
    yield held
    held._closed = True


def test_a_version_that_was_not_tried_is_left_alone_and_says_so(consumer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kafka.__version__ in TESTED and hand_out_whole(consumer).why_not is None
    assert consumer._fetcher.PartitionRecords is not Fetcher.PartitionRecords
    del consumer._fetcher.PartitionRecords
    monkeypatch.setattr(kafka, "__version__", "3.0.99")
    assert "3.0.99" in str(hand_out_whole(consumer).why_not)
    assert consumer._fetcher.PartitionRecords is Fetcher.PartitionRecords


def test_an_inside_that_has_changed_is_left_alone(consumer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.kafka.whole._KNOWN", {"a thing": (logging.getLogger, "self other")})
    assert "a thing" in str(hand_out_whole(consumer).why_not)
    del consumer._fetcher
    assert hand_out_whole(consumer).why_not is not None
