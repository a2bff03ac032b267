"""Whatever happens in whatever order: what is told agrees with a plain reading of the rules, over kills and reloads."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from told import INTERVAL, REPEAT, SECOND, T0, WAIT, Told, message, route

from stream.notify.route import Receiver
from stream.notify.silence import wanted

NAMES = ("m1/a", "m1/b", "m1/c", "m2/a", "m2/b")
WAIT_S, INTERVAL_S, REPEAT_S = WAIT // SECOND, INTERVAL // SECOND, 300
Step = tuple[int, frozenset[int], str]  # seconds since the one before, alerts that change then, what is done after it
AFTER = st.sampled_from(["", "", "kill", "reload"])

steps = st.lists(
    st.tuples(st.integers(0, 90), st.frozensets(st.integers(0, len(NAMES) - 1), max_size=3), AFTER), max_size=40
)


@dataclass
class Group:
    """What one reader of the documentation would keep of a group."""

    now: dict[str, tuple[int, bool]] = field(default_factory=dict)  # when it began, whether it fires
    told: dict[str, int] = field(default_factory=dict)
    since: int | None = None
    sent_at: int | None = None

    def step(self, second: int) -> set[tuple[str, int, bool]] | None:
        """All that is told at this second, None = nothing."""
        quiet = self.sent_at is None or second >= self.sent_at + INTERVAL_S
        if self.since is not None and second >= self.since + WAIT_S and quiet:
            return self._tell(second)
        fires = any(firing for _, firing in self.now.values())
        if self.since is None and fires and self.sent_at is not None and second >= self.sent_at + REPEAT_S:
            return self._tell(second)
        return None

    def _tell(self, second: int) -> set[tuple[str, int, bool]]:
        said = {(name, start, firing) for name, (start, firing) in self.now.items()}
        self.now = {name: each for name, each in self.now.items() if each[1]}
        self.told = {name: start for name, (start, _) in self.now.items()}
        self.since, self.sent_at = None, second
        return said


class World:
    """Alerts that begin and end, and those who are told: heed, and the plain reading."""

    def __init__(self, told: Told) -> None:
        self.told, self.second = told, 0
        self.began: dict[str, int] = {}
        self.first: dict[str, int] = {}  # when anything happened in a group first
        self.groups: dict[str, Group] = {}
        self.expected: list[tuple[int, str, set[tuple[str, int, bool]]]] = []

    def change(self, name: str) -> dict[str, object]:
        group = self.groups.setdefault(name.partition("/")[0], Group())
        self.first.setdefault(name.partition("/")[0], self.second)
        firing = name not in self.began
        start = self.began.setdefault(name, self.second) if firing else self.began.pop(name)
        group.now[name] = (start, firing)
        group.since = self.second if group.since is None else group.since
        return message(name, self.second, "firing" if firing else "resolved", since=start)

    def turn(self, seconds: int, changing: frozenset[int] = frozenset(), after: str = "") -> None:
        self.second += seconds
        self.told.at(self.second, *(self.change(NAMES[i]) for i in sorted(changing)))
        for name, group in self.groups.items():
            said = group.step(self.second)
            self.expected += [] if said is None else [(self.second, name, said)]
        firing = [message(name, start) for name, start in self.began.items()]
        if after == "kill":
            self.told.restart(firing)
        elif after == "reload":
            self.told.reload(firing)

    def found(self) -> list[tuple[int, str, set[tuple[str, int, bool]]]]:
        """What heed told, in the same words."""
        return [(int(when), said["groupLabels"]["group"], _said(said)) for when, _, said in self.told.sent]


def _said(notification: dict[str, object]) -> set[tuple[str, int, bool]]:
    alerts: list[dict[str, object]] = notification["alerts"]  # type: ignore[assignment]
    return {(a["labels"]["stream"], _second(a["startsAt"]), a["status"] == "firing") for a in alerts}  # type: ignore[index]


def _second(text: object) -> int:
    from connectors.formats.timestamp import TimeReader

    return (TimeReader("rfc3339").one(text) - T0) // SECOND


def world() -> World:
    receiver = Receiver("oncall", ("receiver/oncall",))
    return World(Told(route(receiver, repeat_interval=REPEAT_S * SECOND)))


@settings(max_examples=300, deadline=None)
@given(steps)
def test_what_is_told_is_what_the_rules_say_whenever_it_is_killed_or_reloaded(found: list[Step]) -> None:
    it = world()
    for seconds, changing, after in found:
        it.turn(seconds, changing, after)
    for _ in range(40):
        it.turn(7)
    order = sorted(it.found(), key=lambda each: each[:2])
    assert order == sorted(it.expected, key=lambda each: each[:2])


@settings(max_examples=150, deadline=None)
@given(steps)
def test_every_alert_is_told_to_all_who_should_hear_of_it_and_its_end_too(found: list[Step]) -> None:
    waits = {"slow": (30 * SECOND, INTERVAL), "quick": (0, 20 * SECOND)}
    receivers = {name: Receiver(name, (f"receiver/{name}",)) for name in (*waits, "none")}
    routes = [
        route(receivers[name], "group=~.*", group_wait=wait, group_interval=interval, goes_on=True, group_by=("group",))
        for name, (wait, interval) in waits.items()
    ]  # fmt: skip
    it = World(Told(route(receivers["none"]), routes))
    for seconds, changing, after in found:
        it.turn(seconds, changing, after)
    last = {name: each for group in it.groups.values() for name, each in group.now.items()}
    it.turn(1000)
    for name, (wait, interval) in waits.items():
        told = [(when, said) for when, sink, said in it.told.sent if sink == f"receiver/{name}"]
        newest: dict[str, tuple[int, bool]] = {}
        for _, said in told:
            newest |= {stream: (start, firing) for stream, start, firing in _said(said)}
        assert {stream: newest.get(stream) for stream in last} == last
        for group in ("m1", "m2"):
            times = [when for when, said in told if said["groupLabels"] == {"group": group}]
            assert all(later - earlier >= interval / SECOND for earlier, later in pairwise(times))
            assert all(when >= it.first[group] + wait / SECOND for when in times)
    assert {sink for _, sink, _ in it.told.sent} <= {"receiver/slow", "receiver/quick"}


SILENCE = {"createdBy": "a", "comment": "c"}


@settings(max_examples=200, deadline=None)
@given(steps, st.lists(st.tuples(st.integers(0, 39), st.sampled_from(["m1/a", "m1/.*", ".*/a"]), st.integers(1, 400))))
def test_nobody_hears_of_who_is_silenced_and_everybody_of_who_fires_when_it_is_over(
    found: list[Step], silences: list[tuple[int, str, int]]
) -> None:
    it = world()
    spans: list[tuple[int, int, str]] = []
    for number, (seconds, changing, after) in enumerate(found):
        for _, pattern, lasts in [each for each in silences if each[0] == number]:
            body = {"matchers": [f"stream=~{pattern}"], "duration": f"{lasts}s", **SILENCE}
            it.told.notifier.desk.ask(wanted(body))
            spans.append((it.second + seconds, it.second + seconds + lasts, pattern))
        it.turn(seconds, changing, after)
    it.turn(401)
    it.turn(INTERVAL_S)
    for when, _, said in it.told.sent:
        for stream, _, _ in _said(said):
            assert not [1 for first, last, pattern in spans if first <= when < last and _fits(pattern, stream)]
    newest = {stream: (start, firing) for _, _, said in it.told.sent for stream, start, firing in _said(said)}
    assert {name for name, (_, firing) in newest.items() if firing} == set(it.began), "ends come through too"
    assert all(newest[name][0] == start for name, start in it.began.items())
    for first, last, pattern in spans:
        for name, start in it.began.items():
            if _fits(pattern, name) and start < last and last <= it.second - 401:
                assert [
                    w for w, _, said in it.told.sent if w >= max(first, last) and name in {s for s, _, _ in _said(said)}
                ]


def _fits(pattern: str, name: str) -> bool:
    import re

    return re.fullmatch(pattern, name) is not None


def test_what_goes_on_for_days_is_told_as_often_as_it_should_be() -> None:
    told = Told()
    told.at(0, message("m1/a", 0))
    told.until(3 * 86400, 600)
    assert len(told.sent) == 1 + (3 * 86400 - 600) * SECOND // REPEAT
