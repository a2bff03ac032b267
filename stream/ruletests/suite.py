"""A file of rule tests, read strictly: promtool's keys, every mistake told with its place."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from stream.config_text import ConfigError, Document, Place, Problem, parse
from stream.rules.columns import NUMBERS
from stream.rules.position import in_file
from stream.rules.rule import Rule
from stream.rules.rule_file import load_rules
from stream.rules.source import did_you_mean
from stream.ruletests.notation import NotationError, Samples, read_series, read_values, written
from stream.settings.problems import note
from stream.settings.quantities import Duration, DurationOrZero, Section, Text, expected

COLUMNS = (*NUMBERS, "fidelity")  # what a test may set
MINUTE = 60_000_000_000  # ns
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIX = re.compile(r"[0-9]{1,11}(\.[0-9]{1,9})?")


def _scalar(value: object) -> object:
    """What YAML made a number or a boolean of was text to promtool."""
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


def _zero(value: object) -> object:
    return "0s" if value in (0, "0") and not isinstance(value, bool) else value


def _time(value: object) -> int:
    text = str(_scalar(value))
    try:
        if _UNIX.fullmatch(text):
            return round(float(text) * 1_000_000_000)
        when = datetime.fromisoformat(text)
        if when.tzinfo is not None:
            return (when - _EPOCH) // timedelta(microseconds=1) * 1000
    except ValueError:
        pass
    raise expected("a time like 2026-03-02T06:00:00Z or 1772431200")


Words = Annotated[str, BeforeValidator(_scalar)]
Labels = dict[Text, Words]


class Alert(Section):
    """An alert that should fire."""

    exp_labels: Labels = Field(default_factory=dict)
    exp_annotations: Labels | None = None


class AlertTest(Section):
    """What should fire at one time."""

    eval_time: Annotated[DurationOrZero, BeforeValidator(_zero)]
    alertname: Text
    exp_alerts: tuple[Alert, ...] = ()


class InputSeries(Section):
    """One column of one stream."""

    series: Text
    values: Words


class Case(Section):
    """Readings, and what should fire because of them."""

    name: Words = ""
    interval: Duration | None = None
    start_timestamp: Annotated[int, BeforeValidator(_time)] = Field(0, validate_default=False)
    input_series: tuple[InputSeries, ...] = ()
    alert_rule_test: tuple[AlertTest, ...] = ()
    promql_expr_test: tuple[Any, ...] = ()
    external_labels: Labels = Field(default_factory=dict)
    external_url: str = ""


class SuiteFile(Section):
    """promtool's test file."""

    rule_files: tuple[Text, ...] = Field(min_length=1)
    evaluation_interval: Duration = Field(MINUTE, validate_default=False)
    group_eval_order: tuple[Text, ...] = ()
    fuzzy_compare: bool = False
    tests: tuple[Case, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Column:
    """One series of a test: which column of which stream it is."""

    stream: str
    group: str  # "" = not said here
    labels: dict[str, str]
    column: str
    samples: Samples


@dataclass(frozen=True, slots=True)
class Trial:
    """One test, ready to run; times in ns."""

    name: str
    line: int
    step: int
    start: int
    columns: tuple[Column, ...]
    asked: tuple[tuple[AlertTest, int], ...]  # with the line of each, in the order of eval_time


@dataclass(frozen=True, slots=True)
class Suite:
    """A whole file, ready to run."""

    file: str
    interval: int  # of rules whose group says nothing else, ns
    rules: list[Rule]
    trials: list[Trial]


def load_suite(path: Path) -> Suite:
    """The tests of a file and the rules they are about; raises ConfigError with every problem."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError.of(f"{path}: can't be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    document = parse(text, str(path))
    found = _validated(document)
    rules = _rules(found, document, path.parent)
    reader = _Reader(text, document, {rule.alert for rule in rules})
    trials = [reader.trial(test, ("tests", i), found.evaluation_interval) for i, test in enumerate(found.tests)]
    if document.problems:
        raise ConfigError(document.problems)
    return Suite(str(path), found.evaluation_interval, rules, trials)


def _validated(document: Document) -> SuiteFile:
    try:
        found = SuiteFile.model_validate(document.tree, context={"text": True})
    except ValidationError as error:
        note(error, document, SuiteFile.model_json_schema())
        raise ConfigError(document.problems) from None
    if document.problems:
        raise ConfigError(document.problems)
    return found


def _rules(found: SuiteFile, document: Document, folder: Path) -> list[Rule]:
    paths: dict[Path, None] = {}
    for i, pattern in enumerate(found.rule_files):
        matches = _globbed(folder, pattern)
        if not matches:
            document.refuse(f"no file matches (in {folder})", ("rule_files", i))
        paths.update(dict.fromkeys(matches))
    if document.problems:
        raise ConfigError(document.problems)
    return load_rules(paths)


def _globbed(folder: Path, pattern: str) -> list[Path]:
    path = folder / pattern
    if path.is_file():
        return [path]
    base = Path(path.anchor) if Path(pattern).is_absolute() else folder
    return sorted(each for each in base.glob(str(path.relative_to(base))) if each.is_file())


class _Reader:
    """Reads the tests of one document; what is wrong is noted there, and reading goes on."""

    def __init__(self, text: str, document: Document, alerts: set[str]) -> None:
        self._text, self._document, self._alerts = text, document, alerts

    def trial(self, test: Case, place: Place, interval: int) -> Trial:
        if test.promql_expr_test:
            said = "tests PromQL, which heed does not have: test the rule by alert_rule_test"
            self._document.refuse(said, (*place, "promql_expr_test"), key=True)
        columns = [self._column(each, (*place, "input_series", i)) for i, each in enumerate(test.input_series)]
        asked = [self._asked(each, (*place, "alert_rule_test", i)) for i, each in enumerate(test.alert_rule_test)]
        known = [column for column in columns if column is not None]
        self._twice(columns, place)
        if not asked and not test.promql_expr_test:
            self._document.refuse("nothing is asked: write an alert_rule_test", place)
        ordered = tuple(sorted(asked, key=lambda pair: pair[0].eval_time))
        step = test.interval or interval
        return Trial(test.name, self._line(place), step, test.start_timestamp, tuple(known), ordered)

    def _line(self, place: Place) -> int:
        mark = self._document.mark(place)
        return mark.line if mark else 0

    def _asked(self, asked: AlertTest, place: Place) -> tuple[AlertTest, int]:
        if asked.alertname not in self._alerts:
            near = difflib.get_close_matches(asked.alertname, sorted(self._alerts), 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(self._alerts)[:10])}"
            self._document.refuse(f"no rule raises {asked.alertname}; {hint}", (*place, "alertname"))
        return asked, self._line(place)

    def _twice(self, columns: list[Column | None], place: Place) -> None:
        first: dict[tuple[str, str], Column] = {}
        for i, column in enumerate(columns):
            if column is not None and first.setdefault((column.stream, column.column), column) is not column:
                said = f"the {column.column} of {column.stream} is given twice"
                self._document.refuse(said, (*place, "input_series", i, "series"))

    def _column(self, each: InputSeries, place: Place) -> Column | None:
        at = (*place, "series")
        try:
            metric, labels = read_series(each.series)
            column, stream, group, labels = _of_series(metric, labels)
            at = (*place, "values")
            return Column(stream, group, labels, column, read_values(each.values, words=column == "fidelity"))
        except NotationError as error:
            mark = in_file(self._text, self._document.mark(at), 1, error.at + 1)
            self._document.problems.append(Problem(str(error), at, mark))
            return None


def _of_series(metric: str, labels: dict[str, str]) -> tuple[str, str, str, dict[str, str]]:
    """Column, stream, group and labels. A metric that is no column is the value of a stream named by the series."""
    if metric in COLUMNS:
        if not labels.get("stream"):
            raise NotationError(f'`{metric}` of which stream? write {metric}{{stream="press1/temp"}}')
        stream = labels.pop("stream")
        return metric, stream, labels.pop("group", ""), labels
    if "stream" in labels:
        hint = did_you_mean(metric, COLUMNS) or f"known are {', '.join(COLUMNS)}"
        raise NotationError(f"a stream has no `{metric}`; {hint}")
    stream = written(metric, labels)
    return "value", stream, labels.pop("group", ""), labels
