"""The streams that rules are checked against: those of recordings, or those of a running heed."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.batch import PartitionTable, StreamTable
from connectors.clock import ReplayClock
from connectors.heed_answers import answer
from connectors.recordings.recording import RecordingSource, heading
from connectors.recordings.replay import ReplaySource
from connectors.source import Source
from stream.app.replay import expanded
from stream.rulecheck.about import Streams
from stream.settings import StreamRules, load_text

MOST = 10_000  # streams that a running heed tells of in one answer


def recorded_streams(files: Sequence[str]) -> Streams:
    """Every stream of some recordings, with the labels that a recorded configuration gives it. Raises SourceError."""
    files = expanded(files)
    head = heading(files[0]) if len(files) == 1 else None
    table, partitions, clock = StreamTable(), PartitionTable(), ReplayClock()
    if head is not None:
        source: Source = RecordingSource(files[0], table, partitions, clock)
    else:
        source = ReplaySource(files, table, partitions, clock)
    try:
        while not source.done:
            source.poll(1 << 62)
    finally:
        source.close()
    config = load_text(head.config, files[0], need_sources=False) if head is not None and head.config else None
    entries = StreamRules(config.streams if config is not None else ())
    found = Streams(", ".join(files))
    for name, group, labels in zip(table.names, table.groups, table.labels, strict=True):
        if name:
            found.add(name, group, entries.resolve(name, labels).labels)
    return found


def running_streams(url: str) -> Streams:
    """The streams that a running heed knows now, at most ``MOST`` of them. Raises SourceError."""
    data = answer(url, "streams", {"limit": str(MOST), "sort": "name"})
    found = Streams(url)
    for row in data["streams"]:
        found.add(row["stream"], row["group"], row.get("labels", {}))
    found.all = len(found) >= data["total"]
    return found
