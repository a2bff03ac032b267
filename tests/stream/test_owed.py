"""Other rules, while heed runs and while it is down: what ended by it is told once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monitor_feed as feed

from stream.rules.rule_file import load_rules

GROUPS = ["press1", "press1", "press2"]


def rule_file(folder: Path, *rules: str) -> Path:
    path = folder / "rules.yaml"
    path.write_text("groups:\n- name: g\n  limit: 2\n  rules:\n" + "".join(f"  - {rule}\n" for rule in rules), "utf-8")
    return path


def run(folder: Path, steps: int = 30) -> feed.Run:
    more: dict[str, Any] = {"model": {"name": "none"}, "rule_files": [str(folder / "rules.yaml")]}
    return feed.Run(feed.noise(steps, 3), GROUPS, more=more, folder=folder / "state")


def brief(messages: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Delivery is at least once: what came again is left out."""
    messages = list({(each["id"], each["status"]): each for each in messages}.values())
    return [(each["rule"], each["status"], each["reason"]) for each in messages]


HIGH, OTHER = '{alert: High, expr: value > 50 and group == "press1"}', "{alert: Other, expr: value > 1000}"


def test_alerts_of_a_rule_that_went_while_heed_was_down_are_over_at_the_next_start(tmp_path: Path) -> None:
    rule_file(tmp_path, HIGH, OTHER)
    first = run(tmp_path)
    first.some(20)
    rule_file(tmp_path, OTHER)
    second = run(tmp_path)
    second.some(5)
    told = brief(first.sink.messages + second.sink.messages)
    assert told == [("High", "firing", "expr_true")] * 2 + [("High", "resolved", "rule_removed")] * 2
    third = run(tmp_path).all()
    assert third.monitor.parts.alerts.firing() == []
    assert {status for _rule, status, _reason in brief(third.sink.messages)} <= {"resolved"}


def test_rules_are_exchanged_while_heed_runs(tmp_path: Path) -> None:
    rule_file(tmp_path, HIGH)
    one = run(tmp_path)
    for _ in range(10):
        one.loop.turn()
    one.monitor.owed.replace_rules(load_rules([rule_file(tmp_path, OTHER)]), one.monitor.last_tick)
    one.all()
    told = brief(one.sink.messages)
    assert told == [("High", "firing", "expr_true")] * 2 + [("High", "resolved", "rule_removed")] * 2


def test_an_alert_about_a_limit_is_told_and_belongs_to_no_incident(tmp_path: Path) -> None:
    rule_file(tmp_path, "{alert: High, expr: value > 50}")
    one = run(tmp_path).all()
    fired = [message for message in one.sink.messages if message["status"] == "firing"]
    assert brief(fired) == [("High", "firing", "expr_true")] * 2 + [("HeedRuleLimited", "firing", "limit")]
    assert fired[-1]["annotations"]["summary"] == "1 alerts of rule High were left out"
    assert one.monitor.parts.incidents.of("heed") is None
