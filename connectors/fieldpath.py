"""Field paths (`a.b[0]`) and templates (`{machine}/{sensor}`): where in a message a name or a value stands."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MISSING = object()  # what a path leads to where a message has no such field

_STEP = re.compile(r"""\.?([^.\[\]"'{}]+)|\[(\d+)\]|\["([^"]*)"\]""")
_HEADER = "_header."
Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Path:
    """A way into a message: its JSON document, its key (``_key``) or one of its headers (``_header.x``)."""

    text: str
    steps: tuple[str | int, ...]

    @property
    def simple(self) -> bool:
        """True for a field at the top of the document."""
        return len(self.steps) == 1 and isinstance(self.steps[0], str) and not self.outside

    @property
    def outside(self) -> bool:
        """True where the path leads to the key or a header, not into the document."""
        return self.text == "_key" or self.text.startswith(_HEADER)

    def of(self, document: object, key: bytes | None, headers: Headers) -> object:
        """What stands there, ``MISSING`` where nothing does."""
        if self.outside:
            found = self.beside(key, headers)
            return MISSING if found is None else found
        for step in self.steps:
            document = _into(document, step)
        return document

    def beside(self, key: bytes | None, headers: Headers) -> bytes | None:
        """The key, or the header of that name; None where there is none."""
        if self.text == "_key":
            return key
        name = self.text.removeprefix(_HEADER)
        return next((value for header, value in headers if header == name), None)


def _into(document: object, step: str | int) -> object:
    if isinstance(step, str):
        return document.get(step, MISSING) if isinstance(document, dict) else MISSING
    return document[step] if isinstance(document, list) and step < len(document) else MISSING


def path(text: str) -> Path:
    """Read a path: names joined by dots, ``[0]`` for places in lists, ``["a.b"]`` for odd names; else ValueError."""
    if text.startswith(_HEADER) and len(text) > len(_HEADER):
        return Path(text, ())
    steps: list[str | int] = []
    end = 0
    while end < len(text):
        found = _STEP.match(text, end)
        if found is None:
            break
        name, place, quoted = found.groups()
        steps.append(int(place) if place is not None else name if name is not None else quoted)
        end = found.end()
    if end < len(text) or not steps or text.startswith("."):
        raise ValueError(f'not a field path: {text!r}; write name, a.b, a[0] or a["odd.name"]')
    return Path(text, tuple(steps))


@dataclass(frozen=True, slots=True)
class Template:
    """Text with paths in it: ``literals`` stand before, between and after the ``paths``."""

    literals: tuple[str, ...]
    paths: tuple[Path, ...]

    def fill(self, parts: Sequence[str | int]) -> str:
        """The text, with one part for each path."""
        pieces = [self.literals[0]]
        for part, literal in zip(parts, self.literals[1:], strict=True):
            pieces += (str(part), literal)
        return "".join(pieces)


def template(text: str, known: Mapping[str, str]) -> Template:
    """Read a template; no braces = a path. ``known`` fills names now (``_topic``, ``_field``); else ValueError."""
    if "{" not in text and "}" not in text:
        text = "{" + text + "}"
    literals, paths = [""], []
    for literal, name, spec, conversion in string.Formatter().parse(text):
        literals[-1] += literal
        if name is None:
            continue
        if spec or conversion:
            raise ValueError(f"formats are not allowed in a template: {text!r}")
        if name in known:
            literals[-1] += known[name]
        else:
            paths.append(path(name))
            literals.append("")
    return Template(tuple(literals), tuple(paths))
