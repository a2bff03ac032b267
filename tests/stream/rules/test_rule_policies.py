"""Policies of rules by name: deviations, ranges, counts, errors, times, limits, flapping; and other rules."""

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
from stream.config_text import ConfigError
from stream.owed import Owed
from stream.rules.alert import Alerts
from stream.rules.change import Change
from stream.rules.columns import Observed
from stream.rules.incident import Incidents
from stream.rules.message import message
from stream.rules.rule_file import read_rules
from stream.rules.terms import Count, Flapping, parse_count, parse_flapping
from stream.turn import Turn

SECOND = 1_000_000_000
NAN = math.nan


class Night:
    """A time interval: from 20 s to 30 s."""

    def holds(self, time_ns: int) -> bool:
        return 20 <= time_ns // SECOND < 30


def plant(n: int = 4) -> StreamTable:
    table = StreamTable()
    for i in range(n):
        table.slot(f"press{i}/temp", f"press{i}", {"site": "berlin"})
    return table


def rules_of(rules: str, group: str = "", intervals: Sequence[str] | None = None) -> list[Any]:
    lines = "\n".join("    " + line for line in rules.strip("\n").split("\n"))
    return read_rules(f"groups:\n- name: g\n  {group}\n  rules:\n{lines}\n", "r.yaml", intervals=intervals)


def alerts(rules: str, group: str = "", n: int = 4) -> Alerts:
    return Alerts(rules_of(rules, group), plant(n), {"night": Night()})


def seen(step: int, fidelity: int = 3, **numbers: list[float]) -> Observed:
    columns = {name: np.array(column, np.float32) for name, column in numbers.items()}
    n = len(next(iter(numbers.values())))
    slots = np.arange(n, dtype=np.int32)
    return Observed(step * SECOND, (step + 1) * SECOND, slots, columns, np.full(n, fidelity, np.int8))


def brief(changes: list[Change]) -> list[tuple[int, str, str]]:
    return [(change.slot, change.status, change.reason) for change in changes]


EXPECTED = [10.0, 10.0, 10.0, 10.0, -10.0, 0.0, NAN]
VALUE = [12.0, 8.0, 10.0, 10.5, -12.0, 0.0, 12.0]


@pytest.mark.parametrize(
    ("policy", "fired", "unknown"),
    [
        ("direction: both", [0, 1, 2, 3, 4, 5, 6], 0),
        ("direction: above", [0, 3], 1),
        ("direction: below", [1, 4], 1),
        ("min_deviation: 1", [0, 1, 4], 1),
        ("min_deviation: 0.5", [0, 1, 3, 4], 1),
        ("min_deviation_ratio: 0.1", [0, 1, 4, 5], 1),
        ("min_deviation_ratio: 0.05, direction: above", [0, 3], 1),
        ("min_deviation: 0.1, min_deviation_ratio: 0.1", [0, 1, 4], 1),
        ("min_deviation: 3, min_deviation_ratio: 0.1", [], 1),
    ],
)
def test_only_deviations_that_matter_raise_an_alert(policy: str, fired: list[int], unknown: int) -> None:
    watching = alerts(f"- {{alert: A, expr: score >= 1, {policy}}}", n=7)
    changes = watching.update(seen(1, score=[2.0] * 7, value=VALUE, expected=EXPECTED))
    assert [change.slot for change in changes] == fired
    assert watching.unknown == unknown


def test_where_the_condition_is_false_nobody_asks_what_was_expected() -> None:
    watching = alerts("- {alert: A, expr: score >= 1, direction: above}")
    watching.update(seen(1, score=[2.0] * 4, value=[5.0] * 4, expected=[1.0] * 4))
    changes = watching.update(seen(2, score=[0.0, 0.0, 2.0, NAN], value=[5.0] * 4, expected=[NAN] * 4))
    assert brief(changes) == [(0, "resolved", "expr_false"), (1, "resolved", "expr_false")]


