"""Rule tests as users write them: what they find, what they tell, and what they are refused for."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from stream.cli import app
from stream.config_text import ConfigError
from stream.ruletests.report import Outcome, junit, run_suite
from stream.ruletests.suite import load_suite

PROMTOOL = Path(__file__).parents[2] / "promtool"
RULES = """
groups:
  - name: g
    rules:
      - alert: High
        expr: value > 10
        for: 2m
        labels: {severity: page}
        annotations: {summary: "{{ $labels.stream }} is {{ $value }}"}
      - {alert: Unseen, expr: 'fidelity == "sentinel"'}
      - {alert: Stuck, expr: flat >= 2}
      - {alert: Silent, expr: silent >= 1.5}
      - {alert: Below, expr: value < expected}
"""


def outcome(folder: Path, test: str, rules: str = RULES) -> Outcome:
    (folder / "r.yaml").write_text(rules)
    path = folder / "t.yaml"
    path.write_text(f"rule_files: [r.yaml]\nevaluation_interval: 1m\ntests:\n  - {test}\n")
    (found,) = run_suite(load_suite(path))
    return found


def case(values: str, asked: str, more: str = "", stream: str = 'value{stream="m/a"}') -> str:
    return f"{{input_series: [{{series: '{stream}', values: '{values}'}}{more}], alert_rule_test: [{asked}]}}"


FIRES = "exp_alerts: [{exp_labels: {severity: page}}]"


def test_an_alert_fires_once_it_has_held_for_long_enough(tmp_path: Path) -> None:
    asked = "{eval_time: 2m, alertname: High}, {eval_time: 3m, alertname: High, %s}" % FIRES  # noqa: UP031 - braces
    assert outcome(tmp_path, case("1 11x5", asked)).failures == []


@pytest.mark.parametrize(
    ("values", "asked", "said"),
    [
        ("1x9", f"{{eval_time: 5m, alertname: High, {FIRES}}}", ["expected 1 alert to fire, found 0"]),
        ("11x9", "{eval_time: 5m, alertname: High}", ["expected 0 alerts to fire, found 1", 'severity="page"']),
        ("1x4 11", f"{{eval_time: 5m, alertname: High, {FIRES}}}", ["pending   m/a, since 5m"]),
        (
            "11x9",
            "{eval_time: 5m, alertname: High, exp_alerts: [{exp_labels: {severity: ticket}}]}",
            ['label severity: expected "ticket", found "page"'],
        ),
        (
            "11x9",
            "{eval_time: 5m, alertname: High, exp_alerts: [{exp_labels: {severity: page, group: n}}]}",
            ['label group: expected "n", found "m"'],
        ),
        (
            "11x9",
            "{eval_time: 5m, alertname: High, exp_alerts: [{exp_labels: {severity: page}, exp_annotations: {}}]}",
            ['annotation summary: expected none, found "m/a is 11"'],
        ),
        (
            "11x9",
            f"{{eval_time: 5m, alertname: High, {FIRES.replace(']', '') + ', {exp_labels: {a: b}}]'}}}",
            ['{a="b"}'],
        ),
    ],
)
def test_what_is_not_as_expected_is_told(tmp_path: Path, values: str, asked: str, said: list[str]) -> None:
    (failure,) = outcome(tmp_path, case(values, asked)).failures
    assert all(part in failure for part in said), failure
    assert "t.yaml:4: High at 5m" in failure


def test_what_the_model_would_have_said_is_set_by_series_of_its_own(tmp_path: Path) -> None:
    more = ", {series: 'expected{stream=\"m/a\"}', values: 7x1 _x2 7x9}"
    asked = (
        "{eval_time: 1m, alertname: Below, exp_alerts: [{}]}, {eval_time: 3m, alertname: Below, exp_alerts: [{}]}, "
        "{eval_time: 4m, alertname: Below}"
    )
    assert outcome(tmp_path, case("5 5 9 9 9", asked, more)).failures == [], "unknown keeps the state"


def test_a_window_is_fully_looked_at_unless_the_test_says_else(tmp_path: Path) -> None:
    more = ", {series: 'fidelity{stream=\"m/a\"}', values: full sentinel _ full}"
    asked = (
        "{eval_time: 0, alertname: Unseen}, {eval_time: 1m, alertname: Unseen, exp_alerts: [{}]}, "
        "{eval_time: 3m, alertname: Unseen}"
    )
    assert outcome(tmp_path, case("1x5", asked, more)).failures == []


def test_runs_are_counted_as_they_are_live(tmp_path: Path) -> None:
    """A run before counts at least 4: eight equal values are twice as many, six blanks one and a half."""
    asked = (
        "{eval_time: 8m, alertname: Stuck}, {eval_time: 9m, alertname: Stuck, exp_alerts: [{}]}, "
        "{eval_time: 14m, alertname: Silent}, {eval_time: 15m, alertname: Silent, exp_alerts: [{}]}"
    )
    assert outcome(tmp_path, case("1 2 3x7 _x7", asked)).failures == []


def test_a_stream_is_there_from_its_first_reading_to_where_it_goes_stale(tmp_path: Path) -> None:
    rules = "groups: [{name: g, rules: [{alert: There, expr: imputed >= 0}]}]"
    asked = (
        "{eval_time: 1m, alertname: There}, {eval_time: 2m, alertname: There, exp_alerts: [{}]}, "
        "{eval_time: 4m, alertname: There}, {eval_time: 9m, alertname: There}"
    )
    assert outcome(tmp_path, case("_x2 1 1 stale", asked), rules).failures == []


def test_a_group_of_rules_keeps_its_interval(tmp_path: Path) -> None:
    rules = "groups: [{name: g, interval: 5m, rules: [{alert: High, expr: value > 10, labels: {severity: page}}]}]"
    asked = f"{{eval_time: 4m, alertname: High}}, {{eval_time: 5m, alertname: High, {FIRES}}}"
    assert outcome(tmp_path, case("1 11x9", asked), rules).failures == []


def test_streams_of_one_name_share_group_and_labels(tmp_path: Path) -> None:
    rules = """
