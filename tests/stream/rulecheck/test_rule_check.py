"""`heed rules check` and `heed rules list`: what they say of files, against streams, and how they leave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from stream.cli import app
from stream.rulecheck.about import Streams, meant
from stream.rulecheck.findings import check_files
from stream.web.server import WebServer
from stream.web.snapshot import Board, Snapshot
from stream.web.snapshot import Streams as Known

ROOT = Path(__file__).parents[3]
GOOD = "annotations: {summary: s, runbook_url: r}"


def rules(folder: Path, *lines: str, name: str = "r.yaml") -> Path:
    path = folder / name
    path.write_text("groups:\n  - name: g\n    rules:\n" + "".join(f"      - {{{line}}}\n" for line in lines))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["rules", *map(str, arguments)])


def streams() -> Streams:
    found = Streams("rec.parquet")
    for name, site in (("press1/temp", "berlin"), ("press1/vibration", "berlin"), ("press2/temp", "bonn")):
        found.add(name, name.partition("/")[0], {"site": site})
    return found


# --- levels and codes


def test_rules_without_a_fault_are_fine(tmp_path: Path) -> None:
    done = run("check", rules(tmp_path, f"alert: A, expr: score > 1, {GOOD}"))
    assert (done.exit_code, done.stdout) == (0, "1 file, 1 rules: nothing to say\n")


def test_a_missing_annotation_is_lint_alone(tmp_path: Path) -> None:
    path = rules(tmp_path, "alert: A, expr: score > 1", "alert: B, expr: score > 1, annotations: {summary: s}")
    done = run("check", path)
    assert done.exit_code == 3
    assert f"{path}:4:10: lint: A: has no annotation summary and no runbook_url" in done.stdout
    assert f"{path}:5:10: lint: B: has no annotation runbook_url" in done.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "alert: A, expr: scroe > 1",
            "4:26: error: groups[0].rules[0].expr: unknown name `scroe`; did you mean `score`?",
        ),
        ("alert: A, expr: score", "a rule needs a condition"),
        ("alert: A, expr: score > 1, foor: 3s", "unknown key `foor`; did you mean `for`?"),
        ("alert: A, expr: score > 1, for: soon", "is not a duration"),
        ("alert: A, expr: p < 0", "4:26: error: A: `p < 0` can never be true"),
        ("alert: A, expr: score > 1, clear_expr: coverage > 1", "4:49: error: A: `coverage > 1` can never be true"),
        ("record: a, expr: score > 1", "recording rules are not supported"),
    ],
)
def test_an_error_has_its_place_and_a_caret(tmp_path: Path, line: str, said: str) -> None:
    path = rules(tmp_path, line)
    done = run("check", path)
    assert done.exit_code == 1
    assert said in done.stdout
    shown = done.stdout.splitlines()
    assert any(set(each.strip()) == {"^"} for each in shown), done.stdout


def test_the_caret_stands_below_the_place(tmp_path: Path) -> None:
    done = run("check", rules(tmp_path, "alert: A, expr: score > 1, foor: 3s"))
    line, caret = done.stdout.splitlines()[1:3]
    assert line[caret.index("^") :].startswith("foor")


def test_what_is_odd_is_a_warning_and_no_reason_to_fail(tmp_path: Path) -> None:
    done = run("check", rules(tmp_path, f"alert: A, expr: score < 0 or p < 0.1, {GOOD}"))
    assert done.exit_code == 0
    assert "warning: A: `score < 0` is hardly ever true" in done.stdout
    assert "1 warning" in done.stdout


def test_the_same_alert_twice_is_an_error_within_a_file_and_across_files(tmp_path: Path) -> None:
    one = rules(tmp_path, "alert: A, expr: score > 1", "alert: A, expr: score > 2", name="one.yaml")
    done = run("check", one)
    assert done.exit_code == 1
    assert f"{one}:5:1: error: the alert A is also raised by {one}:4" in done.stdout
    first = rules(tmp_path, f"alert: A, expr: score > 1, {GOOD}", name="first.yaml")
    second = rules(tmp_path, f"alert: A, expr: score > 2, {GOOD}", name="second.yaml")
    assert run("check", first).exit_code == run("check", second).exit_code == 0
    done = run("check", first, second)
    assert done.exit_code == 1
    assert f"{second}:4:1: error: the alert A is also raised by {first}:4" in done.stdout


def test_a_file_of_rule_tests_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("rule_files: [r.yaml]\ntests: []\n")
    assert "is this a file of rule tests?" in run("check", path).stdout


def test_folders_and_globs_are_taken(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml", "c.txt"):
        rules(tmp_path, f"alert: {name[0]}, expr: score > 1, {GOOD}", name=name)
    assert run("check", tmp_path).stdout.startswith("2 files, 2 rules")
    assert run("check", f"{tmp_path}/*.y*ml").stdout.startswith("2 files")
    assert run("check", tmp_path / "d.yaml").exit_code == 1
    (tmp_path / "empty").mkdir()
    assert run("check", tmp_path / "empty").exit_code == 1


def test_json_holds_the_same(tmp_path: Path) -> None:
    done = run("check", rules(tmp_path, "alert: A, expr: p > 1"), "-o", "json")
    found = json.loads(done.stdout)
    assert (found["files"], found["rules"]) == (1, 1)
    assert [(each["level"], each["line"]) for each in found["findings"]] == [("lint", 4), ("error", 4)]


def test_what_costs_much_is_lint_and_memory_is_told(tmp_path: Path) -> None:
    dear = " + ".join(f"max_over('value', '{n}m') + stddev_over('score', '{n}m')" for n in range(1, 5))
    done = run("check", rules(tmp_path, f'alert: A, expr: "{dear} > 3", {GOOD}'))
    assert done.exit_code == 3
    assert "lint: A: costs" in done.stdout
    cheap = run("check", rules(tmp_path, f"alert: A, expr: \"avg_over('value', '2h') > 3\", {GOOD}"))
    assert cheap.exit_code == 0
    assert "note: A: looks back 2h: keeps " in cheap.stdout
    assert "bytes for each stream it is about, at steps of 1s" in cheap.stdout


# --- streams


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("score > 1", [1, 1, 1]),
        ('endswith(stream, "/temp") and score > 1', [1, 0, 1]),
        ('not endswith(stream, "/temp") and score > 1', [0, 1, 0]),
        ('score > 1 or group == "press2"', [1, 1, 1]),
        ('(score > 1 or value > 3) and group == "press2"', [0, 0, 1]),
        ('labels["site"] == "bonn" and not (value > 3)', [0, 0, 1]),
        ('value > 1 if startswith(stream, "press1") else False', [1, 1, 0]),
        ('matches(stream, "press[3-9]/.*") and score > 1', [0, 0, 0]),
        ('labels["sight"] == "bonn"', [0, 0, 0]),
        ('group in ["press1", "x"] and labels["site"] != "berlin"', [0, 0, 0]),
    ],
)
def test_a_rule_is_about_the_streams_that_its_names_allow(expr: str, expected: list[int]) -> None:
    assert np.asarray(meant(expr, streams())).astype(int).tolist() == expected


def test_a_rule_about_no_stream_is_dead(tmp_path: Path) -> None:
    path = rules(
        tmp_path,
        f"alert: A, expr: 'endswith(stream, \"/vibraton\") and score > 1', {GOOD}",
        f"alert: B, expr: 'endswith(stream, \"/temp\") and score > 1', {GOOD}",
    )
    found = check_files([path], streams())
    assert found.code == 1
    assert found.streams == {"A": 0, "B": 2}
    (finding,) = found.findings
    assert "is about none of the 3 streams of rec.parquet (press1/temp, " in finding.said
    partly = streams()
    partly.all = False
    assert check_files([path], partly).code == 0, "of streams that are not known nothing is said"


def test_a_recording_says_which_rules_are_dead(tmp_path: Path) -> None:
    path = rules(
        tmp_path,
        f"alert: A, expr: 'endswith(stream, \"/vibration\") and score > 1', {GOOD}",
        f"alert: B, expr: 'group == \"press2\"', {GOOD}",
    )
    done = run("check", path, "-r", ROOT / "examples" / "press1.csv", "-o", "json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["streams"] == {"A": 1, "B": 0}
    assert run("check", path, "-r", tmp_path / "none.csv").exit_code == 69


def test_a_running_heed_says_which_rules_are_dead(tmp_path: Path) -> None:
    known = Known(
        ["a/x", "", "b/y"], ["a", "", "b"], *(np.zeros(3, np.float32), np.zeros(3), np.zeros(3, np.float32)),
        np.zeros(3, np.int8), np.zeros(3, np.int64), np.zeros(3, np.float32), [{"site": "s"}, {}, {}],
    )  # fmt: skip
    board = Board()
    board.publish(Snapshot(streams=known))
    path = rules(
        tmp_path,
        f'alert: A, expr: \'labels["site"] == "s" and score > 1\', {GOOD}',
        f"alert: B, expr: 'group == \"\"', {GOOD}",
    )
    server = WebServer(board, port=0)
    server.start()
    try:
        done = run("check", path, "--url", server.url, "-o", "json")
        assert json.loads(done.stdout)["streams"] == {"A": 1, "B": 0}
        assert done.exit_code == 1
    finally:
        server.stop()
    done = run("check", path, "--url", server.url)
    assert done.exit_code == 69
    assert run("check", path, "--url", "x", "-r", "y").exit_code == 2


# --- list


def test_rules_are_listed_from_files_a_configuration_or_by_default_the_built_in_ones(tmp_path: Path) -> None:
    assert "StreamAnomaly" in run("list").stdout
    assert "VibrationUnusual" in run("list", "-c", ROOT / "examples" / "heed.yaml").stdout
    found = json.loads(run("list", rules(tmp_path, "alert: A, expr: score > 1, for: 90s"), "-o", "json").stdout)
    assert [(rule["alert"], rule["group"], rule["for"], rule["line"]) for rule in found] == [("A", "g", "1m30s", 4)]
    assert run("list", "x.yaml", "-c", "y.yaml").exit_code == 2
    assert run("list", tmp_path / "none.yaml").exit_code == 78
