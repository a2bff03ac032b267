"""What `heed replay` shows: a progress bar, alerts, the summary, the digest."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from connectors.console import ConsoleSink
from connectors.jsonl import JsonlSink
from connectors.sink import Sink
from stream.app.outputs import lines_of, write_summary
from stream.app.replay import Options, replay
from stream.monitor import Monitor


def run_replay(
    options: Options, alerts: str | None, summary: str | None, digest: bool, output: str, progress: bool
) -> None:
    """Replay and tell; data on standard output, everything else on standard error."""
    sinks = {"alerts": _sink(alerts, output)}
    console = Console(stderr=True)
    with _bar(console, progress and console.is_terminal) as bar:
        task = bar.add_task("replay", total=1.0, told="")

        def show(share: float, monitor: Monitor) -> None:
            bar.update(task, completed=share, told=_told(monitor))

        found = replay(changed(options, sinks=sinks, progress=show))
        bar.update(task, completed=1.0)
    for line in lines_of(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    _write(found, summary, digest, output)


def _sink(alerts: str | None, output: str) -> Sink:
    """Alerts go to the file, or to standard output in the way asked for."""
    if alerts is not None and alerts != "-":
        Path(alerts).unlink(missing_ok=True)  # one run, one file
        return JsonlSink(alerts)
    return JsonlSink("-") if alerts == "-" or output == "json" else ConsoleSink(sys.stdout)


def _bar(console: Console, wanted: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    return Progress(
        *columns, TextColumn("{task.fields[told]}"), TimeElapsedColumn(), console=console, disable=not wanted
    )


def _told(monitor: Monitor) -> str:
    readings = monitor.parts.windows.counts["readings"]
    return f"{readings:,} readings, coverage {100 * monitor.parts.ledger.coverage():.0f} %"


def _write(found: Mapping[str, Any], summary: str | None, digest: bool, output: str) -> None:
    lines = output == "json"  # standard output then holds one JSON object a line, and nothing else
    if summary is not None:
        write_summary(summary, found, indent=None if lines and summary == "-" else 2)
    if digest:
        print(json.dumps({"digest": found["digest"]}) if lines else found["digest"])  # noqa: T201 - data goes to standard output