groups: [{name: g, rules: [{alert: A, expr: 'score > 1 and labels["site"] == "x" and group == "g1" and value > 0'}]}]"""
    more = ", {series: 'score{stream=\"m/a\"}', values: 2x3}"
    stream = 'value{stream="m/a", group="g1", site="x"}'
    asked = "{eval_time: 1m, alertname: A, exp_alerts: [{exp_labels: {site: x, group: g1, stream: m/a}}]}"
    assert outcome(tmp_path, case("1x3", asked, more, stream), rules).failures == []


# --- files


@pytest.mark.parametrize("path", sorted(PROMTOOL.glob("*.test.yaml")), ids=lambda path: path.name)
def test_files_in_the_style_of_public_ones_pass(path: Path) -> None:
    found = run_suite(load_suite(path))
    assert found
    assert [failure for each in found for failure in each.failures] == []


def test_there_are_five_of_them() -> None:
    assert len(list(PROMTOOL.glob("*.test.yaml"))) >= 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rule_files: [r.yaml]\ntest: []", 't.yaml:2:1: test: unknown key "test", did you mean "tests"?'),
        ("rule_files: [nowhere.yaml]\ntests: [{}]", "t.yaml:1:14: rule_files[0]: no file matches"),
        ("rule_files: [r.yaml]\ntests: [{name: x}]", "nothing is asked"),
        (
            "rule_files: [r.yaml]\ntests: [{alert_rule_test: [{eval_time: 1m, alertname: Hihg}]}]",
            "t.yaml:2:55: tests[0].alert_rule_test[0].alertname: no rule raises Hihg; did you mean High?",
        ),
        (
            "rule_files: [r.yaml]\ntests: [{promql_expr_test: [{expr: up, eval_time: 1m}]}]",
            "t.yaml:2:10: tests[0].promql_expr_test: tests PromQL",
        ),
        (
            "rule_files: [r.yaml]\ntests: [{input_series: [{series: 'scroe{stream=\"a\"}', values: 1}], "
            "alert_rule_test: [{eval_time: 1m, alertname: High}]}]",
            "did you mean `score`?",
        ),
        (
            "rule_files: [r.yaml]\ntests: [{input_series: [{series: value, values: 1}], "
            "alert_rule_test: [{eval_time: 1m, alertname: High}]}]",
            "`value` of which stream?",
        ),
        (
            "rule_files: [r.yaml]\ntests: [{input_series: [{series: up, values: '1 2 x3'}], "
            "alert_rule_test: [{eval_time: 1m, alertname: High}]}]",
            "t.yaml:2:51: tests[0].input_series[0].values: `x3` is no value",
        ),
        (
            "rule_files: [r.yaml]\ntests: [{input_series: [{series: up, values: 1}, {series: up, values: 1}], "
            "alert_rule_test: [{eval_time: 1m, alertname: High}]}]",
            "the value of up is given twice",
        ),
        (
            "rule_files: [r.yaml]\ntests: [{alert_rule_test: [{eval_time: 5, alertname: High}]}]",
            "expected a duration like",
        ),
        ("rule_files: [r.yaml]\ntests: [{start_timestamp: soon, alert_rule_test: []}]", "expected a time like"),
        ("rule_files: r.yaml\ntests: [{}]", "expected a list"),
        ("[", "is not YAML"),
    ],
)
def test_a_mistake_in_a_file_of_tests_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "r.yaml").write_text(RULES)
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_suite(path)
    assert said in str(error.value)


# --- the command


def written(folder: Path) -> Path:
    (folder / "r.yaml").write_text(RULES)
    path = folder / "t.yaml"
    path.write_text(
        "rule_files: [r.yaml]\ntests:\n"
        f"  - name: good\n    {case('1x9', '{eval_time: 5m, alertname: High}')[1:-1]}\n".replace(
            ", alert_rule", "\n    alert_rule"
        )
        + f"  - name: 'bad & <odd>'\n    {case('11x9', '{eval_time: 5m, alertname: High}')[1:-1]}\n".replace(
            ", alert_rule", "\n    alert_rule"
        )
    )
    return path


def test_the_command_says_what_failed_and_leaves_with_1(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["rules", "test", str(written(tmp_path)), "--junit", str(tmp_path / "out.xml")])
    assert done.exit_code == 1
    assert "ok      " in done.stdout
    assert "FAILED  " in done.stdout
    assert "2 tests, 2 times looked at, 1 failed" in done.stdout
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (root.tag, root.get("tests"), root.get("failures"), root.get("errors")) == ("testsuites", "2", "1", "0")
    cases = root.findall("testsuite/testcase")
    assert [each.get("name") for each in cases] == ["good", "bad & <odd>"]
    assert [len(each.findall("failure")) for each in cases] == [0, 1]
    assert "found 1" in (cases[1].findtext("failure") or "")


def test_the_command_leaves_with_0_where_all_is_as_expected() -> None:
    done = CliRunner().invoke(app, ["rules", "test", str(PROMTOOL / "*.test.yaml"), "-o", "json"])
    assert done.exit_code == 0
    assert all(test["ok"] for test in json.loads(done.stdout)["tests"])


def test_a_file_that_can_not_be_read_fails_and_the_others_run(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("tests: 1")
    done = CliRunner().invoke(app, ["rules", "test", str(broken), str(PROMTOOL / "disks.test.yaml")])
    assert done.exit_code == 1
    assert "BROKEN" in done.stdout
    assert "1 tests" in done.stdout
    assert CliRunner().invoke(app, ["rules", "test", str(tmp_path / "none.yaml")]).exit_code == 1


def test_junit_holds_files_that_can_not_be_read_as_errors_and_any_text() -> None:
    text = junit([Outcome("f", "odd \x00 \ud800 ]]> name", 1, 1, ["a\x01b"])], [("g", "why")])
    root = ElementTree.fromstring(text)
    assert [suite.get("name") for suite in root] == ["f", "g"]
    assert root.find("testsuite[2]/testcase/error") is not None
