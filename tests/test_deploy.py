"""What stands in deploy/ holds together: the files parse, fit each other and load as heed would load them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from stream.settings import KafkaSink, KafkaSource, load

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
IMAGE_STATE = "/var/lib/heed"


@pytest.fixture
def compose() -> dict:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def unit() -> dict[str, list[str]]:
    """Directives of the unit and all their values."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "heed.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def test_the_example_loads_without_any_variable_set() -> None:
    settings = load(DEPLOY / "heed.yaml", env={})
    assert str(settings.state.path) == IMAGE_STATE
    assert "0.0.0.0:8321" in str(settings.server.listen)


def test_the_unit_can_move_what_the_example_says_by_variables() -> None:
    lines = dict(pair.split("=", 1) for pair in unit()["Environment"][0].split())
    settings = load(DEPLOY / "heed.yaml", env={**lines, "HEED_KAFKA": "broker:1234"})
    assert "127.0.0.1:8321" in str(settings.server.listen)
    assert isinstance(settings.sources[0], KafkaSource)
    assert settings.sources[0].client["bootstrap.servers"] == "broker:1234"


def test_compose_makes_the_topics_that_the_example_uses(compose: dict) -> None:
    settings = load(DEPLOY / "heed.yaml", env={})
    source, sinks = settings.sources[0], [s for s in settings.sinks if isinstance(s, KafkaSink)]
    assert isinstance(source, KafkaSource)
    made = set(re.findall(r"([a-z.]+):\d", compose["services"]["topics"]["command"][0].split(";")[0]))
    assert made == {*source.topics, source.dead_letter_topic, *(sink.topic for sink in sinks)}


def test_compose_gives_heed_its_broker_its_configuration_and_its_state(compose: dict) -> None:
    kafka, heed = compose["services"]["kafka"], compose["services"]["heed"]
    source = load(DEPLOY / "heed.yaml", env={}).sources[0]
    assert isinstance(source, KafkaSource)
    broker = source.client["bootstrap.servers"]
    assert f"://{broker}" in kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert (DEPLOY / heed["build"]["context"] / heed["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    targets = {volume.split(":")[1]: volume.split(":")[0] for volume in heed["volumes"]}
    assert (DEPLOY / targets["/etc/heed/heed.yaml"]).exists()
    assert targets[IMAGE_STATE] in compose["volumes"]
    assert kafka["volumes"][0].split(":")[0] in compose["volumes"]
    assert compose["services"]["topics"]["image"] == kafka["image"]


def test_compose_opens_nothing_beyond_this_machine(compose: dict) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert compose["services"]["heed"]["read_only"] is True


def test_the_image_runs_as_nobody_special_and_holds_every_package() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    final = text.split("FROM ")[-1]
    assert "\nUSER heed\n" in final
    assert "PYTHONSAFEPATH=1" in final
    assert "/-/healthy" in final
    assert f"VOLUME {IMAGE_STATE}" in final
    packages = re.search(r"^packages = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages
    for package in re.findall(r'"(\w+)"', packages[1]):
        assert f"COPY {package} {package}\n" in text
        assert f"!{package}\n" in (DEPLOY / "Dockerfile.dockerignore").read_text()


def test_all_that_the_image_copies_is_let_into_its_build() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert {"pyproject.toml", "LICENSE", "stream"} <= set(names)
    assert all(f"!{name}" in ignored and (ROOT / name).exists() for name in names)


def test_the_unit_checks_first_keeps_its_state_and_does_not_restart_on_a_mistake() -> None:
    found = unit()
    assert found["ExecStartPre"] == ["-/opt/heed/bin/heed check -c /etc/heed/heed.yaml"]
    assert found["ExecStart"] == ["/opt/heed/bin/heed run -c /etc/heed/heed.yaml"]
    assert found["RestartPreventExitStatus"] == ["78"]
    assert found["WorkingDirectory"] == [f"/var/lib/{found['StateDirectory'][0]}"] == [IMAGE_STATE]
    assert found["StartLimitIntervalSec"] == ["0"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "heed.service").read_text().replace("/opt/heed/bin/heed", "/bin/true")
    copy = tmp_path / "heed.service"
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in done.stderr.splitlines() if "heed.service" in line]
    assert not said


def test_the_licence_is_the_one_that_the_project_names() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in text
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()


def test_the_glossary_tells_each_word_once_and_keeps_to_its_own_words() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    words = re.findall(r"^\| ([\w -]+) \| (?!what it means)", text, re.MULTILINE)
    assert len(words) == len(set(words)) > 45
    assert {"reading", "frame", "lag", "backlog", "shed", "suspect", "blind", "ledger", "price"} <= set(words)
    for avoided in ("pipeline", "manager", "handler", "processor", "service", "utils"):
        assert avoided not in text.lower()
    assert not re.search(r"\bevents?\b(?! time)", text)
