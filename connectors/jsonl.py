"""Alerts as JSON lines, to a file that is rotated when it is large or to standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from connectors.jsontext import written
from connectors.sink import SinkError

ROTATE_BYTES = 100 << 20


class JsonlSink:
    """Appends a line per message and flushes; ``-`` is standard output.

    Before a file would grow over ``rotate_bytes`` it becomes ``<name>.1``, the last one ``<name>.2`` and so on, up to
    ``keep`` of them. A file that somebody else has moved away or removed is begun anew with the next message.
    """

    def __init__(self, path: str | Path, rotate_bytes: int = ROTATE_BYTES, keep: int = 5, name: str = "jsonl") -> None:
        self.name, self._rotate_bytes, self._keep = name, rotate_bytes, keep
        self._path = None if str(path) == "-" else Path(path)
        self._file: BinaryIO | None = None

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        data = b"".join(written(message, self.name) + b"\n" for message in messages)
        try:
            self._write(data)
        except (OSError, ValueError) as error:
            self._drop()
            raise SinkError(f"{self._path or 'standard output'}: can't be written: {error}") from error

    def _write(self, data: bytes) -> None:
        if self._path is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        if self._file is not None and not _still(self._file, self._path):
            self._drop()
        file = self._file = self._file or self._opened(self._path)
        if file.tell() and file.tell() + len(data) > self._rotate_bytes:
            file = self._file = self._rotated(self._path, file)
        file.write(data)
        file.flush()

    def _opened(self, path: Path) -> BinaryIO:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
        if _torn(path):
            file.write(b"\n")  # what a full disk or a kill cut short ends here, so that only it is lost
        return file

    def _rotated(self, path: Path, file: BinaryIO) -> BinaryIO:
        file.close()
        for n in range(self._keep, 0, -1):
            older = _numbered(path, n - 1) if n > 1 else path
            if older.exists():
                older.replace(_numbered(path, n))
        return path.open("wb" if self._keep == 0 else "ab")

    def _drop(self) -> None:
        """Let go of a file that failed; the next send opens it again."""
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError:
            pass  # what could not be written was reported already

    def close(self) -> None:
        self._drop()


def _still(file: BinaryIO, path: Path) -> bool:
    """Whether the open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _numbered(path: Path, n: int) -> Path:
    return path.with_name(f"{path.name}.{n}")


def _torn(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if not size:
            return False
        file.seek(size - 1)
        return file.read(1) != b"\n"
