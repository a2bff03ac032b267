"""One number for a whole run: the same scores, decisions and alerts give the same digest."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from stream.loop import Message
from stream.verdict import Verdicts


class Digest:
    """SHA-256 over every verdict's columns and every alert message, in their order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def observe(self, verdicts: Verdicts) -> None:
        """Scores and decisions of a tick."""
        tick = verdicts.tick
        self._hash.update(np.array([tick.start, tick.step], np.int64).tobytes())
        columns = (tick.slots, tick.value, verdicts.score, verdicts.p, verdicts.expected, verdicts.low, verdicts.high)
        for column in (*columns, verdicts.outcome, verdicts.fidelity, verdicts.reason):
            self._hash.update(np.ascontiguousarray(column).tobytes())

    def tell(self, message: Message) -> None:
        """An alert change."""
        self._hash.update(json.dumps(message, sort_keys=True).encode())

    def text(self) -> str:
        """What it is so far."""
        return "sha256:" + self._hash.hexdigest()
