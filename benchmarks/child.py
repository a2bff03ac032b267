"""One measurement in a process of its own, on one core: `python -m benchmarks.child NAME ARGUMENTS` (JSON)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
NAMES = ("replaying", "memory", "peer", "broker", "consuming", "rules", "decode", "storm")


class MeasurementError(RuntimeError):
    """A child process broke; the message ends with what it said."""


def measured(name: str, **arguments: Any) -> dict[str, Any]:
    """What ``benchmarks.<name>.measure(**arguments)`` says in a fresh process that has one thread and one core."""
    command = [sys.executable, "-m", "benchmarks.child", name, json.dumps(arguments)]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasurementError(f"measuring {name} {arguments} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _stay_on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main(name: str, arguments: Mapping[str, Any]) -> None:
    """Measure, and write the figures to standard output."""
    if name not in NAMES:
        raise SystemExit(f"unknown measurement {name}: one of {', '.join(NAMES)}")
    from stream.log import setup

    _stay_on_one_core()
    setup("auto", "error")
    measure: Callable[..., dict[str, Any]] = import_module(f"benchmarks.{name}").measure
    sys.stdout.write(json.dumps(measure(**arguments)))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
