"""CSV messages to blocks: rows of text, columns named by a head line in each message or by the configuration."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from operator import methodcaller

import numpy as np

from connectors.formats.block import Block, Column, Rows
from connectors.formats.decoded import Undecodable, number
from connectors.formats.fieldpath import MISSING
from connectors.formats.shape import FIELD, Shape

Table = Mapping[str, Sequence[str]]  # cells by the name of their column


class CsvReader:
    """Reads messages that hold rows; without ``header`` the first row of each names its columns.

    Raises ValueError where ``usual`` or ``whole`` lead deeper than to a column.
    """

    def __init__(self, usual: Shape, whole: Shape, header: Sequence[str]) -> None:
        deep = [where.text for where in whole.single() if len(where.steps) != 1]
        if deep or (whole.members and whole.member_path.inner) or whole.each is not None:
            raise ValueError(
                f"fields: CSV has columns, and nothing in them: {', '.join(deep) or 'a path'} leads deeper"
            )
        self._usual, self._whole, self._header = usual, whole, tuple(header)

    def read(self, payloads: Sequence[bytes | None], limit: int) -> tuple[list[Block], Rows]:
        tables, rows, left = [], [], []
        for row, payload in enumerate(payloads):
            try:
                if not payload or len(payload) > limit or self._usual.members:
                    raise Undecodable("", "")
                tables.append(self._table(payload))
                rows.append(row)
            except Undecodable:
                left.append(row)
        return [_block(tables, rows, self._usual)] if tables else [], np.array(left, np.intp)

    def exact(self, payload: bytes, message: int, limit: int) -> Block:
        table = self._table(payload)
        block = _block([table], [message], self._whole)
        return _members(block, table, self._whole) if self._whole.members and len(block) else block

    def _table(self, payload: bytes) -> Table:
        try:
            text = payload.decode("utf-8-sig")
            lines = None if '"' in text else text.replace("\r\n", "\n").split("\n")
            if lines is None or "\r" in text.replace("\r\n", ""):
                return self._quoted(text)
        except (UnicodeDecodeError, csv.Error) as error:
            raise Undecodable("malformed", str(error)[:200]) from error
        return self._plain([line for line in lines if line])

    def _plain(self, lines: list[str]) -> Table:
        """Without quotes every comma parts two cells, so all rows are cut at once."""
        if not lines:
            raise Undecodable("empty", "a message without rows")
        names = self._header or tuple(name.strip() for name in lines.pop(0).split(","))
        commas = list(map(methodcaller("count", ","), lines))
        _same([n + 1 for n in set(commas)], len(names))
        cells = ",".join(lines).split(",") if lines else []
        return {name: cells[at :: len(names)] for at, name in enumerate(names)}

    def _quoted(self, text: str) -> Table:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        if not rows:
            raise Undecodable("empty", "a message without rows")
        names = self._header or tuple(name.strip() for name in rows.pop(0))
        _same(set(map(len, rows)), len(names))
        return dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())


def _same(lengths: Collection[int], width: int) -> None:
    wrong = next((n for n in lengths if n != width), None)
    if wrong is not None:
        raise Undecodable("wrong_length", f"a row of {wrong} cells among {width} columns")


def _block(tables: Sequence[Table], messages: Sequence[int], shape: Shape) -> Block:
    counts = [len(next(iter(table.values()), ())) for table in tables]
    columns = {}
    for where in shape.single():
        name = str(where.steps[0])
        there = all(name in table for table in tables)
        cells = [table.get(name, [MISSING] * n) for table, n in zip(tables, counts, strict=True)]
        columns[where.text] = Column(list(chain.from_iterable(cells)), None, there)
    return Block(np.repeat(np.array(messages, np.intp), counts), columns)


def _members(block: Block, table: Table, shape: Shape) -> Block:
    """A row for each cell of the columns that nothing else uses and that hold numbers alone."""
    used = {where.steps[0] for where in shape.single()}
    free = [name for name in table if name not in used]
    names = [name for name in free if all(map(_is_number, table[name]))]
    if not names:
        raise Undecodable("missing_value", "no column of numbers")
    cells = list(chain.from_iterable(zip(*(table[name] for name in names), strict=True)))
    counts = np.full(len(block), len(names), np.intp)
    more = {FIELD: Column(names * len(block), None, True), shape.member_path.text: Column(cells, None, True)}
    return block.spread(counts, more)


def _is_number(cell: str) -> bool:
    try:
        number("", cell)
    except Undecodable:
        return False
    return True
