"""`heed rules check`: what is wrong with rule files, and what will surprise."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import typer

from stream.app.known_streams import recorded_streams, running_streams
from stream.app.rule_files import yaml_files
from stream.config_text import ConfigError
from stream.rulecheck.about import Streams
from stream.rulecheck.findings import Checked, Level, check_files

_PLURAL: dict[Level, str] = {"error": "errors", "warning": "warnings", "lint": "of lint", "note": "notes"}


def check_rules(names: Sequence[str], recordings: Sequence[str], url: str | None, output: str) -> int:
    """Print what was found: 0 nothing that matters, 1 errors, 3 only lint. Raises SourceError."""
    try:
        paths = yaml_files(names)
    except ConfigError as error:
        typer.echo(f"heed: {error}", err=True)
        return 1
    checked = check_files(paths, _streams(recordings, url))
    if output == "json":
        typer.echo(json.dumps(_json(checked, len(paths)), indent=2))
    else:
        _show(checked, len(paths))
    return checked.code


def _streams(recordings: Sequence[str], url: str | None) -> Streams | None:
    if url is not None:
        return running_streams(url)
    return recorded_streams(recordings) if recordings else None


def _json(checked: Checked, files: int) -> dict[str, object]:
    found: dict[str, object] = {"files": files, "rules": len(checked.rules)}
    if checked.streams:
        found["streams"] = checked.streams
    return found | {"findings": [asdict(finding) for finding in checked.findings]}


def _show(checked: Checked, files: int) -> None:
    for finding in checked.findings:
        typer.echo(str(finding))
    counts = Counter(finding.level for finding in checked.findings)
    told = ", ".join(
        f"{counts[level]} {level if counts[level] == 1 else _PLURAL[level]}" for level in _PLURAL if counts[level]
    )
    typer.echo(f"{files} {'file' if files == 1 else 'files'}, {len(checked.rules)} rules: {told or 'nothing to say'}")
