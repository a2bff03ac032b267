"""What is to be said of rule files: errors, warnings, lint and notes, each with file, line, column and a caret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stream.config_text import ConfigError, Document, Mark, Place, Problem, parse, place_text
from stream.durations import format_duration
from stream.rulecheck.about import Streams, example, meant
from stream.rulecheck.reach import unreachable
from stream.rules.cost import COSTLY
from stream.rules.over import memory
from stream.rules.position import in_file
from stream.rules.rule import Rule
from stream.rules.rule_file import load_rules
from stream.rules.source import ExpressionError, Source
from stream.settings.streams import DEFAULT_STEP

Level = Literal["error", "warning", "lint", "note"]
WANTED = ("summary", "runbook_url")  # annotations that people need at three in the morning


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to be said; line and column count from 1, 0 = the file as a whole."""

    level: Level
    file: str
    line: int
    column: int
    rule: str
    said: str
    caret: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        about = f"{self.rule}: " if self.rule else ""
        return f"{place}: {self.level}: {about}{self.said}" + (f"\n{self.caret}" if self.caret else "")


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check: all findings, the rules that can be used, and how many streams each is about."""

    findings: list[Finding]
    rules: list[Rule]
    streams: dict[str, int] = field(default_factory=dict)  # by rule key

    @property
    def code(self) -> int:
        """The exit code: 1 with errors, 3 where there is only lint, else 0."""
        levels = {finding.level for finding in self.findings}
        return 1 if "error" in levels else 3 if "lint" in levels else 0


def check_files(paths: Sequence[Path], streams: Streams | None = None) -> Checked:
    """Everything that can be found out about the rules of these files, and about ``streams`` where there are some."""
    findings = [_of_problem(problem) for problem in _problems(paths)]
    checked = Checked(findings, [])
    for path in paths:
        try:
            rules = load_rules([path])
        except ConfigError:
            continue  # told with all the others
        checked.rules.extend(rules)
        for located in _located(path, rules):
            findings += _of_rule(located, streams, checked.streams)
    order = {path: i for i, path in enumerate(map(str, paths))}
    findings.sort(key=lambda each: (order.get(each.file, -1), each.line, each.column))
    return checked


def _problems(paths: Sequence[Path]) -> Sequence[Problem]:
    try:
        load_rules(paths)
    except ConfigError as error:
        return error.problems
    return []


def _of_problem(problem: Problem) -> Finding:
    mark = problem.mark or Mark("")
    said, _, caret = problem.message.partition("\n")
    place = place_text(problem.place)
    said = f"{place}: {said}" if place else said
    return Finding("error", mark.file, mark.line, mark.column, "", said + _hint(problem), caret or _pointed(mark))


def _hint(problem: Problem) -> str:
    of_tests = problem.place in (("rule_files",), ("tests",))
    return " (is this a file of rule tests? `heed rules test` runs them)" if of_tests else ""


def _pointed(mark: Mark) -> str:
    """The line of the file, and a mark below the place."""
    if not mark.line:
        return ""
    try:
        line = Path(mark.file).read_text("utf-8-sig").splitlines()[mark.line - 1]
    except (OSError, UnicodeDecodeError, IndexError):
        return ""
    column = max(mark.column, 1 + len(line) - len(line.lstrip(" ")))
    start = max(0, column - 61)
    return f"  {line[start : start + 120]}\n  {' ' * (column - 1 - start)}^"


@dataclass(frozen=True, slots=True)
class _Located:
    """A rule and where it stands."""

    rule: Rule
    text: str
    document: Document
    place: Place

    def finding(self, level: Level, said: str, key: str = "alert", error: ExpressionError | None = None) -> Finding:
        """Something to be said of one of the rule's keys, or of a place in its expression."""
        at = (*self.place, key)
        mark = self.document.mark(at, key=error is None) or Mark(self.rule.file, self.rule.line, 1)
        if error is None:
            return Finding(level, mark.file, mark.line, mark.column, self.rule.alert, said)
        mark = in_file(self.text, self.document.mark(at), error.line, error.column) or mark
        return Finding(level, mark.file, mark.line, mark.column, self.rule.alert, said, error.caret)


def _located(path: Path, rules: Iterable[Rule]) -> Iterator[_Located]:
    text = path.read_text("utf-8-sig")
    document = parse(text, str(path))
    by_line = {mark.line: place for place, mark in document.values.items() if len(place) == 4 and place[2] == "rules"}
    for rule in rules:
        yield _Located(rule, text, document, by_line.get(rule.line, ()))


def _of_rule(located: _Located, streams: Streams | None, counts: dict[str, int]) -> Iterator[Finding]:
    yield from _reach(located)
    if streams is not None:
        yield from _dead(located, streams, counts)
    yield from _lint(located)
    yield from _memory(located)


def _reach(located: _Located) -> Iterator[Finding]:
    rule = located.rule
    for key, expr in (("expr", rule.expr), ("clear_expr", rule.clear_expr)):
        for found in [] if expr is None else unreachable(Source(expr.text)):
            yield located.finding("error" if found.fatal else "warning", found.error.said, key, found.error)


def _dead(located: _Located, streams: Streams, counts: dict[str, int]) -> Iterator[Finding]:
    """Rules that are about no stream; where not all streams are known, only a warning."""
    mask = meant(located.rule.expr.text, streams)
    counts[located.rule.key] = int(mask.sum())
    if not mask.any():
        said = (
            f"is about none of the {len(streams):,} streams of {streams.where}"
            if len(streams)
            else "there are no streams"
        )
        known = f" ({example(streams.names)})" if len(streams) else f" in {streams.where}"
        yield located.finding("error" if streams.all else "warning", said + known, "expr")


def _lint(located: _Located) -> Iterator[Finding]:
    rule = located.rule
    missing = [name for name in WANTED if not rule.annotations.get(name)]
    if missing:
        yield located.finding("lint", f"has no annotation {' and no '.join(missing)}")
    if rule.expr.cost > COSTLY:
        said = f"costs {rule.expr.cost:,} operations for each stream and step, more than {COSTLY:,}"
        yield located.finding("lint", said, "expr")


def _memory(located: _Located) -> Iterator[Finding]:
    """What the windows of a rule take; rules that ask for the same share it."""
    exprs = [expr for expr in (located.rule.expr, located.rule.clear_expr) if expr is not None]
    windows = [ask.window for expr in exprs for ask in expr.asks]
    if windows:
        longest = max(windows, key=lambda window: window.span.of(DEFAULT_STEP))
        needed = f"{memory(windows, DEFAULT_STEP):,} bytes for each stream it is about"
        said = f"looks back {longest.span}: keeps {needed}, at steps of {format_duration(DEFAULT_STEP)}"
        yield located.finding("note", said, "expr")
