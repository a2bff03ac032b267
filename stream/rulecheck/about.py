"""Which streams a rule can be about: what its condition says of names alone, whatever their readings are."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from stream.rules.columns import Bools, Observed
from stream.rules.expression import compile_expression
from stream.rules.source import Source

BY_NAME = ("stream", "group", "labels")
TEXTS = ("startswith", "endswith", "contains", "matches")


@dataclass(slots=True)
class Streams:
    """The streams there are, in columns; ``where`` says whose they are, ``all`` whether these are all."""

    where: str = ""
    names: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: list[Mapping[str, str]] = field(default_factory=list)
    all: bool = True

    def __len__(self) -> int:
        return len(self.names)

    def add(self, name: str, group: str, labels: Mapping[str, str]) -> None:
        """One more."""
        self.names.append(name)
        self.groups.append(group)
        self.labels.append(labels)


class _Can(NamedTuple):
    """Where a condition can be true, and where it can be false [n]."""

    true: Bools
    false: Bools


def meant(expr: str, streams: Streams) -> Bools:
    """The streams [n] for which a condition that compiles can be true at all."""
    return _can(Source(expr).tree, streams).true


def _can(node: ast.expr, streams: Streams) -> _Can:
    if _by_name(node):
        return _evaluated(ast.unparse(node), streams)
    match node:
        case ast.BoolOp():
            parts = [_can(each, streams) for each in node.values]
            both, either = (
                (np.logical_and, np.logical_or) if isinstance(node.op, ast.And) else (np.logical_or, np.logical_and)
            )
            return _Can(both.reduce([p.true for p in parts]), either.reduce([p.false for p in parts]))
        case ast.UnaryOp(op=ast.Not()):
            inner = _can(node.operand, streams)
            return _Can(inner.false, inner.true)
        case ast.IfExp():
            test, yes, no = (_can(each, streams) for each in (node.test, node.body, node.orelse))
            return _Can((test.true & yes.true) | (test.false & no.true), np.ones(len(streams), bool))
    everywhere = np.ones(len(streams), bool)
    return _Can(everywhere, everywhere)


def _by_name(node: ast.expr) -> bool:
    """Whether a condition asks for nothing but who a stream is."""
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    conditions = ast.Compare | ast.Call | ast.BoolOp | ast.UnaryOp | ast.Constant
    return isinstance(node, conditions) and names <= {*BY_NAME, *TEXTS}


def _evaluated(text: str, streams: Streams) -> _Can:
    n = len(streams)
    observed = Observed(0, 1, np.arange(n, dtype=np.int32), {}, np.zeros(n, np.int8))
    truth = compile_expression(text).evaluate(observed, streams)
    return _Can(~np.asarray(truth.false, bool), ~np.asarray(truth.true, bool))


def example(streams: Sequence[str]) -> str:
    """A few names, for messages."""
    shown = ", ".join(list(streams)[:3])
    return shown + (", ..." if len(streams) > 3 else "")
