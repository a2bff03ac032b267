"""`heed silence` against a running daemon: added, listed, ended, kept over kill -9, and who is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from command import heed
from test_daemon import Daemon, begin, config, free_port, get

__all__ = ["begin"]

ADD = ("silence", "add", "--author", "ann", "--comment", "press is being cleaned")
BODY = {"matchers": ["group=m1"], "duration": "1h", "createdBy": "ann", "comment": "why not"}


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def path(tmp_path: Path, port: int) -> Path:
    return config(tmp_path, server={"listen": f"127.0.0.1:{port}"})


def up(daemon: Daemon, port: int) -> Daemon:
    daemon.until(lambda: get(port, "/-/healthy")[0] == 200)
    return daemon


def listed(path: Path, *more: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(heed("silence", "list", "-c", path, "-o", "json", *more).stdout)
    return found


def test_a_silence_is_added_listed_kept_over_a_kill_and_ended(
    path: Path, port: int, begin: Callable[..., Daemon]
) -> None:
    daemon = up(begin("-c", path), port)
    made = heed(*ADD, "-m", "alertname=StreamAnomaly", "-m", 'group=~"press.*"', "--duration", "2h", "-c", path)
    key = made.stdout.strip()
    (silence,) = listed(path)
    assert (silence["id"], silence["createdBy"], silence["status"]) == (key, "ann", {"state": "active"})
    assert [m["isRegex"] for m in silence["matchers"]] == [False, True]

    daemon.process.kill()
    daemon.process.wait()
    daemon = up(begin("-c", path), port)
    assert listed(path) == [silence], "what was answered was on disk"
    table = heed("silence", "list", "--url", f"http://127.0.0.1:{port}/").stdout.splitlines()
    assert table[0].split()[:2] == ["ID", "STATE"]
    assert table[1].startswith(f"{key}  active")
    assert table[1].endswith('{alertname="StreamAnomaly",group=~"press.*"}  press is being cleaned')
    assert 'heed_silences{state="active"} 1.0' in get(port, "/metrics")[1]

    heed("silence", "expire", key, "-c", path)
    assert listed(path) == []
    assert [each["status"]["state"] for each in listed(path, "--expired")] == ["expired"]
    assert "is over already" in heed("silence", "expire", key, "-c", path, code=1).stderr
    assert "there is no silence 'nowhere'" in heed("silence", "expire", "nowhere", "-c", path, code=1).stderr
    assert daemon.stop() == 0


def test_what_is_no_silence_is_a_mistake_in_usage_and_nobody_is_asked(path: Path) -> None:
    for arguments, said in (
        (["-m", "alertname", "--duration", "2h"], "is no matcher"),
        (["-m", "a=~.*", "--duration", "2h"], "silence everything"),
        (["-m", "a=b"], "endsAt or duration"),
        (["-m", "a=b", "--duration", "soon"], "not a duration"),
        (["-m", "a=b", "--end", "soon"], "not an RFC 3339"),
    ):
        done = heed(*ADD, *arguments, "-c", path, code=2)
        assert said in " ".join(done.stderr.replace("│", " ").split()), done.stderr
    assert heed("silence", "add", "-m", "a=b", "--duration", "2h", code=2).stderr


def test_where_nobody_listens_it_says_so(path: Path, tmp_path: Path) -> None:
    assert "Connection refused" in heed("silence", "list", "-c", path, code=69).stderr
    assert "Connection refused" in heed("silence", "list", "--url", "http://127.0.0.1:1", code=69).stderr
    assert "write an address" in heed("silence", "expire", "x", "--url", "127.0.0.1:1", code=69).stderr
    other = tmp_path / "none.yaml"
    other.write_text("server: {listen: none}\n")
    assert "server.listen is none" in heed("silence", "list", "-c", other, code=78).stderr


def test_who_may_not_change_silences_is_refused(path: Path, port: int, begin: Callable[..., Daemon]) -> None:
    up(begin("-c", path), port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=20) as client:
        page = {"origin": f"http://127.0.0.1:{port}"}
        cases = [
            (client.post("/silences", json=BODY, headers=page), 403, "pages in a browser"),
            (client.delete("/silences/x", headers=page), 403, "pages in a browser"),
            (client.post("/silences", content=json.dumps(BODY)), 415, "application/json"),
            (client.post("/silences", json={**BODY, "comment": "x" * 100_000}), 413, "more than 65536"),
            (client.post("/silences", content="{", headers={"content-type": "application/json"}), 400, "no JSON"),
            (client.post("/silences", content="[" * 60_000, headers={"content-type": "application/json"}), 400, "JSON"),
            (client.post("/silences", json={**BODY, "comment": ""}), 400, "comment is required"),
            (client.post("/silences", json={**BODY, "duration": None, "endsAt": "2020-01-01T00:00:00Z"}), 400, "later"),
            (client.delete("/silences/x"), 404, "no silence 'x'"),
            (client.put("/silences", json=BODY), 405, "does not take PUT"),
            (client.get("/silences?limit=3"), 400, "unknown parameter"),
        ]
        for answer, code, said in cases:
            assert (answer.status_code, answer.json()["status"]) == (code, "error"), answer.text
            assert said in answer.json()["error"]
        assert client.get("/silences").json() == {"status": "success", "data": {"silences": []}}
        made = client.post("/silences", json=BODY).json()["data"]
        assert client.get("/silences").json()["data"]["silences"] == [made], "at once"


def test_a_run_without_a_configuration_keeps_none(tmp_path: Path, port: int, begin: Callable[..., Daemon]) -> None:
    daemon = begin("--set", f"server.listen=127.0.0.1:{port}", stdin=subprocess.PIPE, cwd=tmp_path)
    up(daemon, port)
    answer = httpx.post(f"http://127.0.0.1:{port}/api/v1/silences", json=BODY, timeout=20)
    assert answer.status_code == 409
    assert "start it with a configuration" in answer.json()["error"]
