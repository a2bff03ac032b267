"""The rule packs of deploy/rules: each rule is checked, fires on its fault, not on its look-alike, and is explained."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream.cli import app
from stream.rules.rule import Rule
from stream.rules.rule_file import built_in, load_rules
from stream.ruletests.report import run_suite
from stream.ruletests.suite import load_suite

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy" / "rules"
PACKS = sorted(RULES.glob("*.yaml"))
TESTS = sorted((RULES / "tests").glob("*.yaml"))


def test_there_are_four_packs_and_each_has_tests() -> None:
    names = [path.name for path in PACKS]
    assert names == ["markets.yaml", "networks.yaml", "roads.yaml", "sensors.yaml"]
    assert [path.name for path in TESTS] == names


def test_rules_check_finds_nothing_but_notes() -> None:
    done = CliRunner().invoke(app, ["rules", "check", str(RULES)])
    assert done.exit_code == 0, done.stdout
    assert not re.search("error|warning|lint", done.stdout)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_rules_test_finds_all_as_expected(path: Path) -> None:
    assert [failure for outcome in run_suite(load_suite(path)) for failure in outcome.failures] == []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_every_rule_fires_in_one_test_and_is_quiet_in_another(path: Path) -> None:
    suite = load_suite(path)
    asked = [(trial.name, each) for trial in suite.trials for each, _ in trial.asked]
    fires = {(name, each.alertname) for name, each in asked if each.exp_alerts}
    quiet = {each.alertname for name, each in asked if (name, each.alertname) not in fires}
    rules = {rule.alert for rule in suite.rules}
    assert {alert for _, alert in fires} == rules
    assert quiet == rules


def all_rules() -> list[Rule]:
    return load_rules(PACKS)


def test_the_packs_can_be_used_together() -> None:
    assert len(all_rules()) >= 20


def test_every_alert_has_its_runbook() -> None:
    page = (ROOT / "docs" / "runbooks.md").read_text()
    told = set(re.findall(r"^### (\w+)$", page, re.MULTILINE))
    assert told == {rule.alert for rule in [*all_rules(), *built_in()]} | {"HeedBlindnessBreached"}
    for rule in all_rules():
        assert rule.annotations["runbook_url"] == f"docs/runbooks.md#{rule.alert.lower()}"
        assert rule.labels["severity"] in ("info", "warning", "critical")


@pytest.mark.parametrize("path", PACKS, ids=lambda path: path.stem)
def test_each_pack_says_how_its_streams_are_marked(path: Path) -> None:
    head = path.read_text().split("groups:")[0]
    assert "labels: {kind:" in head
    kinds = {kind for rule in load_rules([path]) for kind in re.findall(r'"(\w+)"', rule.expr.text.split("and")[0])}
    assert {kind for kind in kinds - {"kind"} if kind not in head} == set()
