"""Which files `heed rules` is about: names, globs, and folders of YAML files."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from stream.config_text import ConfigError, Mark, Problem


def yaml_files(names: Sequence[str]) -> list[Path]:
    """The files of names, globs and folders (their ``*.yaml`` and ``*.yml``), each once; raises ConfigError."""
    found: dict[Path, None] = {}
    problems = []
    for name in names:
        paths = _of(name)
        if not paths:
            said = "the folder holds no *.yaml file" if Path(name).is_dir() else "there is no such file"
            problems.append(Problem(said, mark=Mark(name)))
        found.update(dict.fromkeys(paths))
    if problems:
        raise ConfigError(problems)
    return list(found)


def _of(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml") and file.is_file())
    if path.exists():
        return [path]
    return [Path(each) for each in sorted(glob.glob(name, recursive=True)) if Path(each).is_file()]  # noqa: PTH207 - a pattern as a shell would take it
