"""From the syntax tree of an expression to closures on columns, with every name and type checked on the way."""

from __future__ import annotations

import ast
import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from stream.rules.around import Ask
from stream.rules.columns import NUMBERS, STRINGS, Rows
from stream.rules.functions import (
    ARITHMETIC,
    COMPARISONS,
    FUNCTIONS,
    Function,
    Kind,
    among,
    choose_texts,
    choose_values,
)
from stream.rules.grouped import GROUPED, Grouped, spread
from stream.rules.over import OVER, Over, Window
from stream.rules.part import NUMBER, Part, constant
from stream.rules.pattern import PatternError, compiled, longest_text
from stream.rules.recall import SAID
from stream.rules.remembered import FIDELITY, NOTHING, SLOT, ByFidelity, BySlot, Run
from stream.rules.source import ExpressionError, Source, did_you_mean
from stream.rules.span import Span, parse_span
from stream.rules.truth import Truth, both, choose, differ, either, opposite, predicate, same

KNOWN: dict[str, Function] = {**FUNCTIONS, **OVER, **GROUPED}
LONGEST = 366 * 86_400_000_000_000  # ns, of a span that a function looks back
SECOND = 1_000_000_000  # ns
_OWN_UNITS = {"value", "expected", "low", "high"}
_WORDS = {"true": "True", "false": "False", "and": "and", "or": "or", "not": "not"}
_HINTS: dict[type[ast.AST], str] = {
    ast.BitAnd: "write `and`",
    ast.BitOr: "write `or`",
    ast.Invert: "write `not`",
    ast.Is: "write `==`",
    ast.IsNot: "write `!=`",
    ast.BitXor: "write `**` for powers",
}


