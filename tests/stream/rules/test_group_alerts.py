"""Rules over whole groups: one alert for each group, told with the members that drive it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import StreamTable
from stream.rules.alert import Alerts
from stream.rules.change import Change
from stream.rules.columns import Observed
from stream.rules.message import message
from stream.rules.rule_file import read_rules

SECOND = 1_000_000_000
NAN = math.nan


def plant() -> StreamTable:
    table = StreamTable()
    for group, n in (("press1", 3), ("press2", 2), ("mill", 1)):
        for i in range(n):
            table.slot(f"{group}/s{i}", group, {"site": "berlin"})
    return table


def alerts(*rules: str, table: StreamTable | None = None) -> Alerts:
    lines = "\n".join(f"  - {rule}" for rule in rules)
    return Alerts(read_rules(f"groups:\n- name: g\n  rules:\n{lines}\n", "r.yaml"), table or plant())


def seen(step: int, score: Sequence[float], slots: Sequence[int] | None = None) -> Observed:
    own = np.array(range(len(score)) if slots is None else slots, np.int32)
    columns = {"score": np.array(score, np.float32), "value": 10 * np.array(score)}
    return Observed(step * SECOND, (step + 1) * SECOND, own, columns, np.full(len(own), 3, np.int8))


def brief(changes: list[Change]) -> list[tuple[str, str, str]]:
    return [(change.group, change.stream, change.status) for change in changes]


SPREADS = '{alert: Spreads, expr: "group_share(score > 1) > 0.5", labels: {severity: page, of: "{{ $labels.group }}"}}'


def test_a_rule_over_groups_raises_one_alert_for_each_group() -> None:
    watching = alerts(SPREADS)
    changes = watching.update(seen(1, [2, 3, 0, 0, 0, 5]))
    assert brief(changes) == [("press1", "", "firing"), ("mill", "", "firing")]
    assert changes[0].labels == {"alertname": "Spreads", "group": "press1", "severity": "page", "of": "press1"}
    assert watching.counts() == {"Spreads": {"pending": 0, "firing": 2}}
    assert (watching.evaluations, watching.unknown) == (3, 0)
    assert watching.update(seen(2, [0, 3, 2, 0, 0, 5])) == []
    changes = watching.update(seen(3, [0, 3, 0, 0, 0, 5]))
    assert brief(changes) == [("press1", "", "resolved")]
    assert changes[0].reason == "expr_false"


@pytest.mark.parametrize(
    ("expr", "drivers"),
    [
        ("group_share(score > 1) > 0.5", {"press1/s0": 0.5, "press1/s1": 0.5}),
        ("group_max(score) > 2", {"press1/s1": 1.0}),
        ("group_min(score) < 1", {"press1/s2": 1.0}),
        ("group_avg(score) > 1", {"press1/s1": 0.3333, "press1/s0": 0.3333, "press1/s2": 0.3333}),
    ],
)
def test_the_message_lists_the_members_that_drive_it(expr: str, drivers: dict[str, float]) -> None:
    (change,) = alerts(f'{{alert: A, expr: {expr} and group == "press1"}}').update(seen(1, [2, 3, 0, 1, 1, 5]))
    told = message(change)
    assert {each["stream"]: each["share"] for each in told["streams"]} == drivers
    assert list(drivers) == [each["stream"] for each in told["streams"]]
    assert "stream" not in told["labels"]
    assert told["group"] == "press1"
    first = told["streams"][0]
    assert first["value"] == pytest.approx(10 * first["score"])
    assert change.slot == plant().slot_of[first["stream"]]


def test_a_group_of_many_lists_ten() -> None:
    table = StreamTable()
    for i in range(40):
        table.slot(f"g/{i}", "g")
    (change,) = alerts("{alert: A, expr: group_count(score > 1) > 5}", table=table).update(seen(1, [2] * 20 + [0] * 20))
    assert [member.stream for member in change.members] == [f"g/{i}" for i in range(10)]
    assert {member.share for member in change.members} == {1 / 20}


def test_a_condition_that_also_asks_of_the_stream_has_an_alert_for_each_stream() -> None:
    watching = alerts("{alert: A, expr: group_max(score) > 2 and score > 1}")
    assert brief(watching.update(seen(1, [2, 3, 0]))) == [("press1", f"press1/s{i}", "firing") for i in (0, 1)]
    watching = alerts("{alert: A, expr: group_max(score) > 2, clear_expr: score < 1}")
    assert len(watching.update(seen(1, [2, 3, 0]))) == 3


def test_a_group_where_nothing_is_known_keeps_its_state() -> None:
    watching = alerts(SPREADS)
    watching.update(seen(1, [2, 2, 2]))
    assert watching.update(seen(2, [NAN] * 3)) == []
    assert watching.unknown == 1
    assert brief(watching.update(seen(3, [NAN, NAN, 0]))) == [("press1", "", "resolved")]


def test_for_count_and_clear_hold_for_groups_too() -> None:
    watching = alerts("{alert: A, expr: group_max(score) > 2, for: 2s, clear_expr: group_max(score) < 1}")
    assert watching.update(seen(1, [3, 0])) == []
    assert watching.suspect(np.arange(4, dtype=np.int32)).tolist() == [True, True, False, False]
    assert watching.update(seen(2, [0, 3])) == []
    (change,) = watching.update(seen(3, [3, 0]))
    assert (change.active_at, change.starts_at) == (SECOND, 3 * SECOND)
    assert watching.update(seen(4, [1.5, 0])) == []
    assert brief(watching.update(seen(5, [0.5, 0]))) == [("press1", "", "resolved")]


def test_the_alert_stays_while_any_member_does_and_is_resolved_with_the_last() -> None:
    table = plant()
    watching = alerts(SPREADS, table=table)
    watching.update(seen(1, [2, 2, 2, 0, 0]))
    assert watching.forget([0, 1], 2 * SECOND, "the stream ended") == []
    table.release([0, 1])
    (change,) = watching.forget([2, 3], 3 * SECOND, "the stream ended")
    assert (change.group, change.status, change.reason) == ("press1", "resolved", "the stream ended")
    table.release([2, 3])
    table.slot("lathe/s0", "lathe")
    assert brief(watching.update(seen(4, [5, 0], slots=[0, 4]))) == [("lathe", "", "firing")]


def test_groups_of_rules_that_are_taken_up_later_are_known() -> None:
    watching = alerts("{alert: A, expr: score > 9}")
    watching.update(seen(1, [2, 2, 2]))
    watching.replace(alerts(SPREADS).rules, 2 * SECOND)
    assert brief(watching.update(seen(2, [2, 2, 2]))) == [("press1", "", "firing")]


def test_a_limit_counts_groups() -> None:
    text = """
