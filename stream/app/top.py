"""`heed top`: a running heed at a glance, refreshed until Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from connectors.clock import WallClock
from connectors.heed_answers import answer
from connectors.source import SourceError
from stream.app.outputs import seconds

ALERTS, GROUPS = 8, 5  # rows
GOOD, BAD, MEH = "bold green", "bold red", "yellow"
STYLE = {"ready": GOOD, "catching_up": MEH, "warming": MEH, "starting": MEH, "draining": BAD}
Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TopOptions:
    """What `heed top` was asked for; ``every`` in ns."""

    url: str
    every: int
    sort: str = "score"
    group: str | None = None
    rows: int = 15
    once: bool = False
    output: str = "table"


def run_top(options: TopOptions) -> int:
    """Show until somebody breaks off, or once; 0. Raises SourceError where heed does not answer from the start."""
    answers = asked(options)
    if options.output == "json":
        typer.echo(json.dumps(answers))
        return 0
    console = Console()
    if options.once or not console.is_terminal:
        console.print(shown(answers, options))
        return 0
    _refresh(console, answers, options)
    return 0


def asked(options: TopOptions) -> dict[str, Answer]:
    """All that is shown, by the name of the answer."""
    about = {"sort": options.sort, "group": options.group, "limit": options.rows}
    return {
        "status": answer(options.url, "status"),
        "alerts": answer(options.url, "alerts", {"limit": ALERTS}),
        "coverage": answer(options.url, "coverage", {"limit": GROUPS, "group": options.group}),
        "streams": answer(options.url, "streams", about),
    }


def _refresh(console: Console, answers: dict[str, Answer], options: TopOptions) -> None:
    clock, before = WallClock(), answers
    with Live(shown(answers, options), console=console, auto_refresh=False, screen=True) as live:
        while True:
            clock.wait(clock.now() + options.every)
            try:
                before, answers = answers, asked(options)
                view = shown(answers, options, _rate(before, answers, options.every))
            except SourceError as error:
                view = Group(Text(f"{error}; what is below is old", BAD), shown(answers, options))
            live.update(view, refresh=True)


def _rate(before: dict[str, Answer], now: dict[str, Answer], every: int) -> float:
    """Readings a second between two answers."""
    return float(now["status"]["readings"] - before["status"]["readings"]) * 1e9 / every


def shown(answers: Mapping[str, Answer], options: TopOptions, rate: float | None = None) -> RenderableType:
    """Everything, as rich draws it."""
    parts: list[RenderableType] = [_head(answers["status"], options.url, rate)]
    parts += [Text(f"not ready: {reason}", BAD) for reason in answers["status"]["reasons"]]
    if answers["alerts"]["total"]:
        parts.append(_alerts(answers["alerts"]))
    return Group(*parts, _groups(answers["coverage"]), _streams(answers["streams"], options.sort))


def _head(status: Answer, url: str, rate: float | None) -> Table:
    now, windows = status["now"], status["windows"]
    lag, budget = float(status["lag"]["p99"]), float(now["budget"])
    cells = {
        "heed": (str(status["state"]), STYLE.get(str(status["state"]), "bold")),
        "lag p99": (f"{seconds(lag)} of {seconds(budget)}", GOOD if lag <= budget else BAD),
        "coverage": (f"{100 * float(now['coverage']):.1f} %", "bold"),
        "streams": (f"{status['streams']:,}", "bold"),
        "readings": (f"{status['readings']:,}" if rate is None else f"{rate:,.0f}/s", "bold"),
        "shed": (f"{windows['shed']:,}", "bold"),
        "unseen": (seconds(float(now["unseen_max"])), "bold"),
        "alerts": (str(now["alerts_firing"]), BAD if now["alerts_firing"] else GOOD),
        "incidents": (str(now["incidents_open"]), "bold"),
    }
    table = Table.grid(padding=(0, 2))
    table.add_row(*(Text.assemble((f"{name} ", "dim"), value) for name, value in cells.items()))
    table.add_row(Text(url, "dim"))
    return table


def _alerts(alerts: Answer) -> Group:
    rows = [
        (
            *(each["labels"].get(name, "") for name in ("alertname", "stream", "group")),
            each["starts_at"],
            each["reason"],
        )
        for each in alerts["alerts"]
    ]
    return _table(f"alerts ({alerts['total']} firing)", ("alert", "stream", "group", "since", "reason"), rows)


def _groups(coverage: Answer) -> Group:
    told = ("full", "shed", "gap")
    rows = [
        (each["group"], _share(each["coverage"]), *(f"{each['windows'].get(name, 0):,}" for name in told))
        for each in coverage["groups"]
    ]
    title = f"groups looked at least ({coverage['total']:,} in all)"
    return _table(title, ("group", "coverage", *told), rows)


def _streams(streams: Answer, sort: str) -> Group:
    names = ("stream", "group", "value", "score", "weight", "age", "outcome", "ts")
    rows = [tuple(_cell(each.get(name)) for name in names) for each in streams["streams"]]
    return _table(f"streams by {sort} ({streams['total']:,} in all)", names, rows)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Group:
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, header_style="dim", overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell or "") for cell in row))  # a name is no markup
    return Group(Text(f"\n{title}", "bold"), table)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
