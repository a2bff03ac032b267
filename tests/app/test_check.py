"""`heed check`: what it looks at, what it says of it, and its exit code."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from stream.app.check import check
from stream.config_text import ConfigError
from stream.log import setup


@pytest.fixture(autouse=True)
def _log_elsewhere() -> Iterator[None]:
    setup("json", "info", io.StringIO())
    yield
    structlog.reset_defaults()


def config(folder: Path, **more: Any) -> str:
    path = folder / "heed.yaml"
    path.write_text(json.dumps({"sources": [{"type": "stdin"}], "sinks": [{"type": "console"}], **more}))
    return str(path)


def found(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_a_sound_configuration_passes_and_says_what_this_host_carries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(tmp_path, streams=[{"match": "*", "step": "250ms"}])
    assert check(path, (), "json") == 0
    told = found(capsys)
    assert {each["about"] for each in told} >= {"config", "rules", "model", "budget"}
    assert all(each["level"] != "failed" for each in told)
    budget = [each["said"] for each in told if each["about"] == "budget"]
    assert "a look costs" in budget[0]
    assert any("at steps of 250ms" in said for said in budget)
    assert any("at steps of 1s" in said for said in budget)


def test_a_budget_that_can_not_be_kept_by_that_many_streams_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(config(tmp_path, limits={"streams": 10_000_000}), (), "json") == 0
    said = [each for each in found(capsys) if each["about"] == "budget" and each["level"] == "note"]
    assert "blind can't be kept here" in said[0]["said"]


def test_rules_and_models_that_can_not_be_used_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text("groups: [{name: g, rules: [{alert: A, expr: skore > 1}]}]\n")
    path = config(tmp_path, rule_files=["r.yaml"], model={"path": str(tmp_path / "nowhere.onnx")})
    assert check(path, (), "json") == 1
    failed = {each["about"]: each["said"] for each in found(capsys) if each["level"] == "failed"}
    assert "did you mean `score`" in failed["rules"]
    assert "r.yaml:1:" in failed["rules"]
    assert "there is no such model" in failed["model"]


def test_without_a_model_there_is_nothing_to_afford(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(config(tmp_path), ("model.name=none",), "json") == 0
    told = found(capsys)
    assert [each["level"] for each in told if each["about"] == "model"] == ["note"]
    assert not any(each["about"] == "budget" for each in told)


def test_brokers_are_called_and_files_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as up:
        servers = f"127.0.0.1:{up.getsockname()[1]}"
        client = {"bootstrap.servers": servers, "group.id": "g"}
        sources = [{"type": "kafka", "topics": ["t"], "client": client}, {"type": "file", "path": "/nowhere/x.jsonl"}]
        assert check(config(tmp_path, sources=sources), ("model.name=none",), "json") == 1
    told = {each["about"]: each for each in found(capsys)}
    assert told["source kafka"]["level"] == "failed", "it takes connections and is no broker"
    assert told["source file"]["level"] == "note"
    assert check(str(tmp_path / "heed.yaml"), ("model.name=none",), "json") == 1
    assert {each["about"] for each in found(capsys) if each["level"] == "failed"} == {"source kafka"}


def test_receivers_are_called_and_programs_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as up:
        there = f"127.0.0.1:{up.getsockname()[1]}"
        receivers = [
            {"name": "am", "alertmanager": {"url": [f"http://{there}", "http://127.0.0.1:1"]}},
            {"name": "mail", "email": {"to": "a@b", "from": "c@d", "smarthost": there}},
            {"name": "web", "webhook": {"url": f"http://{there}/x"}, "exec": {"command": ["/nowhere/at-all"]}},
        ]
        assert check(config(tmp_path, receivers=receivers), ("model.name=none",), "json") == 1
    told = [each for each in found(capsys) if each["about"].startswith("receiver")]
    assert [(each["about"], each["level"]) for each in told] == [
        ("receiver/am", "ok"),
        ("receiver/am", "failed"),
        ("receiver/mail", "ok"),
        ("receiver/web/webhook", "ok"),
        ("receiver/web/exec", "failed"),
    ]


@pytest.mark.kafka
def test_a_broker_and_its_topics_are_asked_for(
    kafka: str,
    topic: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream.app.check.PATIENCE_S", 60.0)
    plant = topic()
    client = {"bootstrap.servers": kafka, "group.id": "checked"}
    sources = [{"type": "kafka", "topics": [name], "client": client} for name in (plant, "no.such.plant")]
    sinks = [{"type": "kafka", "topic": "no.such.alerts"}]
    assert check(config(tmp_path, sources=sources, sinks=sinks), ("model.name=none",), "json") == 1
    told = {each["about"]: (each["level"], each["said"]) for each in found(capsys)}
    assert told["source kafka"] == ("ok", f"{kafka} answers")
    assert told["source kafka-2"] == ("failed", "no topic no.such.plant there, or none that this user may see")
    assert told["sink kafka"][0] == "note" and "no topic no.such.alerts" in told["sink kafka"][1]
    shared = config(tmp_path, sources=sources[:1], state={"shared": True})
    assert check(shared, ("model.name=none",), "json") == 0
    told = {each["about"]: (each["level"], each["said"]) for each in found(capsys)}
    assert told["shared state"] == ("note", "no topic checked.state there, or none that this user may see")


def test_it_is_a_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(config(tmp_path), ("model.name=none",), "table") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok      config    ")


def test_a_configuration_that_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        check(config(tmp_path, windoes={}), (), "json")
