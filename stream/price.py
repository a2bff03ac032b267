"""What scoring costs on the clock: a price in replay, or real CPU time in the demo."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from connectors.clock import Clock, burn
from models.contract import Bools, Look, Scorer, Verdict
from stream.durations import parse_duration


class Wrapped:
    """A scorer with something done after each call; ``after`` gets how many streams were looked at."""

    def __init__(self, scorer: Scorer, cost: tuple[float, float], after: Callable[[int], None]) -> None:
        self._scorer, self._cost, self._after = scorer, cost, after
        self.name, self.digest, self.window = scorer.name, scorer.digest, scorer.window
        self.normalised = getattr(scorer, "normalised", True)

    @property
    def cost(self) -> tuple[float, float]:
        """Seconds a call, seconds a stream."""
        return self._cost

    @property
    def bad(self) -> Bools | None:
        """Rows [G, A] of the last call of which the scorer said nothing finite; None where it does not tell."""
        return getattr(self._scorer, "bad", None)

    def score(self, look: Look) -> Verdict:
        """What the scorer says."""
        verdict = self._scorer.score(look)
        self._after(int(np.count_nonzero(look.member >= 0)))
        return verdict


def priced(scorer: Scorer, clock: Clock, fixed: float, each: float) -> Wrapped:
    """Charge every call ``fixed`` + streams x ``each`` seconds to the clock."""

    def charge(rows: int) -> None:
        clock.charge(fixed + rows * each)

    return Wrapped(scorer, (fixed, each), charge)


def burning(scorer: Scorer, each: float) -> Wrapped:
    """Make every full look cost ``each`` seconds of real CPU time more."""
    fixed, own = scorer.cost
    return Wrapped(scorer, (fixed, own + each), lambda rows: burn(rows * each))


def parse_price(text: str) -> tuple[float, float] | None:
    """``none`` or ``FIXED,EACH`` (durations) in seconds; ValueError where it is neither."""
    if text == "none":
        return None
    fixed, comma, each = text.partition(",")
    if not comma:
        raise ValueError(f'a price is none, auto or FIXED,EACH like 5ms,20us, not "{text}"')
    return parse_duration(fixed) / 1e9, parse_duration(each) / 1e9
