"""Rule expressions: Python's syntax, checked when loaded, evaluated over all streams at once.

The text is parsed by ``ast`` and never run as Python. Numbers, strings, ``True`` and ``False``; the names of
stream/rules/columns.py; ``and or not``, comparisons (chained too), ``in`` and ``not in`` with a list of constants,
arithmetic, ``a if c else b``, and the functions of stream/rules/functions.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stream.rules.columns import Names, Observed, Rows, Slots
from stream.rules.compiler import Compiler
from stream.rules.remembered import BySlot, Run
from stream.rules.source import ExpressionError, Source
from stream.rules.truth import Truth

__all__ = ["Expression", "ExpressionError", "compile_expression"]


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked condition. It remembers what it found out of stream names: use it with one table of names."""

    text: str
    _run: Run = field(repr=False, compare=False)
    _by_slot: tuple[BySlot, ...] = field(repr=False, compare=False)

    def evaluate(self, observed: Observed, names: Names) -> Truth:
        """Masks [n]: where the condition is true, and where it is false; unknown where neither."""
        with np.errstate(all="ignore"):
            return self.over(Rows.of(observed, names))

    def over(self, rows: Rows) -> Truth:
        """The same for a caller that has already told NumPy to keep quiet about NaN and infinity."""
        truth: Truth = self._run(rows)
        return truth.over(len(rows.slots))

    def forget(self, slots: Sequence[int] | Slots) -> None:
        """Forget what was found out of these slots: they may be given to other streams."""
        for part in self._by_slot:
            part.forget(slots)


def compile_expression(text: str) -> Expression:
    """The expression; raises ExpressionError where it is wrong, with line, column and a caret."""
    compiler = Compiler(Source(text))
    run = compiler.condition()
    return Expression(text, run, tuple(compiler.by_slot))
