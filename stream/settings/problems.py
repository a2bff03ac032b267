"""What pydantic found, told the way a person needs it: place, what was expected, what is there instead."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from stream.config_text import Document, Place, Tree
from stream.settings.secrets import is_secret, masked

_KINDS = {
    "int_type": "a whole number like 128",
    "int_parsing": "a whole number like 128",
    "int_from_float": "a whole number like 128",
    "int_parsing_size": "a whole number like 128",
    "float_type": "a number like 0.25",
    "float_parsing": "a number like 0.25",
    "finite_number": "a finite number like 0.25",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "string_unicode": "text",
    "tuple_type": "a list like [a, b]",
    "too_short": "a list of at least one",
    "dict_type": "a mapping like {key: value}",
    "model_type": "a mapping like {key: value}",
    "model_attributes_type": "a mapping like {key: value}",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_UNKNOWN = object()


def note(error: ValidationError, document: Document, schema: Mapping[str, Any]) -> None:
    """Put everything pydantic found into the document's problems."""
    for found in error.errors(include_url=False):
        if _follows(dict(found)):
            continue
        place = _place(found["loc"], document.tree, found["type"] == "missing")
        inside = tuple(found.get("ctx", {}).get("place", ()))
        key = found["type"] == "extra_forbidden"
        message = _message(dict(found), place, document, _node(schema, found["loc"]))
        document.refuse(message, (*place, *inside, *_tag(dict(found))), key=key)


def _follows(found: dict[str, Any]) -> bool:
    """A list is only called too short because what is in it is wrong, and that is told already."""
    return found["type"] == "too_short" and bool(len(found["input"]) >= found["ctx"]["min_length"])


def _place(loc: Sequence[str | int], tree: Tree, missing: bool) -> Place:
    """The place in the document: pydantic's own, without the types of unions that it puts in between."""
    place: list[str | int] = []
    at: object = tree
    for i, part in enumerate(loc):
        child = _child(at, part)
        if child is not _UNKNOWN or (missing and i == len(loc) - 1):
            place.append(part)
            at = child
    return tuple(place)


def _child(tree: object, part: str | int) -> object:
    if isinstance(tree, dict) and part in tree:
        return tree[part]
    if isinstance(tree, list) and isinstance(part, int) and part < len(tree):
        return tree[part]
    return _UNKNOWN


def _tag(found: dict[str, Any]) -> Place:
    return ("type",) if found["type"] == "union_tag_invalid" else ()


def _message(found: dict[str, Any], place: Place, document: Document, node: Mapping[str, Any]) -> str:
    kind, context = found["type"], found.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(str(place[-1]), node)
    if kind == "missing":
        return f"is required{_example(node, str(place[-1]))}"
    if kind == "refused":
        return str(context["why"])
    if kind == "union_tag_not_found":
        return f"type is required, one of {_choices(_tags(node))}"
    if kind == "union_tag_invalid":
        return _one_of(_tags(node), str(context["tag"]))
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"must be {words} {context[bound]:g}, found {_seen(place, document)}"
    return _wrong_kind(found, place, document, node)


def _wrong_kind(found: dict[str, Any], place: Place, document: Document, node: Mapping[str, Any]) -> str:
    seen = _seen(place, document)
    if found["type"] == "literal_error":
        value = _value(place, document.tree)
        return _one_of(_enum(node, str(place[-1])), value if isinstance(value, str) else "", seen)
    what = found["ctx"]["what"] if found["type"] == "expected" else _KINDS.get(found["type"], found["msg"])
    quotes = ": put it in quotes" if what == "text" and not isinstance(found["input"], dict | list) else ""
    return f"expected {what}, found {seen}{quotes}"


def _one_of(choices: Sequence[str], found: str, seen: str = "") -> str:
    guess = _guess(found, choices)
    return f"expected one of {_choices(choices)}, found {seen or json.dumps(found)}" + (
        f', did you mean "{guess}"?' if guess else ""
    )


def _choices(choices: Iterable[str]) -> str:
    return ", ".join(choices)


def _guess(word: str, words: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(word[:100], list(words), 1, 0.6)), "")


def _unknown_key(key: str, node: Mapping[str, Any]) -> str:
    known = list(node.get("properties", {}))
    guess = _guess(key, known) or _elsewhere(key, node)
    hint = f'did you mean "{guess}"?' if guess else f"known here: {', '.join(known)}"
    return f'unknown key "{key}", {hint}'


def _elsewhere(key: str, node: Mapping[str, Any]) -> str:
    """``budget.latency`` for a ``latency`` that stands at the top."""
    sections = {name: _resolved(part, node) for name, part in node.get("properties", {}).items()}
    return next((f"{name}.{key}" for name, part in sections.items() if key in part.get("properties", {})), "")


def _example(node: Mapping[str, Any], key: str) -> str:
    examples = {"path": "readings.jsonl", "topic": "heed.alerts", "match": '"press*/vibration"', "name": "oncall",
                "url": '"http://127.0.0.1:9093"', "client": '{bootstrap.servers: "127.0.0.1:9092"}',
                "start_time": '"22:00"', "end_time": '"24:00"', "sources": "[{type: stdin}]",
                "to": "oncall@example.org", "from": "heed@example.org", "smarthost": '"mail.example.org:587"',
                "command": "[/usr/local/bin/on-alert]", "username": "heed",
                "time_intervals": '[{weekdays: ["saturday", "sunday"]}]'}  # fmt: skip
    return f", like {key}: {examples[key]}" if key in examples else ""


def _seen(place: Place, document: Document) -> str:
    """The value as it stands in the text: never a secret, never what a variable held."""
    if any(isinstance(part, str) and is_secret(part) for part in place):
        return "something else"
    if place in document.written:
        return json.dumps(document.written[place], ensure_ascii=False)
    value = _value(place, document.tree)
    return shown(masked(value) if isinstance(value, str) else value)


def shown(value: object) -> str:
    """A value in few words."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _value(place: Place, tree: Tree) -> object:
    found: object = tree
    for part in place:
        found = _child(found, part)
    return None if found is _UNKNOWN else found


def _node(schema: Mapping[str, Any], loc: Sequence[str | int]) -> Mapping[str, Any]:
    """The mapping's schema that holds the last key of ``loc``, or the union's own for a wrong type."""
    node = _resolved(schema, schema)
    for part in loc[:-1]:
        node = _resolved(_inner(node, part), schema)
    last = _inner(node, loc[-1]) if loc and not node.get("properties") else {}
    return {**node, **last, "$defs": schema.get("$defs", {})}


def _inner(node: Mapping[str, Any], part: str | int) -> Mapping[str, Any]:
    if isinstance(part, int):
        inner: Mapping[str, Any] = node.get("items", {})
    elif "discriminator" in node:
        inner = {"$ref": node["discriminator"]["mapping"].get(part, "")}
    else:
        inner = node.get("properties", {}).get(part, {})
    return inner


def _resolved(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "anyOf" in node:  # something or null
        node = next((part for part in node["anyOf"] if part.get("type") != "null"), node)
    name = str(node.get("$ref", "")).rpartition("/")[2]
    found: Mapping[str, Any] = schema.get("$defs", {}).get(name, {}) if name else node
    return found


def _tags(node: Mapping[str, Any]) -> list[str]:
    return list(node.get("discriminator", {}).get("mapping", {}))


def _enum(node: Mapping[str, Any], key: str) -> list[str]:
    part = node.get("properties", {}).get(key, {})
    options = [part, *part.get("anyOf", [])]
    return [word for option in options for word in option.get("enum", [])]
