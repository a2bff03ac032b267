"""From the shelf to the outbox: as much as there is room for, so that what waits takes disk and not memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from connectors.keeping.outbox import MOST_WAITING, Outbox
from connectors.keeping.shelf import Behind
from connectors.keeping.store import Store
from connectors.sink import Message

ENOUGH = MOST_WAITING // 4  # room for so many messages is worth a look at the disk
GONE = "no sink has this name any more"


class Handover:
    """Hands messages that are durable over, per sink in the order of their ids.

    A sink for which more than ``most_messages`` or ``most_bytes`` wait on disk is full: what is put in from then on
    is compacted with what waits for the same incident or alert.
    """

    def __init__(self, store: Store, outbox: Outbox, most_messages: int = 10_000, most_bytes: int = 64 << 20) -> None:
        self._store, self._outbox, self._most = store, outbox, (most_messages, most_bytes)
        self._handed = dict.fromkeys(outbox.sinks, 0)
        self._behind = dict.fromkeys(outbox.sinks, Behind())

    def orphans(self) -> list[tuple[int, str, str]]:
        """What waits for sinks that are configured no longer: id, name, why it can't be sent; raises StoreError."""
        with self._store.shelf() as shelf:
            gone = set(shelf.sinks()) - set(self._handed)
            return [(letter.id, letter.sink, GONE) for letter in shelf.all() if letter.sink in gone] if gone else []

    def readdress(self) -> None:
        """The outbox has other sinks now. Raises StoreError."""
        new = [name for name in self._outbox.sinks if name not in self._handed]
        self._handed = {name: self._handed.get(name, 0) for name in self._outbox.sinks}
        self._behind = {name: self._behind.get(name, Behind()) for name in self._outbox.sinks}
        self.after(new)

    def full(self, send: Sequence[tuple[str, Message]]) -> dict[str, int]:
        """Of the sinks that get something, those that are full, with the id up to which all is on its way."""
        most_messages, most_bytes = self._most
        over = (n for n, b in self._behind.items() if b.messages >= most_messages or b.bytes >= most_bytes)
        named = {sink for sink, _ in send}
        return {name: self._handed[name] for name in over if name in named}

    def after(self, sinks: Iterable[str]) -> None:
        """After a commit that put something in for these sinks; raises StoreError."""
        for name in dict.fromkeys(sinks):
            if name in self._handed:
                self._hand_over(name)

    def look(self) -> None:
        """Now and then: for whom something waits and there is room again. Raises StoreError."""
        for name, behind in self._behind.items():
            if behind.messages and self._outbox.room(name)[0] >= ENOUGH:
                self._hand_over(name)

    def _hand_over(self, name: str) -> None:
        messages, size = self._outbox.room(name)
        with self._store.shelf() as shelf:
            letters = shelf.next(name, self._handed[name], messages, size) if messages and size else []
            handed = letters[-1].id if letters else self._handed[name]
            behind, merged = shelf.behind(name, handed), shelf.merged.get(name, 0)
        self._handed[name], self._behind[name] = handed, behind
        self._outbox.put(letters)
        self._outbox.note_behind(name, behind, merged)