class Compiler:
    """Compiles one expression. What depends on the stream's name alone is remembered per slot (``by_slot``).

    ``asks`` are the windows it needs to be kept, for the streams that ``guard`` does not rule out.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.by_slot: list[BySlot] = []
        self._windows: list[Ask] = []
        self._guards: list[Part] = []
        self.drivers: tuple[Grouped, Run] | None = None  # the first group function, and what it is of

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Windows, each once; where a group is looked at, for all streams."""
        unique = {ask.window: ask for ask in self._windows}.values()
        if self.drivers or not self._guards or not unique:
            return tuple(unique)
        guard = self._settled(self._joined("condition", self._guards, lambda *each: reduce(both, each)))
        return tuple(replace(ask, guard=guard) for ask in unique)

    def condition(self) -> Run:
        """The whole expression, which must be a condition."""
        part = self.part(self.source.tree)
        if part.kind != "condition":
            hint = "compare it, like `score > 1`" if part.kind == "number" else 'compare it, like `group == "a"`'
            said = f"a rule needs a condition, and {self.source.quoted(self.source.tree)} is a {part.kind}"
            raise self.source.error(self.source.tree, said, hint)
        return self._settled(part)

    def part(self, node: ast.expr) -> Part:
        build = _BUILDERS.get(type(node))
        if build is None:
            raise self.source.error(node, f"{self.source.quoted(node)} is not allowed in an expression")
        return build(self, node)

    def _settled(self, part: Part) -> Run:
        """How to compute a part that others depend less on: constants once, names once per stream."""
        if not part.needs:
            value = self._value(part)
            return lambda rows: value
        if part.needs == {SLOT}:
            self.by_slot.append(BySlot(part.kind, part.run))
            return self.by_slot[-1]
        return ByFidelity(part.kind, part.run) if part.needs == {FIDELITY} else part.run

    def _value(self, part: Part) -> Any:
        """The value of a constant; numbers become Python's, so that they take on the precision of a column."""
        with np.errstate(all="ignore"):
            value = part.run(NOTHING)
        return value if isinstance(value, Truth) else np.asarray(value).item()

    def _joined(self, kind: Kind, parts: Sequence[Part], run: Callable[..., Any]) -> Part:
        needs = frozenset[str]().union(*(part.needs for part in parts))
        runs = [part.run if part.needs == needs else self._settled(part) for part in parts]
        if len(runs) == 1:
            only = runs[0]
            return Part(kind, needs, lambda rows: run(only(rows)))
        if len(runs) == 2:
            left, right = runs
            return Part(kind, needs, lambda rows: run(left(rows), right(rows)))
        return Part(kind, needs, lambda rows: run(*[each(rows) for each in runs]))

    def _of_kind(self, node: ast.expr, kind: Kind, where: str) -> Part:
        part = self.part(node)
        if part.kind != kind:
            hint = "compare it first, like `score > 1`" if kind == "condition" and part.kind == "number" else ""
            said = f"{where} takes a {kind}, and {self.source.quoted(node)} is a {part.kind}"
            raise self.source.error(node, said, hint)
        return part

    def constant(self, node: ast.Constant) -> Part:
        value = node.value
        if isinstance(value, bool):
            return constant("condition", Truth(np.bool_(value), np.bool_(not value)))
        if isinstance(value, int | float):
            return constant("number", self._finite(node, value))
        if isinstance(value, str):
            return constant("string", value)
        hint = "what is absent makes a comparison unknown by itself" if value is None else ""
        raise self.source.error(node, f"{self.source.quoted(node)} is not a number, a string or a condition", hint)

    def _finite(self, node: ast.Constant, value: int | float) -> float:
        if abs(value) > sys.float_info.max:  # Python compares integers of any size exactly
            raise self.source.error(node, "this number is too large")
        return float(value)

    def name(self, node: ast.Name) -> Part:
        name = node.id
        if name in NUMBERS:
            return Part("number", frozenset({NUMBER}), lambda rows: rows.number(name))
        if name in STRINGS:
            needs = FIDELITY if name == "fidelity" else SLOT
            return Part("string", frozenset({needs}), lambda rows: rows.text(name))
        raise self._unknown(node, name)

    def _unknown(self, node: ast.Name, name: str) -> ExpressionError:
        if name == "labels":
            return self.source.error(node, "`labels` needs the name of a label", 'write `labels["site"]`')
        if name in KNOWN:
            return self.source.error(node, f"`{name}` is a function", f"write `{KNOWN[name].form}`")
        word = _WORDS.get(name.lower())
        hint = f"did you mean `{word}`?" if word else did_you_mean(name, (*NUMBERS, *STRINGS, "labels"))
        return self.source.error(node, f"unknown name `{name}`", hint)

    def label(self, node: ast.Subscript) -> Part:
        key = node.slice
        if not (isinstance(node.value, ast.Name) and node.value.id == "labels"):
            raise self.source.error(node, "only `labels` has parts", 'write `labels["site"]`')
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            raise self.source.error(key, "the name of a label is a constant string", 'write `labels["site"]`')
        text: str = key.value
        return Part("string", frozenset({SLOT}), lambda rows: rows.label(text))

    def attribute(self, node: ast.Attribute) -> Part:
        is_label = isinstance(node.value, ast.Name) and node.value.id == "labels"
        hint = f'write `labels["{node.attr}"]`' if is_label else ""
        raise self.source.error(node, f"{self.source.quoted(node)}: a dot has no meaning here", hint)

    def logical(self, node: ast.BoolOp) -> Part:
        word, join = ("and", both) if isinstance(node.op, ast.And) else ("or", either)
        parts = [self._of_kind(value, "condition", f"`{word}`") for value in node.values]
        if node is self.source.tree and join is both:
            self._guards = [part for part in parts if part.needs == {SLOT}]
        return self._joined("condition", parts, lambda *each: reduce(join, each))

    def unary(self, node: ast.UnaryOp) -> Part:
        if isinstance(node.op, ast.Invert):
            raise self.source.error(node, "`~` has no meaning here", _HINTS[ast.Invert])
        if isinstance(node.op, ast.Not):
            return self._joined("condition", [self._of_kind(node.operand, "condition", "`not`")], opposite)
        minus = isinstance(node.op, ast.USub)
        part = self._of_kind(node.operand, "number", "`-`" if minus else "`+`")
        return self._joined("number", [part], operator.neg if minus else operator.pos)

    def binary(self, node: ast.BinOp) -> Part:
        run = ARITHMETIC.get(type(node.op))
        if run is None:
            sign = f"{self.source.quoted(node)}: this operator has no meaning here"
            raise self.source.error(node, sign, _HINTS.get(type(node.op), ""))
        parts = [self._of_kind(side, "number", "arithmetic") for side in (node.left, node.right)]
        return self._joined("number", parts, run)

    def if_else(self, node: ast.IfExp) -> Part:
        test = self._of_kind(node.test, "condition", "`if`")
        yes, no = self.part(node.body), self.part(node.orelse)
        if yes.kind != no.kind:
            said = f"one branch is a {yes.kind}, the other a {no.kind}: both must be the same"
            raise self.source.error(node, said)
        run = {"condition": choose, "number": choose_values, "string": choose_texts}[yes.kind]
        return self._joined(yes.kind, [test, yes, no], run)

    def compare(self, node: ast.Compare) -> Part:
        """``a < b < c`` is ``a < b and b < c``."""
        sides = [node.left, *node.comparators]
        pairs = [self._pair(sides[i], op, sides[i + 1]) for i, op in enumerate(node.ops)]
        return self._joined("condition", pairs, lambda *each: reduce(both, each))

    def _pair(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Part:
        if isinstance(op, ast.In | ast.NotIn):
            found = self._among(self.part(left), left, right)
            return found if isinstance(op, ast.In) else self._joined("condition", [found], opposite)
        if isinstance(op, ast.Is | ast.IsNot):
            raise self.source.error(left, "`is` has no meaning here", _HINTS[type(op)])
        a, b = self.part(left), self.part(right)
        if a.kind != b.kind:
            said = f"{self.source.quoted(left)} is a {a.kind} and {self.source.quoted(right)} is a {b.kind}"
            raise self.source.error(right, f"{said}: they can't be compared")
        return self._joined("condition", [a, b], self._comparison(a.kind, op, right))

    def _comparison(self, kind: Kind, op: ast.cmpop, node: ast.expr) -> Callable[..., Truth]:
        if kind == "number":
            return COMPARISONS[type(op)]
        if not isinstance(op, ast.Eq | ast.NotEq):
            raise self.source.error(node, f"a {kind} can't be larger or smaller", "use `==` or `!=`")
        equal = isinstance(op, ast.Eq)
        if kind == "string":
            return predicate(operator.eq if equal else operator.ne)
        return same if equal else differ

    def _among(self, part: Part, left: ast.expr, right: ast.expr) -> Part:
        constants = self._constants(right)
        kinds = sorted({"string" if isinstance(value, str) else "number" for value in constants})
        if kinds != [part.kind]:
            said = f"{self.source.quoted(left)} is a {part.kind}, and the list holds {'s and '.join(kinds)}s"
            raise self.source.error(right, said)
        run = among(constants) if part.kind == "number" else predicate(frozenset(constants).__contains__)
        return self._joined("condition", [part], run)

    def _constants(self, node: ast.expr) -> list[Any]:
        if not isinstance(node, ast.List | ast.Tuple | ast.Set):
            hint = 'write `contains(stream, "temp")` to look inside a string'
            raise self.source.error(node, 'after `in` comes a list of constants, like ["a", "b"]', hint)
        if not node.elts:
            raise self.source.error(node, "the list is empty")
        return [self._element(each) for each in node.elts]

    def _element(self, node: ast.expr) -> Any:
        part = self.part(node)
        if part.needs or part.kind == "condition":
            raise self.source.error(node, "a list holds numbers or strings that are constants")
        return self._value(part)

    def call(self, node: ast.Call) -> Part:
        function = self._function(node.func)
        if node.keywords or any(isinstance(each, ast.Starred) for each in node.args):
            raise self.source.error(node, "arguments are given by position", f"write `{function.form}`")
        few = len(node.args) < len(function.takes)
        if few or (len(node.args) > len(function.takes) and not function.more):
            said = f"{self.source.quoted(node)}: wrong number of arguments"
            raise self.source.error(node, said, f"write `{function.form}`")
        if isinstance(function, Over):
            return self._over(node, function)
        kinds = [*function.takes, *[function.takes[-1]] * (len(node.args) - len(function.takes))]
        where = self.source.quoted(node.func)
        parts = [self._of_kind(each, kind, where) for each, kind in zip(node.args, kinds, strict=True)]
        if function is FUNCTIONS["matches"]:
            return self._joined("condition", parts[:1], self._pattern(node.args[1]))
        if isinstance(function, Grouped):
            return self._of_group(function, parts[0])
        return self._joined(function.gives, parts, function.run)

    def _of_group(self, function: Grouped, part: Part) -> Part:
        argument, run = self._settled(part), function.run
        self.drivers = self.drivers or (function, argument)

        def found(rows: Rows) -> Any:
            if rows.around is None or not len(rows.slots):
                return np.nan
            return run(rows.around.members(rows), spread(argument(rows), len(rows.slots)))

        return Part("number", frozenset({NUMBER}), found)

    def _over(self, node: ast.Call, function: Over) -> Part:
        argument, name = self._named(node.args[0]), self.source.quoted(node.func)
        part = self._of_kind(argument, function.takes[0], name)
        window = Window(name.strip("`"), ast.unparse(argument), self._span(node.args[1], function))
        in_own_units = part.kind == "number" and not _OWN_UNITS.isdisjoint(_names(argument))
        self._windows.append(Ask(window, self._settled(part), in_own_units, said=SAID & _mentioned(argument)))
        unknown = np.nan if function.gives == "number" else Truth(np.bool_(False), np.bool_(False))

        def found(rows: Rows) -> Any:
            return unknown if rows.around is None else rows.around.window(window, rows)

        return Part(function.gives, frozenset({NUMBER}), found)

    def _named(self, node: ast.expr) -> ast.expr:
        """``avg_over("value", "5m")`` is ``avg_over(value, "5m")``."""
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            return node
        if node.value not in NUMBERS:
            hint = (
                did_you_mean(node.value, NUMBERS) if node.value.isidentifier() else "write an expression without quotes"
            )
            raise self.source.error(node, f"{self.source.quoted(node)} is not the name of a number", hint)
        return ast.copy_location(ast.Name(node.value, ast.Load()), node)

    def _span(self, node: ast.expr, function: Over) -> Span:
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            said = f"a span is a text, and {self.source.quoted(node)} is none"
            raise self.source.error(node, said, f"write `{function.form}`")
        try:
            span = parse_span(node.value)
        except ValueError as error:
            raise self.source.error(node, str(error)) from None
        if span.ns + span.steps == 0:
            raise self.source.error(node, "a span must be longer than 0")
        if span.ns > LONGEST or span.steps > LONGEST // SECOND:
            raise self.source.error(node, f"{node.value!r} is too long: at most 366d")
        return span

    def _function(self, node: ast.expr) -> Function:
        if not isinstance(node, ast.Name):
            raise self.source.error(node, f"{self.source.quoted(node)} is not a function")
        if node.id not in KNOWN:
            known = node.id in NUMBERS or node.id in STRINGS or node.id == "labels"
            said = f"`{node.id}` is not a function" if known else f"unknown function `{node.id}`"
            raise self.source.error(node, said, did_you_mean(node.id, KNOWN))
        return KNOWN[node.id]

    def _pattern(self, node: ast.expr) -> Callable[..., Truth]:
        """Like Prometheus' ``=~``, a pattern must match the whole text."""
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            raise self.source.error(node, "the pattern must be a constant string")
        try:
            pattern = compiled(node.value)
        except PatternError as error:
            raise self.source.error(node, str(error)) from None
        longest = longest_text(node.value)
        return predicate(lambda text: pattern.fullmatch(text) is not None if len(text) <= longest else None)


def _names(node: ast.expr) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _mentioned(node: ast.expr) -> set[str]:
    """Names, those in quotes too: what ``avg_over("score", "5m")`` is about."""
    texts = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    return texts | _names(node)


_BUILDERS: dict[type[ast.expr], Callable[[Compiler, Any], Part]] = {
    ast.Constant: Compiler.constant,
    ast.Name: Compiler.name,
    ast.Subscript: Compiler.label,
    ast.Attribute: Compiler.attribute,
    ast.BoolOp: Compiler.logical,
    ast.UnaryOp: Compiler.unary,
    ast.BinOp: Compiler.binary,
    ast.IfExp: Compiler.if_else,
    ast.Compare: Compiler.compare,
    ast.Call: Compiler.call,
}
