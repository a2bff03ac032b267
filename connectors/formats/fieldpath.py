"""Field paths (`a.b[0]`, `list[].x`, `values.*`) and templates (`{machine}/{sensor}`): where what stands."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import msgspec

MISSING: Final[object] = msgspec.UNSET  # what a path leads to where a message has no such field


class Many(Enum):
    """A step that leads to many places: each element of a list (`[]`), each member of an object (`*`, at the end)."""

    EACH = "[]"
    MEMBERS = "*"


Step = str | int | Many
_STEP = re.compile(r"""\.?(\*)(?=$)|\.?([^.\[\]"'{}]+)|\[(\d+)\]|\["([^"]*)"\]|(\[\])""")
_HEADER = "_header."
Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Path:
    """A way into a message: its JSON document, its key (``_key``) or one of its headers (``_header.x``)."""

    text: str
    steps: tuple[Step, ...]

    @property
    def each(self) -> tuple[Step, ...] | None:
        """The steps before `[]`, None where there is none."""
        return self.steps[: self.steps.index(Many.EACH)] if Many.EACH in self.steps else None

    @property
    def members(self) -> bool:
        """True where the path ends with `*`."""
        return bool(self.steps) and self.steps[-1] is Many.MEMBERS

    @property
    def inner(self) -> tuple[Step, ...]:
        """The steps from an element on (the whole path where there is no `[]`), without a `*` at the end."""
        start = self.steps.index(Many.EACH) + 1 if Many.EACH in self.steps else 0
        return self.steps[start:-1] if self.members else self.steps[start:]

    @property
    def outside(self) -> bool:
        """True where the path leads to the key or a header, not into the document."""
        return self.text == "_key" or self.text.startswith(_HEADER)

    def of(self, document: object, key: bytes | None, headers: Headers) -> object:
        """What stands there, ``MISSING`` where nothing does."""
        if self.outside:
            found = self.beside(key, headers)
            return MISSING if found is None else found
        return follow(document, self.steps)

    def beside(self, key: bytes | None, headers: Headers) -> bytes | None:
        """The key, or the header of that name; None where there is none."""
        if self.text == "_key":
            return key
        name = self.text.removeprefix(_HEADER)
        return next((value for header, value in headers if header == name), None)


def follow(document: object, steps: Sequence[Step]) -> object:
    """What stands at the end of these steps, ``MISSING`` where nothing does."""
    for step in steps:
        document = _into(document, step)
    return document


def _into(document: object, step: Step) -> object:
    if isinstance(step, str):
        return document.get(step, MISSING) if isinstance(document, dict) else MISSING
    return document[step] if isinstance(document, list) and isinstance(step, int) and step < len(document) else MISSING


def path(text: str) -> Path:
    """Read a path: names joined by dots, ``[0]`` for places in lists, ``["a.b"]`` for odd names; else ValueError.

    ``[]`` stands for every element of a list, ``*`` at the end for every member of an object.
    """
    if text.startswith(_HEADER) and len(text) > len(_HEADER):
        return Path(text, ())
    steps: list[Step] = []
    end = 0
    while end < len(text):
        found = _STEP.match(text, end)
        if found is None:
            break
        steps.append(_step(*found.groups()))
        end = found.end()
    if end < len(text) or not steps or text.startswith("."):
        raise ValueError(f'not a field path: {text!r}; write name, a.b, a[0], a[].b, a.* or a["odd.name"]')
    if "*" in steps and '"*"' not in text:
        raise ValueError(f'{text!r}: * stands at the end alone; a member of that name is ["*"]')
    if steps.count(Many.EACH) > 1 or steps[-1] is Many.EACH:
        raise ValueError(f"{text!r}: one [] at most, and a name behind it")
    return Path(text, tuple(steps))


def _step(members: str | None, name: str | None, place: str | None, quoted: str | None, each: str | None) -> Step:
    if members is not None:
        return Many.MEMBERS
    if place is not None:
        return int(place)
    return Many.EACH if each is not None else name if name is not None else str(quoted)


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
