"""Settings read from files, overrides and variables; whatever is wrong is told at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stream.config_merge import dotted, fill, merge, override, override_value
from stream.config_text import ConfigError, Document, Mark, Problem, Tree, parse, read_file
from stream.settings.problems import note, shown
from stream.settings.root import Settings, contradictions

Overrides = Iterable[str] | Mapping[str, Any]
_IN_TEXT = {"text": True}  # durations come as text, and a bare number is a mistake


def load(
    path: str | Path | Sequence[str | Path] | None,
    overrides: Overrides = (),
    env: Mapping[str, str] | None = None,
    *,
    need_sources: bool | None = None,
) -> Settings:
    """Settings from files (of a directory, each ``*.yaml`` and ``*.yml`` in order of name); later ones win.

    ``overrides`` are ``a.b=c`` texts, or a mapping from ``a.b`` to a value. ``env`` fills in variables, by default
    the process's. ``sources`` are needed where a path is given, unless told otherwise. Raises ConfigError.
    """
    paths = [] if path is None else [path] if isinstance(path, str | Path) else list(path)
    documents = [read_file(file) for each in paths for file in config_files(Path(each))]
    needed = bool(paths) if need_sources is None else need_sources
    return _settings(documents, overrides, os.environ if env is None else env, needed)


def load_text(
    text: str,
    file: str = "heed.yaml",
    overrides: Overrides = (),
    env: Mapping[str, str] | None = None,
    *,
    need_sources: bool = True,
) -> Settings:
    """Settings from YAML text, with ``file`` as its name in errors; raises ConfigError."""
    return _settings([parse(text, file)], overrides, os.environ if env is None else env, need_sources)


def from_mapping(tree: Mapping[str, Any]) -> Settings:
    """Settings from plain values as YAML would give them, ``sources`` not needed; raises ConfigError."""
    return _validated(Document("", dict(tree)), need_sources=False)


def config_files(path: Path) -> list[Path]:
    """The file, or those of a directory in order of name; raises ConfigError where it holds none."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
    if not found:
        raise ConfigError([Problem("the directory holds no *.yaml file", mark=Mark(str(path)))])
    return found


def _settings(
    documents: Sequence[Document], overrides: Overrides, env: Mapping[str, str], need_sources: bool
) -> Settings:
    for document in documents:
        fill(document, env)
        _whole(document)
    merged = Document("")
    for document in documents:
        merged = merge(document, merged)
    _override(merged, overrides)
    return _validated(merged, need_sources)


def _whole(document: Document) -> None:
    if document.tree is not None and not isinstance(document.tree, dict):
        document.refuse(f"expected a mapping like budget: {{latency: 250ms}}, found {shown(document.tree)}", ())
        raise ConfigError(document.problems)


def _override(document: Document, overrides: Overrides) -> None:
    if isinstance(overrides, Mapping):
        for path, value in overrides.items():
            override_value(document, dotted(path), value, Mark(path))
        return
    for setting in overrides:
        override(document, setting)


def _validated(document: Document, need_sources: bool) -> Settings:
    tree = _without_nulls(document.tree)
    document.tree = tree if isinstance(tree, dict) else {}
    if need_sources and document.tree.get("sources") in (None, []):
        said = "is required, like sources: [{type: stdin}]"
        document.problems.append(Problem(said, ("sources",), Mark(document.file)))
    try:
        settings = Settings.model_validate(document.tree, context=_IN_TEXT)
    except ValidationError as error:
        note(error, document, model_schema())
        raise ConfigError(document.problems) from None
    for place, message in contradictions(settings):
        document.refuse(message, place)
    if document.problems:
        raise ConfigError(document.problems)
    return settings


def _without_nulls(tree: Tree) -> Tree:
    """A key with nothing behind it means its default."""
    if isinstance(tree, dict):
        return {key: _without_nulls(value) for key, value in tree.items() if value is not None}
    return [_without_nulls(value) for value in tree] if isinstance(tree, list) else tree


@cache
def model_schema() -> dict[str, Any]:
    """The JSON Schema that pydantic makes of the settings."""
    return Settings.model_json_schema()
