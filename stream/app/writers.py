"""Verdicts into result files: scores and decisions, a row per stream and step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from connectors.batch import StreamTable
from connectors.recordings.scores import FIDELITIES as WORDS
from connectors.recordings.scores import DecisionsWriter, ScoresWriter
from stream.ledger import FULL, LITE, OUTCOMES, SHED
from stream.selection import Reason
from stream.verdict import FIDELITIES, NOT_DUE, Verdicts

SAID = ("score", "p", "expected", "low", "high", "weight")
_WORD_OF = np.array([WORDS.index(name) if name else -1 for name in FIDELITIES], np.int8)


def scores_to(path: str, table: StreamTable) -> tuple[ScoresWriter, Callable[[Verdicts], None]]:
    """A file of scores, and the observer that writes every verdict to it."""
    writer = ScoresWriter(path)

    def observe(verdicts: Verdicts) -> None:
        said = {name: getattr(verdicts, name) for name in SAID} | {"value": verdicts.tick.value}
        writer.add(verdicts.tick.start, verdicts.tick.slots, table, said, _WORD_OF[verdicts.fidelity])

    return writer, observe


def decisions_to(path: str, table: StreamTable) -> tuple[DecisionsWriter, Callable[[Verdicts], None]]:
    """A file of decisions, and the observer that writes what became of every window due, and why.

    Only windows that competed for a look have a reason; ``rank`` is their place in the order of work.
    """
    writer = DecisionsWriter(path, OUTCOMES, [reason.name.lower() for reason in Reason])

    def observe(verdicts: Verdicts) -> None:
        due = np.flatnonzero(verdicts.outcome != NOT_DUE)
        outcome = verdicts.outcome[due]
        reason = np.where(np.isin(outcome, (FULL, LITE, SHED)), verdicts.reason[due], -1)
        columns = outcome, reason, verdicts.weight[due], verdicts.rank[due], verdicts.age[due]
        writer.add(verdicts.tick.start, verdicts.tick.slots[due], table, *columns)

    return writer, observe
