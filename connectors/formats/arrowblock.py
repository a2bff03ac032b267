"""Arrow messages (IPC streams or files) to blocks: columns named by the field paths, long or wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from connectors.formats.arrowsize import unpacked_bytes
from connectors.formats.block import Block, Column, Rows
from connectors.formats.decoded import Undecodable
from connectors.formats.fieldpath import MISSING, Path
from connectors.formats.shape import FIELD, Shape

_MAGIC = b"ARROW1"
_FILE_HEAD = 8  # bytes of the magic and its padding; behind them a file holds a stream
_SWELL = 16  # how many times `limits.message_bytes` the compressed body of a message may unpack to
_UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError)
_ZERO = np.zeros(1, np.intp)


class ArrowReader:
    """Reads messages that hold record batches. Times without a zone are of ``zone``.

    Raises ValueError where ``whole`` has paths through lists.
    """

    def __init__(self, usual: Shape, whole: Shape, zone: str | None) -> None:
        lists = [where.text for where in whole.paths if any(not isinstance(step, str) for step in where.inner)]
        if lists or whole.each is not None:
            raise ValueError(f"fields: Arrow has columns and structs: {', '.join(lists) or 'a path'} leads into a list")
        self._usual, self._whole, self._zone = usual, whole, zone

    def read(self, payloads: Sequence[bytes | None], limit: int) -> tuple[list[Block], Rows]:
        kinds: list[tuple[list[pa.Table], list[int]]] = []  # of one schema each
        left = []
        for row, payload in enumerate(payloads):
            try:
                table = _table(payload or b"", limit)
            except Undecodable:
                left.append(row)
            else:
                if not kinds or not table.schema.equals(kinds[-1][0][0].schema):
                    kinds.append(([], []))
                kinds[-1][0].append(table)
                kinds[-1][1].append(row)
        blocks = []
        for tables, rows in kinds:
            try:
                blocks.append(self._block(tables, rows, self._usual))
            except (Undecodable, *_UNREADABLE):
                left += rows
        return blocks, np.array(sorted(left), np.intp)

    def exact(self, payload: bytes, message: int, limit: int) -> Block:
        table = _table(payload, limit)
        try:
            return self._block([table], [message], self._whole)
        except _UNREADABLE as error:
            raise Undecodable("malformed", str(error)[:200]) from error

    def _block(self, tables: Sequence[pa.Table], messages: Sequence[int], shape: Shape) -> Block:
        """Rows of tables of one schema."""
        table = tables[0] if len(tables) == 1 else pa.concat_tables(tables)
        row = np.repeat(np.array(messages, np.intp), [each.num_rows for each in tables])
        columns = {where.text: self._column(table, where) for where in shape.single()}
        block = Block(row, columns)
        return self._members(block, table, shape) if shape.members else block

    def _column(self, table: pa.Table, where: Path) -> Column:
        found = _at(table, [str(step) for step in where.steps])
        if found is None:
            return Column([MISSING], np.repeat(_ZERO, table.num_rows))
        return _values(_flat(found), self._zone)

    def _members(self, block: Block, table: pa.Table, shape: Shape) -> Block:
        """A row for each value in the numeric columns that nothing else uses (or in the numeric fields of a struct)."""
        path = shape.member_path
        if path.inner:
            free = dict(_fields(table, [str(step) for step in path.inner]))
        else:
            used = {where.steps[0] for where in shape.single()}
            free = {name: table.column(i) for i, name in enumerate(table.column_names) if name not in used}
        numeric = {name: column for name, column in free.items() if _is_numeric(column.type)}
        if not numeric:
            raise Undecodable("missing_value", f"no numeric column at {path.text}")
        n, k = table.num_rows, len(numeric)
        values = np.stack([_floats(_flat(column)) for column in numeric.values()], axis=1).ravel()
        names = Column(list(numeric), np.tile(np.arange(k), n), True)
        return block.spread(np.full(n, k, np.intp), {FIELD: names, path.text: Column(values)})


def _table(payload: bytes, limit: int) -> pa.Table:
    """The batches of one message, checked through and through: a wrong offset in one would crash whoever follows it."""
    if not payload:
        raise Undecodable("empty", "a message without a payload")
    if len(payload) > limit:
        raise Undecodable("oversize", f"{len(payload)} bytes, more than limits.message_bytes = {limit}")
    stream = memoryview(payload)[_FILE_HEAD:] if payload.startswith(_MAGIC) else memoryview(payload)
    try:
        if unpacked_bytes(stream) > _SWELL * limit:
            raise Undecodable("oversize", f"unpacks to more than {_SWELL} times limits.message_bytes")
        with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
            batches, rows = [], 0
            for batch in reader:
                rows += batch.num_rows
                if rows > limit:  # columns of nulls or of repeated values take no bytes
                    raise Undecodable("oversize", f"more than {limit} rows")
                batches.append(batch)
            table = pa.Table.from_batches(batches, reader.schema.remove_metadata())
        table.validate(full=True)
    except _UNREADABLE as error:
        raise Undecodable("malformed", str(error)[:200]) from error
    return table


def _at(table: pa.Table, steps: Sequence[str]) -> Any:
    if table.column_names.count(steps[0]) != 1:
        return None
    found = table.column(steps[0])
    for step in steps[1:]:
        if not pa.types.is_struct(found.type) or found.type.get_field_index(step) < 0:
            return None
        found = pc.struct_field(found, step)
    return found


def _fields(table: pa.Table, steps: Sequence[str]) -> Iterator[tuple[str, Any]]:
    found = _at(table, steps)
    if found is None:
        raise Undecodable("missing_value", f"no column {'.'.join(steps)}")
    if not pa.types.is_struct(found.type):
        raise Undecodable("wrong_type", f"{'.'.join(steps)} is not a struct but {found.type}")
    for i in range(found.type.num_fields):
        yield found.type.field(i).name, pc.struct_field(found, [i])


def _flat(column: Any) -> Any:
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _floats(array: Any) -> npt.NDArray[Any]:
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    return np.asarray(array.to_numpy(zero_copy_only=False), np.float64)


def _values(array: Any, zone: str | None) -> Column:
    """An array's values as NumPy or Python has them; what is no number, text or time comes as lists: they are wrong."""
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        array = array.cast(pa.string()).dictionary_encode()
        kind = array.type
    if pa.types.is_dictionary(kind):
        values = [*array.dictionary.to_pylist(), None]
        at = array.indices.cast(pa.int64()).fill_null(len(values) - 1).to_numpy(zero_copy_only=False)
        return Column(values, at.astype(np.intp))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Column(_times(array, zone))
    if _is_numeric(kind):
        whole = pa.types.is_integer(kind)
        return Column(array.to_pylist()) if whole and array.null_count else Column(_plain(array, whole))
    if pa.types.is_boolean(kind) or pa.types.is_binary(kind) or pa.types.is_null(kind):
        return Column(array.to_pylist())
    return Column([[]], np.repeat(_ZERO, len(array)))


def _plain(array: Any, whole: bool) -> npt.NDArray[Any]:
    return np.asarray(array.to_numpy(zero_copy_only=False)) if whole else _floats(array)


def _times(array: Any, zone: str | None) -> npt.NDArray[Any]:
    """As datetime64[ns], UTC; null = NaT. Raises ArrowInvalid outside the years that nanoseconds reach."""
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s"))
    if zone is not None and array.type.tz is None:
        array = pc.assume_timezone(array, zone, ambiguous="earliest", nonexistent="earliest")
    counts = array.cast(pa.timestamp("ns", array.type.tz)).cast(pa.int64())
    times: npt.NDArray[Any] = counts.fill_null(np.iinfo(np.int64).min).to_numpy(zero_copy_only=False)
    return times.view("datetime64[ns]")
