"""Alerts: what is told, what is unknown, what is forgotten."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from connectors.batch import StreamTable
from stream.rules.alert import Alerts
from stream.rules.change import Change, fingerprint
from stream.rules.columns import Observed
from stream.rules.rule_file import built_in, read_rules

SECOND = 1_000_000_000
NAN = math.nan


def plant() -> StreamTable:
    table = StreamTable()
    table.slot("press1/temp", "press1", {"site": "berlin", "group": "not this"})
    table.slot("press1/load", "press1", {"site": "berlin"})
    table.slot("mill/load", "mill")
    return table


def alerts(rules: str, table: StreamTable | None = None) -> Alerts:
    lines = "\n".join("    " + line for line in rules.strip("\n").split("\n"))
    return Alerts(read_rules(f"groups:\n- name: g\n  rules:\n{lines}\n", "r.yaml"), plant() if table is None else table)


def seen(step: int, fidelity: Sequence[int] = (3, 3, 3), **numbers: list[float]) -> Observed:
    columns: Mapping[str, Any] = {name: np.array(column, np.float32) for name, column in numbers.items()}
    slots = np.arange(len(fidelity), dtype=np.int32)
    return Observed(step * SECOND, (step + 1) * SECOND, slots, columns, np.array(fidelity, np.int8))


def brief(changes: list[Change]) -> list[tuple[str, str]]:
    return [(change.stream, change.status) for change in changes]


def test_an_alert_tells_of_its_rule_its_stream_and_its_step() -> None:
    watching = alerts('- {alert: Hot, expr: score > 1, labels: {severity: info, where: "{{ $labels.site }}"}}')
    (change,) = watching.update(seen(7, score=[2, 0, 0], value=[5, 5, NAN]))
    assert change.labels == {
        "alertname": "Hot",
        "stream": "press1/temp",
        "group": "press1",
        "site": "berlin",
        "severity": "info",
        "where": "berlin",
    }
    assert change.fingerprint == fingerprint(change.labels)
    assert len(change.fingerprint) == 16
    assert (change.status, change.active_at, change.starts_at, change.ends_at) == (
        "firing",
        7 * SECOND,
        7 * SECOND,
        None,
    )
    assert change.values == {"score": 2.0, "value": 5.0, "fidelity": "full"}
    assert (change.reason, change.rule.alert, change.group, change.slot) == ("expr_true", "Hot", "press1", 0)
    assert watching.firing() == [change]
    (over,) = watching.update(seen(8, score=[0, 0, 0], value=[NAN, 5, 5]))
    assert (over.status, over.ends_at, over.reason) == ("resolved", 8 * SECOND, "expr_false")
    assert over.values["value"] is None
    assert over.fingerprint == change.fingerprint
    assert watching.firing() == []


def test_the_fingerprint_tells_rules_and_streams_apart() -> None:
    watching = alerts(
        "- {alert: A, expr: score > 1}\n- {alert: A, expr: score > 1, labels: {severity: info}}\n"
        "- {alert: B, expr: score > 1}"
    )
    changes = watching.update(seen(1, score=[2, 2, 2]))
    assert len({change.fingerprint for change in changes}) == len(changes) == 9


def test_changes_come_in_the_order_of_rules_and_rows() -> None:
    watching = alerts("- {alert: A, expr: score > 1}\n- {alert: B, expr: score > 1}")
    watching.update(seen(1, score=[0, 2, 0]))
    changes = watching.update(seen(2, score=[2, 0, 2]))
    assert [(c.rule.alert, c.slot) for c in changes] == [("A", 1), ("A", 0), ("A", 2), ("B", 1), ("B", 0), ("B", 2)]


def test_unknown_keeps_the_state_and_is_counted() -> None:
    watching = alerts("- {alert: Far, expr: value > high}")
    assert brief(watching.update(seen(1, value=[5, 5, 5], high=[4, 9, NAN]))) == [("press1/temp", "firing")]
    assert watching.update(seen(2, value=[5, 5, 5])) == []
    assert [change.stream for change in watching.firing()] == ["press1/temp"]
    assert (watching.evaluations, watching.unknown) == (6, 4)
    assert watching.by_rule() == {"Far": (6, 4)}


def test_a_pending_alert_fires_only_on_what_is_known() -> None:
    watching = alerts("- {alert: Far, expr: score > 1, for: 2s}")
    looks = [seen(step, score=[score, 0, 0]) for step, score in enumerate([2, NAN, NAN, NAN, 2], start=1)]
    assert [brief(watching.update(look)) for look in looks] == [[], [], [], [], [("press1/temp", "firing")]]
    assert watching.firing()[0].active_at == 1 * SECOND
    assert watching.firing()[0].starts_at == 5 * SECOND


def test_below_the_asked_coverage_or_fidelity_nothing_is_known() -> None:
    watching = alerts("- {alert: A, expr: score > 1, min_coverage: 0.5}\n- {alert: B, expr: score > 1, fidelity: lite}")
    look = seen(1, fidelity=(3, 2, 1), score=[2, 2, 2], coverage=[1, 0.4, NAN])
    told = [(change.rule.alert, change.slot) for change in watching.update(look)]
    assert told == [("A", 0), ("B", 0), ("B", 1)]
    assert watching.by_rule() == {"A": (3, 2), "B": (3, 1)}


def test_no_data_says_what_a_stream_without_a_reading_means() -> None:
    rules = "\n".join(f"- {{alert: {word}, expr: score > 1, no_data: {word}}}" for word in ("ok", "alerting", "keep"))
    watching = alerts(rules)
    watching.update(seen(1, score=[2, 0, 0], value=[5, 5, 5]))
    changes = watching.update(seen(2, score=[NAN, NAN, NAN], value=[NAN, NAN, 5]))
    assert [(c.rule.alert, c.slot, c.status, c.reason) for c in changes] == [
        ("ok", 0, "resolved", "no_data"),
        ("alerting", 1, "firing", "no_data"),
    ]


def test_a_silent_stream_is_told_although_it_has_no_value() -> None:
    watching = Alerts(built_in(), plant())
    changes = watching.update(seen(1, fidelity=(0, 3, 3), value=[NAN, 1, 1], silent=[5, 0, 0], flat=[NAN, 5, 0]))
    assert [(change.rule.alert, change.slot) for change in changes] == [("FlatLine", 1), ("SilentStream", 0)]


def test_one_disturbance_is_told_once_until_the_cool_down_is_over() -> None:
    watching = Alerts(built_in(), plant())
    fired = []
    for step in range(300):
        changes = watching.update(seen(step, score=[2.0 if step % 10 == 0 else 0.0, 0, 0]))
        fired += [change.starts_at // SECOND for change in changes if change.status == "firing"]
    assert fired == [0, 120, 240]


def test_a_clear_level_keeps_an_alert_from_flapping() -> None:
    watching = alerts("- {alert: A, expr: score > 1, clear_expr: score < 0.5}")
    scores = [1.2, 0.9, 1.1, 0.6, NAN, 0.4, 0.9]
    told = [brief(watching.update(seen(step, score=[score, 0, 0]))) for step, score in enumerate(scores)]
    assert [bool(each) for each in told] == [True, False, False, False, False, True, False]


def test_a_rule_with_an_interval_looks_only_then() -> None:
    table = plant()
    watching = Alerts(
        read_rules("groups:\n- {name: g, interval: 10s, rules: [{alert: A, expr: score > 1}]}", "r.yaml"), table
    )
    fired = [step for step in range(1, 25) if watching.update(seen(step, score=[step, 0, 0]))]
    assert fired == [9]
    assert watching.evaluations == 6


def test_forgotten_streams_are_resolved_and_their_slots_start_anew() -> None:
    table = plant()
    watching = alerts("- {alert: A, expr: 'score > 1 and startswith(stream, \"press\")', cool_down: 1h}", table)
    watching.update(seen(1, score=[2, 2, 2]))
    (gone,) = watching.forget([0, 2, 400], 5 * SECOND, "expired")
    assert (gone.stream, gone.status, gone.ends_at, gone.reason) == ("press1/temp", "resolved", 5 * SECOND, "expired")
    assert watching.suspect().nonzero()[0].tolist() == [1]
    table.release([0, 2])
    table.slot("mill/load", "mill")
    table.slot("press7/temp", "press7")
    assert brief(watching.update(seen(6, score=[2, 2, 2]))) == [("press7/temp", "firing")]


def test_suspect_is_told_for_slots_never_seen() -> None:
    watching = alerts("- {alert: A, expr: score > 1, for: 1h}")
    watching.update(seen(1, score=[2, 0, 0]))
    assert watching.suspect(np.array([0, 1, 900], np.int32)).tolist() == [True, False, False]
    assert watching.counts() == {"A": {"pending": 1, "firing": 0}}


def test_many_streams_are_met_as_they_come() -> None:
    table = StreamTable()
    watching = alerts("- {alert: A, expr: 'score > 1 and stream != \"s3\"'}", table)
    for n in (1, 70, 1000):
        while len(table) < n:
            table.slot(f"s{len(table)}", "g")
        watching.update(seen(n, fidelity=[3] * n, score=[2.0] * n))
        assert len(watching.firing()) == n - (n > 3)


def test_a_step_without_streams_changes_nothing() -> None:
    assert alerts("- {alert: A, expr: True}").update(seen(1, fidelity=())) == []


def test_rows_of_rules_that_are_gone_come_back_from_restore() -> None:
    before = alerts("- {alert: A, expr: score > 1}\n- {alert: B, expr: score > 1}")
    before.update(seen(1, score=[2, 0, 0]))
    after = alerts("- {alert: B, expr: score > 1}")
    orphans = after.restore(before.snapshot())
    assert [row["rule"] for row in orphans] == ["A"]
    assert [change.rule.alert for change in after.firing()] == ["B"]


def test_restored_alerts_of_streams_that_never_return_can_be_given_up() -> None:
    before = alerts("- {alert: A, expr: score > 1}")
    (fired,) = before.update(seen(1, score=[2, 0, 0]))
    after = alerts("- {alert: A, expr: score > 1}", StreamTable())
    after.restore(json.loads(json.dumps(before.snapshot())))
    assert [change.fingerprint for change in after.firing()] == [fired.fingerprint]
    assert len(after.snapshot()) == 1
    (gone,) = after.give_up(9 * SECOND, "not seen since the restart")
    assert (gone.status, gone.slot, gone.fingerprint, gone.ends_at) == ("resolved", -1, fired.fingerprint, 9 * SECOND)
    assert after.firing() == after.snapshot() == []


def test_one_set_of_rules_serves_two_tables() -> None:
    rules = read_rules("groups:\n- {name: g, rules: [{alert: A, expr: 'stream == \"a\"'}]}", "r.yaml")
    first, second = StreamTable(), StreamTable()
    first.slot("a", "g")
    second.slot("b", "g")
    assert len(Alerts(rules, first).update(seen(1, fidelity=(3,)))) == 1
    assert len(Alerts(rules, second).update(seen(1, fidelity=(3,)))) == 0
