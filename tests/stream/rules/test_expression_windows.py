"""Functions over time and over groups, against brute force that keeps every step of every stream."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import StreamTable
from stream.rules.columns import Observed
from stream.rules.expression import Expression, compile_expression

SECOND = 1_000_000_000
NAN = math.nan
Past = Sequence[float | None]  # oldest first, this step last; None = absent


def table_of(groups: Sequence[str]) -> StreamTable:
    table = StreamTable()
    for i, group in enumerate(groups):
        table.slot(f"{group}/{i}", group)
    return table


@dataclass
class World:
    """Steps of a few streams; what was never said of a stream at a step is absent."""

    expression: Expression
    table: StreamTable
    step: int = SECOND
    said: list[dict[int, float]] = field(default_factory=list)

    def see(self, ts: int, values: Mapping[int, float], every: int = 1) -> str:
        """One letter for each stream that is observed: T, F or ?."""
        slots = np.array(sorted(values), np.int32)
        column = np.array([values[slot] for slot in slots.tolist()])
        observed = Observed(ts, ts + self.step, slots, {"value": column}, np.full(len(slots), 3, np.int8), every=every)
        truth = self.expression.evaluate(observed, self.table)
        return "".join("T" if t else "F" if f else "?" for t, f in zip(truth.true, truth.false, strict=True))


def known(past: Past) -> list[float]:
    return [value for value in past if value is not None]


def plain_delta(past: Past) -> float | None:
    before = known(past[:-1])
    return None if past[-1] is None or not before else past[-1] - before[0]


def plain_rate(past: Past) -> float | None:
    delta = plain_delta(past)
    first = next((i for i, value in enumerate(past) if value is not None), 0)
    return None if delta is None else delta / (len(past) - 1 - first)


PLAIN = {
    "avg_over": lambda past: sum(known(past)) / len(known(past)) if known(past) else None,
    "sum_over": lambda past: sum(known(past)) if known(past) else None,
    "min_over": lambda past: min(known(past), default=None),
    "max_over": lambda past: max(known(past), default=None),
    "stddev_over": lambda past: float(np.std(known(past))) if known(past) else None,
    "last_over": lambda past: known(past)[-1] if known(past) else None,
    "delta": plain_delta,
    "rate_of": plain_rate,
}
values = st.one_of(st.none(), st.floats(-1000, 1000, width=32), st.sampled_from([0.0, 1.0, 250.0]))
# Of four streams: None = not observed at this step, else its value.
steps = st.lists(st.tuples(*[st.one_of(st.just("gone"), values)] * 4), min_size=1, max_size=40)


def look_back(log: Sequence[Sequence[Any]], stream: int, n: int) -> Past:
    """The last ``n`` steps of a stream, fewer at the start."""
    return [None if row[stream] == "gone" else row[stream] for row in log[-n:]]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(PLAIN)), st.integers(1, 30), steps, st.integers(1, 3))
def test_a_function_over_time_says_what_all_steps_of_its_span_say(
    function: str, n: int, log: list[tuple[Any, ...]], skip: int
) -> None:
    """Told by two comparisons with what brute force says, a little below and a little above."""
    table, at = table_of("aabb"), {"value": 0.0}
    bound = compile_expression(f'{function}("value", "{n}s") > score and {function}("value", "{n}s") < high')
    for k in range(len(log)):
        here = {i: value for i, value in enumerate(log[k]) if value != "gone"}
        if not here or k % skip == 1:  # nobody is there, or nobody looked
            log[k] = ("gone",) * 4
            continue
        slots = np.array(sorted(here), np.int32)
        found = [PLAIN[function](look_back(log[: k + 1], i, n)) for i in slots.tolist()]
        middle = np.array([NAN if each is None else each for each in found])
        at = {
            "value": np.array([NAN if here[i] is None else here[i] for i in slots.tolist()], float),
            "score": middle - 2e-3,
            "high": middle + 2e-3,
        }
        truth = bound.evaluate(Observed(k * SECOND, (k + 1) * SECOND, slots, at, np.zeros(len(slots), np.int8)), table)
        assert truth.true.tolist() == [each is not None for each in found], (k, found)
        assert not truth.false.any()


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["count_over", "share_over", "absent_for", "offset"]), st.integers(1, 30), steps)
def test_counts_absence_and_yesterday_are_exact(function: str, n: int, log: list[tuple[Any, ...]]) -> None:
    text = {
        "count_over": f'count_over(value > 0, "{n}s") == score',
        "share_over": f'abs(share_over(value > 0, "{n}s") - score) < 1e-9',
        "absent_for": f'absent_for("value", "{n}s")',
        "offset": f'abs(offset("value", "{n}s") - score) < 1e-3',
    }[function]
    expression, table = compile_expression(text), table_of("aabb")
    for k, row in enumerate(log):
        here = {i: value for i, value in enumerate(row) if value != "gone"}
        if not here:
            continue
        slots = np.array(sorted(here), np.int32)
        told = [plain_other(function, log[: k + 1], i, n) for i in slots.tolist()]
        score = np.array([NAN if each is None else float(each) for each in told])
        value = np.array([NAN if here[i] is None else here[i] for i in slots.tolist()], float)
        observed = Observed(
            k * SECOND, (k + 1) * SECOND, slots, {"value": value, "score": score}, np.zeros(len(slots), np.int8)
        )
        truth = expression.evaluate(observed, table)
        if function == "absent_for":
            assert truth.true.tolist() == [each is True for each in told], k
            assert truth.false.tolist() == [each is False for each in told], k
        else:
            assert truth.true.tolist() == [each is not None for each in told], (k, told)


def plain_other(function: str, log: Sequence[Sequence[Any]], stream: int, n: int) -> Any:
    if function == "offset":
        then = log[-1 - n][stream] if len(log) > n else None
        return None if then == "gone" else then
    if function == "absent_for":
        looked = [row[stream] for row in log if row[stream] != "gone"]
        run = next((i for i, value in enumerate(reversed(looked)) if value is not None), len(looked))
        return True if run >= n else False if known(looked) else None
    signs = [value > 0 for value in known(look_back(log, stream, n))]
    if not signs:
        return None
    return sum(signs) if function == "count_over" else sum(signs) / len(signs)


def numbers(text: str, columns: Mapping[str, Sequence[float]], groups: str = "aabbb") -> str:
    """One letter for each stream."""
    table = table_of(groups)
    slots = np.arange(len(groups), dtype=np.int32)
    given = {name: np.array(column, float) for name, column in columns.items()}
    truth = compile_expression(text).evaluate(Observed(0, SECOND, slots, given, np.zeros(len(slots), np.int8)), table)
    return "".join("T" if t else "F" if f else "?" for t, f in zip(truth.true, truth.false, strict=True))


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("group_max(score) == 3", "TTFFF"),
        ("group_min(score) == 1", "TTFFF"),
        ("group_avg(score) == 2", "TTFFF"),
        ("group_sum(score) == 4", "TTFFF"),
        ("group_sum(score) == 12", "FFTTT"),
        ("group_count(score > 2) == 1", "TTFFF"),
        ("group_count(score > 2) == 2", "FFTTT"),
        ("group_share(score > 2) == 0.5", "TTFFF"),
        ("group_share(score > 5) == 0.5", "FFTTT"),
        ("group_rank(score) == 1", "FTTF?"),
        ("group_rank(score) == 2", "TFFT?"),
        ("group_avg(p) > 1", "?????"),
        ("group_count(p > 1) > 1", "?????"),
        ("group_max(score) - score > 0", "TFFT?"),
        ("group_max(group_rank(score)) == 2", "TTTTT"),
        ("group_count(value > avg_over(value, '5m')) == 0", "TTTTT"),
    ],
)
def test_a_function_of_a_group_looks_at_all_its_members(text: str, letters: str) -> None:
    assert numbers(text, {"score": [1, 3, 7, 5, NAN], "value": [1, 2, 3, 4, 5]}) == letters


def plain_group(function: str, own: float, mates: Sequence[float]) -> float | None:
    there = [each for each in mates if not math.isnan(each)]
    if not there or (function == "group_rank" and math.isnan(own)):
        return None
    return {
        "group_max": lambda: max(there),
        "group_min": lambda: min(there),
        "group_avg": lambda: sum(there) / len(there),
        "group_sum": lambda: sum(there),
        "group_rank": lambda: 1 + sum(each > own for each in there),
        "group_count": lambda: sum(each > 1 for each in there),
        "group_share": lambda: sum(each > 1 for each in there) / len(there),
    }[function]()


members = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([0.0, 1.0, 2.0, 2.0, -7.5, NAN])), min_size=1)
FUNCTIONS = ["group_max", "group_min", "group_avg", "group_sum", "group_rank", "group_count", "group_share"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FUNCTIONS), members)
def test_groups_agree_with_a_walk_over_their_members(function: str, rows: list[tuple[str, float]]) -> None:
    argument = "value > 1" if function in ("group_count", "group_share") else "value"
    told = [plain_group(function, value, [v for g, v in rows if g == group]) for group, value in rows]
    columns = {"value": [value for _, value in rows], "score": [NAN if each is None else each for each in told]}
    letters = numbers(f"abs({function}({argument}) - score) < 1e-9", columns, "".join(group for group, _ in rows))
    assert letters == "".join("?" if each is None else "T" for each in told)


# -- single cases


def test_a_price_keeps_its_last_digits() -> None:
    world = World(
        compile_expression('max_over("value", "5s") == 60000.01 and stddev_over("value", "5s") < 0.02'), table_of("a")
    )
    assert [world.see(k * SECOND, {0: 60000 + (k % 2) / 100}) for k in range(4)][1] == "T"


def test_a_new_high_is_seen_as_one() -> None:
    world = World(compile_expression('value >= max_over("value", "1m")'), table_of("a"))
    assert [world.see(k * SECOND, {0: 0.1 * k}) for k in range(5)] == ["T"] * 5
    assert world.see(5 * SECOND, {0: 0.3}) == "F"


def test_infinity_does_not_stay_longer_than_its_window() -> None:
    world = World(compile_expression('avg_over("value", "3s") == 1'), table_of("a"))
    told = [world.see(k * SECOND, {0: math.inf if k == 2 else 1}) for k in range(7)]
    assert told == ["T", "T", "F", "F", "F", "T", "T"]


def test_the_same_time_yesterday_is_kept_in_coarse_cells() -> None:
    """A day of steps of a minute is 1440, twice as many as a ring has cells: the mean of two minutes is compared."""
    minute, day = 60 * SECOND, 1440
    world = World(compile_expression('abs(value - offset("value", "1d")) < 0.6'), table_of("ab"), minute)
    for k in range(day):
        assert world.see(k * minute, {0: float(k), 1: float(k)}) == "??"
    assert world.see(day * minute, {0: 0, 1: 100}) == "TF"
    assert world.see((day + 1) * minute, {0: 1, 1: 100}) == "TF"
    assert world.see((day + 2) * minute, {0: 2, 1: NAN}) == "T?"


@pytest.mark.parametrize(
    "function", ["avg_over", "min_over", "max_over", "stddev_over", "sum_over", "delta", "rate_of"]
)
def test_a_span_beyond_the_ring_is_right_to_a_part_in_720(function: str) -> None:
    rng = np.random.default_rng(0)
    noise = np.cumsum(rng.normal(size=4000))
    n = 2000
    world = World(compile_expression(f'{function}("value", "{n}s") > score'), table_of("a"))
    for k in range(3000):
        observed = Observed(
            k * SECOND, (k + 1) * SECOND, np.zeros(1, np.int32), {"value": noise[k : k + 1], "score": np.zeros(1)},
            np.zeros(1, np.int8),
        )  # fmt: skip
        world.expression.evaluate(observed, world.table)
    window = world.expression.asks[0].window
    assert window.width(SECOND) == 3
    k = 3000
    covered = (k + 1) - (k // 3 - 666) * 3  # from the beginning of the first of its 667 cells
    assert n - 3 < covered <= n + 1
    expected = PLAIN[function](noise[k + 1 - covered : k + 1].tolist())
    for score, letter in ((expected - 1e-3 * abs(expected), "T"), (expected + 1e-3 * abs(expected), "F")):
        expression = world.expression
        before = {name: column.copy() for name, column in expression._own.columns().items()}
        observed = Observed(
            k * SECOND, (k + 1) * SECOND, np.zeros(1, np.int32),
            {"value": noise[k : k + 1], "score": np.array([score])}, np.zeros(1, np.int8),
        )  # fmt: skip
        again = compile_expression(expression.text)
        again._own.restore(before)
        truth = again.evaluate(observed, world.table)
        assert (letter == "T") == bool(truth.true[0])
        assert (letter == "F") == bool(truth.false[0])


def test_a_stream_whose_slot_was_forgotten_has_no_past() -> None:
    world = World(compile_expression('count_over(value > 0, "1m") > 1 or absent_for("value", "2s")'), table_of("ab"))
    world.see(0, {0: 1, 1: 1})
    assert world.see(SECOND, {0: 1, 1: 1}) == "TT"
    world.expression.forget([1])
    assert world.see(2 * SECOND, {0: 1, 1: 1}) == "TF"


def test_a_stream_that_moves_to_another_raster_begins_anew() -> None:
    world = World(compile_expression('count_over(value > 0, "1m") > 1'), table_of("ab"))
    world.see(0, {0: 1, 1: 1})
    assert world.see(SECOND, {0: 1, 1: 1}) == "TT"
    world.step = 10 * SECOND
    assert world.see(20 * SECOND, {1: 1}) == "F"
    world.step = SECOND
    assert world.see(30 * SECOND, {0: 1, 1: 1}) == "TF"


def test_where_only_every_fifth_step_is_judged_the_span_is_still_that_of_time() -> None:
    world = World(compile_expression('offset("value", "10s") == 1 and absent_for("expected", "10s")'), table_of("a"))
    assert [world.see(5 * k * SECOND, {0: float(k)}, every=5) for k in range(5)] == ["?", "?", "F", "T", "F"]


def test_the_past_is_kept_only_for_streams_that_a_rule_can_be_about() -> None:
    expression = compile_expression('startswith(stream, "a") and avg_over("value", "5m") > 0')
    world = World(expression, table_of("ab"))
    assert world.see(0, {0: 1, 1: 1}) == "TF"
    assert max(expression._own.columns()["0.0.row"].tolist()) == 0
    everyone = compile_expression('startswith(stream, "a") and group_max(avg_over("value", "5m")) > 0')
    assert World(everyone, table_of("ab")).see(0, {0: 1, 1: 1}) == "TF"
    assert max(everyone._own.columns()["0.0.row"].tolist()) == 1


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("score > 1", 0),
        ('avg_over("value", "5m") > 1', 2_000),
        ('avg_over("value", "5m") > max_over("value", "1m")', 2_100),
        ('offset("value", "1w") > 1', 9_500),
        ('absent_for("value", "1w")', 10),
    ],
)
def test_the_memory_of_windows_is_told_and_is_what_they_take(text: str, most: int) -> None:
    expression, streams = compile_expression(text), 512
    told = expression.memory(SECOND)
    assert 0 <= told <= most
    table = table_of(["a"] * streams)
    world = World(expression, table)
    world.see(0, dict.fromkeys(range(streams), 1.0))
    columns = {name: column for name, column in expression._own.columns().items() if "head" not in name and "." in name}
    assert told * streams <= sum(column.nbytes for column in columns.values()) + 1 <= told * streams * 1.01 + 1


@pytest.mark.parametrize(
    ("text", "by_group"),
    [
        ("group_max(score) > 1", True),
        ('group == "press1" and group_share(score > 1) > 0.5', True),
        ('startswith(group, "press") and abs(group_avg(value - expected)) > 1', True),
        ('group_count(count_over(score > 1, "5m") > 2) > 3', True),
        ("group_max(score) > 1 if group_count(score > 1) > 2 else True", True),
        ("group_max(score) > 1 and score > 1", False),
        ("group_rank(score) == 1", False),
        ("group_max(score) > 1 and coverage > 0.5", False),
        ('group_max(score) > 1 and labels["site"] == "a"', False),
        ('avg_over("value", "5m") > group_max(value)', False),
        ('group == "press1"', False),
        ("score > 1", False),
    ],
)
def test_an_expression_knows_whether_all_members_get_the_same_answer(text: str, by_group: bool) -> None:
    assert compile_expression(text).by_group is by_group


def test_cost_grows_with_what_is_asked_and_names_cost_nothing() -> None:
    asked = [
        'startswith(stream, "press") and labels["site"] == "berlin"',
        "score > 1",
        "score > 1 and abs(value - expected) > 2",
        "group_max(score) > 1",
        'avg_over("value", "5m") > 1',
        'matches(stream if score > 1 else group, "press.*")',
    ]
    costs = [compile_expression(text).cost for text in asked]
    assert costs[0] == 0
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)
