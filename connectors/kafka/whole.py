"""Makes kafka-python hand out whole record batches: framing, checksums and transactions stay its own."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import kafka
import numpy as np
from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch

from connectors.batch import Times
from connectors.kafka.columns import Columns, of_records
from connectors.kafka.unpack import Unpacked, unpacked

TESTED = ("3.0.12",)  # kafka-python's versions whose inside is known; docs/decisions/016
_KNOWN = {  # what is relied on, by where it is
    "PartitionRecords": (
        Fetcher.PartitionRecords.__init__,
        "self fetch_offset tp records key_deserializer value_deserializer check_crcs isolation_level "
        "aborted_transactions metric_aggregator on_drain",
    ),
    "PartitionRecords.take": (Fetcher.PartitionRecords.take, "self n"),
    "DefaultRecord": (DefaultRecord.__init__, "self size_in_bytes offset timestamp timestamp_type key value headers"),
}


class Whole:
    """Stands for a batch of format 2 in kafka-python's own loop, and comes out of it as a single record."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batch, name)

    def __len__(self) -> int:
        return int(self.batch.records_count)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        batch = self.batch
        iter(batch)  # decompresses
        if not len(self):  # compaction left none; if there is something all the same, the stock client complains
            yield from batch
            return
        yield DefaultRecord(batch.size_in_bytes, batch.last_offset, -1, 0, None, self, ())


class _Batches:
    """kafka-python's MemoryRecords, with each data batch of format 2 wrapped."""

    def __init__(self, records: Any) -> None:
        self._records = records

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        plain = isinstance(batch, DefaultRecordBatch) and not batch.is_control_batch
        return Whole(batch) if plain else batch


class Taken:
    """What ``take`` gives to the fetcher: as long as its records are many, and one item, the columns."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[Columns]:
        return iter((self._columns,))


@dataclass(slots=True)
class Unpacking:
    """How records are unpacked: whole batches unless ``why_not`` says otherwise."""

    why_not: str | None = None
    singly: int = 0  # records that had to go the stock way since the last call of take_singly

    def take_singly(self) -> int:
        """Records that were unpacked one by one, since the last call."""
        singly, self.singly = self.singly, 0
        return singly


def hand_out_whole(consumer: Any) -> Unpacking:
    """Make this consumer's polls bring Columns. Where its inside is not the known one it is left as it is.

    One that is not kafka-python's brings them already.
    """
    if not isinstance(consumer, KafkaConsumer):
        return Unpacking()
    found = Unpacking(_unknown(getattr(consumer, "_fetcher", None)))
    if found.why_not is None:
        consumer._fetcher.PartitionRecords = partial(WholeRecords, found)
    return found


def _unknown(fetcher: Any) -> str | None:
    """What speaks against reaching into this kafka-python; None = nothing."""
    if kafka.__version__ not in TESTED:
        return f"kafka-python {kafka.__version__} is not one of {', '.join(TESTED)}"
    if not isinstance(fetcher, Fetcher):
        return "the consumer has no fetcher"
    for name, (thing, expected) in _KNOWN.items():
        if list(inspect.signature(thing).parameters) != expected.split():
            return f"kafka-python's {name} is not the known one"
    return None


class WholeRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # kafka-python has no types
    """What is left of one fetch of one partition. Same records, positions and errors as its parent's, as columns."""

    def __init__(self, unpacking: Unpacking, fetch_offset: int, tp: Any, records: Any, **settings: Any) -> None:
        self._unpacking = unpacking
        self._left: Unpacked | Columns | None = None  # unpacked, not given yet
        self._behind = fetch_offset  # the offset to read next once that is given
        self._pulling = self._over = self._begun = False
        super().__init__(fetch_offset, tp, _Batches(records), **settings)

    def __bool__(self) -> bool:
        return self._left is not None or super().__bool__()

    def drain(self) -> None:
        """Let go of everything. The iterator calls this at its end, when what it brought is still to be given."""
        if not self._pulling:
            self._left = None
            super().drain()

    def take(self, n: int | None = None) -> Taken:
        """At most ``n`` records; raises what stopped the unpacking once all before it are given."""
        if self._left is None:
            self._maybe_raise_next_inline_exception()
            self._left = self._pulled(n or sys.maxsize)
        left, size = self._left, len(self._left)
        stop = size if n is None else min(n, size)
        self._left = left.part(stop, size) if stop < size else None
        self.next_fetch_offset = self._behind if stop == size else int(left.offset[stop - 1]) + 1
        if self._left is None and self._over:
            self.drain()
        given = left.part(0, stop)
        return Taken(given.columns() if isinstance(given, Unpacked) else given)

    def _pulled(self, n: int) -> Unpacked | Columns:
        """The next batches, ``n`` records or more unless they end; those before the offset asked for left away."""
        while True:
            self.next_fetch_offset = self._behind
            pulled = self._pull(n)
            self._behind = self.next_fetch_offset
            found = self._unpacked(pulled)
            skipped = 0 if self._begun else _first_from(found.offset, self.fetch_offset)
            self._begun = skipped < len(found)
            if self._begun or self._over or self._next_inline_exception:
                return found.part(skipped, len(found)) if skipped else found

    def _pull(self, n: int) -> list[Any]:
        pulled: list[Any] = []
        came = 0
        self._pulling = True
        try:
            while came < n and not self._over:
                record = next(self.record_iterator, None)
                self._over = record is None
                if record is not None:
                    came += len(record.value) if isinstance(record.value, Whole) else 1
                    pulled.append(record)
        except Exception as error:  # whatever the stock client says of a batch
            if not pulled:
                raise
            self._next_inline_exception = error
        finally:
            self._pulling = False
        return pulled

    def _unpacked(self, pulled: Sequence[Any]) -> Unpacked | Columns:
        if not pulled:
            return of_records([])
        try:
            return unpacked([record.value.batch for record in pulled])
        except Exception:  # a surprise, a record of an old format: nothing here may be worse than the stock client
            found = self._singly(pulled)
        self._unpacking.singly += len(found)
        return found

    def _singly(self, pulled: Sequence[Any]) -> Columns:
        """The records as the stock client unpacks them, up to the first that it can't."""
        records: list[Any] = []
        for record in pulled:
            if not isinstance(record.value, Whole):
                records.append(record)
                continue
            try:
                records.extend(record.value.batch)  # what comes before an error stays
            except Exception as error:
                self._next_inline_exception, self._over = error, False
                last = records[-1].offset + 1 if records else 0
                self._behind = max(last, record.value.base_offset, self.fetch_offset)
                if not records or records[-1].offset < self.fetch_offset:
                    self.next_fetch_offset = self._behind
                    self._maybe_raise_next_inline_exception()
                break
        return of_records(records)


def _first_from(offsets: Times, start: int) -> int:
    """The first row at or behind ``start``: a batch may begin before the offset that was asked for."""
    rows = np.flatnonzero(offsets >= start)
    return int(rows[0]) if len(rows) else len(offsets)
