"""Rule expressions: Python's syntax, checked when loaded, evaluated over all streams at once.

The text is parsed by ``ast`` and never run as Python. Numbers, strings, ``True`` and ``False``; the names of
stream/rules/columns.py; ``and or not``, comparisons (chained too), ``in`` and ``not in`` with a list of constants,
arithmetic, ``a if c else b``, and the functions of stream/rules/functions.py, over.py (a stream's own recent steps)
and grouped.py (the members of its group).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stream.rules.around import Around, Ask
from stream.rules.columns import Names, Observed, Rows, Slots
from stream.rules.compiler import Compiler
from stream.rules.cost import checked_cost
from stream.rules.grouped import Grouped, by_group, spread
from stream.rules.over import memory
from stream.rules.remembered import BySlot, Run
from stream.rules.source import ExpressionError, Source
from stream.rules.truth import Truth

__all__ = ["Expression", "ExpressionError", "compile_expression"]


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked condition. It remembers what it found out of stream names: use it with one table of names.

    ``cost`` is that of stream/rules/cost.py, ``asks`` are the windows that must be kept for it (around.Around), and
    ``by_group`` says that all members of a group get the same answer.
    """

    text: str
    cost: int = field(compare=False)
    by_group: bool = field(compare=False)
    asks: tuple[Ask, ...] = field(repr=False, compare=False)
    _run: Run = field(repr=False, compare=False)
    _by_slot: tuple[BySlot, ...] = field(repr=False, compare=False)
    _own: Around = field(repr=False, compare=False)
    _drivers: tuple[Grouped, Run] | None = field(repr=False, compare=False)

    def evaluate(self, observed: Observed, names: Names) -> Truth:
        """Masks [n]: where the condition is true, and where it is false; unknown where neither.

        Its windows hold what it was evaluated over before; give it the steps of a raster in order, each once.
        """
        with np.errstate(all="ignore"):
            if len(observed.slots) == 0:
                return self.over(Rows.of(observed, names))
            rows = Rows.of(observed, names, self._own)
            self._own.begin(rows)
            truth = self.over(rows)
            self._own.finish(rows)
        return truth

    def over(self, rows: Rows) -> Truth:
        """The same for a caller that cares for ``rows.around``, and has told NumPy to keep quiet about NaN."""
        truth: Truth = self._run(rows)
        return truth.over(len(rows.slots))

    def drives(self, rows: Rows) -> npt.NDArray[np.float64]:
        """How much each row drives a condition over its group, by its first group function; NaN = not at all."""
        if self._drivers is None or rows.around is None:
            return np.full(len(rows.slots), np.nan)
        function, argument = self._drivers
        return function.drives(rows.around.members(rows), spread(argument(rows), len(rows.slots)))

    def memory(self, step: int) -> int:
        """Bytes that its windows take for each stream they are kept for, with steps of ``step`` ns."""
        return memory((ask.window for ask in self.asks), step)

    def forget(self, slots: Sequence[int] | Slots) -> None:
        """Forget what was found out of these slots: they may be given to other streams."""
        self._own.forget(slots)
        for part in self._by_slot:
            part.forget(slots)


def compile_expression(text: str) -> Expression:
    """The expression; raises ExpressionError where it is wrong or too costly, with line, column and a caret."""
    source = Source(text)
    compiler = Compiler(source)
    run, asks = compiler.condition(), compiler.asks
    known = tuple(compiler.by_slot)
    return Expression(
        text, checked_cost(source), by_group(source.tree), asks, run, known, Around(asks), compiler.drivers
    )
