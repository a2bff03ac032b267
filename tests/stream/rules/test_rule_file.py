"""Rule files: the shape of Prometheus' is read as it stands, and what is wrong is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.config_text import ConfigError
from stream.rules.columns import FIDELITIES
from stream.rules.rule import Span, parse_span
from stream.rules.rule_file import built_in, load_rules, read_rules

SECOND = 1_000_000_000

WHOLE = """
groups:
  - name: presses
    interval: 30s
    labels: {team: plant, severity: info}
    rules:
      - alert: PressHot
        expr: |
          value > high
            and score >= 1
        for: 5m
        keep_firing_for: 3 steps
        labels:
          severity: critical
          tier: 1
        annotations:
          summary: "{{ $labels.stream }} is hot"
        clear_expr: score < 0.5
        cool_down: 1h
        no_data: alerting
        min_coverage: 0.5
        fidelity: lite
      - {alert: Plain, expr: score > 1}
"""


def test_every_key_of_a_rule_is_read() -> None:
    hot, plain = read_rules(WHOLE, "presses.yaml")
    assert hot.alert == "PressHot"
    assert hot.expr.text == "value > high\n  and score >= 1\n"
    assert hot.clear_expr is not None
    assert hot.clear_expr.text == "score < 0.5"
    assert (hot.hold, hot.keep_firing_for, hot.cool_down) == (Span(300 * SECOND), Span(steps=3), Span(3600 * SECOND))
    assert (hot.no_data, hot.min_coverage, FIDELITIES[hot.fidelity]) == ("alerting", 0.5, "lite")
    assert hot.labels == {"team": "plant", "severity": "critical", "tier": "1"}
    assert hot.annotations == {"summary": "{{ $labels.stream }} is hot"}
    assert (hot.group, hot.interval, hot.file, hot.line) == ("presses", Span(30 * SECOND), "presses.yaml", 7)
    assert plain.labels == {"team": "plant", "severity": "info"}
    assert (plain.hold, plain.no_data, plain.fidelity, plain.clear_expr) == (Span(), "keep", 0, None)


def test_built_in_rules_fit_any_step() -> None:
    rules = {rule.alert: rule for rule in built_in()}
    assert set(rules) == {"StreamAnomaly", "FlatLine", "SilentStream"}
    assert all(rule.annotations["summary"] for rule in rules.values())
    assert {rule.labels["severity"] for rule in rules.values()} == {"warning", "critical"}
    cool_down = rules["StreamAnomaly"].cool_down
    assert cool_down.of(SECOND // 4) == 30 * SECOND
    assert cool_down.of(3600 * SECOND) == 120 * 3600 * SECOND


def broken(text: str) -> str:
    """A file with one rule, some lines of it given."""
    lines = "\n".join("        " + line for line in text.split("\n"))
    return f"groups:\n  - name: g\n    rules:\n      - alert: A\n{lines}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":0:a rule file is a mapping"),
        ("[]", ":1:1: a rule file is a mapping with the keys groups"),
        ("group: []", ":1:1: group: unknown key `group`; did you mean `groups`?"),
        ("groups: 5", ":1:9: groups: must be a list"),
        ("groups:\n  - rules: []", ":2:5: groups[0]: `name` is missing"),
        ("groups:\n  - name: a\n    rules:\n      - 7", ":4:9: groups[0].rules[0]: a rule is a mapping"),
        ("groups:\n  - name: a\n    intervall: 5m", ":3:5: groups[0].intervall: unknown key `intervall`; did you mean"),
        ("groups:\n  - name: a\n    interval: often", ":3:15: groups[0].interval: 'often' is not a duration"),
        ("groups:\n  - name: a\n  - name: a", ":3:11: groups[1].name: the group name `a` is taken"),
        ("groups:\n\t- name: a", ":2:1: YAML is not indented by tabs"),
        ("groups:\n  - name: [a]", ":2:11: groups[0].name: must be text"),
        (
            "groups:\n  - name: a\n    rules:\n      - record: x\n        expr: score",
            ":4:9: groups[0].rules[0].record: recording rules are not supported",
        ),
        (broken("labels: {a: b}"), ":4:9: groups[0].rules[0]: `expr` is missing"),
        (broken("expr: score > 1\nexpr: p < 1"), ':6:9: groups[0].rules[0].expr: duplicate key "expr"'),
        (broken("expr: ''"), ":5:15: groups[0].rules[0].expr: must not be empty"),
        (broken("expr: {a: b}"), ":5:15: groups[0].rules[0].expr: must be text"),
        (broken("expr: p < 1 and scroe > 1"), ":5:25: groups[0].rules[0].expr: unknown name `scroe`; did you mean"),
        (broken('expr: "p < 1 and scroe > 1"'), ":5:26: groups[0].rules[0].expr: unknown name `scroe`"),
        (broken("expr: |\n  p < 1\n  and scroe > 1"), ":7:15: groups[0].rules[0].expr: unknown name `scroe`"),
        (broken("expr: >\n  p < 1\n  and scroe > 1"), ":5:15: groups[0].rules[0].expr: unknown name `scroe`"),
        (broken("expr: score"), ":5:15: groups[0].rules[0].expr: a rule needs a condition"),
        (broken("expr: 7"), ":5:15: groups[0].rules[0].expr: a rule needs a condition"),
        (broken("expr: score > 1\nclear_expr: score <"), ":6:28: groups[0].rules[0].clear_expr: this is not an expr"),
        (broken("expr: score > 1\nfor: 5 stepps"), ":6:14: groups[0].rules[0].for: '5 stepps' is not a duration"),
        (broken("expr: score > 1\nfor: [5m]"), ":6:14: groups[0].rules[0].for:"),
        (broken("expr: score > 1\ncool_down: 5m1h"), "units go from large to small"),
        (broken("expr: score > 1\ncool_down: 99999d"), ":6:20: groups[0].rules[0].cool_down: '99999d' is too long"),
        (broken("expr: score > 1\nkeep_firing: 5m"), "unknown key `keep_firing`; did you mean `keep_firing_for`?"),
        (broken("expr: score > 1\nno_data: oky"), "'oky' is not one of ok, alerting, keep; did you mean `ok`?"),
        (broken("expr: score > 1\nfidelity: 3"), ":6:19: groups[0].rules[0].fidelity: 3 is not one of sentinel, lite"),
        (broken("expr: score > 1\nmin_coverage: 80"), ":6:23: groups[0].rules[0].min_coverage: 80 is not a share"),
        (broken("expr: score > 1\nlabels: {stream: a}"), "every alert gets the label `stream` by itself"),
        (broken("expr: score > 1\nlabels: {a-b: c}"), ":6:18: groups[0].rules[0].labels.a-b: `a-b` is not a name"),
        (broken("expr: score > 1\nlabels: [a]"), ":6:17: groups[0].rules[0].labels: must be a mapping"),
        (broken("expr: score > 1\nannotations: {summary: {a: b}}"), "annotations.summary: must be text"),
        (broken("expr: score > 1") + "      - alert: A\n        expr: p < 1", ":6:1: the alert A is also raised by"),
    ],
)
def test_a_malformed_rule_file_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_rules(text, "r.yaml")
    assert said.replace(":0:", "") in str(caught.value)


def test_all_problems_are_told_at_once_in_their_order() -> None:
    with pytest.raises(ConfigError) as caught:
        read_rules(broken("expr: scroe > 1\nfor: soon\nfidelty: full"), "r.yaml")
    assert [(problem.mark.line if problem.mark else 0) for problem in caught.value.problems] == [5, 6, 7]


def test_an_error_in_an_expression_shows_it() -> None:
    with pytest.raises(ConfigError) as caught:
        read_rules(broken("expr: scroe > 1"), "r.yaml")
    assert str(caught.value).split("\n")[1:] == ["  scroe > 1", "  ^^^^^"]


def test_rules_of_several_files_are_loaded_and_doubles_between_them_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(broken("expr: score > 1"), "utf-8")
    two.write_text(broken("expr: score > 2\nlabels: {severity: critical}"), "utf-8")
    assert [rule.key for rule in load_rules([one, two])] == ["A", 'A{severity="critical"}']
    two.write_text(broken("expr: score > 2"), "utf-8")
    with pytest.raises(ConfigError, match=r"is also raised by .*one\.yaml:4"):
        load_rules([one, two])


def test_files_that_can_not_be_read_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError) as caught:
        load_rules([tmp_path / "none.yaml", tmp_path / "bad.yaml"])
    assert len(caught.value.problems) == 2


def test_spans_are_durations_or_steps() -> None:
    assert parse_span("1 step") == Span(steps=1)
    assert parse_span("120 steps").of(SECOND) == 120 * SECOND
    assert parse_span("90s") == Span(90 * SECOND)
    assert [str(span) for span in (Span(90 * SECOND), Span(steps=7))] == ["1m30s", "7 steps"]
    with pytest.raises(ValueError, match="in steps"):
        parse_span("soon")


def test_a_rule_with_an_interval_is_due_once_in_each() -> None:
    rule = read_rules(WHOLE, "r.yaml")[0]
    assert [end for end in range(1, 100) if rule.due(end * SECOND, SECOND)] == [30, 60, 90]
    assert rule.due(7 * SECOND, 60 * SECOND)
