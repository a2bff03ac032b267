"""Rule files: Prometheus' shape and a few words more, read strictly, all problems told at once with their places."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeVar

from stream.config_text import ConfigError, Document, Mark, Place, Problem, Tree, parse, read_file
from stream.rules.columns import FIDELITIES
from stream.rules.expression import Expression, ExpressionError, compile_expression
from stream.rules.position import in_file
from stream.rules.rule import Direction, NoData, Rule, Span, parse_span
from stream.rules.source import did_you_mean
from stream.rules.template import TemplateError, check_template
from stream.rules.terms import (
    EVERY,
    NEVER_FLAPS,
    parse_count,
    parse_deviation,
    parse_flapping,
    parse_range,
)

MOST_RULES = 10_000
MOST_LETTERS = 1_000  # of a name or a label
RULE_KEYS = (
    "alert", "expr", "for", "keep_firing_for", "labels", "annotations",
    "clear_expr", "count", "cool_down", "flapping", "no_data", "error", "min_coverage", "fidelity",
    "direction", "min_deviation", "min_deviation_ratio", "data_range", "active_time_intervals",
)  # fmt: skip
GROUP_KEYS = ("name", "interval", "limit", "labels", "rules")
NO_DATA: tuple[NoData, ...] = ("ok", "alerting", "keep")
DIRECTIONS: tuple[Direction, ...] = ("above", "below", "both")
_OFFSET = "heed waits for late readings by itself (windows.lateness)"
_FOREIGN = {  # keys that Prometheus and its relatives know, and why they have no meaning here
    "query_offset": _OFFSET, "evaluation_delay": _OFFSET,
    "partial_response_strategy": "there are no partial answers",
    "source_tenants": "there are no tenants",
    "align_evaluation_time_on_interval": "evaluation follows the steps of the readings",
}  # fmt: skip
OWN_LABELS = ("alertname", "stream", "group")  # every alert gets them; a rule can't
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_T = TypeVar("_T")
_Mapping = dict[str, Tree]


def load_rules(paths: Iterable[Path], intervals: Collection[str] | None = None) -> list[Rule]:
    """The rules of several files; raises ConfigError with every problem of every file.

    ``intervals`` are the names that ``active_time_intervals`` may hold; None = any.
    """
    rules: list[Rule] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            document = read_file(path)
            rules += read_rules(path.read_text("utf-8-sig"), str(path), document, intervals)
        except ConfigError as error:
            problems += error.problems
    problems += _doubled(rules)
    if problems:
        raise ConfigError(problems)
    return rules


def built_in() -> list[Rule]:
    """The rules that hold where nobody wrote any."""
    text = resources.files("stream.rules").joinpath("builtin.yaml").read_text("utf-8")
    return read_rules(text, "builtin.yaml")


def read_rules(
    text: str, file: str, document: Document | None = None, intervals: Collection[str] | None = None
) -> list[Rule]:
    """The rules in the text of one file; raises ConfigError with every problem."""
    document = document or parse(text, file)
    rules = _File(text, document, intervals).rules()
    problems = document.problems + _doubled(rules)
    if problems:
        raise ConfigError(problems)
    return rules


def _doubled(rules: list[Rule]) -> list[Problem]:
    first: dict[str, Rule] = {}
    problems = []
    for rule in rules:
        other = first.setdefault(rule.key, rule)
        if other is not rule:
            said = f"the alert {rule.key} is also raised by {other.file}:{other.line}; give one another name or label"
            problems.append(Problem(said, (), Mark(rule.file, rule.line, 1)))
    return problems


@dataclass(frozen=True, slots=True)
class _Shared:
    """What a group says for all its rules."""

    name: str
    interval: Span
    limit: int
    labels: dict[str, str]


class _File:
    """Reads one document. What is wrong is noted there, and reading goes on."""

    def __init__(self, text: str, document: Document, intervals: Collection[str] | None) -> None:
        self._text, self._document, self._intervals = text, document, intervals
        self._refuse = document.refuse

    def rules(self) -> list[Rule]:
        tree = self._mapping(self._document.tree, (), ("groups",), "a rule file")
        if tree is None:
            return []
        if "groups" not in tree:
            self._refuse("a rule file has a list named `groups`", ())
        rules: list[Rule] = []
        names: set[str] = set()
        for i, group in enumerate(self._sequence(tree.get("groups"), ("groups",))):
            rules += self._group(group, ("groups", i), names)
        if len(rules) > MOST_RULES:
            self._refuse(f"holds more than {MOST_RULES:,} rules", ())
        return rules

    def _group(self, tree: Tree, place: Place, names: set[str]) -> list[Rule]:
        group = self._mapping(tree, place, GROUP_KEYS, "a group")
        if group is None:
            return []
        name = self._required(group, "name", place) or ""
        if name in names:
            self._refuse(f"the group name `{name}` is taken in this file", (*place, "name"))
        names.add(name)
        shared = _Shared(
            name,
            self._read(parse_span, group, "interval", place, Span()),
            self._read(_limit, group, "limit", place, 0),
            self._labels(group.get("labels"), (*place, "labels")),
        )
        rules = self._sequence(group.get("rules"), (*place, "rules"))
        found = [self._rule(rule, (*place, "rules", i), shared) for i, rule in enumerate(rules)]
        return [rule for rule in found if rule is not None]

    def _rule(self, tree: Tree, place: Place, group: _Shared) -> Rule | None:
        if isinstance(tree, dict) and "record" in tree:
            said = "recording rules are not supported, only `alert`; heed stores no series, write it into `expr`"
            self._refuse(said, (*place, "record"), key=True)
            return None
        rule = self._mapping(tree, place, RULE_KEYS, "a rule")
        if rule is None:
            return None
        alert = self._required(rule, "alert", place)
        expr = self._expression(rule, "expr", place) if self._required(rule, "expr", place) is not None else None
        found = Rule(
            alert=alert or "",
            expr=expr or compile_expression("False"),
            hold=self._read(parse_span, rule, "for", place, Span()),
            keep_firing_for=self._read(parse_span, rule, "keep_firing_for", place, Span()),
            cool_down=self._read(parse_span, rule, "cool_down", place, Span()),
            clear_expr=self._expression(rule, "clear_expr", place),
            count=self._read(parse_count, rule, "count", place, EVERY),
            flapping=self._read(parse_flapping, rule, "flapping", place, NEVER_FLAPS),
            no_data=self._read(_one_of(NO_DATA), rule, "no_data", place, "keep"),
            error=self._read(_one_of(NO_DATA), rule, "error", place, "keep"),
            min_coverage=self._read(_share, rule, "min_coverage", place, 0.0),
            fidelity=self._read(_fidelity, rule, "fidelity", place, 0),
            direction=self._read(_one_of(DIRECTIONS), rule, "direction", place, "both"),
            min_deviation=self._read(parse_deviation, rule, "min_deviation", place, 0.0),
            min_deviation_ratio=self._read(parse_deviation, rule, "min_deviation_ratio", place, 0.0),
            data_range=self._read(parse_range, rule, "data_range", place, None),
            active_time_intervals=self._active(rule.get("active_time_intervals"), (*place, "active_time_intervals")),
            limit=group.limit,
            labels={**group.labels, **self._labels(rule.get("labels"), (*place, "labels"))},
            annotations=self._labels(rule.get("annotations"), (*place, "annotations"), own=()),
            group=group.name,
            interval=group.interval,
            file=self._document.file,
            line=getattr(self._document.mark(place), "line", 0),
        )
        return found if alert and expr else None

    def _mapping(self, tree: Tree, place: Place, known: tuple[str, ...], what: str) -> _Mapping | None:
        if not isinstance(tree, dict):
            keys = ", ".join(known[:6]) + (", ..." if len(known) > 6 else "")
            self._refuse(f"{what} is a mapping with the keys {keys}", place)
            return None
        for key in tree:
            if key in known:
                continue
            hint = did_you_mean(key, known) or f"known here: {', '.join(known)}"
            said = (
                f"`{key}` has no meaning here: {_FOREIGN[key]}" if key in _FOREIGN else f"unknown key `{key}`; {hint}"
            )
            self._refuse(said, (*place, key), key=True)
        return tree

    def _sequence(self, tree: Tree, place: Place) -> list[Tree]:
        if isinstance(tree, list):
            return tree
        if tree is not None:
            self._refuse("must be a list", place)
        return []

    def _active(self, tree: Tree, place: Place) -> tuple[str, ...]:
        """Names of time intervals."""
        names = tuple(_text(name) for name in self._sequence(tree, place) if isinstance(name, str) and name)
        for i, name in enumerate(self._sequence(tree, place) if isinstance(tree, list) else []):
            if name not in names:
                self._refuse("must be the name of a time interval", (*place, i))
            elif self._intervals is not None and name not in self._intervals:
                known = f"known: {', '.join(sorted(self._intervals))}" if self._intervals else "time_intervals is empty"
                self._refuse(f"no time interval of the configuration is called `{name}`; {known}", (*place, i))
        return names

    def _required(self, tree: _Mapping, key: str, place: Place) -> str | None:
        if tree.get(key) is None:
            self._refuse(f"`{key}` is missing", place)
            return None
        return self._read(_text, tree, key, place, "") or None

    def _read(self, read: Callable[..., _T], tree: _Mapping, key: str, place: Place, default: _T) -> _T:
        """A value of a mapping; where it is wrong, that is noted and the default taken."""
        value = tree.get(key)
        if value is None:
            return default
        try:
            return read(value)
        except ValueError as error:
            self._refuse(str(error), (*place, key))
            return default

    def _expression(self, tree: _Mapping, key: str, place: Place) -> Expression | None:
        text = self._read(_text, tree, key, place, "")
        if not text:
            return None
        try:
            return compile_expression(text)
        except ExpressionError as error:
            self._point(error, (*place, key))
            return None

    def _point(self, error: ExpressionError, at: Place) -> None:
        """Note what is wrong inside of a text, with its place in the file."""
        mark = in_file(self._text, self._document.mark(at), error.line, error.column)
        self._document.problems.append(Problem(f"{error.said}\n{error.caret}", at, mark))

    def _labels(self, tree: Tree, place: Place, own: tuple[str, ...] = OWN_LABELS) -> dict[str, str]:
        if tree is None:
            return {}
        if not isinstance(tree, dict):
            self._refuse("must be a mapping of names to text", place)
            return {}
        for name in tree:
            if not _LABEL.fullmatch(name):
                self._refuse(f"`{name}` is not a name of letters, digits and _", (*place, name), key=True)
            elif name in own:
                self._refuse(f"every alert gets the label `{name}` by itself", (*place, name), key=True)
        return {name: self._template(tree, name, place) for name in tree}

    def _template(self, tree: _Mapping, name: str, place: Place) -> str:
        text = self._read(_label, tree, name, place, "")
        try:
            check_template(text)
        except TemplateError as error:
            self._point(error, (*place, name))
        return text


def _text(value: Tree) -> str:
    """A name or an expression; plain YAML makes a number or a boolean of some."""
    if isinstance(value, dict | list):
        raise ValueError("must be text")
    if not str(value).strip():
        raise ValueError("must not be empty")
    return str(value)


def _label(value: Tree) -> str:
    if isinstance(value, dict | list):
        raise ValueError("must be text")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _limit(value: Tree) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a limit: write a whole number, 0 for none")
    return value


def _share(value: Tree) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{value!r} is not a share: write a number from 0 to 1")
    return float(value)


def _one_of(words: tuple[_T, ...]) -> Callable[[Tree], _T]:
    def read(value: Tree) -> _T:
        for word in words:
            if word == value:
                return word
        hint = did_you_mean(str(value), [str(word) for word in words])
        said = f"{value!r} is not one of {', '.join(str(word) for word in words)}"
        raise ValueError(f"{said}; {hint}" if hint else said)

    return read


def _fidelity(value: Tree) -> int:
    return FIDELITIES.index(_one_of(FIDELITIES[1:])(value))
