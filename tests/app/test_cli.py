"""The command line itself: help, version, configuration, exit codes, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from command import ENV, heed

COMMANDS = (
    [], ["demo"], ["run"], ["replay"], ["check"], ["version"], ["config"], ["config", "schema"], ["config", "show"],
    ["config", "generate"], ["model"], ["model", "info"], ["model", "verify"], ["model", "train"], ["model", "export"],
    ["bench"], ["bench", "speed"],
)  # fmt: skip

ALL_HELP = """
import sys
from typer.testing import CliRunner
from stream.cli import app
for command in {commands!r}:
    for flag in ("--help", "-h"):
        done = CliRunner().invoke(app, [*command, flag])
        assert done.exit_code == 0, (command, done.output)
        assert "Usage" in done.output, command
loaded = [name for name in ("onnxruntime", "kafka", "pyarrow", "torch", "numpy") if name in sys.modules]
assert not loaded, loaded
"""


def test_every_command_has_help_and_help_imports_nothing_heavy() -> None:
    code = ALL_HELP.format(commands=list(map(list, COMMANDS)))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENV, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_version_is_told_for_people_and_for_programs() -> None:
    told = json.loads(heed("version", "-o", "json").stdout)
    assert told.keys() >= {"heed", "python", "platform", "numpy", "onnxruntime"}
    assert heed("version").stdout.startswith(f"heed {told['heed']}\n")


def test_the_schema_is_json_and_names_every_section() -> None:
    schema = json.loads(heed("config", "schema").stdout)
    assert schema["properties"].keys() >= {"sources", "streams", "windows", "model", "budget", "sinks", "state"}


@pytest.mark.parametrize("kind", ["minimal", "full"])
def test_what_is_generated_can_be_shown_and_shown_again(tmp_path: Path, kind: str) -> None:
    first = tmp_path / "generated.yaml"
    first.write_text(heed("config", "generate", kind).stdout)
    assert yaml.safe_load(first.read_text())["sources"]
    shown = heed("config", "show", "-c", first).stdout
    second = tmp_path / "shown.yaml"
    second.write_text(shown)
    assert heed("config", "show", "-c", second).stdout == shown


def test_what_is_shown_has_overrides_in_it_and_secrets_masked(tmp_path: Path) -> None:
    file = tmp_path / "heed.yaml"
    client = {"bootstrap.servers": "h:9092", "group.id": "g", "sasl.password": "s3cret"}
    file.write_text(json.dumps({"sources": [{"type": "kafka", "topics": ["t"], "client": client}]}))
    shown = heed("config", "show", "-c", file, "--set", "budget.latency=2s").stdout
    assert "s3cret" not in shown
    assert yaml.safe_load(shown)["budget"]["latency"] == "2s"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nonsense"], 2),
        (["config", "generate", "huge"], 2),
        (["replay"], 2),
        (["demo", "--load", "0"], 2),
        (["demo", "--duration", "soon"], 2),
        (["config", "show", "-c", "nowhere.yaml"], 78),
        (["check", "-c", "nowhere.yaml"], 78),
        (["run", "-c", "nowhere.yaml"], 78),
    ],
)
def test_what_can_not_be_done_has_its_exit_code_and_no_traceback(arguments: list[str], code: int) -> None:
    done = heed(*arguments, code=code)
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_no_command_at_all_shows_what_there_is() -> None:
    done = heed(code=2)
    for name in ("demo", "run", "replay", "check", "config", "model", "bench", "version"):
        assert name in done.stdout + done.stderr
