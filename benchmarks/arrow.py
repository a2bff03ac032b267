"""Readings as Arrow IPC messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa


def long(machines: Sequence[str], sensors: Sequence[str], ms: Sequence[int], values: Sequence[float]) -> bytes:
    """One message with a row for each reading, names dictionary-encoded."""
    names = {"machine": pa.array(machines).dictionary_encode(), "sensor": pa.array(sensors).dictionary_encode()}
    return stream(pa.table({**names, "ts": pa.array(ms, pa.timestamp("ms", "UTC")), "value": pa.array(values)}))


def stream(table: Any) -> bytes:
    """A table as an IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
