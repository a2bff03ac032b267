"""What is told of an alert when it begins to fire and when it is resolved."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.rules.columns import FIDELITIES, Names, Observed
from stream.rules.expression import compile_expression
from stream.rules.rule import Rule
from stream.rules.template import render

Row = Mapping[str, Any]  # a row of a snapshot: plain values, as JSON has them
Values = Mapping[str, float | str | None]


class Member(NamedTuple):
    """One of the streams that made an alert of a whole group fire."""

    stream: str
    share: float
    values: Values


@dataclass(frozen=True, slots=True)
class Change:
    """An alert began to fire, or is resolved. Times are event time, ns. That of a whole group is of no stream ("")."""

    rule: Rule
    slot: int  # -1: the stream has not been seen since a restart
    stream: str
    group: str
    labels: Mapping[str, str]  # the alert's own, all of them
    status: Literal["firing", "resolved"]
    active_at: int  # ts of the step at which expr first held
    starts_at: int  # ts of the step at which the alert fired
    ends_at: int | None
    fingerprint: str  # 16 hex digits, by the labels
    values: Values  # the stream's columns at the change, None where absent
    reason: str  # why it fires or is over: docs/alerts.md has the list
    members: tuple[Member, ...] = ()  # of the alert of a group: those that drove it when it began

    def resolved(self, ts: int, reason: str, values: Values | None = None) -> Change:
        """The end of an alert that fires."""
        kept = self.values if values is None else values
        return replace(self, status="resolved", ends_at=max(ts, self.starts_at), reason=reason, values=kept)

    def of_rule(self, rule: Rule) -> Change:
        """The same alert under a rule with other texts."""
        return replace(self, rule=rule)

    def row(self) -> dict[str, Any]:
        """What a snapshot keeps of an alert that fires, beside its times."""
        own = {"group": self.group, "labels": dict(self.labels), "values": dict(self.values), "reason": self.reason}
        return own | {"members": [list(member) for member in self.members]} if self.members else own


def began_to_fire(
    rule: Rule, slot: int, names: Names, active_at: int, starts_at: int, values: Values, reason: str
) -> Change:
    """The beginning of an alert."""
    stream, group = names.names[slot], names.groups[slot]
    labels = alert_labels(rule, stream, group, names.labels[slot], values)
    return Change(
        rule, slot, stream, group, labels, "firing", active_at, starts_at, None, fingerprint(labels), values, reason
    )


def group_began_to_fire(
    rule: Rule, group: str, members: tuple[Member, ...], times: tuple[int, int], values: Values, reason: str
) -> Change:
    """The beginning of an alert of a whole group; ``times`` are active_at and starts_at."""
    known = {"alertname": rule.alert, "group": group}
    of_rule = {name: render(text, known, values) for name, text in rule.labels.items()}
    labels = {name: text for name, text in of_rule.items() if text} | known
    mark = fingerprint(labels)
    return Change(rule, -1, "", group, labels, "firing", *times, None, mark, values, reason, members)


def restored(rule: Rule, row: Row, slot: int) -> Change | None:
    """What was told when the alert of a snapshot's row fired; None where it does not fire."""
    if row["state"] != "firing":
        return None
    labels = row["labels"]
    return Change(
        rule, slot, row["stream"], row["group"], labels, "firing",
        row["active_at"], row["starts_at"], None, fingerprint(labels), row["values"], row["reason"],
        tuple(Member(*member) for member in row.get("members", ())),
    )  # fmt: skip


def orphan(row: Row) -> Change | None:
    """What a snapshot's row told when its alert fired, where its rule is not known any more; None if it did not."""
    if row.get("state") != "firing":
        return None
    return restored(Rule(row["labels"]["alertname"], compile_expression("False")), row, -1)


def fingerprint(labels: Mapping[str, str]) -> str:
    """16 hex digits that tell one alert from all others."""
    text = "\0".join(chain.from_iterable(sorted(labels.items())))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def alert_labels(
    rule: Rule, stream: str, group: str, labels: Mapping[str, str], values: Values | None = None
) -> dict[str, str]:
    """The labels of an alert: the stream's, over them the rule's, over those its own three; none is empty."""
    own = {"alertname": rule.alert, "stream": stream, "group": group}
    known = {**labels, **own}
    of_rule = {name: render(text, known, values or {}) for name, text in rule.labels.items()}
    return {name: text for name, text in {**labels, **of_rule}.items() if text} | own


def values_at(observed: Observed, places: npt.NDArray[np.intp]) -> list[dict[str, float | str | None]]:
    """The columns of a few streams as plain values, None where absent."""
    taken = {name: column[places].tolist() for name, column in observed.numbers.items()}
    columns = {name: [None if math.isnan(each) else each for each in numbers] for name, numbers in taken.items()}
    columns["fidelity"] = [FIDELITIES[code] or None for code in observed.fidelity[places].tolist()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
