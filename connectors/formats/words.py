"""Arrays of names that messages bring again and again: read once, and known by their bytes from then on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from connectors.formats.block import Column, Growing, Rows
from connectors.formats.decoded import UNREADABLE

Word = str | int
MOST_WORDS = 200_000  # after so many different ones, and
MOST_BYTES = 1 << 24  # after so many bytes of arrays, all are forgotten
_PLACE, _ENTRY = np.dtype(np.intp).itemsize, 250  # bytes of a place, and of what holds an array and its key


class Words:
    """Texts and whole numbers by their places, and the arrays of them that have come before.

    Who packs readings mostly sends the same names in the same order, so an array is looked up as a whole.
    """

    def __init__(self, protocol: Any) -> None:
        self._decoder = protocol.Decoder(list[Word] | Word)
        self._forget()

    def _forget(self) -> None:
        self._words: Growing[Word] = Growing()
        self._place: dict[Word, int] = {}
        self._known: dict[bytes, Rows | int] = {}
        self._bytes = 0

    def column(self, encoded: Sequence[msgspec.Raw]) -> Column:
        """A column of places, or arrays of them, one for each of these values; None for what is neither."""
        if len(self._words) > MOST_WORDS or self._bytes > MOST_BYTES:
            self._forget()
        keys = list(map(bytes, encoded))
        try:
            return Column(list(map(self._known.__getitem__, keys)), None, True, self._words)
        except KeyError:
            return Column(list(map(self._read, keys)), None, True, self._words)

    def _read(self, key: bytes) -> Rows | int | None:
        known = self._known.get(key)
        if known is None:
            try:
                said = self._decoder.decode(key)
            except UNREADABLE:
                return None
            known = np.array(list(map(self._number, said)), np.intp) if isinstance(said, list) else self._number(said)
            self._known[key] = known
            self._bytes += len(key) + _ENTRY + _PLACE * (1 if isinstance(known, int) else len(known))
        return known

    def _number(self, word: Word) -> int:
        place = self._place.setdefault(word, len(self._words))
        if place == len(self._words):
            self._words.append(word)
        return place
