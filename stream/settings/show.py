"""Settings told to people and editors: as YAML with every default, as JSON Schema, as an example to start from."""

from __future__ import annotations

import copy
from importlib.resources import files
from typing import Any, Literal

import yaml

from stream.config_text import Tree, plain
from stream.settings.load import model_schema
from stream.settings.root import Settings
from stream.settings.secrets import masked


class _Dumper(yaml.SafeDumper):
    """Quotes also what only YAML 1.2 takes for a number."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, None if isinstance(plain(text), str) else '"')


_Dumper.add_representer(str, _quoted)


def show(settings: Settings) -> str:
    """The settings as YAML that loads again: all defaults, durations as text, secrets as ``<secret>``."""
    tree = _escaped(masked(settings.model_dump(mode="json", exclude_none=True, by_alias=True)))
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    return text


def _escaped(tree: Tree) -> Tree:
    if isinstance(tree, dict):
        return {key: _escaped(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_escaped(value) for value in tree]
    return tree.replace("${", "$${") if isinstance(tree, str) else tree


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a configuration file, for editors and other checks."""
    found = copy.deepcopy(model_schema())
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "required": ["sources"]}
    return {**head, **found, "title": "heed configuration"}


def generate(kind: Literal["minimal", "full"] = "full") -> str:
    """A commented configuration that loads: the least, or every key there is."""
    return files("stream.settings").joinpath(f"{kind}.yaml").read_text("utf-8")


def reference() -> dict[str, list[str]]:
    """Every key in Markdown: by heading the rows (name, type, default, meaning) of docs/configuration.md."""
    found = model_schema()
    tables: dict[str, list[str]] = {"Top level": []}
    _table(found, "", "Top level", tables)
    return tables


def _table(node: dict[str, Any], prefix: str, heading: str, tables: dict[str, list[str]]) -> None:
    for key, part in node["properties"].items():
        inner, path = _within(part), f"{prefix}{key}{'[]' if _items(part) else ''}"
        required = key in node.get("required", ()) or (not prefix and key == "sources")
        meaning = part.get("description") or next((child.get("description", "") for child in inner), "")
        tables[heading].append(_row(f"{prefix}{key}", {**part, "description": meaning}, bool(inner), required))
        for child in inner:
            kind = child["properties"].get("type", {}).get("const")
            under = f"`{path}`" + (f", type `{kind}`" if kind else "")
            if under not in tables:  # what several types share is told once
                tables[under] = []
                _table(child, f"{path}.", under, tables)


def _row(path: str, part: dict[str, Any], inner: bool, required: bool) -> str:
    if "const" in part:
        return f"| `{path}` | text | required | `{part['const']}` |"
    default = "required" if required else f"`{_default(part)}`" if not inner and _default(part) else ""
    return f"| `{path}` | {_type(part)} | {default} | {part.get('description', '')} |"


def _default(part: dict[str, Any]) -> str:
    value = part.get("default")
    if value is None:
        return ""
    dumped = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=1000)
    return str(dumped).removesuffix("\n").removesuffix("\n...")


def _items(part: dict[str, Any]) -> dict[str, Any]:
    items: dict[str, Any] = part.get("items", {}) if part.get("type") == "array" else {}
    return items if "$ref" in items or "oneOf" in items else {}


def _within(part: dict[str, Any]) -> list[dict[str, Any]]:
    """The mappings that stand below a key: none for a plain value, several for a list of several types."""
    options = [part, *part.get("anyOf", []), *_items(part).get("oneOf", []), _items(part)]
    names = [str(option["$ref"]).rpartition("/")[2] for option in options if "$ref" in option]
    return [model_schema()["$defs"][name] for name in dict.fromkeys(names)]


def _type(part: dict[str, Any]) -> str:
    if {"type": "null"} in part.get("anyOf", []):
        part = part["anyOf"][0]
    if "enum" in part:
        return ", ".join(f"`{word}`" for word in part["enum"])
    if part.get("examples", [""])[0] == "250ms":
        return "duration"
    if part.get("examples", [""])[0] == "1MiB":
        return "size"
    if len(part.get("anyOf", [])) > 1:
        return "text or list"
    words = {
        "boolean": "boolean",
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "array": "list",
    }
    return words.get(str(part.get("type")), "mapping") + _bounds(part)


def _bounds(part: dict[str, Any]) -> str:
    low, above, high = part.get("minimum"), part.get("exclusiveMinimum"), part.get("maximum")
    said = [f"{low:g} or more"] if low is not None else [f"above {above:g}"] if above is not None else []
    if low is not None and high is not None:
        said = [f"{low:,} to {high:,}"]
    elif high is not None:
        said.append(f"at most {high:,}")
    return f", {', '.join(said)}" if said else ""
