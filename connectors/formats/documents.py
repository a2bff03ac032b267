"""JSON and MessagePack messages to blocks: typed where they are as usual, else as whatever they hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from connectors.formats.block import Block, Rows
from connectors.formats.decoded import UNREADABLE, Undecodable
from connectors.formats.shape import Shape, exact
from connectors.formats.typed import typed

MANY = 16  # readings in an array from which on it pays to know the names in it by their bytes


class Documents:
    """Reads one document a message.

    ``usual`` has the paths that every reading needs and ``kinds`` their types (None = there is no fast way), ``whole``
    also those of groups and labels.
    """

    def __init__(self, usual: Shape, whole: Shape, kinds: Mapping[str, Any] | None, packed: bool) -> None:
        protocol = msgspec.msgpack if packed else msgspec.json
        self._typed = None if kinds is None else typed(usual, kinds, protocol)
        self._packed = None if kinds is None or not usual.packs else typed(usual, kinds, protocol, wordy=True)
        self._many = False  # the arrays of the last poll held many readings each
        self._whole, self._parse = whole, _unpacked if packed else _parsed

    def read(self, payloads: Sequence[bytes | None], limit: int) -> tuple[list[Block], Rows]:
        """Rows of all messages that can be read at once, and the messages that are left."""
        reader = self._packed if self._many and self._packed else self._typed
        if reader is None or not len(payloads):
            return [], np.arange(len(payloads))
        block, left, arrays = reader.read(payloads, limit)
        self._many = len(block) >= MANY * arrays
        return [block], left

    def exact(self, payload: bytes, message: int, limit: int) -> Block:
        """Rows of one message; raises Undecodable."""
        return exact(self._parse(payload), message, self._whole)


def _parsed(payload: bytes) -> object:
    if payload.isspace():
        raise Undecodable("empty", "a message without a payload")
    try:
        return msgspec.json.decode(payload)
    except UNREADABLE as error:
        return _leniently(payload, str(error))


def _leniently(payload: bytes, wrong: str) -> object:
    """The standard library's reading: it takes NaN, Infinity and 1e999, which many writers send."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Undecodable("malformed", wrong[:200]) from error


def _unpacked(payload: bytes) -> object:
    try:
        return msgspec.msgpack.decode(payload)
    except (*UNREADABLE, ValueError, TypeError) as error:  # TypeError: a map with keys that can't be keys
        raise Undecodable("malformed", str(error)[:200]) from error
