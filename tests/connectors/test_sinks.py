"""Simple sinks and result files: what people and programs get to read."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from connectors.batch import SECOND, StreamTable
from connectors.console import ConsoleSink, line
from connectors.jsonl import JsonlSink
from connectors.recordings.scores import DecisionsWriter, ScoresWriter
from connectors.sink import SinkError

T0 = 1_700_000_000 * SECOND

FIRING: dict[str, object] = {
    "status": "firing",
    "starts_at": "2023-11-14T22:13:20Z",
    "labels": {"alertname": "Anomaly", "severity": "warning", "stream": "m1/temp", "group": "m1"},
    "streams": [{"stream": "m1/temp", "value": 81.25, "expected": 60.5, "low": 55.0, "high": 66.0, "score": 2.345}],
}


def test_a_line_tells_time_status_severity_name_stream_value_and_score() -> None:
    assert line(FIRING) == (
        "2023-11-14T22:13:20Z  FIRING    warning   Anomaly  m1/temp = 81.25 (expected 60.5, 55 to 66) score 2.345"
    )


def test_a_resolved_alert_shows_when_it_ended_and_times_may_be_numbers() -> None:
    words = line({**FIRING, "status": "resolved", "starts_at": T0, "ends_at": T0 + 1500 * 10**6}).split("  ")
    assert words[:2] == ["2023-11-14 22:13:21.500Z", "RESOLVED"]


def test_a_message_with_next_to_nothing_in_it_still_makes_a_line() -> None:
    assert line({}) == "-  ?         -         ?"
    assert "m1" in line({"labels": {"group": "m1"}, "streams": None})


def test_names_can_not_drive_the_terminal() -> None:
    assert "\x1b" not in line({"labels": {"alertname": "\x1b[2J", "stream": "a\nb"}})
    assert "\n" not in line({"labels": {"stream": "a\nb"}})


def test_many_streams_are_cut_short() -> None:
    assert line({**FIRING, "streams": [{"stream": f"s{i}"} for i in range(9)]}).endswith("s0, s1, s2 and 6 more")


def test_a_console_that_is_gone_is_a_sink_error() -> None:
    stream = io.StringIO()
    sink = ConsoleSink(stream)
    sink.send([FIRING, FIRING])
    assert stream.getvalue().count("\n") == 2
    stream.close()
    with pytest.raises(SinkError):
        sink.send([FIRING])


def test_a_file_is_rotated_before_it_grows_too_large_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    sink = JsonlSink(path, rotate_bytes=20, keep=2)
    for i in range(5):
        sink.send([{"number": i}])
    sink.close()
    kept = {file.name: [json.loads(text)["number"] for text in file.open()] for file in tmp_path.iterdir()}
    assert kept == {"alerts.jsonl": [4], "alerts.jsonl.1": [3], "alerts.jsonl.2": [2]}


@pytest.mark.parametrize("how", ["moved away", "removed", "replaced"])
def test_a_file_that_somebody_else_has_rotated_is_begun_anew(tmp_path: Path, how: str) -> None:
    path, old = tmp_path / "alerts.jsonl", tmp_path / "old"
    sink = JsonlSink(path)
    sink.send([{"a": 1}])
    if how == "removed":
        path.unlink()
    else:
        path.rename(old)
    if how == "replaced":
        path.touch()
    sink.send([{"a": 2}])
    assert path.read_text() == '{"a":2}\n'
    assert how == "removed" or old.read_text() == '{"a":1}\n'
    sink.close()


def test_a_restart_appends_and_ends_a_line_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    path.write_text('{"a": 1}\n{"a": 2')
    sink = JsonlSink(path)
    sink.send([{"a": 3}])
    assert path.read_text() == '{"a": 1}\n{"a": 2\n{"a":3}\n'
    sink.close()


def test_each_send_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "deep" / "alerts.jsonl")
    sink.send([{"a": 1}])
    assert (tmp_path / "deep" / "alerts.jsonl").read_text() == '{"a":1}\n'
    sink.close()


def test_a_full_disk_is_a_sink_error_and_the_next_send_tries_again() -> None:
    sink = JsonlSink("/dev/full")
    for _ in range(2):
        with pytest.raises(SinkError, match="/dev/full"):
            sink.send([{"a": 1}])
    sink.close()


def test_a_dash_is_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    JsonlSink("-").send([{"a": 1}, {"a": 2}])
    assert capfdbinary.readouterr().out == b'{"a":1}\n{"a":2}\n'


def streams() -> StreamTable:
    table = StreamTable()
    for name in ("m1/a", "m1/b", "m2/a"):
        table.slot(name, name.split("/")[0])
    return table


def test_scores_are_a_row_per_stream_and_step_with_nulls_where_nothing_was_said(tmp_path: Path) -> None:
    table, writer = streams(), ScoresWriter(tmp_path / "s.parquet")
    said = {"value": np.array([1.0, np.nan]), "score": np.array([0.5, 2], np.float32)}
    writer.add(T0, np.array([2, 0], np.int32), table, said, np.array([0, -1]))
    writer.add(T0 + SECOND, np.array([1], np.int32), table, {}, np.array([2]))
    writer.close()
    writer.close()
    rows = pq.read_table(tmp_path / "s.parquet")
    assert rows.column_names == [
        "ts", "group", "stream", "value", "score", "p", "expected", "low", "high", "weight", "fidelity",
    ]  # fmt: skip
    assert rows["stream"].to_pylist() == ["m2/a", "m1/a", "m1/b"]
    assert rows["group"].to_pylist() == ["m2", "m1", "m1"]
    assert rows["value"].to_pylist() == [1, None, None]
    assert rows["score"].to_pylist() == [0.5, 2, None]
    assert rows["fidelity"].to_pylist() == ["full", None, "sentinel"]
    assert rows["ts"].cast("int64").to_pylist() == [T0, T0, T0 + SECOND]


def test_a_row_keeps_the_name_its_slot_had_then(tmp_path: Path) -> None:
    table, writer = streams(), ScoresWriter(tmp_path / "s.parquet")
    for _ in range(2):
        writer.add(T0, np.array([0], np.int32), table, {}, np.array([0]))
        table.release([0])
        table.slot("next", "g")
    writer.close()
    assert pq.read_table(tmp_path / "s.parquet")["stream"].to_pylist() == ["m1/a", "next"]


def test_columns_may_be_used_again_by_whoever_gave_them(tmp_path: Path) -> None:
    table, writer = streams(), ScoresWriter(tmp_path / "s.parquet")
    score = np.array([1.0])
    for i in range(3):
        score[0] = i
        writer.add(T0, np.array([0], np.int32), table, {"score": score}, np.array([0]))
    writer.close()
    assert pq.read_table(tmp_path / "s.parquet")["score"].to_pylist() == [0, 1, 2]


def test_decisions_say_what_was_done_and_why(tmp_path: Path) -> None:
    writer = DecisionsWriter(tmp_path / "d.parquet", ["full", "shed"], ["weight", "blind"])
    two = np.array([0, 1], np.int32)
    numbers = np.array([0.5, np.nan])
    writer.add(T0, two, streams(), np.array([1, 0]), np.array([-1, 1]), numbers, np.array([3, -1]), numbers)
    writer.close()
    rows = pq.read_table(tmp_path / "d.parquet").to_pylist()
    assert [(r["stream"], r["outcome"], r["reason"], r["weight"], r["rank"], r["age"]) for r in rows] == [
        ("m1/a", "shed", None, 0.5, 3, 0.5),
        ("m1/b", "full", "blind", None, None, None),
    ]


def test_a_full_disk_while_writing_results_is_a_sink_error(tmp_path: Path) -> None:
    (tmp_path / "s.parquet.part").symlink_to("/dev/full")
    with pytest.raises(SinkError, match=r"s\.parquet"):
        ScoresWriter(tmp_path / "s.parquet").close()