def test_a_reading_that_can_not_be_right_is_an_alarm_of_the_streams_that_the_rule_is_about() -> None:
    watching = alerts("- {alert: A, expr: 'score >= 1 and stream != \"press3/temp\"', data_range: [0, 100]}")
    changes = watching.update(seen(1, score=[0.0, NAN, 0.0, 0.0], value=[101.0, -1.0, 100.0, 500.0]))
    assert brief(changes) == [(0, "firing", "out_of_range"), (1, "firing", "out_of_range")]
    changes = watching.update(seen(2, score=[0.0, 0.0, 0.0, 0.0], value=[50.0, NAN, 1.0, 1.0]))
    assert brief(changes) == [(0, "resolved", "expr_false"), (1, "resolved", "expr_false")]


def test_a_range_holds_whatever_the_side_and_the_size() -> None:
    watching = alerts("- {alert: A, expr: score >= 1, direction: below, min_deviation: 1e9, data_range: [0, 100]}")
    changes = watching.update(seen(1, score=[0.0], value=[101.0], expected=[100.0]))
    assert brief(changes) == [(0, "firing", "out_of_range")]


def test_error_says_what_an_unknown_condition_means_where_there_is_a_reading() -> None:
    rules = "\n".join(
        f"- {{alert: {word}, expr: value / rate > 1, error: {word}}}" for word in ("ok", "alerting", "keep")
    )
    watching = alerts(rules)
    watching.update(seen(1, value=[2.0, 0.0, 0.0, 0.0], rate=[1.0, 1.0, 1.0, 1.0]))
    changes = watching.update(seen(2, value=[0.0, 0.0, NAN, 1.0], rate=[0.0, 0.0, 1.0, 1.0]))
    assert [(change.rule.alert, *each) for change, each in zip(changes, brief(changes), strict=True)] == [
        ("ok", 0, "resolved", "error"),
        ("alerting", 1, "firing", "error"),
    ]
    assert watching.update(seen(3, fidelity=0, value=[0.0], rate=[0.0])) == []


def test_a_condition_counts_that_was_true_in_enough_of_the_last_steps() -> None:
    watching = alerts('- {alert: A, expr: score >= 1, count: "3 of 5"}')
    scores = [1, 0, 1, 0, 1, 0, 0, 1, NAN, NAN, 1, 1, 1]
    told = [brief(watching.update(seen(step, score=[score]))) for step, score in enumerate(scores)]
    assert [(i, each[0][1]) for i, each in enumerate(told) if each] == [(4, "firing"), (5, "resolved"), (11, "firing")]


def test_a_stream_that_was_true_too_seldom_comes_to_rest() -> None:
    watching = alerts('- {alert: A, expr: score >= 1, count: "2 of 3"}')
    for step, score in enumerate([1, 0, 0]):
        watching.update(seen(step, score=[score]))
        assert len(watching.snapshot()) == 1
        assert not watching.suspect().any()
    watching.update(seen(3, score=[0]))
    assert watching.snapshot() == []


def test_a_rule_holds_at_its_times_only() -> None:
    rule = "- {alert: A, expr: score >= 1, for: 2s, keep_firing_for: 1h, active_time_intervals: [night]}"
    watching = alerts(rule)
    told = [brief(watching.update(seen(step, score=[1, 1 if step >= 29 else 0]))) for step in range(60)]
    assert {step: each for step, each in enumerate(told) if each} == {
        22: [(0, "firing", "expr_true")],
        30: [(0, "resolved", "outside_active_time_intervals")],
    }
    assert watching.snapshot() == []
    assert watching.evaluations == 20


def test_one_of_several_times_is_enough_and_unchecked_names_always_hold() -> None:
    for names in ("[night, day]", "[day]"):
        watching = Alerts(rules_of(f"- {{alert: A, expr: score >= 1, active_time_intervals: {names}}}"), plant(), {})
        assert len(watching.update(seen(1, score=[1]))) == 1


