"""The life of alerts against a plain state machine, one stream at a time, and over restarts at any step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.rules.alert import Alerts
from stream.rules.change import Change
from stream.rules.columns import Observed
from stream.rules.expression import compile_expression
from stream.rules.rule import Rule, Span

STEP = 10
STREAMS = 3


@dataclass
class Table:
    names: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: list[Mapping[str, str]] = field(default_factory=list)


def table(names: list[str]) -> Table:
    return Table(names, ["g" for _ in names], [{"of": name} for name in names])


@dataclass
class Plain:
    """One alert, told by hand."""

    rule: Rule
    state: str = "inactive"
    active_at: int = 0
    starts_at: int = 0
    off_since: int | None = None
    cool_until: int = 0

    def step(self, ts: int, on: bool | None, clear: bool | None) -> tuple[str, int, int, int | None] | None:
        if self.state == "firing":
            return self.firing(ts, on, clear)
        if self.state == "inactive" and on:
            self.state, self.active_at = "pending", ts
        if self.state == "pending" and on is False:
            self.state = "inactive"
        ripe = ts - self.active_at >= self.rule.hold.of(STEP) and ts >= self.cool_until
        if self.state == "pending" and on and ripe:
            self.state, self.starts_at, self.off_since = "firing", ts, None
            self.cool_until = ts + self.rule.cool_down.of(STEP)
            return "firing", self.active_at, ts, None
        return None

    def firing(self, ts: int, on: bool | None, clear: bool | None) -> tuple[str, int, int, int | None] | None:
        ending: bool | None
        if self.rule.clear_expr is None:
            ending = None if on is None else not on
        else:
            ending = False if on else clear
        if ending is False:
            self.off_since = None
        if not ending:
            return None
        self.off_since = ts if self.off_since is None else self.off_since
        if ts - self.off_since < self.rule.keep_firing_for.of(STEP):
            return None
        self.state = "inactive"
        return "resolved", self.active_at, self.starts_at, ts


lengths = st.one_of(st.just(Span()), st.sampled_from([Span(ns=15), Span(ns=40), Span(steps=2), Span(steps=6)]))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    clear = compile_expression("p > 0.5") if draw(st.booleans()) else None
    hold, keep, cool = draw(lengths), draw(lengths), draw(lengths)
    return Rule("A", compile_expression("score > 0.5"), hold, keep, cool, clear, labels={"severity": "info"})


signs = st.sampled_from([True, True, False, False, None])
turns = st.lists(st.tuples(signs, signs, st.booleans()), min_size=STREAMS, max_size=STREAMS)  # on, clear, missing
stories = st.lists(turns, min_size=1, max_size=25)


def number(sign: bool | None) -> float:
    return np.nan if sign is None else float(sign)


def observed(step: int, turn: list[tuple[bool | None, bool | None, bool]], slots: list[int]) -> Observed:
    """What one turn of a story looks like; a stream is missing where its third sign and a bit of luck say so."""
    present = [i for i in range(STREAMS) if not (turn[i][2] and (i + step) % 3 == 0)]
    score = np.array([number(turn[i][0]) for i in present], np.float32)
    p = np.array([number(turn[i][1]) for i in present], np.float32)
    at = np.array([slots[i] for i in present], np.int32)
    return Observed(step * STEP, (step + 1) * STEP, at, {"score": score, "p": p}, np.zeros(len(at), np.int8))


def brief(change: Change) -> tuple[Any, ...]:
    return change.stream, change.status, change.active_at, change.starts_at, change.ends_at


@settings(max_examples=300, deadline=None)
@given(rules(), stories)
def test_alerts_follow_the_plain_state_machine(rule: Rule, story: list[Any]) -> None:
    names = [f"s{i}" for i in range(STREAMS)]
    alerts, plain = Alerts([rule], table(names)), [Plain(rule) for _ in names]
    for step, turn in enumerate(story, start=1):
        look = observed(step, turn, list(range(STREAMS)))
        expected = []
        for i in look.slots.tolist():
            came = plain[i].step(step * STEP, turn[i][0], turn[i][1])
            expected += [] if came is None else [(names[i], *came)]
        assert sorted(map(brief, alerts.update(look))) == sorted(expected)
        assert alerts.suspect(np.arange(STREAMS, dtype=np.int32)).tolist() == [p.state != "inactive" for p in plain]
        assert {change.stream for change in alerts.firing()} == {
            names[i] for i in range(STREAMS) if plain[i].state == "firing"
        }


@settings(max_examples=200, deadline=None)
@given(st.lists(rules(), min_size=1, max_size=2), stories, st.data())
def test_a_restart_between_any_two_steps_changes_nothing(story_rules: list[Rule], story: list[Any], data: Any) -> None:
    known = [Rule(**{**parts(rule), "alert": f"R{i}"}) for i, rule in enumerate(story_rules)]
    stop = data.draw(st.integers(0, len(story)))
    slots = data.draw(st.permutations(range(STREAMS)))
    names = [f"s{i}" for i in range(STREAMS)]
    undisturbed, before = Alerts(known, table(names)), Alerts(known, table(names))
    late = data.draw(st.booleans())  # the streams turn up only after the state was taken up
    others = table([""] * STREAMS)
    after = Alerts(known, others)
    for step, turn in enumerate(story, start=1):
        if step == stop + 1:
            restart(before, after, others, names, slots, late)
        wanted = [told(change) for change in undisturbed.update(observed(step, turn, list(range(STREAMS))))]
        one, look = (before, list(range(STREAMS))) if step <= stop else (after, list(slots))
        assert sorted(told(change) for change in one.update(observed(step, turn, look))) == sorted(wanted)
    one = before if stop == len(story) else after
    assert sorted(map(told, one.firing())) == sorted(map(told, undisturbed.firing()))
    assert canonical(one) == canonical(undisturbed)


def restart(before: Alerts, after: Alerts, others: Table, names: list[str], slots: list[int], late: bool) -> None:
    kept = json.loads(json.dumps(before.snapshot()))
    if late:
        assert after.restore(kept) == []
    for i, name in enumerate(names):
        others.names[slots[i]], others.labels[slots[i]] = name, {"of": name}
    if not late:
        assert after.restore(kept) == []


def parts(rule: Rule) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in Rule.__slots__}


def told(change: Change) -> tuple[Any, ...]:
    values = json.dumps(change.values)
    return change.rule.key, *brief(change)[:4], change.ends_at or 0, change.fingerprint, values, change.reason


def canonical(alerts: Alerts) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in alerts.snapshot())
