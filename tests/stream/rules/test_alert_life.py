"""The life of alerts against a plain state machine, one stream at a time, over restarts and reloads at any step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.rules.alert import Alerts
from stream.rules.change import Change
from stream.rules.columns import Observed
from stream.rules.expression import compile_expression
from stream.rules.rule import Rule, Span
from stream.rules.terms import EVERY, NEVER_FLAPS, Count, Flapping

STEP = 10
STREAMS = 3


@dataclass
class Table:
    names: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: list[Mapping[str, str]] = field(default_factory=list)


def table(names: list[str]) -> Table:
    return Table(names, ["g" for _ in names], [{"of": name} for name in names])


class Night:
    """A time interval: the last 30 of each 80."""

    def holds(self, time_ns: int) -> bool:
        return time_ns % 80 >= 50


NIGHT = {"night": Night()}


class Sight(NamedTuple):
    """What is seen of a stream at a step."""

    on: bool | None
    clear: bool | None
    reading: bool
    said: bool  # the model or the sentinel said something of it


@dataclass
class Plain:
    """One alert, told by hand."""

    rule: Rule
    state: str = "inactive"
    active_at: int = 0
    starts_at: int = 0
    off_since: int | None = None
    cool_until: int = 0
    last: list[bool] = field(default_factory=list)  # the condition at each evaluation so far
    changes: list[int] = field(default_factory=list)  # when it fired or was over
    flapping: bool = False
    calm: bool = False

    def step(self, ts: int, sight: Sight) -> tuple[str, int, int, int | None] | None:
        names = self.rule.active_time_intervals
        if names and not NIGHT["night"].holds(ts):
            return self.closed(ts)
        on = self.counted(self.decided(sight))
        if self.state == "firing":
            return self.firing(ts, on, sight.clear)
        if self.state == "inactive" and on:
            self.state, self.active_at = "pending", ts
        if self.state == "pending" and on is False:
            self.state = "inactive"
        ripe = ts - self.active_at >= self.rule.hold.of(STEP) and ts >= self.cool_until
        if self.state == "pending" and on and ripe:
            self.state, self.starts_at, self.off_since, self.calm = "firing", ts, None, False
            self.cool_until = ts + self.rule.cool_down.of(STEP)
            self.changes.append(ts)
            self.flapping = self.flaps(ts)
            return "firing", self.active_at, ts, None
        return None

    def decided(self, sight: Sight) -> bool | None:
        if sight.on is not None:
            return sight.on
        policy = "keep" if sight.reading and not sight.said else self.rule.error if sight.reading else self.rule.no_data
        return {"ok": False, "alerting": True, "keep": None}[policy]

    def counted(self, on: bool | None) -> bool | None:
        self.last.append(on is True)
        count = self.rule.count
        return None if on is None else sum(self.last[-count.of :]) >= count.least

    def flaps(self, ts: int) -> bool:
        wanted = self.rule.flapping
        recent = [at for at in self.changes if at > ts - wanted.within.of(STEP)]
        return wanted.changes > 0 and len(recent) >= wanted.changes

    def firing(self, ts: int, on: bool | None, clear: bool | None) -> tuple[str, int, int, int | None] | None:
        ending: bool | None
        if self.rule.clear_expr is None:
            ending = None if on is None else not on
        else:
            ending = False if on else clear
        if ending is False:
            self.off_since = None
            if self.calm:
                self.changes.append(ts)
                self.calm = False
        if not ending:
            return None
        self.off_since = ts if self.off_since is None else self.off_since
        if ts - self.off_since < self.rule.keep_firing_for.of(STEP):
            return None
        if not self.calm:
            self.changes.append(ts)
            self.calm = True
        if self.flapping and self.flaps(ts):
            return None
        self.state = "inactive"
        return "resolved", self.active_at, self.starts_at, ts

    def closed(self, ts: int) -> tuple[str, int, int, int | None] | None:
        was, self.state, self.last = self.state, "inactive", []
        return ("resolved", self.active_at, self.starts_at, ts) if was == "firing" else None


lengths = st.one_of(st.just(Span()), st.sampled_from([Span(ns=15), Span(ns=40), Span(steps=2), Span(steps=6)]))
counts = st.one_of(st.just(EVERY), st.sampled_from([Count(2, 2), Count(2, 3), Count(3, 5), Count(1, 4)]))
flappings = st.one_of(
    st.just(NEVER_FLAPS),
    st.sampled_from([Flapping(3, Span(steps=8)), Flapping(4, Span(ns=95)), Flapping(3, Span(ns=30))]),
)
policies = st.sampled_from(["keep", "keep", "ok", "alerting"])


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    clear = compile_expression("p > 0.5") if draw(st.booleans()) else None
    return Rule(
        "A",
        compile_expression("score > 0.5"),
        draw(lengths),
        draw(lengths),
        draw(lengths),
        clear,
        draw(counts),
        draw(flappings),
        draw(policies),
        draw(policies),
        active_time_intervals=draw(st.sampled_from([(), (), (), ("night",)])),
        labels={"severity": "info"},
    )


signs = st.sampled_from([True, True, False, False, None])
sights = st.builds(Sight, signs, signs, st.booleans(), st.booleans())
turns = st.lists(st.tuples(sights, st.booleans()), min_size=STREAMS, max_size=STREAMS)  # what is seen, missing
stories = st.lists(turns, min_size=1, max_size=30)
Turn = list[tuple[Sight, bool]]


def number(sign: bool | None) -> float:
    return np.nan if sign is None else float(sign)


def observed(step: int, turn: Turn, slots: list[int]) -> Observed:
    """What one turn of a story looks like; a stream is missing where its story and a bit of luck say so."""
    present = [i for i in range(STREAMS) if not (turn[i][1] and (i + step) % 3 == 0)]
    seen = [turn[i][0] for i in present]
    numbers = {
        "score": np.array([number(sight.on) for sight in seen], np.float32),
        "p": np.array([number(sight.clear) for sight in seen], np.float32),
        "value": np.array([number(sight.reading or None) for sight in seen], np.float32),
    }
    at = np.array([slots[i] for i in present], np.int32)
    return Observed(step * STEP, (step + 1) * STEP, at, numbers, np.array([sight.said for sight in seen], np.int8))


def brief(change: Change) -> tuple[Any, ...]:
    return change.stream, change.status, change.active_at, change.starts_at, change.ends_at


@settings(max_examples=400, deadline=None)
@given(rules(), stories)
def test_alerts_follow_the_plain_state_machine(rule: Rule, story: list[Turn]) -> None:
    names = [f"s{i}" for i in range(STREAMS)]
    alerts, plain = Alerts([rule], table(names), NIGHT), [Plain(rule) for _ in names]
    for step, turn in enumerate(story, start=1):
        look = observed(step, turn, list(range(STREAMS)))
        expected = []
        for i in look.slots.tolist():
            came = plain[i].step(step * STEP, turn[i][0])
            expected += [] if came is None else [(names[i], *came)]
        assert sorted(map(brief, alerts.update(look))) == sorted(expected)
        assert alerts.suspect(np.arange(STREAMS, dtype=np.int32)).tolist() == [p.state != "inactive" for p in plain]
        assert {change.stream for change in alerts.firing()} == {
            names[i] for i in range(STREAMS) if plain[i].state == "firing"
        }


@settings(max_examples=300, deadline=None)
@given(st.lists(rules(), min_size=1, max_size=2), st.sampled_from([0, 0, 1, 2]), stories, st.data())
def test_a_restart_between_any_two_steps_changes_nothing(
    story_rules: list[Rule], limit: int, story: list[Turn], data: Any
) -> None:
    known = [replace(rule, alert=f"R{i}", limit=limit) for i, rule in enumerate(story_rules)]
    stop = data.draw(st.integers(0, len(story)))
    slots = data.draw(st.permutations(range(STREAMS)))
    names = [f"s{i}" for i in range(STREAMS)]
    undisturbed, before = Alerts(known, table(names), NIGHT), Alerts(known, table(names), NIGHT)
    late = data.draw(st.booleans())  # the streams turn up only after the state was taken up
    others = table([""] * STREAMS)
    after = Alerts(known, others, NIGHT)
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


@settings(max_examples=200, deadline=None)
@given(st.lists(rules(), min_size=2, max_size=3), stories, st.data())
def test_a_reload_that_changes_one_rule_touches_no_other(story_rules: list[Rule], story: list[Turn], data: Any) -> None:
    known = [replace(rule, alert=f"R{i}") for i, rule in enumerate(story_rules)]
    stop = data.draw(st.integers(1, len(story)))
    changed = replace(known[0], hold=Span(ns=77)) if data.draw(st.booleans()) else None
    reloaded = [replace(rule, annotations={"summary": "new"}, line=99) for rule in known[1:]]
    reloaded = data.draw(st.permutations([*reloaded, *([changed] if changed else [])]))
    names = [f"s{i}" for i in range(STREAMS)]
    undisturbed, alerts = Alerts(known, table(names), NIGHT), Alerts(known, table(names), NIGHT)
    fresh = None
    for step, turn in enumerate(story, start=1):
        look = observed(step, turn, list(range(STREAMS)))
        wanted, came = undisturbed.update(look), alerts.update(look)
        others = [told(change) for change in wanted if change.rule.alert != "R0"]
        assert sorted(told(change) for change in came if change.rule.alert != "R0") == sorted(others)
        if fresh is not None:
            of_new = [told(change) for change in came if change.rule.alert == "R0"]
            assert of_new == [told(change) for change in fresh.update(look)]
        if step == stop:
            fired = [change for change in alerts.firing() if change.rule.alert == "R0"]
            ends = alerts.replace(reloaded, step * STEP)
            reason = "rule_changed" if changed else "rule_removed"
            assert sorted(map(told, ends)) == sorted(told(each.resolved(step * STEP, reason)) for each in fired)
            fresh = Alerts([changed], table(names), NIGHT) if changed else Alerts([], table(names))
    assert all(change.rule.annotations for change in alerts.firing() if change.rule.alert != "R0")


def told(change: Change) -> tuple[Any, ...]:
    values = json.dumps(change.values)
    return change.rule.key, *brief(change)[:4], change.ends_at or 0, change.fingerprint, values, change.reason


def canonical(alerts: Alerts) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in alerts.snapshot())
