"""State on disk: small and often in one SQLite transaction, large and seldom in a checkpoint file of its own."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.keeping.compact import key_of
from connectors.keeping.shelf import SCHEMA, Letter, Shelf, Written, written

Array = npt.NDArray[Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS positions (partition TEXT PRIMARY KEY, next_offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS start_positions (partition TEXT PRIMARY KEY, next_offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS parts (name TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS columns (name TEXT PRIMARY KEY, dtype TEXT, shape TEXT, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rows (kind TEXT, key TEXT, json TEXT NOT NULL, PRIMARY KEY (kind, key));
CREATE TABLE IF NOT EXISTS notes (number INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""
VERSION = 1


class StoreError(Exception):
    """The state can't be read or written; the message names the file."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction writes: all of it or nothing.

    ``positions`` and ``start_positions``: partition name to the next offset. ``parts``: small JSON-like state by
    name, or Written already. ``columns``: arrays by name. ``send``: (sink, message) to the outbox. ``sent``: ids to
    take out of it; ``dead``: ids to take out of it and keep, with the reason. ``full``: sinks for which too much waits,
    with the id up to which it is on its way; what waits behind that for the same incidents or alerts as ``send`` is
    compacted.
    ``rows``: small states that come and go, by kind and key; None = the row is dropped. ``note``: put behind the notes
    before, of which none is kept where ``anew`` is true.
    """

    positions: Mapping[str, int] = field(default_factory=dict)
    start_positions: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Array] = field(default_factory=dict)
    send: Sequence[tuple[str, Mapping[str, object]]] = ()
    sent: Sequence[int] = ()
    dead: Sequence[tuple[int, str]] = ()
    full: Mapping[str, int] = field(default_factory=dict)
    time: int = 0
    rows: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    note: bytes = b""
    anew: bool = False


class Store:
    """One writer, WAL, in a folder of its own: ``state.db`` and ``checkpoint.npz``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._path = folder, folder / "state.db"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_file = (folder / "lock").open("w")
            self._lock()
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self._path}: {error}") from error
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA + SCHEMA)
            self._check_version()
            self._shelf = Shelf(self._db)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise self._failed(error) from error
        except StoreError:
            self.close()
            raise

    def _failed(self, error: Exception) -> StoreError:
        damaged = type(error) is sqlite3.DatabaseError  # its kinds say what else is wrong
        advice = f"; restore a copy, or remove {self.folder} to start from the beginning" if damaged else ""
        return StoreError(f"{self._path}: {error}{advice}")

    def _lock(self) -> None:
        """One process per state folder: the lock file is held as long as this process lives."""
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock_file.close()
            raise StoreError(f"{self.folder}: another heed is using this state folder") from error

    def _check_version(self) -> None:
        found = self._db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
        if found is None:
            self._db.execute("INSERT INTO meta VALUES ('version', ?)", (str(VERSION),))
        elif found[0] != str(VERSION):
            raise StoreError(f"{self._path}: written by another version ({found[0]}, not {VERSION})")

    def commit(self, what: Commit) -> list[int]:
        """Write it; returns the outbox ids given to ``what.send``. Where that fails, nothing of it is written."""
        with self._transaction():
            ids = self._write(what)
            self._db.execute("COMMIT")
        return ids

    def stage(self, what: Commit) -> None:
        """Write it into the transaction of the ``commit`` to come. Where that fails, nothing staged is written."""
        with self._transaction():
            self._write(what)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """In the transaction that is open, or a new one."""
        try:
            if not self._db.in_transaction:
                self._db.execute("BEGIN IMMEDIATE")
            yield
        except (sqlite3.Error, OSError) as error:
            self.drop()
            raise StoreError(f"{self._path}: {error}") from error
        except Exception:  # what can't be said in JSON, above all: the next commit must find no half transaction
            self.drop()
            raise

    def drop(self) -> None:
        """Forget what is staged."""
        with contextlib.suppress(sqlite3.Error):  # SQLite has done so itself where it could not write
            self._db.execute("ROLLBACK")

    def _write(self, what: Commit) -> list[int]:
        put = self._db.executemany
        put("INSERT OR REPLACE INTO positions VALUES (?, ?)", what.positions.items())
        put("INSERT OR IGNORE INTO start_positions VALUES (?, ?)", what.start_positions.items())
        texts = ((k, v if isinstance(v, Written) else json.dumps(v)) for k, v in what.parts.items())
        put("INSERT OR REPLACE INTO parts VALUES (?, ?)", texts)
        put(
            "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)",
            ((*k, written(v)) for k, v in what.rows.items() if v is not None),
        )
        put("DELETE FROM rows WHERE kind = ? AND key = ?", (key for key, value in what.rows.items() if value is None))
        put("INSERT OR REPLACE INTO columns VALUES (?, ?, ?, ?)", map(_packed, what.columns.items()))
        if what.anew:
            self._db.execute("DELETE FROM notes")
        put("INSERT INTO notes (data) VALUES (?)", [(what.note,)] if what.note else ())
        self._shelf.remove(what.sent)
        self._shelf.bury(what.dead, what.time)
        ids = self._shelf.put(what.send, what.time)
        for sink, after in what.full.items():
            self._shelf.compact(sink, [key_of(message) for name, message in what.send if name == sink], after)
        return ids

    def positions(self) -> dict[str, int]:
        """Partition name to the offset to read next, of the small tier."""
        return dict(self._rows("SELECT partition, next_offset FROM positions"))

    def start_positions(self) -> dict[str, int]:
        """Where each partition was first read from."""
        return dict(self._rows("SELECT partition, next_offset FROM start_positions"))

    def part(self, name: str) -> Any:
        """A small JSON-like state, None where there is none."""
        found = self._rows("SELECT json FROM parts WHERE name = ?", name)
        return json.loads(found[0][0]) if found else None

    def rows(self) -> dict[tuple[str, str], Any]:
        """All rows, by kind and key."""
        return {(kind, key): json.loads(text) for kind, key, text in self._rows("SELECT kind, key, json FROM rows")}

    def notes(self) -> list[bytes]:
        """What was put behind one another since it began anew."""
        return [data for (data,) in self._rows("SELECT data FROM notes ORDER BY number")]

    def columns(self, prefix: str) -> dict[str, Array]:
        """Arrays whose name starts with ``prefix``, by the rest of the name."""
        query = "SELECT name, dtype, shape, data FROM columns WHERE substr(name, 1, ?) = ?"
        rows = self._rows(query, len(prefix), prefix)
        return {
            name[len(prefix) :]: np.frombuffer(data, dtype).reshape(json.loads(shape)).copy()
            for name, dtype, shape, data in rows
        }

    @contextlib.contextmanager
    def shelf(self) -> Iterator[Shelf]:
        """What waits in the outbox, to be read; raises StoreError."""
        try:
            yield self._shelf
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def outbox(self) -> list[Letter]:
        """Everything that is still to be sent, oldest first."""
        with self.shelf() as shelf:
            return shelf.all()

    def _rows(self, query: str, *values: object) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def checkpoint(self, columns: Mapping[str, Array], about: Mapping[str, object]) -> None:
        """Write the large tier: arrays and a JSON-like head, whole or not at all."""
        try:
            write_arrays(self.folder / "checkpoint.npz", columns, about)
        except OSError as error:
            raise StoreError(f"{self.folder / 'checkpoint.npz'}: {error}") from error

    def read_checkpoint(self) -> tuple[dict[str, Array], dict[str, Any]] | None:
        """The large tier; None where there is none. A damaged file is a StoreError."""
        path = self.folder / "checkpoint.npz"
        return read_arrays(path) if path.exists() else None

    def close(self) -> None:
        """Safe to call twice."""
        self._db.close()
        self._lock_file.close()


