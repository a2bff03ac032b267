"""Wall-clock lag of the demo under load: on a quiet machine, and beside a neighbour that takes a core."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectors.clock import burn

LOAD, SECONDS = 8, 30


def measure(load: float = LOAD, seconds: int = SECONDS) -> list[dict[str, Any]]:
    """One row quiet, one beside a noisy neighbour: p50 and p99 of lag against the budget, and the work done."""
    rows = [_run("quiet", load, seconds)]
    with _neighbour():
        rows.append(_run("noisy neighbour", load, seconds))
    return rows


def _run(name: str, load: float, seconds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary.json"
        command = [sys.executable, "-m", "stream.cli", "demo", "--no-web", "-o", "json"]
        command += ["--load", str(load), "--duration", f"{seconds}s", "--summary", str(summary)]
        subprocess.run(command, check=True, capture_output=True)
        found = json.loads(summary.read_text())
    windows, lag = found["windows"], found["lag"]
    return {
        "case": f"{name}, demand {load:g}x",
        "lag_p50_s": lag["p50"],
        "lag_p99_s": lag["p99"],
        "p99_of_budget": round(lag["p99"] / found["budget"], 3),
        "looked_at": windows["full"],
        "shed": windows["shed"],
        "faults_found": f"{found['faults']['found']} of {found['faults']['injected']}",
    }


@contextmanager
def _neighbour() -> Iterator[None]:
    """A process that does nothing but use a core."""
    process = multiprocessing.get_context("spawn").Process(target=burn, args=(1e9,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()
