"""`heed send-test-alert`: the whole way to every receiver and sink, and a word on each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import heed
from listening import AlertmanagerProcess, Answer, MailServer, WebServer, eventually, free_port


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def post_office() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


@pytest.fixture
def config(tmp_path: Path, web: WebServer, post_office: MailServer) -> Path:
    email = {
        "to": "ops@x.org",
        "from": "heed@x.org",
        "smarthost": f"127.0.0.1:{post_office.port}",
        "require_tls": False,
    }
    (tmp_path / "token").write_text("opensesame\n")
    authorization = {"credentials_file": str(tmp_path / "token")}
    tree = {
        "receivers": [
            {"name": "am", "alertmanager": {"url": web.url}},
            {"name": "both", "webhook": {"url": f"{web.url}/hook", "authorization": authorization}, "email": email},
            {"name": "program", "exec": {"command": ["sh", "-c", f"cat > {tmp_path}/told"]}},
            {"name": "away", "webhook": {"url": f"http://127.0.0.1:{free_port()}/secret", "timeout": "2s"}},
        ],
        "sinks": [{"type": "jsonl", "path": str(tmp_path / "alerts.jsonl")}],
    }
    path = tmp_path / "heed.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_everybody_is_tried_and_whoever_failed_is_named(config: Path, web: WebServer, post_office: MailServer) -> None:
    done = heed("send-test-alert", "-c", config, code=1)
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", "jsonl"], ["ok", "receiver/am"], ["ok", "receiver/both/webhook"], ["ok", "receiver/both/email"],
        ["ok", "receiver/program"], ["failed", "receiver/away"],
    ]  # fmt: skip
    assert "refused" in lines[-1]
    assert "secret" not in lines[-1]
    alert, hooked = (post.json for post in web.posts)
    assert alert[0]["labels"]["alertname"] == hooked["alerts"][0]["labels"]["alertname"] == "HeedTestAlert"
    assert web.posts[1].headers["authorization"] == "Bearer opensesame"
    assert (hooked["version"], hooked["status"], hooked["receiver"]) == ("4", "firing", "both")
    assert post_office.mails[0]["Subject"] == "[FIRING:1] HeedTestAlert"
    assert json.loads((config.parent / "told").read_text())["receiver"] == "program"
    assert json.loads((config.parent / "alerts.jsonl").read_text())["labels"]["stream"] == "heed/test"
    assert not (config.parent / "state").exists()


def test_one_can_be_chosen_with_labels_and_an_end(config: Path, web: WebServer) -> None:
    arguments = [
        "--receiver",
        "both",
        "--label",
        "site=berlin",
        "--label",
        "severity=critical",
        "--resolved",
        "-o",
        "json",
    ]
    done = heed("send-test-alert", "-c", config, *arguments)
    assert [each["name"] for each in json.loads(done.stdout)] == ["receiver/both/webhook", "receiver/both/email"]
    told: Any = web.told[0]
    assert told["status"] == told["alerts"][0]["status"] == "resolved"
    assert told["alerts"][0]["labels"] | {"site": "berlin", "severity": "critical"} == told["alerts"][0]["labels"]
    assert told["alerts"][0]["endsAt"] > told["alerts"][0]["startsAt"]


def test_a_sink_can_be_chosen(config: Path, web: WebServer) -> None:
    done = heed("send-test-alert", "-c", config, "--sink", "jsonl")
    assert done.stdout.split() == ["ok", "jsonl"]
    assert web.posts == []


def test_an_answer_that_is_no_yes_is_shown(config: Path, web: WebServer) -> None:
    web.script = [Answer(403, body=b"go away")]
    done = heed("send-test-alert", "-c", config, "--receiver", "am", code=1)
    assert f"failed  receiver/am  {web.url} answered 403: go away" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--receiver", "nobody"], 'no receiver is called "nobody", known: am, both, program, away'),
        (["--sink", "kafka"], 'no sink is called "kafka", known: jsonl'),
        (["--label", "site"], "must be like site=berlin, not site"),
    ],
)
def test_a_slip_is_told_and_nothing_is_sent(config: Path, web: WebServer, arguments: list[str], said: str) -> None:
    done = heed("send-test-alert", "-c", config, *arguments, code=2)
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert web.posts == []


def test_a_real_alertmanager_has_it_then(tmp_path: Path, web: WebServer) -> None:
    server = AlertmanagerProcess(tmp_path / "am", web.url)
    server.start()
    try:
        path = tmp_path / "heed.yaml"
        path.write_text(yaml.safe_dump({"receivers": [{"name": "am", "alertmanager": {"url": [server.url]}}]}))
        heed("send-test-alert", "-c", path, "--receiver", "am")
        assert [each["labels"]["alertname"] for each in server.get("alerts")] == ["HeedTestAlert"]
        heed("send-test-alert", "-c", path, "--receiver", "am", "--resolved")
        assert eventually(lambda: server.get("alerts") == [])
    finally:
        server.stop()