def _packed(item: tuple[str, Array]) -> tuple[str, str, str, bytes]:
    name, array = item
    return name, array.dtype.str, json.dumps(array.shape), np.ascontiguousarray(array).tobytes()


def write_arrays(path: Path, columns: Mapping[str, Array], about: Mapping[str, object]) -> None:
    """Arrays and a JSON head into one file, by way of a temporary one that takes its place when it is on disk."""
    temporary = path.with_suffix(".tmp")
    head = np.frombuffer(json.dumps(about).encode(), np.uint8)
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **{"__about__": head, **columns})
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # on a full disk, the small tier needs the room
        raise


def packed(columns: Mapping[str, Array], about: Mapping[str, object]) -> bytes:
    """The same as bytes."""
    file = io.BytesIO()
    head = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(file, allow_pickle=False, **{"__about__": head, **columns})
    return file.getvalue()


def unpacked(data: bytes, name: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """The inverse of ``packed``; StoreError, which tells ``name``, where it is damaged."""
    return _read(io.BytesIO(data), f"{name}: damaged state")


def read_arrays(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The inverse of ``write_arrays``; StoreError where the file is damaged."""
    return _read(path, f"{path}: damaged checkpoint", "; remove it to start from the beginning")


def _read(source: Path | io.BytesIO, wrong: str, advice: str = "") -> tuple[dict[str, Array], dict[str, Any]]:
    try:
        with np.load(source, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
        about = json.loads(columns.pop("__about__").tobytes())
    except Exception as error:  # NumPy raises many kinds for a damaged file
        raise StoreError(f"{wrong} ({error}){advice}") from error
    return columns, about
