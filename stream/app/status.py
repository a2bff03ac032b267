"""The terminal's live status: a bar while warming up, then one line that is always true."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from stream.app.outputs import seconds
from stream.monitor import Monitor

EVERY = 500_000_000  # ns between two refreshes


class Status:
    """Shown on standard error where that is a terminal; alerts are printed above it."""

    def __init__(self, console: Console, monitor: Monitor, url: str | None, wanted: bool) -> None:
        self._monitor, self._url, self._shown = monitor, url, 0
        on = wanted and console.is_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True) if on else None
        columns = (TextColumn("learning what is usual"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        self._bar = Progress(
            *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal, transient=True
        )
        self._task = self._bar.add_task("warm", total=1.0)

    def __enter__(self) -> Status:
        self._bar.start()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._bar.stop()
        if self._live is not None:
            self._live.stop()

    def warm(self, share: float) -> None:
        """How far the warm-up is, 0 to 1."""
        self._bar.update(self._task, completed=share)
        if share >= 1:
            self._bar.stop()
            if self._live is not None:
                self._live.start()

    def show(self, now: int) -> None:
        """After a turn: refresh the line now and then."""
        if self._live is not None and self._live.is_started and now - self._shown >= EVERY:
            self._shown = now
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        monitor, parts = self._monitor, self._monitor.parts
        lag, windows = monitor.lags.recent(), parts.ledger.windows()
        judged = windows["full"] + windows["lite"] + windows["shed"] + windows["sentinel"]
        looked = windows["full"] + windows["lite"]
        firing = len(parts.alerts.firing())
        cells = {
            "streams": f"{len(parts.table.slot_of):,}",
            "lag p99": f"{seconds(lag['p99'])} of {seconds(monitor.latency / 1e9)}",
            "coverage": f"{100 * looked / judged if judged else 100:.1f} %",
            "shed": f"{windows['shed']:,}",
            "alerts": str(firing),
            "incidents": str(len(parts.incidents)),
        }
        table = Table.grid(padding=(0, 2))
        style = "bold red" if firing else "bold green"
        table.add_row(*(Text.assemble((f"{name} ", "dim"), (value, style)) for name, value in cells.items()))
        return table
