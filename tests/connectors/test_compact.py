"""Compacting what waits: fewer messages, the same truth in the end, and nobody who fired is left untold."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from listening import notification

from connectors.keeping.compact import compacted, key_of, merged

Step = tuple[int, bool]


def alert_message(key: int, start: int, status: str) -> dict[str, Any]:
    return {"fingerprint": f"f{key}", "starts_at": start, "status": status}


def lives(steps: list[int]) -> list[dict[str, Any]]:
    """Each step turns one alert: it fires, or it is over. What a sink gets of that."""
    since: dict[int, int] = {}
    told = []
    for time, key in enumerate(steps):
        if key in since:
            told.append(alert_message(key, since.pop(key), "resolved"))
        else:
            since[key] = time
            told.append(alert_message(key, time, "firing"))
    return told


def known(told: list[Any]) -> dict[tuple[str, int], str]:
    """What someone believes who was told this: by alert and firing the last word."""
    return {(each["fingerprint"], each["starts_at"]): each["status"] for each in told}


STEPS = st.lists(st.integers(0, 3), max_size=60)


@given(STEPS, st.integers(0, 60))
def test_of_alerts_none_is_left_half_told_and_the_end_is_the_true_one(steps: list[int], before: int) -> None:
    told = lives(steps)
    taken, waiting = told[:before], told[before:]
    kept = compacted(waiting)
    whole, short = known(told), known([*taken, *(each.message for each in kept)])
    assert all(whole[key] == status for key, status in short.items())
    assert {key for key, _ in whole} == {key for key, _ in short}
    last = {each["fingerprint"]: (each["starts_at"], each["status"]) for each in told}
    assert last == {e["fingerprint"]: (e["starts_at"], e["status"]) for e in [*taken, *(k.message for k in kept)]}
    assert all(sum(key_of(k.message) == key for k in kept) <= 4 for key in map(key_of, waiting))


@given(STEPS)
def test_every_message_is_in_exactly_one_and_order_is_kept(steps: list[int]) -> None:
    told = [*lives(steps), {"no": "key"}, {"no": "key"}]
    kept = compacted(told)
    assert sorted(number for each in kept for number in each.numbers) == list(range(len(told)))
    assert [each.numbers[-1] for each in kept] == sorted(each.numbers[-1] for each in kept)
    assert all(list(each.numbers) == sorted(each.numbers) for each in kept)
    again = compacted([each.message for each in kept])
    assert [each.message for each in again] == [each.message for each in kept]


def incident(states: list[dict[int, bool]]) -> list[dict[str, Any]]:
    """Notifications of one incident: at each time the alerts that fire, and those that are over since the last."""
    return [
        {
            "groupKey": "g",
            "status": "firing" if any(state.values()) else "resolved",
            "alerts": [
                {"fingerprint": f"f{n}", "status": "firing" if fires else "resolved", "labels": {"n": str(n), "a": "b"}}
                for n, fires in state.items()
            ],
        }
        for state in states
    ]


@given(st.lists(st.dictionaries(st.integers(0, 4), st.booleans(), min_size=1), min_size=1, max_size=12))
def test_of_an_incident_the_last_word_on_every_alert_remains(states: list[dict[int, bool]]) -> None:
    kept = compacted(incident(states))
    assert len(kept) <= 2
    latest = {f"f{n}": "firing" if fires else "resolved" for state in states for n, fires in state.items()}
    believed = {a["fingerprint"]: a["status"] for each in kept for a in each.message["alerts"]}  # type: ignore[attr-defined]
    assert believed == latest
    assert kept[-1].message["status"] == ("firing" if any(states[-1].values()) else "resolved")
    began, over = any(states[0].values()), not any(states[-1].values())
    assert (len(kept) == 2) == (began and over and len(states) > 1)
    if len(kept) == 2:
        assert kept[0].message["status"] == "firing", "some services ignore the end of what they have not heard begin"


def test_what_all_alerts_share_is_said_of_all_alerts() -> None:
    found: Any = merged([notification(0, alerts=1, group="g"), notification(1, alerts=2, group="g")])
    assert [alert["labels"]["alertname"] for alert in found["alerts"]] == ["Alert1", "Alert1"]
    two = [{**notification(n, group="g"), "alerts": notification(n)["alerts"]} for n in range(2)]
    found = merged(two)
    assert [alert["labels"]["alertname"] for alert in found["alerts"]] == ["Alert1", "Alert0"]
    assert found["commonLabels"] == {"severity": "warning"}
    assert found["commonAnnotations"] == {"description": "far too high"}


def test_a_message_alone_stays_as_it_is() -> None:
    alone = notification()
    assert compacted([alone])[0].message is alone
    assert compacted([]) == []
