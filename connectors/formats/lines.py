"""Bytes to lines with their offsets, and lines of CSV to JSON objects."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from connectors.formats.decoded import NO_VALUE

JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")


class Line(NamedTuple):
    """A line without its end, and the byte it begins at."""

    offset: int
    text: bytes


class Lines:
    """Cuts a stream of bytes into lines; blank ones are left out.

    A line longer than ``limit`` bytes is given once, cut short, so that it is counted as undecodable, not kept.
    """

    def __init__(self, at: int = 0, limit: int = 1 << 20) -> None:
        self.at = at  # the first byte that was not given as part of a line
        self._limit = limit
        self._rest = b""
        self._skipping = False

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that this chunk completes."""
        pieces = (self._rest + chunk).split(b"\n")
        self._rest = pieces.pop()
        offsets = accumulate((len(piece) + 1 for piece in pieces), initial=self.at)
        lines = [Line(at, text) for at, text in zip(offsets, pieces, strict=False)]
        self.at += sum(len(text) + 1 for text in pieces)
        if self._skipping and lines:
            self._skipping, lines = False, lines[1:]
        return [line for line in lines if line.text.strip()] + self._too_long()

    def _too_long(self) -> list[Line]:
        if len(self._rest) <= self._limit:
            return []
        cut = [] if self._skipping else [Line(self.at, self._rest)]
        self.at += len(self._rest)
        self._rest, self._skipping = b"", True
        return cut

    def finish(self) -> list[Line]:
        """The last line, where it has no end."""
        line = Line(self.at, self._rest)
        self.at += len(self._rest)
        self._rest = b""
        return [line] if line.text.strip() and not self._skipping else []


class CsvRows:
    """Rows of CSV as JSON objects, named by the header; a row that does not fit it is left as it is.

    Its weakness: a quoted cell can't hold a line break.
    """

    def __init__(self) -> None:
        self._names: list[str] = []

    def header(self, line: bytes) -> None:
        """Take the names of the columns from a file's first line."""
        self._names = [name.strip() for name in _cells(line.removeprefix(b"\xef\xbb\xbf"))]

    def objects(self, lines: Sequence[bytes]) -> list[bytes]:
        """One JSON object a line."""
        return [self._object(line) for line in lines]

    def _object(self, line: bytes) -> bytes:
        cells = _cells(line)
        if len(cells) != len(self._names):
            return line
        return msgspec.json.encode(dict(zip(self._names, map(_value, cells), strict=True)))


def _cells(line: bytes) -> list[str]:
    try:
        return next(csv.reader([line.decode("utf-8", "replace").rstrip("\r")]), [])
    except csv.Error:
        return []


def _value(cell: str) -> float | int | str | None:
    text = cell.strip()
    if JSON_NUMBER.fullmatch(text):
        return int(text) if text.lstrip("-").isdigit() and len(text) < 19 else float(text)
    return None if text.lower() in NO_VALUE else text
