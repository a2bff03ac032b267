"""Policies of a rule beside its condition: how far off and on which side the value must be, and what can't be.

``direction``, ``min_deviation`` and ``min_deviation_ratio`` narrow a condition down, so that what is unusual but does
not matter raises no alert. A reading outside of ``data_range`` is an alarm in itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from stream.rules.columns import Bools, Observed, Rows
from stream.rules.expression import Expression
from stream.rules.rule import Rule
from stream.rules.trust import trusted
from stream.rules.truth import Truth, both


def judged(rule: Rule, expr: Expression, rows: Rows, observed: Observed) -> Truth:
    """The condition of a rule with all its policies, over the streams of a step."""
    truth = trusted(rule, deviating(rule, expr.over(rows), observed), observed)
    outside = out_of_range(rule, observed)
    if outside is None or not outside.any():
        return truth
    # What names, labels and earlier steps make false stays so: the rule is not about these streams.
    meant = outside & ~expr.over(replace(rows, numbers={})).false
    return Truth(truth.true | meant, truth.false & ~meant)


def out_of_range(rule: Rule, observed: Observed) -> Bools | None:
    """Where a reading can't be right [n]; None where the rule has no range, or nobody has a reading."""
    value = observed.numbers.get("value")
    if rule.data_range is None or value is None:
        return None
    low, high = rule.data_range
    outside: Bools = (value < low) | (value > high)
    return outside


def deviating(rule: Rule, truth: Truth, observed: Observed) -> Truth:
    """Narrowed down to deviations from what was expected that are on the right side and large enough."""
    if rule.direction == "both" and not rule.min_deviation and not rule.min_deviation_ratio:
        return truth
    if truth.false.all():
        return truth
    expected = np.asarray(observed.numbers.get("expected", np.nan), np.float64)
    above = np.asarray(observed.numbers.get("value", np.nan), np.float64) - expected
    off = {"above": above, "below": -above, "both": np.abs(above)}[rule.direction]
    least = np.maximum(rule.min_deviation, rule.min_deviation_ratio * np.abs(expected))
    return both(truth, _enough(off, least, rule.direction).over(len(observed.slots)))


def _enough(off: Any, least: Any, direction: str) -> Truth:
    """Unknown where the value or what was expected of it is absent; no deviation is on neither side."""
    known = ~np.isnan(off + least)
    enough = (off >= least) & ((off > 0) | (direction == "both"))
    return Truth(known & enough, known & ~enough)
