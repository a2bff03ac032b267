"""Known faults against what fired."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.batch import SECOND
from stream.faults import GRACE, Fired, Known, account


def known(start: int, end: int, streams: tuple[str, ...] = ("a",), group: str = "g", name: str = "spike") -> Known:
    return Known(name, group, frozenset(streams), start * SECOND, end * SECOND)


def fired(at: float, stream: str = "a", group: str = "g") -> Fired:
    return Fired(group, stream, int(at * SECOND))


def test_an_alert_on_the_faulted_stream_in_time_finds_it_and_says_how_late() -> None:
    told = account([known(100, 110)], [fired(104)], [fired(104, "")])
    assert (told["injected"], told["found"], told["missed"], told["false_alerts"]) == (1, 1, 0, 0)
    assert told["delay_p50"] == 4


def test_grace_ends_ten_seconds_after_the_fault() -> None:
    assert account([known(100, 110)], [fired(120)], [])["found"] == 1
    assert account([known(100, 110)], [fired(120.001)], [])["found"] == 0
    assert account([known(100, 110)], [fired(99.999)], [])["found"] == 0


def test_another_stream_of_the_group_finds_only_a_fault_of_the_whole_group() -> None:
    assert account([known(100, 110)], [fired(105, "b")], [])["found"] == 0
    assert account([known(100, 110, ())], [fired(105, "b")], [])["found"] == 1
    assert account([known(100, 110, ())], [fired(105, "b", "h")], [])["found"] == 0


def test_an_incident_is_false_where_its_group_has_no_fault_at_the_time() -> None:
    incidents = [fired(105, ""), fired(105, "", "h"), fired(300, "")]
    assert account([known(100, 110)], [], incidents)["false_alerts"] == 2


def test_the_earliest_alert_counts_and_the_middle_delay_is_told() -> None:
    faults = [known(100, 110), known(200, 210, ("b",)), known(300, 310, ("c",), name="drift")]
    told = account(faults, [fired(109), fired(102), fired(206, "b"), fired(301, "c")], [])
    assert told["delay_p50"] == 2
    assert told["by_name"] == {"drift": {"injected": 1, "found": 1}, "spike": {"injected": 2, "found": 2}}


def test_without_faults_every_incident_is_false_and_there_is_no_delay() -> None:
    told = account([], [fired(5)], [fired(5, "")])
    assert told == {
        "injected": 0, "found": 0, "missed": 0, "false_alerts": 1, "delay_p50": None, "by_name": {},
    }  # fmt: skip


spans = st.tuples(st.integers(0, 50), st.integers(0, 20), st.sampled_from("abc"), st.sampled_from("gh"))


@given(
    st.lists(spans, max_size=6), st.lists(st.tuples(st.integers(0, 90), st.sampled_from("abc"), st.sampled_from("gh")))
)
def test_found_and_missed_are_all_there_is(faults: list, alerts: list) -> None:  # type: ignore[type-arg]
    told = account(
        [known(start, start + length, (stream,), group) for start, length, stream, group in faults],
        [fired(at, stream, group) for at, stream, group in alerts],
        [fired(at, "", group) for at, _, group in alerts],
    )
    found = sum(
        any(s == stream and start <= at <= start + length + GRACE / SECOND for at, s, _ in alerts)
        for start, length, stream, _ in faults
    )
    assert told["found"] == found == sum(row["found"] for row in told["by_name"].values())
    assert told["injected"] == found + told["missed"]
    assert told["false_alerts"] == sum(
        not any(g == group and start <= at <= start + length + GRACE / SECOND for start, length, _, group in faults)
        for at, _, g in alerts
    )
