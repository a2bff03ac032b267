"""A running daemon tells people: a webhook on loopback hears of alerts, not of silenced ones, and soon."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from command import heed
from listening import AlertmanagerProcess, WebServer, eventually
from test_daemon import PATIENCE_S, Daemon, begin, config, free_port, get

__all__ = ["begin"]

STEP_S = 0.25


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


def told_config(folder: Path, web: WebServer, port: int, alertmanager: str = "", **route: Any) -> Path:
    rules = folder / "r.yaml"
    rules.write_text("groups: [{name: g, rules: [{alert: High, expr: value > 300, labels: {severity: page}}]}]\n")
    return config(
        folder,
        sources=[{"type": "stdin"}],
        streams=[{"match": "*", "step": "250ms"}],
        windows={"lateness": "0s", "size": 16},
        model={"name": "none"},
        rule_files=[str(rules)],
        receivers=[
            {"name": "people", "webhook": {"url": f"{web.url}/heed"}},
            *([{"name": "am", "alertmanager": {"url": alertmanager}, "resend_delay": "1s"}] if alertmanager else []),
        ],
        route={"group_wait": "0s", "group_interval": "1ms", **route},
        server={"listen": f"127.0.0.1:{port}"},
    )


class Plant:
    """Streams whose readings are written when they are taken."""

    def __init__(self, daemon: Daemon, *names: str) -> None:
        assert daemon.process.stdin is not None
        self._out, self.values = daemon.process.stdin, dict.fromkeys(names, 1.0)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            start = time.time() // STEP_S * STEP_S + STEP_S
            time.sleep(max(0.0, start + 0.01 - time.time()))
            for name, value in self.values.items():
                line = {"stream": name, "ts": int(time.time() * 1000), "value": value}
                self._out.write(json.dumps(line) + "\n")
            self._out.flush()

    def run_until(self, so: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not so():
            assert time.monotonic() < end
            self.run(STEP_S)


def test_people_hear_of_an_alert_not_of_a_silenced_one_and_of_it_when_the_silence_ends(
    tmp_path: Path, web: WebServer, begin: Callable[..., Daemon]
) -> None:
    port = free_port()
    path = told_config(tmp_path, web, port, group_by=["..."])
    daemon = begin("-c", path, stdin=subprocess.PIPE)
    daemon.until(lambda: get(port, "/-/healthy")[0] == 200)
    plant = Plant(daemon, "m1/a", "m2/a")
    plant.run(1)
    key = heed(
        *("silence", "add", "-m", "group=m2", "--duration", "1h", "--author", "a", "--comment", "c", "-c", path)
    ).stdout.strip()
    plant.values = {"m1/a": 900.0, "m2/a": 900.0}
    plant.run(2)
    plant.run_until(lambda: len(web.told) >= 1 and status(port)["alerts_firing"] >= 2)
    assert [said["groupLabels"]["stream"] for said in web.told] == ["m1/a"]
    (said,) = web.told
    assert (said["receiver"], said["reason"], said["commonLabels"]["severity"]) == ("people", "new_group", "page")
    assert said["externalURL"] == f"http://127.0.0.1:{port}/"

    data = json.loads(get(port, "/api/v1/alerts")[1])["data"]
    found = {alert["group"]: alert["notification"] for alert in data["alerts"]}
    assert found["m1"] == {"state": "active", "silencedBy": [], "mutedBy": []}
    assert found["m2"] == {"state": "suppressed", "silencedBy": [key], "mutedBy": []}
    assert data["suppressed"] == 1
    now = status(port)
    assert (now["alerts_firing"], now["alerts_suppressed"], now["silences_active"]) == (2, 1, 1)
    assert 'heed_notifications_suppressed_total{reason="silence"} 1.0' in get(port, "/metrics")[1]

    heed("silence", "expire", key, "-c", path)
    plant.values = {"m1/a": 1.0, "m2/a": 900.0}
    plant.run(1.5)
    plant.run_until(lambda: len(web.told) >= 3)
    assert sorted((s["groupLabels"]["stream"], s["status"], s["reason"]) for s in web.told[1:]) == [
        ("m1/a", "resolved", "resolved"), ("m2/a", "firing", "silence_ended"),
    ]  # fmt: skip
    daemon.process.stdin.close()  # type: ignore[union-attr]
    assert daemon.ended() == 0


def status(port: int) -> dict[str, int]:
    """What holds just now."""
    return dict(json.loads(get(port, "/api/v1/status")[1])["now"])


def lags(web: WebServer, plant: Plant, rounds: int) -> list[float]:
    """Seconds from when a step was due to when the webhook had heard of it, one for each notification."""
    found: list[float] = []
    taken = web.posts.append

    class Timed(list[Any]):
        def append(self, post: Any) -> None:
            alert = post.json["alerts"][0]
            if alert["status"] == "firing":
                found.append(time.time() - datetime.fromisoformat(alert["startsAt"]).timestamp() - STEP_S)
            taken(post)

    web.posts = Timed()
    for i in range(rounds):
        plant.values = {name: (900.0 if (n + i) % 2 else 1.0) for n, name in enumerate(plant.values)}
        plant.run(2 * STEP_S)
    return found


def test_from_due_to_the_webhook_it_takes_little_time(
    tmp_path: Path, web: WebServer, begin: Callable[..., Daemon]
) -> None:
    port = free_port()
    path = told_config(tmp_path, web, port, group_by=["..."])
    daemon = begin("-c", path, stdin=subprocess.PIPE)
    daemon.until(lambda: get(port, "/-/healthy")[0] == 200)
    plant = Plant(daemon, *(f"m{i}/a" for i in range(6)))
    plant.run(1)
    found = sorted(lags(web, plant, 12))
    assert len(found) >= 15
    print(f"p50 {found[len(found) // 2] * 1000:.0f} ms, worst {found[-1] * 1000:.0f} ms")
    assert found[len(found) // 2] < 1.0, "a loaded machine is slow; by itself it takes a few ms"
    assert daemon.stop() == 0


def test_a_real_alertmanager_gathers_what_heed_passes_on_and_tells_when_it_is_over(
    tmp_path: Path, web: WebServer, begin: Callable[..., Daemon]
) -> None:
    port, alertmanager = free_port(), AlertmanagerProcess(tmp_path / "am", f"{web.url}/from-alertmanager")
    alertmanager.start()
    try:
        path = told_config(tmp_path, web, port, alertmanager.url, receiver="am")
        daemon = begin("-c", path, stdin=subprocess.PIPE)
        daemon.until(lambda: get(port, "/-/healthy")[0] == 200)
        plant = Plant(daemon, "m1/a", "m1/b")
        plant.run(1)
        plant.values = {"m1/a": 900.0, "m1/b": 900.0}
        plant.run(3)
        assert eventually(lambda: web.told and len(web.told[-1]["alerts"]) == 2)
        assert {a["labels"]["stream"] for a in alertmanager.get("alerts")} == {"m1/a", "m1/b"}
        assert {post.path for post in web.posts} == {"/from-alertmanager"}
        plant.values = {"m1/a": 900.0, "m1/b": 1.0}
        plant.run(2)
        assert eventually(lambda: {a["status"] for a in web.told[-1]["alerts"]} == {"firing", "resolved"})
        assert [a["labels"]["stream"] for a in alertmanager.get("alerts")] == ["m1/a"], "still passed on, and only it"
        assert daemon.stop() == 0
    finally:
        alertmanager.stop()
