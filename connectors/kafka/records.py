"""Records of a poll to a batch: decode by topic, tell arrival and backlog, write dead letters before moving on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from connectors.batch import Batch, Times, concat, empty
from connectors.formats.decoded import Decoded
from connectors.formats.fieldpath import Headers
from connectors.kafka.columns import Columns, joined
from connectors.kafka.dead_letters import DeadLetters, Letter
from connectors.kafka.partitions import Partition

_SAMPLE = np.random.default_rng(0).random(500)  # where in a poll the times are whose median is taken

Records = dict[int, tuple[Partition, Columns]]  # by the partition's number


class Codec(Protocol):
    """What turns messages of one topic into readings."""

    def decode(
        self,
        payloads: Sequence[bytes | None],
        keys: Sequence[bytes | None] = (),
        headers: Sequence[Headers] = (),
        topic: str = "",
        record_ts: Times | None = None,
    ) -> Decoded:
        """Readings in columns; ``record_ts`` in ns. Never raises for what a message holds."""
        ...


class KafkaBatch:
    """Makes batches, and sees to it that no position passes a message that is neither read nor a dead letter."""

    def __init__(self, codec: Codec, letters: DeadLetters) -> None:
        self._codec, self._letters = codec, letters
        self._counts: Counter[str] = Counter()

    def built(self, polled: Records, ended: Sequence[int], parts: Collection[Partition], now: int) -> Batch:
        """The batch of one poll; moves the partitions' positions."""
        topics: dict[str, list[tuple[Partition, Columns]]] = {}
        for part, records in polled.values():
            topics.setdefault(part.at.topic, []).append((part, records))
        batch = concat([self._topic(topic, pieces, now) for topic, pieces in topics.items()] or [empty()])
        counts, self._counts = self._counts, Counter()
        return Batch(
            batch.stream,
            batch.ts,
            batch.arrived,
            batch.value,
            batch.partition,
            batch.offset,
            _moved(parts),
            tuple(part.number for part in parts if part.at_end),
            tuple(dict.fromkeys(ended)),
            batch.backlog,
            {what: n for what, n in counts.items() if n},
            tuple(part.number for part in parts if part.waited_for(now)),
        )

    def step_over(self, part: Partition, letter: Letter, now: int) -> None:
        """Pass a record that the client can't unpack, once there is a dead letter of it."""
        if all(self._letters.send([letter])):
            self._count([letter.reason])
            part.position = letter.offset + 1
            part.release()
        else:
            part.hold(now)

    def count(self, what: str, n: int) -> None:
        """Add to what the next batch counts."""
        self._counts[what] += n

    def _topic(self, topic: str, pieces: Sequence[tuple[Partition, Columns]], now: int) -> Batch:
        records = joined([found for _, found in pieces])
        written = records.written * 1_000_000
        decoded = self._codec.decode(records.values, records.keys, records.headers, topic, written)
        sizes = [len(found) for _, found in pieces]
        kept = self._move(pieces, records, decoded, now)
        self._counts["records"] += int(kept.sum())
        self._counts["bytes"] += _size(records.values, kept)
        self._counts.update(decoded.counts)
        row = decoded.row
        since = np.repeat([part.since for part, _ in pieces], sizes)
        came = np.where(written < 0, now, written)
        batch = Batch(
            decoded.stream,
            decoded.ts,
            np.minimum(np.maximum(came, since), now)[row],
            decoded.value,
            np.repeat(np.array([part.number for part, _ in pieces], np.int32), sizes)[row],
            records.offset[row],
            backlog=(came < since)[row],
        )
        _note_times(pieces, batch, now)
        return batch if kept.all() else batch.take(kept[row])

    def _move(
        self, pieces: Sequence[tuple[Partition, Columns]], records: Columns, decoded: Decoded, now: int
    ) -> npt.NDArray[np.bool_]:
        """Move positions past the records, up to the first whose dead letter failed; which records are passed."""
        owner = np.repeat(np.arange(len(pieces)), [len(found) for _, found in pieces])
        letters = [_letter(pieces[owner[row]][0], records, row, reason, text) for row, reason, text in decoded.bad]
        written = self._letters.send(letters) if letters else []
        failed = [row for (row, _, _), sent in zip(decoded.bad, written, strict=True) if not sent]
        kept = np.ones(len(records), bool)
        start = 0
        for part, found in pieces:
            stop = start + len(found)
            first = next((row for row in failed if start <= row < stop), stop)
            part.position = int(records.offset[stop - 1] + 1 if first == stop else records.offset[first])
            if first < stop:
                part.hold(now)
            else:
                part.release()
            kept[first:stop] = False
            start = stop
        self._count([reason for row, reason, _ in decoded.bad if kept[row]])
        return kept

    def _count(self, reasons: Sequence[str]) -> None:
        self._counts["undecodable"] += len(reasons)
        self._counts.update(f"undecodable.{reason}" for reason in reasons)


def _moved(parts: Collection[Partition]) -> Mapping[int, int]:
    """Positions that are news, of the partitions whose first one is settled."""
    moved = {part.number: part.position for part in parts if part.placed and part.position != part.reported}
    for part in parts:
        if part.number in moved:
            part.reported = part.position
    return moved


def _note_times(pieces: Sequence[tuple[Partition, Columns]], batch: Batch, now: int) -> None:
    """How far each partition has come in event time: about the median, which a few wrong times don't move."""
    for part, _ in pieces:
        ts = batch.ts[batch.partition == part.number] if len(pieces) > 1 else batch.ts
        part.came(now)
        if len(ts):
            part.event_time = int(np.median(ts if len(ts) <= len(_SAMPLE) else ts[(_SAMPLE * len(ts)).astype(np.intp)]))


def _size(values: Sequence[bytes | None], kept: npt.NDArray[np.bool_]) -> int:
    if kept.all() and None not in values:
        return sum(map(len, values))  # type: ignore[arg-type]  # none of them is None
    return sum(len(value or b"") for value, whether in zip(values, kept.tolist(), strict=True) if whether)


def _letter(part: Partition, records: Columns, row: int, reason: str, text: str) -> Letter:
    return Letter(
        part.at.topic,
        part.at.partition,
        int(records.offset[row]),
        records.keys[row],
        records.values[row],
        records.headers[row],
        int(records.written[row]),
        reason,
        text,
    )