def test_names_of_times_that_the_configuration_lacks_are_refused() -> None:
    with pytest.raises(ConfigError, match="no time interval of the configuration is called `nigt`; known: night"):
        rules_of("- {alert: A, expr: score >= 1, active_time_intervals: [nigt]}", intervals=["night"])


def test_above_its_limit_a_rule_says_how_many_it_left_out() -> None:
    watching = alerts("- {alert: A, expr: score >= 1, for: 1s, labels: {team: x}}", "limit: 2")
    watching.update(seen(1, score=[1, 1, 1, 0]))
    changes = watching.update(seen(2, score=[1, 1.5, 2, 3]))
    assert brief(changes) == [(1, "firing", "expr_true"), (2, "firing", "expr_true"), (-1, "firing", "limit")]
    own = message(changes[-1])
    assert own["labels"] == {
        "alertname": "HeedRuleLimited",
        "severity": "warning",
        "rule": 'A{team="x"}',
        "rule_group": "g",
        "stream": "heed",
        "group": "heed",
    }
    assert own["annotations"]["summary"] == '1 alerts of rule A{team="x"} were left out'
    assert watching.counts() == {"A": {"pending": 2, "firing": 2}}
    assert watching.left_out == 1
    assert len(watching.firing()) == 3
    watching.update(seen(3, score=[1, 1.5, 2, 3]))
    assert watching.left_out == 2
    changes = watching.update(seen(4, score=[1, 0, 2, 3]))
    assert brief(changes) == [(1, "resolved", "expr_false"), (0, "firing", "expr_true")]
    changes = [change for step in range(5, 80) for change in watching.update(seen(step, score=[0, 0, 2, 3]))]
    assert brief(changes) == [(0, "resolved", "expr_false"), (3, "firing", "expr_true"), (-1, "resolved", "limit_kept")]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3), st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=20))
def test_no_more_fire_than_the_limit_allows_and_nobody_waits_without_reason(limit: int, story: list[list[int]]) -> None:
    watching = alerts("- {alert: A, expr: score >= 1}", f"limit: {limit}")
    for step, scores in enumerate(story):
        watching.update(seen(step, score=[float(score) for score in scores]))
        firing = sum(change.slot >= 0 for change in watching.firing())
        assert firing == min(limit, sum(score >= 1 for score in scores))


def test_the_alert_about_a_limit_outlives_a_restart() -> None:
    before = alerts("- {alert: A, expr: score >= 1}", "limit: 1")
    before.update(seen(1, score=[1, 1]))
    after = alerts("- {alert: A, expr: score >= 1}", "limit: 1")
    assert after.restore(json.loads(json.dumps(before.snapshot()))) == []
    assert [change.fingerprint for change in after.firing()] == [change.fingerprint for change in before.firing()]
    assert after.update(seen(2, score=[1, 1])) == []
    assert brief(after.replace([], 9 * SECOND)) == [(0, "resolved", "rule_removed"), (-1, "resolved", "rule_removed")]


