"""A checked piece of an expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stream.rules.functions import Kind
from stream.rules.remembered import Run

NUMBER = "number"  # in Part.needs: a column that changes at each step


@dataclass(frozen=True, slots=True)
class Part:
    """What a piece gives, what it depends on, and how it is computed."""

    kind: Kind
    needs: frozenset[str]
    run: Run


def constant(kind: Kind, value: Any) -> Part:
    """A piece that depends on nothing."""
    return Part(kind, frozenset(), lambda rows: value)
