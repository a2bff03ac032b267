"""Templates read into closures: text, actions, ``if`` and ``with``, pipelines and variables, all checked on the way.

The language is Go's text/template without loops and named templates, which alerts have no use for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream.rules.columns import NUMBERS
from stream.rules.pattern import PatternError, compiled
from stream.rules.source import did_you_mean
from stream.rules.template_format import cleaned, plain
from stream.rules.template_functions import FUNCTIONS, LAZY, NOT_HERE, Function
from stream.rules.template_lexer import Action, Sign, TemplateError, cut, error_at, unquoted
from stream.rules.template_scope import (
    Root,
    Run,
    Scope,
    Values,
    assign,
    choice,
    declare,
    in_turn,
    lazy,
    quiet,
    shown,
    writer,
)

MOST_DEPTH = 50
ROOT = {"Labels": "labels", "Values": "values", "Value": "", "ExternalLabels": "labels", "ExternalURL": ""}
VARIABLES = {
    "$": "root", "$labels": "labels", "$values": "values", "$value": "", "$externalLabels": "labels",
    "$externalURL": "",
}  # fmt: skip
VALUES = (*NUMBERS, "fidelity", "streams", "left_out", "limit")  # the last three are those of heed's own alerts
_CONSTANTS = {"true": True, "false": False, "nil": None}
_LOOPS = ("range", "define", "template", "block", "break", "continue")


@dataclass(frozen=True, slots=True)
class Part:
    """A checked operand or pipeline. ``kind``: root, labels, values, or "" where nothing is known of it."""

    run: Run
    kind: str = ""


class Parser:
    """Parses one template. Raises TemplateError."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._actions: list[Action] = list(cut(text))
        self._at = 0
        self._known: list[tuple[str, str]] = list(VARIABLES.items())  # variables and their kinds, the newest last
        self._dot = ["root"]

    def template(self) -> Run:
        """The whole text."""
        body, end = self._block(0)
        if end is not None:
            raise self._error(end, f"this `{_keyword(end)}` ends nothing")
        return body

    def _error(self, where: Action | Sign, message: str, hint: str = "") -> TemplateError:
        return error_at(self.text, where.at, message, hint, len(where.text.split("\n")[0]))

    def _block(self, depth: int) -> tuple[Run, Action | None]:
        """Statements up to the ``end`` or ``else`` that ends them, which is given back too."""
        known, steps = len(self._known), []
        end = None
        while self._at < len(self._actions):
            action = self._actions[self._at]
            self._at += 1
            if _keyword(action) in ("end", "else"):
                end = action
                break
            steps.append(self._statement(action, depth))
        del self._known[known:]
        return in_turn(steps), end

    def _statement(self, action: Action, depth: int) -> Run:
        if action.signs is None:
            return writer(action.text)
        word = _keyword(action)
        if word in ("if", "with"):
            return self._branch(action, action.signs[1:], word, depth + 1)
        if word in _LOOPS:
            raise self._error(action, f"`{word}` has no meaning in the texts of an alert")
        line = _Line(self, action, action.signs)
        part = line.pipeline()
        return quiet(part.run) if line.declares else shown(part.run)

    def _branch(self, action: Action, signs: Sequence[Sign], word: str, depth: int) -> Run:
        if depth > MOST_DEPTH:
            raise self._error(action, f"nested deeper than {MOST_DEPTH} levels")
        known = len(self._known)
        test = _Line(self, action, signs).pipeline()
        if word == "with":
            self._dot.append(test.kind)
        yes, end = self._block(depth)
        if word == "with":
            self._dot.pop()
        no = self._otherwise(action, end, depth)
        del self._known[known:]
        return choice(test.run, yes, no, word == "with")

    def _otherwise(self, action: Action, end: Action | None, depth: int) -> Run:
        """What stands between ``else`` and ``end``."""
        if end is None:
            raise self._error(action, f"this `{_keyword(action)}` has no {{{{ end }}}}")
        signs = end.signs or ()
        if signs[0].text == "end":
            self._alone(end, 1)
            return in_turn([])
        if len(signs) > 1 and signs[1].text in ("if", "with"):
            return self._branch(end, signs[2:], signs[1].text, depth + 1)
        self._alone(end, 1)
        body, last = self._block(depth)
        if last is None or _keyword(last) != "end":
            raise self._error(last or end, "after `else` comes {{ end }}")
        return body

    def _alone(self, action: Action, signs: int) -> None:
        if len(action.signs or ()) > signs:
            raise self._error((action.signs or ())[signs], f"nothing may follow `{_keyword(action)}` here")

    def declare(self, name: str, kind: str) -> None:
        """A variable is known from here to the end of its block."""
        self._known.append((name, kind))

    def kind_of(self, name: str) -> str | None:
        """The kind of a variable, None where there is none."""
        return next((kind for known, kind in reversed(self._known) if known == name), None)

    @property
    def dot(self) -> str:
        return self._dot[-1]

    @property
    def variables(self) -> list[str]:
        return [name for name, _kind in self._known]


