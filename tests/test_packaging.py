"""What is shipped works by itself: a wheel built from the sources, installed where the sources can't be reached."""

import email
import json
import math
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"stream", "models", "connectors", "benchmarks"}
STEPS, SECOND_MS, START_MS = 400, 1_000, 1_767_225_600_000


def run(command: list[str], cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env={**env, "PYTHONSAFEPATH": "1", **more}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)], out)
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it."""

    folder: Path

    def heed(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return run([str(self.folder / "bin" / "heed"), *arguments], cwd)

    def python(self, code: str, cwd: Path) -> str:
        return run([str(self.folder / "bin" / "python"), "-c", code], cwd).stdout


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel and, beside it, the libraries of the running interpreter.

    They come by a path file, and path files in the folder that it names are not followed: so an editable install
    there does not bring the sources back.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    python = str(folder / "bin" / "python")
    run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", str(wheel)], folder)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "libraries.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")) + "\n")
    return Installed(folder)


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_the_wheel_brings_what_is_no_python(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {
        "models/builtin/model.onnx", "models/builtin/lite.onnx", "models/builtin/weight.onnx",
        "models/builtin/card.json", "stream/rules/builtin.yaml", "stream/settings/full.yaml",
        "stream/settings/minimal.yaml", "stream/web/page/index.html",
    }  # fmt: skip
    page = {path.relative_to(ROOT).as_posix() for path in (ROOT / "stream" / "web" / "page").iterdir()}
    typed = {f"{package}/py.typed" for package in PACKAGES}
    assert (data | page | typed) - names == set()


def test_the_wheel_holds_no_tests_no_caches_and_all_sources(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if Path(name).name.startswith(("test_", "conftest")) or "__pycache__" in name]
    sources = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert sources - set(names) == set()


def test_the_metadata_says_who_it_is_and_asks_for_no_torch(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    folder = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA")).rpartition("/")[0]
    metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
    assert (metadata["Name"], metadata["License-Expression"]) == ("heed-monitor", "Apache-2.0")
    assert metadata["Requires-Python"] == ">=3.11"
    needs = [need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert not [need for need in needs if need.startswith(("torch", "onnx>", "pandas", "fastapi"))]
    assert f"{folder}/licenses/LICENSE" in archive.namelist()
    assert "heed = stream.cli:main" in archive.read(f"{folder}/entry_points.txt").decode()


def test_the_source_distribution_holds_what_its_readme_and_licence_need(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "models/builtin/card.json"} <= names
    assert not [name for name in names if name.startswith(("tests/", "shared/", "deploy/"))]


def test_the_sources_are_out_of_reach(installed: Installed, tmp_path: Path) -> None:
    code = "import stream, models, connectors, benchmarks as b; print(stream.__file__, models.__file__, b.__file__)"
    places = installed.python(code, tmp_path).split()
    assert all(place.startswith(str(installed.folder)) for place in places)


def readings(path: Path) -> Path:
    """Two streams of a machine; one of them doubles for 20 s near the end."""
    rows = []
    for i in range(STEPS):
        wobble = math.sin(i * 12.9898) * 0.5 + math.sin(i * 4.1414) * 0.3
        for sensor, level in (("temperature", 65.0), ("vibration", 2.8)):
            value = level * (1 + 0.01 * wobble) * (2 if sensor == "vibration" and 340 <= i < 360 else 1)
            row = {"stream": f"press1/{sensor}", "group": "press1", "ts": START_MS + i * SECOND_MS, "value": value}
            rows.append(json.dumps(row))
    path.write_text("\n".join(rows) + "\n")
    return path


def test_the_wheel_alone_replays_a_recording(installed: Installed, tmp_path: Path) -> None:
    readings(tmp_path / "press.jsonl")
    arguments = ["press.jsonl", "--alerts", "alerts.jsonl", "--scores", "scores.parquet", "--summary", "summary.json"]
    installed.heed("replay", *arguments, "--no-progress", cwd=tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["readings"], summary["streams"], summary["groups"]) == (2 * STEPS, 2, 1)
    windows = summary["windows"]
    assert windows["full"] > 0 and windows["shed"] == windows["sentinel"] == 0
    assert windows["due"] == sum(n for outcome, n in windows.items() if outcome != "due") == 2 * STEPS
    alerts = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    fired = [alert for alert in alerts if alert["status"] == "firing"]
    assert "press1/vibration" in {alert["labels"]["stream"] for alert in fired}
    assert (tmp_path / "scores.parquet").stat().st_size > 0


def test_the_wheel_alone_records_what_it_reads_and_replays_that(installed: Installed, tmp_path: Path) -> None:
    readings(tmp_path / "press.jsonl")
    (tmp_path / "heed.yaml").write_text(
        "sources: [{type: stdin}]\nserver: {listen: none}\nsinks: [{type: jsonl, path: live.jsonl}]\n"
    )
    with (tmp_path / "press.jsonl").open() as source:
        subprocess.run(
            [installed.folder / "bin" / "heed", "run", "-c", "heed.yaml", "--record", "live.rec.parquet"],
            stdin=source, cwd=tmp_path, check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    installed.heed("replay", "live.rec.parquet", "--summary", "summary.json", "--no-progress", cwd=tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["readings"] == 2 * STEPS
    assert "press1/vibration" in (tmp_path / "live.jsonl").read_text()


def test_the_wheel_alone_explains_itself(installed: Installed, tmp_path: Path) -> None:
    assert installed.heed("version", cwd=tmp_path).stdout.startswith("heed 0.")
    assert "sources:" in installed.heed("config", "generate", cwd=tmp_path).stdout
    assert json.loads(installed.heed("config", "schema", cwd=tmp_path).stdout)["title"] == "heed configuration"
