"""Three-valued logic on columns: true, false, or unknown where something is absent.

A condition is two masks, ``true`` and ``false``; where neither holds it is unknown. A comparison with NaN sets neither
mask, so absence costs no extra pass, and ``not`` is a swap. ``and``, ``or`` and ``not`` are Kleene's:

===== ===== ========= ========
a     b     a and b   a or b
===== ===== ========= ========
true  ?     ?         true
false ?     false     ?
?     ?     ?         ?
===== ===== ========= ========
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from stream.rules.columns import Bools


class Truth(NamedTuple):
    """Masks [n], or single values that stand for all rows."""

    true: Any
    false: Any

    @property
    def known(self) -> Any:
        return self.true | self.false

    def over(self, n: int) -> Truth:
        """The same with both masks of length n."""
        if np.shape(self.true) == np.shape(self.false) == (n,):
            return self
        return Truth(_mask(self.true, n), _mask(self.false, n))


def _mask(value: Any, n: int) -> Bools:
    mask = np.empty(n, dtype=np.bool_)
    mask[:] = value
    return mask


def both(a: Truth, b: Truth) -> Truth:
    """``a and b``."""
    return Truth(a.true & b.true, a.false | b.false)


def either(a: Truth, b: Truth) -> Truth:
    """``a or b``."""
    return Truth(a.true | b.true, a.false & b.false)


def opposite(a: Truth) -> Truth:
    """``not a``."""
    return Truth(a.false, a.true)


def same(a: Truth, b: Truth) -> Truth:
    """``a == b`` of two conditions."""
    return either(both(a, b), both(opposite(a), opposite(b)))


def differ(a: Truth, b: Truth) -> Truth:
    """``a != b`` of two conditions."""
    return opposite(same(a, b))


def choose(condition: Truth, yes: Truth, no: Truth) -> Truth:
    """``yes if condition else no``: unknown where the condition is."""
    true = (condition.true & yes.true) | (condition.false & no.true)
    return Truth(true, (condition.true & yes.false) | (condition.false & no.false))


def predicate(ask: Callable[..., bool | None]) -> Callable[..., Truth]:
    """``ask`` of strings, for each row; unknown where a string is absent or the answer is None."""

    def careful(*texts: str | None) -> bool | None:
        return None if None in texts else ask(*texts)

    return lambda *texts: _of_answers(np.vectorize(careful, otypes=[object])(*texts))


def _of_answers(answers: Any) -> Truth:
    return Truth(np.equal(answers, True).astype(bool), np.equal(answers, False).astype(bool))
