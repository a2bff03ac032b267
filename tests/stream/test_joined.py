"""What several workers say of streams, coverage, history and status, joined: as if one process had said it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_web import HOSTILE, alert, table

from stream.ledger import FULL, GAP, OUTCOMES, SHED, WARMUP
from stream.telemetry import Build, Figures
from stream.web import answers, joined_status, joined_streams, ranking
from stream.web.body import encode
from stream.web.snapshot import HISTORY, SECOND, Board, Snapshot, Streams

N = 60


def whole() -> Streams:
    """Streams whose numbers all differ; of some nothing is known."""
    draw = np.random.default_rng(5)
    score, weight, age = draw.random((3, N)).astype(np.float32)
    score[::7] = weight[::5] = age[::11] = np.nan
    outcome = draw.integers(-1, len(OUTCOMES), N).astype(np.int8)
    names = [f"{'aBc'[i % 3]}{i:02d}" for i in draw.permutation(N)]
    return table(N, names=names, score=score, weight=weight, age=age, outcome=outcome)


def part(streams: Streams, slots: slice) -> Snapshot:
    fields = ("names", "groups", "score", "value", "weight", "outcome", "ts", "age")
    return Snapshot(streams=Streams(**{name: getattr(streams, name)[slots] for name in fields}))


BOTH = [part(whole(), slice(0, 20)), part(whole(), slice(20, N))]  # groups of two streams stay whole
ONE = Snapshot(streams=whole())


def said(answer: Any) -> Any:
    """As it arrives."""
    return json.loads(encode(answer))


@pytest.mark.parametrize("sort", ranking.SORTS)
@pytest.mark.parametrize("about", [{}, {"group": "g3"}, {"q": "b"}, {"stream": "a00"}, {"q": "nowhere"}])
def test_streams_of_two_are_told_as_one_would_tell_them(sort: str, about: dict[str, str]) -> None:
    for limit in (1, 7, N, 10 * N):
        each = [said(answers.streams(snapshot, limit, sort, **about)) for snapshot in BOTH]
        found = joined_streams.streams(each, sort, limit)
        assert found == said(answers.streams(ONE, limit, sort, **about))


def test_a_stream_that_two_know_stands_once_with_what_is_newer() -> None:
    def tell(ts: int, value: float, names: list[str]) -> Any:
        one = table(len(names), names=names, ts=np.full(len(names), ts), value=np.full(len(names), value))
        return said(answers.streams(Snapshot(streams=one)))

    stays, old, new = tell(5 * SECOND, 3.0, ["a"]), tell(5 * SECOND, 1.0, ["b"]), tell(5 * SECOND + 1, 2.0, ["b", "c"])
    nothing = tell(0, 9.0, ["b"])
    for each in ([stays, old, new, nothing], [nothing, new, stays, old]):
        found = joined_streams.streams(each, "name", 10)
        assert [(row["stream"], row["value"]) for row in found["streams"]] == [("a", 3), ("b", 2), ("c", 2)]
        assert found["total"] == 3
    assert joined_streams.streams([], "score", 10) == {"streams": [], "total": 0}


@pytest.mark.parametrize("about", [{}, {"group": "g3"}, {"group": "nowhere"}])
def test_coverage_of_two_is_told_as_one_would_tell_it(about: dict[str, str]) -> None:
    for limit in (1, 5, N):
        each = [said(answers.coverage(snapshot, **about)) for snapshot in BOTH]
        alone = said(answers.coverage(ONE, limit, **about))
        assert joined_streams.coverage(each, limit) == alone


def test_a_group_at_two_workers_stands_once_with_its_windows_at_both_and_shares_are_of_what_each_judged() -> None:
    def tell(codes: list[int], share: float, judged: int) -> Any:
        one = table(len(codes), outcome=np.int8(codes), groups=["g"] * len(codes))
        return said(answers.coverage(Snapshot(streams=one, figures=Figures(coverage=share), judged=judged)))

    found = joined_streams.coverage([tell([FULL, GAP], 0.5, 30), tell([SHED, SHED, SHED], 0.1, 10)], 10)
    assert (found["coverage"], found["judged"], found["total"]) == (0.4, 40, 1)
    (group,) = found["groups"]
    assert (group["coverage"], group["windows"]["shed"], group["windows"]["gap"]) == (0.25, 3, 1)
    assert joined_streams.coverage([tell([GAP], 1, 0), tell([WARMUP], 1, 0)], 10)["groups"][0]["coverage"] is None
    assert joined_streams.coverage([], 10) == {"coverage": 1.0, "judged": 0, "groups": [], "total": 0}


def moments(*seconds: float, lag: float = 0.0, share: float = 1.0, judged: int = 0) -> Any:
    board = Board()
    for second in seconds:
        figures = Figures(coverage=share)
        board.publish(Snapshot(time=int(second * SECOND), lag_now=lag, figures=figures, judged=judged))
    return said(answers.history(board.history()))


def test_history_has_a_moment_a_second_with_the_worst_lag_and_the_coverage_of_all() -> None:
    slow = moments(100.9, 102.0, 103.1, lag=2.0, share=0.5, judged=10)  # none in second 101
    fast = moments(*(100.2 + i for i in range(20)), lag=0.5, share=1.0, judged=30)
    found = joined_streams.history([slow, fast])
    assert found["time"][:4] == [100.9, 101.2, 102.2, 103.2]
    assert found["lag"] == [2.0] * 8 + [0.5] * 12, "what a worker said last holds for five seconds"
    assert found["coverage"] == [0.875] * 8 + [1.0] * 12
    assert found["judged"] == [40] * 8 + [30] * 12
    assert joined_streams.history([fast]) == fast
    empty: dict[str, list[float]] = {"time": [], "lag": [], "coverage": [], "judged": []}
    assert joined_streams.history([]) == joined_streams.history([moments()]) == empty
    long = joined_streams.history([moments(*range(1, HISTORY + 1)), moments(*range(300, HISTORY + 300))])
    assert (len(long["time"]), long["time"][-1]) == (HISTORY, HISTORY + 299)


# -- status

SUMMARY = {
    "readings": 10, "streams": 3, "groups": 2, "late": 1,
    "windows": {"due": 8} | dict.fromkeys(OUTCOMES, 0) | {"full": 6, "gap": 2},
    "coverage": 0.75, "lag": {"p50": 0.01, "p99": 0.2, "max": 0.3}, "budget": 0.25,
    "catching_up": {"windows": 4, "p50": 0.1, "p99": 0.4, "max": 0.5},
    "guarantee_violations": 1, "longest_unseen": 4.0,
}  # fmt: skip
GOOD = Snapshot(
    state="ready", ready=True, time=5 * SECOND, summary=SUMMARY, alerts=(alert(),), incidents_open=1, lag_now=0.2,
    budget_seconds=0.25, judged=30, silences=({"status": {"state": "active"}},),
    figures=Figures(coverage=1.0, streams={"active": 3}, unseen_max_seconds=2.0, build=Build("1.0", "builtin", "abc")),
)  # fmt: skip
BEHIND = replace(
    GOOD, state="catching_up", ready=False, reasons=("source kafka: gone",), time=6 * SECOND, lag_now=9.0, judged=10,
    summary=SUMMARY | {"lag": {"p50": 8.0, "p99": 9.0, "max": 9.5}},
    figures=Figures(coverage=0.2, streams={"active": 1}, unseen_max_seconds=7.0),
)  # fmt: skip


def row(number: int, snapshot: Snapshot | None, up: bool = True) -> dict[str, Any]:
    own = None if snapshot is None else said(answers.status(snapshot))
    return {"worker": number, "up": up, "restarts": 0, "url": "http://127.0.0.1:1/", "status": own}


def test_a_status_of_one_worker_is_what_it_says_itself_and_of_two_sums_and_the_worst() -> None:
    alone = said(answers.status(GOOD))
    assert joined_status.status([row(0, GOOD)]) == alone | {"workers": [row(0, GOOD)]}
    found = joined_status.status([row(0, GOOD), row(1, BEHIND)])
    assert (found["readings"], found["streams"], found["windows"]["due"], found["windows"]["full"]) == (20, 6, 16, 12)
    assert (found["coverage"], found["lag"], found["budget"]) == (0.75, {"p50": 8.0, "p99": 9.0, "max": 9.5}, 0.25)
    assert found["catching_up"] == {"windows": 8, "p50": 0.1, "p99": 0.4, "max": 0.5}
    assert (found["state"], found["ready"]) == ("catching_up", False)
    assert found["reasons"] == ["worker 1: source kafka: gone"]
    assert (found["time"], found["version"], found["model"]["name"]) == ("1970-01-01T00:00:06Z", "1.0", "builtin")
    now = found["now"]
    assert (now["lag"], now["coverage"], now["judged"], now["unseen_max"], now["streams"]) == (
        9.0, pytest.approx(0.8), 40, 7.0, {"active": 4}
    )  # fmt: skip
    assert (now["alerts_firing"], now["incidents_open"], now["silences_active"]) == (2, 2, 1)


def test_workers_that_say_nothing_are_named_and_where_all_are_silent_nothing_is_claimed() -> None:
    found = joined_status.status([row(0, GOOD), row(1, None), row(2, None, up=False)])
    assert (found["state"], found["ready"], found["readings"]) == ("starting", False, 10)
    assert found["reasons"] == ["worker 1: does not answer", "worker 2: is down"]
    nobody, alone = joined_status.status([row(0, None)]), said(answers.status(GOOD))
    assert (nobody["readings"], nobody["lag"]["p99"], nobody["now"]["coverage"], nobody["time"]) == (0, 0, 1, None)
    assert set(nobody) == {*alone, "workers"}
    assert set(nobody["now"]) == set(alone["now"])


def test_hostile_names_come_through() -> None:
    each = said(answers.streams(Snapshot(streams=table(2, names=[HOSTILE, "b"]))))
    assert {row["stream"] for row in said(joined_streams.streams([each], "name", 5))["streams"]} == {HOSTILE, "b"}
