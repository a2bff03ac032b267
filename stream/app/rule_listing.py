"""`heed rules list`: the rules of files, of a configuration, or of a running heed with their states."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from connectors.heed_answers import answer
from stream.app.parts import rules_of
from stream.app.rule_files import yaml_files
from stream.rules.rule import Rule
from stream.rules.rule_file import built_in, load_rules
from stream.settings import load

Row = dict[str, Any]


def list_rules(names: Sequence[str], config: str | None, url: str | None, output: str) -> None:
    """Print them. Raises ConfigError, SourceError."""
    rows = list(_running(url)) if url else [_row(rule) for rule in _rules(names, config)]
    if output == "json":
        typer.echo(json.dumps(rows, indent=2))
    else:
        _show(rows)


def _rules(names: Sequence[str], config: str | None) -> list[Rule]:
    if names:
        return load_rules(yaml_files(names))
    if config is None:
        return built_in()
    return rules_of(load(config), Path(config))


def _row(rule: Rule) -> Row:
    return {
        "file": rule.file,
        "line": rule.line,
        "group": rule.group,
        "alert": rule.alert,
        "expr": rule.expr.text.strip(),
        "for": str(rule.hold),
        "labels": dict(rule.labels),
        "annotations": dict(rule.annotations),
    }


def _running(url: str) -> Iterable[Row]:
    for group in answer(url, "rules", {"exclude_alerts": "true"})["groups"]:
        for rule in group["rules"]:
            same = {name: rule[name] for name in ("for", "labels", "annotations", "state", "pending", "firing", "line")}
            about = {"alert": rule["name"], "expr": rule["query"], "lastEvaluation": rule["lastEvaluation"]}
            yield {"file": group["file"], "group": group["name"], **about, **same}


def _show(rows: Sequence[Row]) -> None:
    states = any("state" in row for row in rows)
    table = Table(box=None, pad_edge=False)
    for name in ("alert", "for", "severity", *(("state", "pending", "firing") if states else ()), "group", "file"):
        table.add_column(name, overflow="fold")
    for row in rows:
        state = [row["state"], str(row["pending"]), str(row["firing"])] if states else []
        place = f"{row['file']}:{row['line']}"
        table.add_row(row["alert"], row["for"], row["labels"].get("severity", "-"), *state, row["group"], place)
    Console(highlight=False, markup=False).print(table)