groups:
- name: g
  limit: 1
  rules:
  - {alert: A, expr: group_max(score) > 1}
"""
    watching = Alerts(read_rules(text, "r.yaml"), plant())
    changes = watching.update(seen(1, [2, 2, 2, 3, 3, 0]))
    assert [(change.rule.alert, change.group) for change in changes] == [("A", "press2"), ("HeedRuleLimited", "heed")]


scores = st.lists(st.sampled_from([0.0, 2.0, NAN]), min_size=6, max_size=6)
RULES = (
    SPREADS,
    "{alert: B, expr: group_max(score) > 1, for: 2s, keep_firing_for: 1s}",
    "{alert: C, expr: score > 1}",
    "{alert: D, expr: 'count_over(score > 1, \"4s\") >= 2'}",
)


@settings(max_examples=100, deadline=None)
@given(st.lists(scores, min_size=2, max_size=12), st.data(), st.booleans())
def test_a_restart_between_any_two_steps_changes_nothing(story: list[list[float]], data: Any, late: bool) -> None:
    stop = data.draw(st.integers(1, len(story) - 1))
    whole, before, table = alerts(*RULES), alerts(*RULES), plant()
    for k, score in enumerate(story[:stop]):
        assert told(before.update(seen(k, score))) == told(whole.update(seen(k, score)))
    kept = json.loads(json.dumps(before.snapshot()))
    columns = {name: column.copy() for name, column in before.columns().items()}
    after = alerts(*RULES, table=table)
    if not late:
        after.restore_columns(columns)
        assert after.restore(kept) == []
    else:  # the small tier alone may be read first
        assert after.restore(kept) == []
        after.restore_columns(columns)
    for k, score in enumerate(story[stop:], start=stop):
        assert told(after.update(seen(k, score))) == told(whole.update(seen(k, score)))
    assert sorted(told(after.firing())) == sorted(told(whole.firing()))


def told(changes: list[Change]) -> list[str]:
    return [json.dumps(message(change)) for change in changes]


def test_what_was_read_again_after_a_restart_fills_the_windows_over_values() -> None:
    rule = '{alert: A, expr: \'avg_over("value", "1m") > 15\'}'
    watching = alerts(rule)
    for k in range(5):
        watching.remember(seen(k, [2, 0, 0]))
    assert brief(watching.update(seen(5, [1, 9, 0]))) == [("press1", "press1/s0", "firing")]
    assert watching.evaluations == 3


def test_windows_live_through_a_reload_where_the_span_stays() -> None:
    five, two = (f'{{alert: A, expr: \'sum_over("score", "{n}s") > 9\'}}' for n in (5, 2))
    other = '{alert: B, expr: \'sum_over("score", "5s") > 8\'}'
    for rules, letters in (((five,), "firing"), ((other,), "firing"), ((two,), "")):
        watching = alerts(five)
        for k in range(3):
            watching.update(seen(k, [2.5, 0, 0]))
        watching.replace(alerts(*rules).rules, 3 * SECOND)
        assert [change.status for change in watching.update(seen(3, [2.5, 0, 0]))] == [letters] * bool(letters)
