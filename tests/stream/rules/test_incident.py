"""Incidents: one per group at a time, closed when all is quiet for a while."""

from __future__ import annotations

import json

import pytest

from stream.rules.change import Change, fingerprint
from stream.rules.expression import compile_expression
from stream.rules.incident import Incidents
from stream.rules.rule import Rule

SECOND = 1_000_000_000
RULE = Rule("A", compile_expression("score > 1"))


def fired(stream: str, at: int, group: str = "g") -> Change:
    labels = {"stream": stream, "group": group}
    start = at * SECOND
    return Change(RULE, 0, stream, group, labels, "firing", start, start, None, fingerprint(labels), {}, "expr_true")


def over(change: Change, at: int) -> Change:
    return change.resolved(at * SECOND, "expr_false")


def told(incidents: Incidents, changes: list[Change], now: int) -> list[tuple[str, str, int]]:
    return [(each.group, each.status, each.firing) for each in incidents.gather(changes, now * SECOND)]


def test_alerts_of_a_group_are_told_as_one_incident() -> None:
    incidents = Incidents()
    a, b = fired("a", 1), fired("b", 2)
    assert told(incidents, [a], 1) == [("g", "opened", 1)]
    assert told(incidents, [b], 2) == [("g", "joined", 2)]
    assert told(incidents, [over(a, 3)], 3) == []
    assert told(incidents, [over(b, 4)], 4) == []
    assert told(incidents, [], 33) == []
    assert told(incidents, [], 34) == [("g", "closed", 0)]
    assert (incidents.opened, incidents.closed, len(incidents)) == (1, 1, 0)


def test_an_alert_within_the_hold_joins_and_the_hold_starts_anew() -> None:
    incidents = Incidents(hold=10 * SECOND)
    a = fired("a", 1)
    told(incidents, [a], 1)
    told(incidents, [over(a, 2)], 2)
    again = fired("a", 9)
    assert told(incidents, [again], 9) == [("g", "joined", 1)]
    assert told(incidents, [over(again, 11)], 11) == []
    assert told(incidents, [], 20) == []
    assert told(incidents, [], 21) == [("g", "closed", 0)]


def test_an_alert_after_the_hold_opens_a_new_incident_even_if_nothing_came_between() -> None:
    incidents = Incidents(hold=10 * SECOND)
    a = fired("a", 1)
    (first,) = incidents.gather([a], 1 * SECOND)
    incidents.gather([over(a, 2)], 2 * SECOND)
    closed, second = incidents.gather([fired("b", 50)], 50 * SECOND)
    assert (closed.status, closed.id) == ("closed", first.id)
    assert second.status == "opened"
    assert second.id != first.id


def test_groups_have_incidents_of_their_own() -> None:
    incidents = Incidents()
    changes = [fired("a", 1, "x"), fired("b", 1, "y"), fired("c", 1, "x")]
    assert told(incidents, changes, 1) == [("x", "opened", 2), ("y", "opened", 1)]
    assert [incident.group for incident in incidents.open()] == ["x", "y"]


def test_an_alert_that_comes_and_goes_at_once_opens_an_incident_that_closes() -> None:
    incidents = Incidents(hold=0)
    a = fired("a", 1)
    assert told(incidents, [a, over(a, 1)], 1) == [("g", "opened", 0), ("g", "closed", 0)]


def test_an_end_without_an_incident_is_no_news() -> None:
    assert told(Incidents(), [over(fired("a", 1), 2)], 2) == []


def test_the_same_alerts_give_the_same_identity() -> None:
    ids = {Incidents().gather([fired("a", 1)], SECOND)[0].id for _ in range(2)}
    assert len(ids) == 1
    assert len(ids.pop()) == 16


@pytest.mark.parametrize("stop", range(7))
def test_a_restart_between_any_two_steps_changes_nothing(stop: int) -> None:
    a, b, c = fired("a", 1), fired("b", 2), fired("c", 60)
    story = [([a], 1), ([b], 2), ([over(a, 3)], 3), ([over(b, 4)], 4), ([], 34), ([c], 60), ([over(c, 61)], 95)]
    one, two = Incidents(), Incidents()
    for step, (changes, now) in enumerate(story):
        if step == stop:
            kept, two = json.loads(json.dumps(two.snapshot())), Incidents()
            two.restore(kept)
        assert one.gather(changes, now * SECOND) == two.gather(changes, now * SECOND)
    assert (one.opened, one.closed) == (two.opened, two.closed) == (2, 2)
