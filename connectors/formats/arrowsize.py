"""How many bytes an Arrow stream unpacks to, read from its metadata before anything is unpacked."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa

_RECORDS, _DICTIONARY = 3, 2  # Message.header_type in Arrow's Message.fbs


def unpacked_bytes(stream: memoryview) -> int:
    """Bytes of all compressed buffers when unpacked; 0 where none is. Raises ArrowInvalid and the like.

    A compressed buffer begins with its unpacked length (Arrow columnar format, "Compression"): little-endian int64,
    -1 where it is not compressed after all.
    """
    total = 0
    for message in _all(pa.ipc.MessageReader.open_stream(pa.py_buffer(stream))):
        if message.body is not None and message.body.size:
            body = memoryview(message.body)
            for at in _compressed(memoryview(message.metadata).tobytes()):
                total += _length(body, at)
    return total


def _length(body: memoryview, at: int) -> int:
    if not 0 <= at <= len(body) - 8:
        raise ValueError("a buffer of an Arrow message lies outside of its body")
    return max(0, int(struct.unpack_from("<q", body, at)[0]))


def _all(messages: pa.ipc.MessageReader) -> Iterator[pa.ipc.Message]:
    while True:
        try:
            yield messages.read_next_message()
        except StopIteration:
            return


def _compressed(metadata: bytes) -> Iterator[int]:
    """Where in the body compressed buffers begin (Message.fbs: in a RecordBatch, which a DictionaryBatch holds too)."""
    try:
        root = _table(metadata, 0)
        kind, header = _field(metadata, root, 1), _field(metadata, root, 2)
        if kind is None or header is None or metadata[kind] not in (_RECORDS, _DICTIONARY):
            return
        batch = _table(metadata, header)
        if metadata[kind] == _DICTIONARY:
            batch = _table(metadata, _field(metadata, batch, 1) or 0)
        buffers = _field(metadata, batch, 2)
        if buffers is None or _field(metadata, batch, 3) is None:  # the last says how it is compressed
            return
        vector = _table(metadata, buffers)
        for n in range(struct.unpack_from("<I", metadata, vector)[0]):
            offset, length = struct.unpack_from("<qq", metadata, vector + 4 + 16 * n)
            if length >= 8:
                yield offset
    except (struct.error, IndexError) as error:
        raise ValueError(f"metadata of an Arrow message: {error}") from error


def _table(metadata: bytes, at: int) -> int:
    """What an offset that stands at ``at`` leads to."""
    return at + int(struct.unpack_from("<I", metadata, at)[0])


def _field(metadata: bytes, table: int, number: int) -> int | None:
    """Where a field of a table stands; None where it has its default."""
    vtable = table - int(struct.unpack_from("<i", metadata, table)[0])
    if 4 + 2 * number >= struct.unpack_from("<H", metadata, vtable)[0]:
        return None
    offset = int(struct.unpack_from("<H", metadata, vtable + 4 + 2 * number)[0])
    return table + offset if offset else None
