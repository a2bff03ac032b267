"""Whatever happens, a reload that changes one rule touches no other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import StreamTable
from stream.rules.alert import Alerts
from stream.rules.columns import Observed
from stream.rules.ring import Ring
from stream.rules.rule import Rule
from stream.rules.rule_file import read_rules

STEP = 1_000_000_000
STREAMS = 3
EXPRS = (
    "value > 5",
    "value > 3 and score > 0.5",
    "avg_over(value, '4s') > 4",
    "count_over(value > 5, '5s') >= 2",
    "group_share(value > 4) > 0.5",
    "delta(value, '3s') > 2",
)
SPANS = ("0s", "2s", "4s")


def rules_of(parts: Sequence[tuple[str, str, str]]) -> list[Rule]:
    lines = [
        f'      - {{alert: R{i}, expr: "{expr}", for: {hold}, keep_firing_for: {keep}}}\n'
        for i, (expr, hold, keep) in enumerate(parts)
    ]
    return read_rules("groups:\n  - name: g\n    rules:\n" + "".join(lines), "r.yaml")


RULE = st.tuples(st.sampled_from(EXPRS), st.sampled_from(SPANS), st.sampled_from(SPANS))
VALUES = st.lists(st.lists(st.integers(0, 9), min_size=STREAMS, max_size=STREAMS), min_size=4, max_size=25)


def told(rules: list[Rule], values: list[list[int]], other: list[Rule] | None, at: int) -> list[tuple[object, ...]]:
    """All changes of a run in which the rules are replaced before step ``at``."""
    table = StreamTable()
    slots = np.array([table.slot(f"g/{i}", "g") for i in range(STREAMS)], np.int32)
    alerts, found = Alerts(rules, table), []
    for k, row in enumerate(values):
        if k == at and other is not None:
            found += alerts.replace(other, k * STEP)
        columns = {"value": np.array(row, float), "score": np.array(row[::-1], np.float32) / 5}
        observed = Observed(k * STEP, (k + 1) * STEP, slots, columns, np.full(STREAMS, 3, np.int8))
        found += alerts.update(observed)
    return [(c.rule.alert, c.stream, c.status, c.active_at, c.starts_at, c.ends_at, c.reason) for c in found]


@settings(max_examples=150, deadline=None)
@given(st.lists(RULE, min_size=2, max_size=4), RULE, VALUES, st.data())
def test_a_reload_that_changes_one_rule_touches_no_other(
    parts: list[tuple[str, str, str]], new: tuple[str, str, str], values: list[list[int]], data: st.DataObject
) -> None:
    which = data.draw(st.integers(0, len(parts) - 1))
    at = data.draw(st.integers(0, len(values)))
    changed = [*parts[:which], new, *parts[which + 1 :]]
    before = told(rules_of(parts), values, None, at)
    after = told(rules_of(parts), values, rules_of(changed), at)
    name = f"R{which}"
    assert [each for each in after if each[0] != name] == [each for each in before if each[0] != name]


@settings(max_examples=60, deadline=None)
@given(st.lists(RULE, min_size=1, max_size=4), VALUES, st.data())
def test_a_reload_that_changes_nothing_changes_nothing(
    parts: list[tuple[str, str, str]], values: list[list[int]], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(values)))
    assert told(rules_of(parts), values, rules_of(parts), at) == told(rules_of(parts), values, None, at)


STATS = st.sets(st.sampled_from(["count", "sum", "squares", "min", "max", "first", "last", "first_k"]), min_size=1)
NUMBERS = st.lists(st.one_of(st.integers(-9, 9), st.none()), min_size=1, max_size=60)


def filled(ring: Ring, numbers: Sequence[int | None], first: int = 0) -> Ring:
    if not ring.size:
        ring.grow(1)
    for k, number in enumerate(numbers, first):
        ring.advance(k)
        ring.write(k, slice(0, 1), np.array([np.nan if number is None else float(number)]))
    return ring


@settings(max_examples=200, deadline=None)
@given(STATS, STATS, st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]), NUMBERS, NUMBERS)
def test_a_ring_of_another_shape_takes_over_what_fits(
    old: set[str], new: set[str], cells: int, more: int, width: int, before: list[int | None], after: list[int | None]
) -> None:
    """As after a reload in which another rule asks for other windows over the same argument."""
    first = filled(Ring(cells, width, sorted(old), about=True), before)
    second = Ring(more, width, sorted(new), about=True)
    taken = second.restore(first.columns())
    shared = old & new if width > 1 else new
    assert taken or not shared
    if not taken:
        return
    whole = filled(Ring(max(cells, more), width, sorted(old | new), about=True), [*before, *after])
    filled(second, after, len(before))
    last = len(before) + len(after) - 1
    for name in shared:
        for n in range(1, min(cells, more) + 1):
            assert np.array_equal(second.fold(name, last, n)[:1], whole.fold(name, last, n)[:1], equal_nan=True), name
