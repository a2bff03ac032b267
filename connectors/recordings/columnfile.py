"""Writes columns to a Parquet file that takes its name when it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.sink import SinkError

Column = Any  # pa.Array of whatever type
TIME, NAME = pa.timestamp("ns", "UTC"), pa.dictionary(pa.int32(), pa.string())


class ColumnFile:
    """A Parquet file written row group by row group, called ``<name><suffix>`` until it is closed.

    Raises SinkError, naming the file, where the disk says no.
    """

    def __init__(self, path: str | Path, columns: Mapping[str, Any], suffix: str = ".part") -> None:
        self._path = Path(path)
        self._part = self._path.with_name(self._path.name + suffix)
        self._schema = pa.schema(list(columns.items()))
        self.closed = False
        with self._errors():
            self._file = pq.ParquetWriter(self._part, self._schema, compression="zstd")

    def write(self, columns: Mapping[str, Column]) -> None:
        """Add one row group."""
        table = pa.table(dict(columns), schema=self._schema)
        with self._errors():
            self._file.write_table(table, row_group_size=max(1, table.num_rows))

    def write_tables(self, tables: Sequence[Column]) -> None:
        """Add one row group made of tables with these columns; none where they are empty."""
        table = pa.concat_tables(tables) if tables else None
        if table is not None and table.num_rows:
            with self._errors():
                self._file.write_table(table.cast(self._schema), row_group_size=table.num_rows)

    def close(self, metadata: Mapping[str, str] | None = None) -> None:
        """Finish the file and give it its name; safe to call twice."""
        if self.closed:
            return
        self.closed = True
        with self._errors():
            if metadata:
                self._file.add_key_value_metadata(dict(metadata))
            self._file.close()
            self._part.replace(self._path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise SinkError(f"{self._path}: can't be written: {error}") from error


def times(ns: npt.NDArray[np.int64]) -> Column:
    """A column of times."""
    return pa.array(ns).cast(TIME)


def numbers(values: npt.NDArray[np.floating]) -> Column:
    """A column of numbers, null where NaN."""
    return pa.array(values, from_pandas=True)


def texts(index: npt.NDArray[np.integer], names: Sequence[str]) -> Column:
    """A column of texts: ``names[index]``, null where the index is negative. Names may repeat."""
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}
    code = np.array([place[name] for name in names] or [0], np.int32)[index]
    return pa.DictionaryArray.from_arrays(
        pa.array(code, mask=np.asarray(index) < 0), pa.array(list(place), pa.string())
    )