class _Line:
    """Parses the signs of one action."""

    def __init__(self, parser: Parser, action: Action, signs: Sequence[Sign]) -> None:
        self._parser, self._action, self._signs = parser, action, signs
        self._at = 0
        self.declares = False

    def _error(self, sign: Sign | Action, message: str, hint: str = "") -> TemplateError:
        return error_at(self._parser.text, sign.at, message, hint, len(sign.text.split("\n")[0]))

    def _peek(self, ahead: int = 0) -> Sign | None:
        at = self._at + ahead
        return self._signs[at] if at < len(self._signs) else None

    def pipeline(self) -> Part:
        """The whole action."""
        first, second = self._peek(), self._peek(1)
        if first and second and first.kind == "variable" and second.text in (":=", "="):
            return self._assignment(first, second)
        part = self._commands(0)
        left = self._peek()
        if left is not None:
            raise self._error(left, f"`{left.text}` has no place here")
        return part

    def _assignment(self, name: Sign, sign: Sign) -> Part:
        if sign.text == "=":
            self._kind(name)
        self._at, self.declares = 2, True
        part = _Line(self._parser, self._action, self._signs[2:]).pipeline()
        if sign.text == "=":
            return Part(assign(name.text, part.run))
        self._parser.declare(name.text, part.kind)
        return Part(declare(name.text, part.run), part.kind)

    def _commands(self, depth: int) -> Part:
        """Commands with ``|`` between them; each gets what the one before gives as its last argument."""
        part = self._command(None, depth)
        while (sign := self._peek()) is not None and sign.text == "|":
            self._at += 1
            part = self._command(part, depth)
        return part

    def _command(self, piped: Part | None, depth: int) -> Part:
        first = self._peek()
        if first is None or first.text in ("|", ")"):
            raise self._error(first or self._action, "a value is missing here")
        if first.kind == "word" and first.text not in _CONSTANTS:
            self._at += 1
            return self._call(first, self._operands(depth), piped)
        operands = self._operands(depth)
        if piped is not None or len(operands) > 1:
            raise self._error(first, f"`{first.text}` is not a function, and takes no arguments")
        return operands[0][1]

    def _operands(self, depth: int) -> list[tuple[Sign, Part]]:
        found: list[tuple[Sign, Part]] = []
        while (sign := self._peek()) is not None and sign.text not in ("|", ")"):
            if sign.glued and found:
                raise self._error(sign, "a space is missing before this")
            found.append((sign, self._operand(depth)))
        return found

    def _operand(self, depth: int) -> Part:
        sign = self._signs[self._at]
        self._at += 1
        part = self._primary(sign, depth)
        while (after := self._peek()) is not None and after.kind == "field" and after.glued:
            self._at += 1
            part = self._field(part, after)
        return part

    def _primary(self, sign: Sign, depth: int) -> Part:
        if sign.text == "(" and sign.kind == "mark":
            return self._bracket(sign, depth)
        if sign.kind in ("text", "number", "char"):
            value = self._constant(sign)
            return Part(lambda scope: value)
        if sign.kind == "variable":
            name, kind = sign.text, self._kind(sign)
            return Part(lambda scope: scope.variable(name), kind)
        if sign.kind in ("dot", "field"):
            dot = Part(lambda scope: scope.dot, self._parser.dot)
            return dot if sign.kind == "dot" else self._field(dot, sign)
        if sign.kind == "word":
            return self._word(sign)
        raise self._error(sign, f"`{sign.text}` has no place here")

    def _bracket(self, sign: Sign, depth: int) -> Part:
        if depth >= MOST_DEPTH:
            raise self._error(sign, f"nested deeper than {MOST_DEPTH} levels")
        part = self._commands(depth + 1)
        if self._peek() is None:
            raise self._error(sign, "this bracket is never closed")
        self._at += 1
        return part

    def _constant(self, sign: Sign) -> Any:
        if sign.kind == "text":
            return unquoted(sign, self._parser.text)
        if sign.kind == "char":
            return ord(unquoted(sign, self._parser.text)[0])
        if "x" in sign.text.lower():
            return int(sign.text, 16)
        return int(sign.text) if sign.text.lstrip("+-").isdigit() else float(sign.text)

    def _word(self, sign: Sign) -> Part:
        if sign.text in _CONSTANTS:
            value = _CONSTANTS[sign.text]
            return Part(lambda scope: value)
        return self._call(sign, [], None)

    def _kind(self, sign: Sign) -> str:
        kind = self._parser.kind_of(sign.text)
        if kind is None:
            if sign.text[1:] in VALUES:
                hint = f"write `$values.{sign.text[1:]}`"
            else:
                hint = _near(sign.text, self._parser.variables)
            raise self._error(sign, f"unknown variable `{sign.text}`", hint)
        return kind

    def _field(self, of: Part, sign: Sign) -> Part:
        name = sign.text[1:]
        known = {"root": tuple(ROOT), "values": VALUES}.get(of.kind)
        if known and name not in known:
            hint = _near(name, known) or f"known here: {', '.join(known)}"
            raise self._error(sign, f"unknown name `{name}`", hint)
        run, kind = of.run, ROOT[name] if of.kind == "root" else ""
        return Part(lambda scope: self._part_of(run(scope), name, sign), kind)

    def _part_of(self, value: Any, name: str, sign: Sign) -> Any:
        if isinstance(value, Root) and name not in value:
            raise self._error(sign, f"there is no `{name}`")
        if not isinstance(value, Mapping):
            raise self._error(sign, f"{plain(value)} has no part `{name}`")
        return cleaned(value.get(name)) if isinstance(value, Values) else value.get(name, "")

    def _call(self, sign: Sign, operands: list[tuple[Sign, Part]], piped: Part | None) -> Part:
        name = sign.text
        parts = [part for _sign, part in operands] + ([piped] if piped else [])
        runs = [part.run for part in parts]
        if name in LAZY:
            if not runs:
                raise self._error(sign, f"`{name}` takes at least one argument")
            return Part(lazy(runs, LAZY[name]))
        function = FUNCTIONS.get(name)
        if function is None:
            hint = NOT_HERE.get(name) or _near(name, [*FUNCTIONS, *LAZY])
            raise self._error(sign, f"unknown function `{name}`", hint)
        self._check_arguments(sign, function, operands, len(runs))
        return Part(self._calling(sign, function, runs))

    def _check_arguments(self, sign: Sign, function: Function, operands: list[tuple[Sign, Part]], n: int) -> None:
        if not function.least <= n <= function.most:
            wanted = f"{function.least}" if function.least == function.most else f"at least {function.least}"
            raise self._error(sign, f"`{sign.text}` takes {wanted} argument{'s' * (wanted != '1')}, not {n}")
        if 0 <= function.pattern < len(operands) and operands[function.pattern][0].kind == "text":
            pattern = operands[function.pattern][0]
            try:
                compiled(unquoted(pattern, self._parser.text))
            except PatternError as error:
                raise self._error(pattern, str(error)) from None

    def _calling(self, sign: Sign, function: Function, runs: list[Run]) -> Run:
        def run(scope: Scope) -> Any:
            values = [each(scope) for each in runs]
            try:
                return function.call(*values)
            except (ValueError, OverflowError) as error:
                raise self._error(sign, f"{sign.text}: {error}") from None

        return run


def _near(word: str, known: Iterable[str]) -> str:
    """A hint at a known word, whatever letters are large."""
    spelled = {each.lower(): each for each in known}
    hint = did_you_mean(word, spelled)
    return next((f"did you mean `{each}`?" for low, each in spelled.items() if f"`{low}`" in hint), hint)


def _keyword(action: Action) -> str:
    """The word that an action begins with, "" where it begins otherwise."""
    return action.signs[0].text if action.signs and action.signs[0].kind == "word" else ""
