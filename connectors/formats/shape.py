"""Where in a message the fields of readings stand: once for all, in each element of a list, by member, in arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from connectors.formats.block import Block, Column, chained, spread_lists
from connectors.formats.decoded import Undecodable
from connectors.formats.fieldpath import MISSING, Many, Path, Step, follow

FIELD = "_field"  # in a template: which of several values, or which member


@dataclass(frozen=True, slots=True)
class Shape:
    """The paths of all fields, and what they have in common.

    ``each``: the list whose elements are readings (None = the message is one reading, or a list of them);
    ``members``: the value path ends with `*`; ``arrays``: a field may be an array, a reading for each element.
    """

    paths: tuple[Path, ...]  # in the message, each once
    value: tuple[Path, ...]
    each: tuple[Step, ...] | None
    members: bool
    arrays: bool

    @property
    def packs(self) -> bool:
        """True where names may come in arrays."""
        return self.arrays and self.each is None and not self.members

    @property
    def member_path(self) -> Path:
        """The value path that ends with `*`."""
        return self.value[0]

    def single(self) -> list[Path]:
        """The paths that lead to one place in the message or element."""
        return [where for where in self.paths if not where.members and where.text != FIELD]


def shape_of(inside: Sequence[Path], value: Sequence[Path], arrays: bool) -> Shape:
    """Of all paths into the message; raises ValueError where they don't go together."""
    paths = tuple({where.text: where for where in inside}.values())
    lists = {where.each for where in paths if where.each is not None}
    if len(lists) > 1:
        raise ValueError("fields: all paths with [] have to lead through the same list")
    members = any(where.members for where in value)
    if members and len(value) > 1:
        raise ValueError("fields.value: a path that ends with * stands alone")
    if any(where.members for where in paths if where not in value):
        raise ValueError("fields: only fields.value may end with *")
    return Shape(paths, tuple(value), next(iter(lists), None), members, arrays)


def exact(document: object, message: int, shape: Shape) -> Block:
    """All rows of one message; raises Undecodable where it has another shape."""
    whole, elements = _elements(document, shape)
    columns = {where.text: Column([_at(where, whole, each) for each in elements]) for where in shape.single()}
    block = Block(np.full(len(elements), message, np.intp), columns)
    if shape.members and elements:
        block = _members(block, elements, shape)
    if shape.arrays:
        block, unequal = spread_lists(block)
        if len(unequal):
            raise Undecodable("wrong_length", "arrays of different lengths")
    return block


def _elements(document: object, shape: Shape) -> tuple[object, Sequence[object]]:
    """The document, and what of it the readings are in."""
    if shape.each is None:
        elements = document if isinstance(document, list) else [document]
        wrong = next((each for each in elements if not isinstance(each, dict)), None)
        if wrong is not None:
            raise Undecodable("not_object", f"not an object but {type(wrong).__name__}")
        return document, elements
    found = follow(document, shape.each)
    if shape.each and not isinstance(document, dict):
        raise Undecodable("not_object", f"not an object but {type(document).__name__}")
    if found is MISSING or found is None:
        raise Undecodable("missing_value", f"no list at {_text(shape.each)}")
    if not isinstance(found, list):
        raise Undecodable("wrong_type", f"not a list at {_text(shape.each)} but {type(found).__name__}")
    return document, found


def _at(where: Path, document: object, element: object) -> object:
    return follow(element if Many.EACH in where.steps or isinstance(document, list) else document, where.inner)


def _members(block: Block, elements: Sequence[object], shape: Shape) -> Block:
    """A row for each member that is a number or null; others are no values, and passed over."""
    path = shape.member_path
    used = {where.inner[0] for where in shape.single()} if not path.inner else set()
    found, passed = [], 0
    for element in elements:
        inside = follow(element, path.inner)
        if inside is MISSING or inside is None:
            raise Undecodable("missing_value", f"no {path.text}")
        if not isinstance(inside, dict):
            raise Undecodable("wrong_type", f"{path.text}: not an object but {type(inside).__name__}")
        own = {name: value for name, value in inside.items() if name not in used}
        good = {name: value for name, value in own.items() if isinstance(name, str) and _value(value, shape.arrays)}
        passed += len(own) - len(good)
        found.append(good)
    if passed and not any(found):
        raise Undecodable("missing_value", f"no numbers in {path.text}")
    names, counts = chained([list(values) for values in found])
    values, _ = chained([list(each.values()) for each in found])
    return block.spread(counts, {FIELD: Column(names), path.text: Column(values)})


def _value(value: object, arrays: bool) -> bool:
    """True for what can be a member's value: a number or null; in arrays, whatever a list holds."""
    if arrays and isinstance(value, list):
        return True
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _text(steps: Sequence[Step]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".") or "the top"
