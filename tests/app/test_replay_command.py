"""`heed replay` on small files of every kind, and everything it can be asked for."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from command import ENV, HEED, ROWS, SHIFT, heed, json_lines, lines_of, long_csv, numbers, parquet, stamp, wide_csv

from stream.app.replay import Options, replay
from stream.ledger import OUTCOMES

SUMMARY = {
    "readings", "streams", "groups", "windows", "late", "coverage", "lag", "budget", "alerts", "incidents",
    "throughput", "digest",
}  # fmt: skip
SCORES = ["ts", "group", "stream", "value", "score", "p", "expected", "low", "high", "weight", "fidelity"]
WARM = 99  # steps


def run(*files: str | Path, **options: Any) -> dict[str, Any]:
    """In this process: the summary."""
    return replay(Options([str(file) for file in files], **options))


def test_everything_it_writes_agrees(tmp_path: Path) -> None:
    file = wide_csv(tmp_path / "plant.csv")
    out = {name: tmp_path / name for name in ("alerts.jsonl", "scores.parquet", "decisions.parquet", "summary.json")}
    wanted = [item for name, path in out.items() for item in (f"--{name.split('.')[0]}", path)]
    done = heed("replay", file, *wanted, "--digest")
    summary = json.loads(out["summary.json"].read_text())

    assert done.stdout == summary["digest"] + "\n"
    assert summary.keys() >= SUMMARY
    assert summary["windows"] == {
        "due": 900, "full": 3 * (ROWS - WARM), "lite": 0, "sentinel": 0, "shed": 0, "gap": 0, "warmup": 3 * WARM,
    }  # fmt: skip
    assert summary["lag"].keys() == {"p50", "p99", "max"}
    assert summary["throughput"].keys() >= {"readings_per_second", "times_real_time", "cpu_seconds", "stages"}
    assert (summary["readings"], summary["streams"], summary["groups"], summary["late"]) == (900, 3, 1, 0)

    alerts = lines_of(out["alerts.jsonl"].read_text())
    firing = [alert for alert in alerts if alert["status"] == "firing"]
    assert len(firing) == summary["alerts"] >= 1
    assert {alert["labels"]["stream"] for alert in alerts} == {"plant/b"}
    assert stamp(SHIFT) <= firing[0]["starts_at"] <= stamp(SHIFT + 10)

    scores = pq.read_table(out["scores.parquet"])
    assert scores.column_names == SCORES
    assert scores.num_rows == 900
    table = scores.to_pydict()
    values = dict(zip(zip(table["ts"], table["stream"], strict=True), table["value"], strict=True))
    assert len(values) == 900, "one row per stream and step"
    assert min(table["ts"]).isoformat() == "2026-01-01T00:00:00+00:00"
    np.testing.assert_array_equal([v for (_, s), v in sorted(values.items()) if s == "plant/b"], numbers()[:, 1])
    assert table["fidelity"].count("full") == summary["windows"]["full"]
    assert table["fidelity"].count(None) == table["score"].count(None) == 3 * WARM

    decisions = pq.read_table(out["decisions.parquet"]).to_pydict()
    assert {o: decisions["outcome"].count(o) for o in OUTCOMES} == {o: summary["windows"][o] for o in OUTCOMES}
    assert "readings of 3 streams in 1 groups" in done.stderr


@pytest.mark.parametrize(
    ("make", "name", "stream"),
    [
        (wide_csv, "plant.csv", "plant/b"),
        (wide_csv, "plant.csv.gz", "plant/b"),
        (long_csv, "long.csv", "plant/b"),
        (json_lines, "lines.jsonl", "plant/b"),
        (parquet, "plant.parquet", "plant/b"),
    ],
)
def test_every_kind_of_file_tells_the_same(
    tmp_path: Path, make: Callable[[Path], Path], name: str, stream: str
) -> None:
    scores = tmp_path / "s.parquet"
    summary = run(make(tmp_path / name), scores=str(scores))
    assert summary["readings"] == 900
    assert summary["windows"]["full"] == 3 * (ROWS - WARM)
    table = pq.read_table(scores).to_pydict()
    first = max(table["score"][i] or 0 for i in range(900) if table["stream"][i] == stream)
    assert first > 1
    own = [v for s, v in zip(table["stream"], table["value"], strict=True) if s == stream]
    np.testing.assert_array_equal(own, numbers()[:, 1])


def test_the_same_recording_gives_the_same_digest_in_any_process_and_another_one_another(tmp_path: Path) -> None:
    file = wide_csv(tmp_path / "plant.csv")
    digests = {run(file)["digest"] for _ in range(2)}
    digests.add(heed("replay", file, "--digest", "--alerts", tmp_path / "a").stdout.strip())
    assert len(digests) == 1
    values = numbers()
    values[299, 0] += 0.001
    assert run(wide_csv(tmp_path / "plant.csv", values))["digest"] not in digests


def test_under_a_price_the_same_windows_are_shed_each_time_and_the_lag_stays_in_the_budget(tmp_path: Path) -> None:
    file = wide_csv(tmp_path / "plant.csv", numbers(8))
    told = [run(file, price="5ms,100ms", budget="500ms", overrides=["budget.blind=10s"]) for _ in range(2)]
    assert told[0]["digest"] == told[1]["digest"]
    summary = told[0]
    assert summary["windows"]["shed"] == 4 * (ROWS - WARM - 3), "at the end, three are judged before they are due"
    assert summary["lag"]["max"] <= summary["budget"] == 0.5
    assert summary["guarantee_violations"] == 0
    free = run(file, price="5ms,100ms", budget="1h")
    assert free["windows"]["shed"] == 0


def test_without_shedding_every_window_is_looked_at_and_the_lag_shows_it(tmp_path: Path) -> None:
    file = wide_csv(tmp_path / "plant.csv")
    done = heed("replay", file, "--no-shed", "--price", "5ms,1s", "--summary", tmp_path / "s.json")
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["windows"]["shed"] == 0
    assert summary["windows"]["full"] == 3 * (ROWS - WARM)
    assert summary["lag"]["max"] > 100
    assert "with nothing shed, however late" in done.stderr


def test_the_cards_own_cost_can_be_the_price(tmp_path: Path) -> None:
    summary = run(wide_csv(tmp_path / "plant.csv"), price="auto")
    assert 0 < summary["lag"]["max"] < 0.25
    assert summary["digest"] == run(wide_csv(tmp_path / "plant.csv"), price="auto")["digest"]


def test_overrides_and_rules_hold(tmp_path: Path) -> None:
    file = wide_csv(tmp_path / "plant.csv")
    rules = tmp_path / "r.yaml"
    rules.write_text("groups: [{name: g, rules: [{alert: High, expr: value > 120, labels: {severity: page}}]}]\n")
    done = heed("replay", file, "--rules", rules, "--set", "windows.every=2", "--set", "model.name=none", "-o", "json")
    alerts = lines_of(done.stdout)
    assert [alert["rule"] for alert in alerts] == ["High", "High"]
    assert alerts[0]["starts_at"] == stamp(SHIFT)
    assert alerts[0]["model"] == {"name": "sentinel", "digest": None}
    assert "450 windows due" in done.stderr


def test_labels_by_stream_alone_are_found_and_their_group_is_known(tmp_path: Path) -> None:
    file = wide_csv(tmp_path / "plant.csv")
    by_stream, by_group = tmp_path / "l.csv", tmp_path / "l.json"
    by_stream.write_text(f"stream,start,end\nplant/b,{stamp(SHIFT)},{stamp(ROWS - 1)}\n")
    by_group.write_text(json.dumps([{"group": "plant", "start": 1_767_225_800, "end": 1_767_225_899, "name": "shift"}]))
    for labels in (by_stream, by_group):
        faults = run(file, labels=str(labels))["faults"]
        assert (faults["injected"], faults["found"], faults["missed"], faults["false_alerts"]) == (1, 1, 0, 0)
        assert 0 <= faults["delay_p50"] < 10
    by_stream.write_text(f"stream,start,end\nplant/b,{stamp(10)},{stamp(20)}\n")
    faults = run(file, labels=str(by_stream))["faults"]
    assert (faults["found"], faults["false_alerts"]) == (0, 1)


def test_with_json_output_every_line_of_standard_output_is_one_object(tmp_path: Path) -> None:
    done = heed("replay", wide_csv(tmp_path / "plant.csv"), "-o", "json", "--digest", "--summary", "-")
    *alerts, summary, digest = lines_of(done.stdout)
    assert alerts[0]["status"] == "firing"
    assert digest == {"digest": summary["digest"]}


def test_alerts_are_one_readable_line_each_without_any_option(tmp_path: Path) -> None:
    done = heed("replay", wide_csv(tmp_path / "plant.csv"))
    assert "FIRING" in done.stdout.splitlines()[0]
    assert "plant/b" in done.stdout.splitlines()[0]


def test_it_takes_as_long_as_its_speed_says(tmp_path: Path) -> None:
    file = wide_csv(tmp_path / "plant.csv", numbers()[:150])
    fast = run(file)
    begun = time.monotonic()
    slow = run(file, speed=100.0)
    assert time.monotonic() - begun >= 1.4
    assert slow["digest"] == fast["digest"]


def test_files_are_merged_and_a_glob_stands_for_all_it_matches(tmp_path: Path) -> None:
    for name in ("one", "two"):
        wide_csv(tmp_path / f"{name}.csv")
    summary = run(f"{tmp_path}/*.csv", f"{tmp_path}/one.csv")
    assert (summary["readings"], summary["streams"], summary["groups"]) == (1800, 6, 2)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.csv"], 69, "nowhere.csv: no such file"),
        (["{file}", "--price", "dear"], 78, '--price: a price is none, auto or FIXED,EACH like 5ms,20us, not "dear"'),
        (["{file}", "--set", "budgt.latency=1s"], 78, 'did you mean "budget"'),
        (["{file}", "--set", "budget.latency=soon"], 78, "expected a duration"),
        (["{file}", "--budget", "soon"], 78, "expected a duration"),
        (["{file}", "--speed", "fast"], 2, "must be max or a number above 0, not fast"),
        (["{file}", "--speed", "-1"], 2, "must be max or a number above 0, not -1"),
        (["{file}", "--labels", "nowhere.csv"], 78, "nowhere.csv"),
        (["{file}", "--labels", "{file}"], 78, "not labels"),
        (["{file}", "--rules", "nowhere.yaml"], 78, "nowhere.yaml"),
        (["{file}", "-c", "nowhere.yaml"], 78, "nowhere.yaml"),
        (["{file}", "--set", "model.path=nowhere.onnx"], 78, "nowhere.onnx: there is no such model"),
        (["{file}", "--scores", "{file}/s.parquet"], 74, "s.parquet"),
        (["{file}", "--alerts", "{file}/a.jsonl"], 74, "a.jsonl"),
        (["{file}", "--nonsense"], 2, "No such option"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_can_not_be_done_is_said_in_words_with_the_exit_code_of_its_kind(
    tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    file = wide_csv(tmp_path / "plant.csv")
    done = heed("replay", *(a.format(file=file) for a in arguments), code=code, cwd=tmp_path)
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert done.stdout == "" or code == 74


def test_a_file_that_is_no_recording_is_said_so(tmp_path: Path) -> None:
    junk = tmp_path / "junk.parquet"
    junk.write_bytes(b"PAR1 and then nothing")
    for file, text in ((junk, "junk.parquet"), (tmp_path, str(tmp_path))):
        done = heed("replay", file, code=69)
        assert text in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("output", ["json", "table"])
def test_whoever_stops_reading_gets_no_traceback(tmp_path: Path, output: str) -> None:
    file = wide_csv(tmp_path / "plant.csv")
    first = subprocess.Popen(
        [*HEED, "replay", str(file), "-o", output], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV
    )
    assert first.stdout is not None and first.stderr is not None
    first.stdout.close()
    said = first.stderr.read().decode()
    assert first.wait(30) == 0
    assert "Traceback" not in said
    assert "Error" not in said
    assert "Exception" not in said
