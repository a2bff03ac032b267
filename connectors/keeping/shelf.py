"""The outbox on disk: what waits for each sink, in order, compacted where it is too much; and what was given up."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from connectors.keeping.compact import compacted, key_of
from connectors.sink import Message

MOST_DEAD = 10_000  # messages that were given up and are kept to be looked at
AT_ONCE = 256  # messages about one thing that are compacted in one go

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, message TEXT NOT NULL,
  key TEXT NOT NULL DEFAULT '', bytes INTEGER NOT NULL DEFAULT 0, at INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS dead (id INTEGER PRIMARY KEY, sink TEXT NOT NULL, message TEXT NOT NULL,
  reason TEXT NOT NULL, at INTEGER NOT NULL);
"""
_INDEXES = """
CREATE INDEX IF NOT EXISTS outbox_order ON outbox (sink, id, bytes, at);
CREATE INDEX IF NOT EXISTS outbox_key ON outbox (sink, key, id);
"""


class Letter(NamedTuple):
    """A message on its way: its id, the sink's name, the message, when it was put in (ns), its size in bytes."""

    id: int
    sink: str
    message: Message
    at: int = 0
    size: int = 0


class Behind(NamedTuple):
    """How much waits on disk for a sink, and since when (ns, 0 = nothing waits)."""

    messages: int = 0
    bytes: int = 0
    oldest: int = 0


class Shelf:
    """Rows of a database whose transactions are somebody else's; raises sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        columns = {row[1] for row in db.execute("PRAGMA table_info(outbox)")}
        for name, kind in (("key", "TEXT NOT NULL DEFAULT ''"), ("bytes", "INTEGER NOT NULL DEFAULT 0"),
                           ("at", "INTEGER NOT NULL DEFAULT 0")):  # fmt: skip
            if name not in columns:  # written by a heed that did not count what waits
                db.execute(f"ALTER TABLE outbox ADD COLUMN {name} {kind}")
        db.executescript(_INDEXES)
        self.merged: dict[str, int] = {}  # by sink: messages for which others stand, since the start

    def put(self, send: Sequence[tuple[str, Message]], at: int) -> list[int]:
        """New messages; their ids."""
        insert = "INSERT INTO outbox (sink, message, key, bytes, at) VALUES (?, ?, ?, ?, ?)"
        distinct = {id(message): message for _, message in send}  # the same one for several sinks is written out once
        texts = {number: written(message) for number, message in distinct.items()}
        rows = ((sink, texts[id(m)], key_of(m), len(texts[id(m)]), at) for sink, m in send)
        return [int(self._db.execute(insert, row).lastrowid or 0) for row in rows]

    def remove(self, ids: Iterable[int]) -> None:
        """Messages that are delivered."""
        self._db.executemany("DELETE FROM outbox WHERE id = ?", ((number,) for number in ids))

    def bury(self, dead: Iterable[tuple[int, str]], at: int) -> None:
        """Messages that were given up, each with the reason: out of the way, and kept."""
        dead = list(dead)
        move = "INSERT OR REPLACE INTO dead SELECT id, sink, message, ?, ? FROM outbox WHERE id = ?"
        self._db.executemany(move, ((reason, at, number) for number, reason in dead))
        self.remove(number for number, _ in dead)
        if dead:
            keep = "SELECT id FROM dead ORDER BY id DESC LIMIT ?"
            self._db.execute(f"DELETE FROM dead WHERE id NOT IN ({keep})", (MOST_DEAD,))

    def dead(self) -> list[tuple[int, str, str, Message]]:
        """What was given up: id, sink, reason, message; oldest first."""
        rows = self._db.execute("SELECT id, sink, reason, message FROM dead ORDER BY id")
        return [(number, sink, reason, _decoded(text)) for number, sink, reason, text in rows]

    def compact(self, sink: str, keys: Iterable[str], after: int) -> None:
        """Fewer messages about each of these things, of those that are not on their way yet (id > ``after``)."""
        for key in dict.fromkeys(keys):
            if key:
                self._compact(sink, key, after)

    def _compact(self, sink: str, key: str, after: int) -> None:
        query = "SELECT id, message FROM outbox WHERE sink = ? AND key = ? AND id > ? ORDER BY id LIMIT ?"
        rows = self._db.execute(query, (sink, key, after, AT_ONCE)).fetchall()
        messages = [_decoded(text) for _, text in rows]
        for kept in compacted(messages):
            ids = [rows[number][0] for number in kept.numbers]
            self.remove(ids[:-1])
            self.merged[sink] = self.merged.get(sink, 0) + len(ids) - 1
            if kept.message is not messages[kept.numbers[-1]]:
                text = json.dumps(kept.message)
                self._db.execute("UPDATE outbox SET message = ?, bytes = ? WHERE id = ?", (text, len(text), ids[-1]))

    def next(self, sink: str, after: int, messages: int, size: int) -> list[Letter]:
        """What comes after an id, at most so many messages and bytes, but one at least."""
        query = "SELECT id, message, at, bytes FROM outbox WHERE sink = ? AND id > ? ORDER BY id LIMIT ?"
        found: list[Letter] = []
        for number, text, at, own in self._db.execute(query, (sink, after, messages)):
            size -= own
            if found and size < 0:
                break
            found.append(Letter(number, sink, _decoded(text), at, own))
        return found

    def behind(self, sink: str, after: int) -> Behind:
        """What waits after an id."""
        query = "SELECT count(*), coalesce(sum(bytes), 0), coalesce(min(at), 0) FROM outbox WHERE sink = ? AND id > ?"
        return Behind(*self._db.execute(query, (sink, after)).fetchone())

    def sinks(self) -> list[str]:
        """Names of the sinks for which something waits."""
        return [name for (name,) in self._db.execute("SELECT DISTINCT sink FROM outbox ORDER BY sink")]

    def all(self) -> list[Letter]:
        """Everything that waits, oldest first."""
        query = "SELECT id, sink, message, at, bytes FROM outbox ORDER BY id"
        return [Letter(i, sink, _decoded(text), at, own) for i, sink, text, at, own in self._db.execute(query)]


class Written(str):
    """JSON as it is to be kept."""

    __slots__ = ()


def written(value: object) -> Written:
    """A value as JSON: five times as fast as the standard library's, which still knows more kinds of values.

    A number that is not finite is written as null.
    """
    try:
        return Written(msgspec.json.encode(value).decode())
    except (TypeError, ValueError, OverflowError, msgspec.EncodeError):  # a number of NumPy's, or half of a character
        return Written(json.dumps(value))


def _decoded(text: str) -> Mapping[str, object]:
    try:
        found: Mapping[str, object] = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError):  # what only the standard library wrote
        found = json.loads(text)
    return found
