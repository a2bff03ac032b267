"""Which evaluations a rule trusts, and what it makes of streams without a reading."""

from __future__ import annotations

import numpy as np

from stream.rules.columns import Bools, Observed
from stream.rules.rule import Rule
from stream.rules.truth import Truth


def trusted(rule: Rule, truth: Truth, observed: Observed) -> Truth:
    """Unknown where coverage or fidelity is below what the rule asks for."""
    for enough in _asked(rule, observed):
        truth = Truth(truth.true & enough, truth.false & enough)
    return truth


def _asked(rule: Rule, observed: Observed) -> list[Bools]:
    asked: list[Bools] = []
    if rule.min_coverage > 0:
        coverage = observed.numbers.get("coverage")
        asked.append(np.zeros(len(observed.slots), bool) if coverage is None else coverage >= rule.min_coverage)
    if rule.fidelity > 0:
        asked.append(observed.fidelity >= rule.fidelity)
    return asked


def without_data(rule: Rule, truth: Truth, observed: Observed) -> Truth:
    """``no_data``: what is unknown where no reading came counts as true (alerting) or false (ok)."""
    if rule.no_data == "keep":
        return truth
    value = observed.numbers.get("value")
    silent = ~truth.known if value is None else ~truth.known & np.isnan(value)
    if rule.no_data == "alerting":
        return Truth(truth.true | silent, truth.false)
    return Truth(truth.true, truth.false | silent)
