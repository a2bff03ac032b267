"""Which evaluations a rule trusts, and what it makes of streams of which it can't tell."""

from __future__ import annotations

import numpy as np

from stream.rules.columns import Bools, Observed
from stream.rules.rule import NoData, Rule
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


def decided(rule: Rule, truth: Truth, observed: Observed) -> Truth:
    """What is unknown counts as true (alerting) or false (ok): by ``no_data`` where no reading came, else by ``error``.

    A stream of which nothing was said yet is no error: it has too little history.
    """
    if rule.no_data == rule.error == "keep":
        return truth
    unknown = ~truth.known
    if not unknown.any():
        return truth
    value = observed.numbers.get("value")
    silent = np.ones(len(observed.slots), bool) if value is None else np.isnan(value)
    truth = _counted(truth, unknown & silent, rule.no_data)
    return _counted(truth, unknown & ~silent & (observed.fidelity > 0), rule.error)


def _counted(truth: Truth, where: Bools, policy: NoData) -> Truth:
    if policy == "keep":
        return truth
    return Truth(truth.true | where, truth.false) if policy == "alerting" else Truth(truth.true, truth.false | where)
