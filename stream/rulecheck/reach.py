"""Conditions that can never be true, or never false: thresholds out of reach, bounds that exclude each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from stream.rulecheck.ranges import NAMES, SOFT, Possible, Range, compared, kept, range_of
from stream.rules.columns import FIDELITIES
from stream.rules.source import ExpressionError, Source, did_you_mean

WORDS = {"fidelity": FIDELITIES[1:]}  # strings of which all values are known


@dataclass(frozen=True, slots=True)
class Found:
    """A condition with something to be said of it; ``fatal``: because of it the whole can't be true."""

    fatal: bool
    error: ExpressionError


def unreachable(source: Source) -> list[Found]:
    """What can't be in an expression that is right in itself, in the order in which it stands."""
    reader = _Reader(source)
    dead = not reader.condition(source.tree).true
    found = [Found(dead and never, error) for never, error in reader.found]
    if dead and not any(each.fatal for each in found):
        found.append(Found(True, source.error(source.tree, f"{source.quoted(source.tree)} can never be true")))
    return sorted(found, key=lambda each: (each.error.line, each.error.column))


class _Reader:
    """Goes through an expression and notes the conditions that can't be what they look like."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.found: list[tuple[bool, ExpressionError]] = []  # whether it is never true, and what is said of it
        self._told: list[ast.expr] = []  # comparisons of which something more precise is said

    def condition(self, node: ast.expr) -> Possible:
        match node:
            case ast.BoolOp(op=ast.And()):
                parts = [self.condition(each) for each in node.values]
                fits = self._fit_together(node)
                return Possible(all(p.true for p in parts) and fits, any(p.false for p in parts) or not fits)
            case ast.BoolOp():
                parts = [self.condition(each) for each in node.values]
                return Possible(any(p.true for p in parts), all(p.false for p in parts))
            case ast.UnaryOp(op=ast.Not()):
                inner = self.condition(node.operand)
                return Possible(inner.false, inner.true)
            case ast.IfExp():
                test, yes, no = (self.condition(each) for each in (node.test, node.body, node.orelse))
                return Possible((test.true and yes.true) or (test.false and no.true), True)
            case ast.Constant():
                return Possible(bool(node.value), not node.value)
            case ast.Compare():
                return self._compare(node)
            case ast.Call():
                return self._call(node)
        return Possible(True, True)

    def _call(self, node: ast.Call) -> Possible:
        """Conditions inside of functions are looked at for themselves."""
        for argument in node.args:
            inner = kept(argument)
            if inner is argument and isinstance(inner, ast.Compare | ast.BoolOp | ast.UnaryOp):
                self._if_condition(inner)
        return Possible(True, True)

    def _if_condition(self, node: ast.expr) -> None:
        if not (isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not)):
            self.condition(node)

    def _compare(self, node: ast.Compare) -> Possible:
        sides = [node.left, *node.comparators]
        for side in sides:
            for each in ast.walk(side):
                if isinstance(each, ast.Call):
                    self._call(each)
        pairs = [self._pair(node, i) for i in range(len(node.ops))]
        found = Possible(all(pair.true for pair in pairs), any(pair.false for pair in pairs))
        if found.true and len(pairs) > 1 and not self._fit_together(node):
            return Possible(False, True)
        return self._noted(node, found)

    def _noted(self, node: ast.Compare, found: Possible) -> Possible:
        if (found.true and found.false) or node in self._told:
            return found
        text = self._source.quoted(node)
        if not found.true and not found.false:
            self._note(node, f"{text} is always unknown: it divides by 0", never=True)
            return found
        soft = any(isinstance(side, ast.Name) and side.id in SOFT for side in (node.left, *node.comparators))
        said = ("is hardly ever " if soft else "can never be ") + "true" if found.false else "is always true"
        self._note(node, f"{text} {said}{_why(node)}", never=not found.true)
        return Possible(True, True) if soft else found

    def _note(self, node: ast.expr, said: str, hint: str = "", never: bool = False) -> None:
        self.found.append((never, self._source.error(node, said, hint)))

    def _pair(self, node: ast.Compare, i: int) -> Possible:
        left, op, right = [node.left, *node.comparators][i], node.ops[i], node.comparators[i]
        if isinstance(op, ast.In | ast.NotIn):
            found = self._among(node, left, right)
            return found if isinstance(op, ast.In) else Possible(found.false, found.true)
        word = _word(left, right)
        if word is not None:
            return self._worded(node, op, *word)
        return compared(op, range_of(left), range_of(right))

    def _worded(self, node: ast.Compare, op: ast.cmpop, name: str, word: ast.Constant) -> Possible:
        """``fidelity == "ful"``."""
        if word.value in WORDS[name]:
            return Possible(True, True)
        self._odd_word(node, name, word, isinstance(op, ast.Eq))
        return Possible(False, True) if isinstance(op, ast.Eq) else Possible(True, False)

    def _odd_word(self, node: ast.Compare, name: str, word: ast.Constant, never: bool) -> None:
        hint = did_you_mean(str(word.value), WORDS[name]) or f"it is one of {', '.join(WORDS[name])}"
        self._note(word, f"`{name}` is never {self._source.quoted(word)}", hint, never)
        self._told.append(node)

    def _among(self, node: ast.Compare, left: ast.expr, right: ast.expr) -> Possible:
        elements = right.elts if isinstance(right, ast.List | ast.Tuple | ast.Set) else []
        if isinstance(left, ast.Name) and left.id in WORDS:
            words = [each for each in elements if isinstance(each, ast.Constant)]
            odd = [each for each in words if each.value not in WORDS[left.id]]
            for each in odd:
                self._odd_word(node, left.id, each, len(odd) == len(elements))
            return Possible(len(odd) < len(elements), True)
        own = range_of(left)
        return Possible(any(compared(ast.Eq(), own, range_of(each)).true for each in elements), True)

    def _fit_together(self, node: ast.BoolOp | ast.Compare) -> bool:
        """Whether all bounds that are set to one thing leave anything of it."""
        bounds: dict[str, _Bounds] = {}
        for left, op, right in _pairs(node):
            for term, word, other in ((left, op, right), (right, _turned(op), left)):
                if isinstance(other, ast.Constant) and not isinstance(term, ast.Constant):
                    bounds.setdefault(ast.dump(term), _Bounds(term)).take(word, other.value)
        empty = [each for each in bounds.values() if each.empty]
        for each in empty:
            said = f"the bounds of {self._source.quoted(each.term)} exclude each other"
            self._note(node, f"{self._source.quoted(node)} can never be true: {said}", never=True)
        return not empty


def _word(left: ast.expr, right: ast.expr) -> tuple[str, ast.Constant] | None:
    for name, other in ((left, right), (right, left)):
        if isinstance(name, ast.Name) and name.id in WORDS and isinstance(other, ast.Constant):
            return name.id, other
    return None


def _names(node: ast.expr) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


_KNOWN = {Range(0, 1): "lies between 0 and 1", Range(0, inf): "is never below 0"}


def _why(node: ast.Compare) -> str:
    """What is known of the names in it."""
    said = [f"{name} {_KNOWN[NAMES[name]]}" for name in sorted(_names(node) & set(NAMES))]
    return f": {', '.join(said)}" if said else ""


def _pairs(node: ast.BoolOp | ast.Compare) -> Iterator[tuple[ast.expr, ast.cmpop, ast.expr]]:
    """All comparisons that must hold together."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        yield from ((sides[i], op, sides[i + 1]) for i, op in enumerate(node.ops))
        return
    for each in node.values:
        if isinstance(each, ast.Compare) or (isinstance(each, ast.BoolOp) and isinstance(each.op, ast.And)):
            yield from _pairs(each)


_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}


def _turned(op: ast.cmpop) -> ast.cmpop:
    return _TURNED[type(op)]() if type(op) in _TURNED else op


class _Bounds:
    """What is left of a term when all comparisons with constants hold, as far as none of them is odd by itself."""

    def __init__(self, term: ast.expr) -> None:
        self.term, self._own = term, range_of(term)
        self._low, self._high = (-inf, 0), (inf, 0)  # a bound, and +1 or -1 where it is not allowed itself
        self._words: set[object] | None = None

    @property
    def empty(self) -> bool:
        return self._low > self._high if self._words is None else not self._words

    def take(self, op: ast.cmpop, value: object) -> None:
        """One more comparison."""
        if isinstance(value, str) and isinstance(op, ast.Eq):
            self._words = {value} if self._words is None else self._words & {value}
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        if not compared(op, self._own, Range(value, value)).true:
            return  # told by itself
        if isinstance(op, ast.Lt | ast.LtE | ast.Eq):
            self._high = min(self._high, (value, -isinstance(op, ast.Lt)))
        if isinstance(op, ast.Gt | ast.GtE | ast.Eq):
            self._low = max(self._low, (value, +isinstance(op, ast.Gt)))