def test_an_alert_that_flaps_is_held_until_it_is_steady() -> None:
    watching = alerts('- {alert: A, expr: score >= 1, flapping: "5 in 10s"}')
    scores = [1, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    told = {}
    for step, score in enumerate(scores):
        changes = watching.update(seen(step, score=[score]))
        told |= {step: brief(changes)[0][1:]} if changes else {}
    assert told == {
        0: ("firing", "expr_true"),
        1: ("resolved", "expr_false"),
        2: ("firing", "expr_true"),
        3: ("resolved", "expr_false"),
        4: ("firing", "flapping"),
        13: ("resolved", "flapping_over"),
        17: ("firing", "expr_true"),
    }


def test_terms_are_read_and_written_alike() -> None:
    assert parse_count(" 3 of 5 ") == Count(3, 5)
    assert str(parse_count("3 of 5")) == "3 of 5"
    assert str(parse_flapping("6 in 60 steps")) == "6 in 60 steps"
    assert parse_flapping("6 in 1h") == Flapping(6, parse_flapping("3 in 1h").within)


def test_rules_that_are_exchanged_keep_what_did_not_change() -> None:
    rules = "- {alert: A, expr: score >= 1}\n- {alert: B, expr: score >= 1}\n- {alert: C, expr: score >= 1, for: 9s}"
    watching = alerts(rules)
    first = watching.update(seen(1, score=[1, 0]))
    other = rules_of(
        "- {alert: C, expr: score >= 1, for: 9s, annotations: {summary: new}}\n"
        "- {alert: A, expr: score >= 1, annotations: {summary: new}}\n- {alert: B, expr: score >= 0.5}"
    )
    ends = watching.replace(other, 3 * SECOND)
    assert [(change.rule.alert, *each) for change, each in zip(ends, brief(ends), strict=True)] == [
        ("B", 0, "resolved", "rule_changed")
    ]
    (kept,) = watching.firing()
    assert (kept.starts_at, kept.fingerprint) == (first[0].starts_at, first[0].fingerprint)
    assert message(kept)["annotations"] == {"summary": "new"}
    assert watching.evaluations == 6
    assert [change.rule.alert for change in watching.update(seen(4, score=[1, 0]))] == ["B"]
    assert [change.rule.alert for change in watching.update(seen(10, score=[1, 0]))] == ["C"]
    assert watching.evaluations == 18


def test_alerts_of_streams_that_wait_after_a_restart_end_with_their_rule() -> None:
    before = alerts("- {alert: A, expr: score >= 1}")
    before.update(seen(1, score=[1, 0]))
    after = Alerts(rules_of("- {alert: A, expr: score >= 1}"), StreamTable())
    after.restore(before.snapshot())
    assert brief(after.replace([], 3 * SECOND)) == [(-1, "resolved", "rule_removed")]
    assert after.firing() == after.snapshot() == []


def test_alerts_whose_rule_went_while_heed_was_down_are_told_to_be_over() -> None:
    before = alerts(
        "- {alert: A, expr: score >= 1}\n- {alert: B, expr: score >= 1}\n- {alert: C, expr: p > 1, for: 1h}"
    )
    fired = before.update(seen(1, score=[1, 0], p=[0, 2]))
    kept = json.loads(json.dumps(before.snapshot()))
    after = alerts("- {alert: B, expr: score >= 2}")
    incidents = Incidents()
    incidents.gather(fired, 2 * SECOND)
    owed, turn = Owed(after, incidents), Turn()
    owed.add(after.orphaned(after.restore(kept), 5 * SECOND))
    owed.settle(turn)
    owed.settle(turn)
    ends = [told.change for told in turn.told]
    assert [(change.rule.alert, change.status, change.reason) for change in ends] == [
        ("A", "resolved", "rule_removed"),
        ("B", "resolved", "rule_changed"),
    ]
    assert {change.fingerprint for change in ends} == {change.fingerprint for change in fired}
    assert not incidents.of("press0").firing  # type: ignore[union-attr]


def test_rules_are_replaced_between_turns_and_told_with_the_next() -> None:
    watching, turn = alerts("- {alert: A, expr: score >= 1}"), Turn()
    watching.update(seen(1, score=[1]))
    owed = Owed(watching, Incidents())
    assert owed.replace_rules(rules_of("- {alert: B, expr: score >= 1}"), 2 * SECOND) == 1
    assert [rule.alert for rule in watching.rules] == ["B"]
    owed.settle(turn)
    assert [(told.change.status, told.change.reason) for told in turn.told] == [("resolved", "rule_removed")]


def test_a_value_may_stand_in_a_label_and_an_empty_label_is_left_out() -> None:
    watching = alerts(
        "- alert: A\n  expr: score >= 1\n  labels:\n"
        "    severity: '{{ if gt $values.score 2.0 }}critical{{ else }}warning{{ end }}'\n"
        "    nobody: '{{ $labels.nope }}'"
    )
    changes = watching.update(seen(1, score=[3, 1]))
    assert [change.labels.get("severity") for change in changes] == ["critical", "warning"]
    assert "nobody" not in changes[0].labels
