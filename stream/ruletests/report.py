"""What a test of rules brought: what was expected, what was found instead, for people and as JUnit XML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

from stream.durations import format_duration
from stream.ruletests.notation import written
from stream.ruletests.play import Fired, Moment, play
from stream.ruletests.suite import Alert, AlertTest, Suite, Trial

OWN = ("stream", "group")  # labels that heed adds: compared only where a test names them
MOST_SHOWN = 20  # alerts of one failure
_NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one test ended: an empty list of failures is a success."""

    file: str
    name: str
    line: int
    asked: int
    failures: list[str] = field(default_factory=list)


def run_suite(suite: Suite) -> list[Outcome]:
    """Run every test of a file."""
    return [_run(suite, trial, i) for i, trial in enumerate(suite.trials)]


def _run(suite: Suite, trial: Trial, number: int) -> Outcome:
    failures = []
    for (asked, line), moment in zip(trial.asked, play(suite, trial), strict=True):
        said = list(_differences(asked, moment))
        if said:
            at = format_duration(asked.eval_time)
            failures.append("\n".join([f"{suite.file}:{line}: {asked.alertname} at {at}", *said]))
    return Outcome(suite.file, trial.name or f"test {number + 1}", trial.line, len(trial.asked), failures)


def _differences(asked: AlertTest, moment: Moment) -> Iterator[str]:
    """Lines that tell what is not as expected; none where all is."""
    left = list(moment.fired)
    unmet = []
    for alert in asked.exp_alerts:
        match = next((fired for fired in left if not _apart(alert, fired)), None)
        if match is None:
            unmet.append(alert)
        else:
            left.remove(match)
    if unmet or left:
        yield f"  expected {_counted(len(asked.exp_alerts))} to fire, found {len(moment.fired)}"
        yield from _cut([line for alert in unmet for line in _expected(alert, left)])
        yield from _cut([f"  found     {_shown(fired.labels)}" for fired in left])
        pending = [f"  pending   {stream}, since {format_duration(since)}" for stream, since in moment.pending]
        yield from _cut(pending) if unmet else []


def _counted(n: int) -> str:
    return "1 alert" if n == 1 else f"{n} alerts"


def _cut(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_SHOWN
    return [*lines[:MOST_SHOWN], f"  and {more} more"] if more > 0 else lines


def _apart(alert: Alert, fired: Fired) -> list[str]:
    """What differs between an alert that is expected and one that fires."""
    given = {name: text for name, text in alert.exp_labels.items() if name != "alertname"}
    found = _comparable(fired.labels, alert)
    lines = _unequal("label", given, found)
    if alert.exp_annotations is not None:
        lines += _unequal("annotation", alert.exp_annotations, fired.annotations)
    return lines


def _comparable(labels: dict[str, str], alert: Alert) -> dict[str, str]:
    left_out = {"alertname", *(name for name in OWN if name not in alert.exp_labels)}
    return {name: text for name, text in labels.items() if name not in left_out}


def _unequal(kind: str, wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    return [
        f"{kind} {name}: expected {_text(wanted.get(name))}, found {_text(found.get(name))}"
        for name in sorted({*wanted, *found})
        if wanted.get(name) != found.get(name)
    ]


def _text(text: str | None) -> str:
    return "none" if text is None else f'"{text}"'


def _expected(alert: Alert, left: Sequence[Fired]) -> list[str]:
    """One alert that did not fire, and what keeps the one that is nearest to it from being it."""
    lines = [f"  expected  {_shown(alert.exp_labels)}"]
    differences = sorted((_apart(alert, fired) for fired in left), key=len)
    return lines + [f"            {line}" for line in (differences[0] if differences else [])]


def _shown(labels: dict[str, str]) -> str:
    return written("", {name: text for name, text in labels.items() if name != "alertname"}) or "{}"


def junit(outcomes: Sequence[Outcome], broken: Sequence[tuple[str, str]]) -> bytes:
    """The outcomes as JUnit XML; ``broken`` files could not be read: name and why."""
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    total = {"tests": str(len(outcomes) + len(broken)), "failures": str(failed), "errors": str(len(broken))}
    root = ElementTree.Element("testsuites", {"name": "heed rules test", **total})
    for file in dict.fromkeys(outcome.file for outcome in outcomes):
        _suite(root, file, [outcome for outcome in outcomes if outcome.file == file])
    for file, why in broken:
        counts = {"tests": "1", "failures": "0", "errors": "1"}
        suite = ElementTree.SubElement(root, "testsuite", {"name": _clean(file), **counts})
        case = ElementTree.SubElement(suite, "testcase", {"name": "the file can be read", "classname": _clean(file)})
        _say(case, "error", why)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _suite(root: ElementTree.Element, file: str, outcomes: Sequence[Outcome]) -> None:
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    counts = {"tests": str(len(outcomes)), "failures": str(failed), "errors": "0"}
    suite = ElementTree.SubElement(root, "testsuite", {"name": _clean(file), **counts})
    for outcome in outcomes:
        about = {
            "name": _clean(outcome.name),
            "classname": _clean(file),
            "file": _clean(file),
            "line": str(outcome.line),
        }
        case = ElementTree.SubElement(suite, "testcase", about)
        if outcome.failures:
            _say(case, "failure", "\n".join(outcome.failures))


def _say(case: ElementTree.Element, kind: str, text: str) -> None:
    clean = _clean(text)
    ElementTree.SubElement(case, kind, {"message": clean.partition("\n")[0]}).text = clean


def _clean(text: str) -> str:
    """XML can't hold every character."""
    return _NOT_XML.sub("?", text)
