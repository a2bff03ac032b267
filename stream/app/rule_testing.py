"""`heed rules test`: unit tests of rules, told for people, as JSON, and as JUnit XML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer

from stream.app.rule_files import yaml_files
from stream.config_text import ConfigError
from stream.ruletests.report import Outcome, junit, run_suite
from stream.ruletests.suite import load_suite

Broken = tuple[str, str]  # a file, and why it can't be read


def run_tests(names: Sequence[str], junit_file: str | None, output: str) -> int:
    """Run the tests of every file; 1 where one failed or a file can't be read. Raises OSError for the JUnit file."""
    outcomes, broken = _run(names)
    if junit_file is not None:
        Path(junit_file).write_bytes(junit(outcomes, broken))
    if output == "json":
        tests = [asdict(outcome) | {"ok": not outcome.failures} for outcome in outcomes]
        typer.echo(json.dumps({"tests": tests, "broken": [{"file": f, "why": why} for f, why in broken]}, indent=2))
    else:
        _show(outcomes, broken)
    return int(bool(broken) or any(outcome.failures for outcome in outcomes))


def _run(names: Sequence[str]) -> tuple[list[Outcome], list[Broken]]:
    outcomes: list[Outcome] = []
    broken: list[Broken] = []
    try:
        paths = yaml_files(names)
    except ConfigError as error:
        return [], [(", ".join(names), str(error))]
    for path in paths:
        try:
            outcomes += run_suite(load_suite(path))
        except ConfigError as error:
            broken.append((str(path), str(error)))
    return outcomes, broken


def _show(outcomes: Sequence[Outcome], broken: Sequence[Broken]) -> None:
    for outcome in outcomes:
        typer.echo(f"{'FAILED' if outcome.failures else 'ok':6}  {outcome.file}: {outcome.name}")
        for failure in outcome.failures:
            typer.echo("".join(f"        {line}\n" for line in failure.splitlines()), nl=False)
    for file, why in broken:
        typer.echo(f"BROKEN  {file}")
        typer.echo("".join(f"        {line}\n" for line in why.splitlines()), nl=False)
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    asked = sum(outcome.asked for outcome in outcomes)
    more = f", {len(broken)} that can't be read" if broken else ""
    typer.echo(f"{len(outcomes)} tests, {asked} times looked at, {failed} failed{more}")
