"""Texts of annotations and labels: ``{{ $labels.site }}``, ``{{ $value }}``, ``{{ $values.score }}`` filled in.

What can't be filled in is shown in the text, so that a slip in a template never loses an alert.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLACE = re.compile(r"\{\{-?\s*(.{0,200}?)\s*-?\}\}", re.DOTALL)
_NAMED = re.compile(r"\$(labels|values)\.(\w+)", re.ASCII)


def render(text: str, labels: Mapping[str, str], values: Mapping[str, float | str | None]) -> str:
    """The text with its places filled in."""
    if "{{" not in text:
        return text
    return _PLACE.sub(lambda place: _filled(place[1], labels, values), text)


def _filled(inside: str, labels: Mapping[str, str], values: Mapping[str, float | str | None]) -> str:
    named = _NAMED.fullmatch(inside)
    if inside == "$value" or (named and named[1] == "values"):
        name = named[2] if named else "value"
        return shown(values[name]) if name in values else f"<no value {name}>"
    if named:
        return labels.get(named[2], f"<no label {named[2]}>")
    return f"<template not understood: {inside}>"


def shown(value: float | str | None) -> str:
    """A value for people: six significant digits; "unknown" where absent."""
    if value is None:
        return "unknown"
    return value if isinstance(value, str) else f"{value:.6g}"
