"""The monitor keeps account of every window, admits by weight, keeps `blind`, and outlives a broken model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monitor_feed import START, Broken, Mute, Plain, Run, due, noise

from connectors.batch import SECOND
from models.contract import Verdict
from stream.ledger import FULL, OUTCOMES, SENTINEL, SHED
from stream.selection import Reason
from stream.verdict import BY_FULL, BY_SENTINEL, Verdicts

STEPS = 130
few = settings(max_examples=8, deadline=None)
PRICES = st.sampled_from([(0.0, 0.0), (0.005, 0.02), (0.0, 0.05), (0.1, 0.0), (0.02, 0.3)])
BUDGETS = st.sampled_from(["50ms", "250ms", "2s"])


def conserves(run: Run) -> None:
    """Per stream and in all."""
    windows = run.windows
    assert windows["due"] == sum(windows[outcome] for outcome in OUTCOMES) == len(run.seen)
    assert {o: windows[o] for o in OUTCOMES} == {o: list(run.seen.values()).count(o) for o in OUTCOMES}
    names, counts, _ = run.monitor.parts.ledger.snapshot(run.world.table.names)
    for name, column in zip(names, counts.T.tolist(), strict=True):
        seen = Counter(outcome for (stream, _), outcome in run.seen.items() if stream == name)
        assert column == [seen[outcome] for outcome in OUTCOMES]


def groups_of(sizes: list[int]) -> list[str]:
    return [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]


@few
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    price=PRICES,
    budget=BUDGETS,
    gaps=st.sampled_from([0.0, 0.2, 0.6]),
    every=st.sampled_from([1, 1, 3]),
    seed=st.integers(0, 99),
)
def test_every_window_due_is_accounted_for_once(
    sizes: list[int], price: tuple[float, float], budget: str, gaps: float, every: int, seed: int
) -> None:
    values = noise(STEPS, sum(sizes), seed, gaps)
    values[-1, 0] = 100
    more = {"budget": {"latency": budget}, "windows": {"every": every}}
    run = Run(values, groups_of(sizes), Plain(), price, more).all()
    conserves(run)
    assert run.windows["due"] == sum(due(values, every))


@few
@given(price=PRICES, budget=BUDGETS, seed=st.integers(0, 99), cuts=st.lists(st.integers(1, 60), max_size=4))
def test_the_account_holds_over_restarts_at_any_moment(
    tmp_path_factory: pytest.TempPathFactory, price: tuple[float, float], budget: str, seed: int, cuts: list[int]
) -> None:
    folder: Path = tmp_path_factory.mktemp("state")
    values = noise(150, 6, seed, 0.1)
    values[-6:] = 100
    more = {"budget": {"latency": budget}}
    now = START
    for turns in cuts:
        run = Run(values, ["a", "a", "a", "b", "b", "b"], Plain(), price, more, folder=folder, now=now)
        run.some(turns)
        now = run.clock.now()
    run = Run(values, ["a", "a", "a", "b", "b", "b"], Plain(), price, more, folder=folder, now=now).all()
    windows = run.windows
    assert windows["due"] == sum(windows[o] for o in OUTCOMES) == sum(due(values))
    summary = run.monitor.summary()
    assert (summary["streams"], summary["groups"]) == (6, 2)


@few
@given(seed=st.integers(0, 99), k=st.integers(1, 9), suspects=st.integers(0, 3))
def test_no_window_admitted_by_weight_weighs_less_than_one_shed(seed: int, k: int, suspects: int) -> None:
    values = noise(STEPS + 40, 14, seed)
    values[STEPS:, :suspects] += 30
    compared = []

    def look(verdicts: Verdicts) -> None:
        by_weight = verdicts.weight[verdicts.reason == Reason.WEIGHT][
            verdicts.outcome[verdicts.reason == Reason.WEIGHT] == FULL
        ]
        shed = verdicts.weight[(verdicts.outcome == SHED) & (verdicts.reason == Reason.OVER_BUDGET)]
        if by_weight.size and shed.size:
            compared.append(by_weight.min() >= shed.max())

    more = {"budget": {"latency": "1s", "blind": "60s", "slack": 0}}
    Run(values, groups_of([7, 7]), Plain(), (0.0, 0.9 / k), more, observe=look).all()
    assert all(compared)
    assert compared or k < 3


@few
@given(seed=st.integers(0, 99), n=st.integers(2, 16), blind=st.integers(3, 20), spare=st.integers(0, 2))
def test_no_stream_goes_unseen_for_longer_than_blind_where_that_can_be_kept(
    seed: int, n: int, blind: int, spare: int
) -> None:
    fits = -(-n // blind) + spare  # looks a frame: enough for every stream's turn
    more = {"budget": {"latency": "900ms", "blind": f"{blind}s", "slack": 0}}
    run = Run(noise(STEPS + 70, n, seed), ["g"] * n, Plain(), (0.0, 0.8 / fits), more).all()
    assert run.monitor.violations == 0
    assert run.monitor.longest_unseen <= blind * SECOND
    assert run.windows["full"] >= 60


def test_blindness_that_can_not_be_kept_is_counted_and_said() -> None:
    more = {"budget": {"latency": "900ms", "blind": "3s"}}
    run = Run(noise(STEPS + 70, 12), ["g"] * 12, Plain(), (0.0, 0.8), more).all()
    assert run.monitor.violations > 100
    assert run.monitor.longest_unseen > 3 * SECOND
    assert run.notes("guarantee.violated")[0]["streams"] > 0
    assert len(run.notes("guarantee.violated")) <= 3, "said once a minute"
    conserves(run)


def test_with_a_free_price_nothing_is_shed() -> None:
    run = Run(noise(STEPS, 9, gaps=0.1), groups_of([4, 5]), Plain(), (0.0, 0.0), {"budget": {"latency": "1ms"}}).all()
    assert run.windows["shed"] == run.windows["sentinel"] == 0
    assert run.windows["full"] > 100
    assert run.monitor.lags.summary()["max"] == 0


def test_an_overload_is_said_when_it_begins_and_when_it_is_over() -> None:
    values = noise(300, 12)
    values[150:, 3:] = np.nan
    run = Run(values, ["g"] * 12, Plain(), (0.0, 0.08), {"budget": {"latency": "500ms"}}).all()
    assert len(run.notes("budget.overloaded")) == len(run.notes("budget.recovered")) == 1


# -- models that break


@pytest.mark.parametrize("after", [0, 5])
def test_a_model_that_breaks_leaves_the_sentinels_verdict_and_the_run_goes_on(after: int) -> None:
    values = noise(STEPS + 30, 4)
    values[STEPS + 5 :, 0] += 40
    said: list[float] = []

    def look(verdicts: Verdicts) -> None:
        said.extend(verdicts.score[verdicts.outcome == SENTINEL].tolist())
        assert (verdicts.fidelity[verdicts.outcome == SENTINEL] == BY_SENTINEL).all()

    run = Run(values, ["g"] * 4, Broken(after), observe=look).all()
    conserves(run)
    assert run.windows["full"] == 4 * after
    assert run.windows["sentinel"] > 100
    assert run.windows["shed"] == 0
    assert run.monitor.model_errors > 20
    assert np.isfinite(said).all()
    assert any(change.stream == "g/s00" and change.status == "firing" for change in run.changes)


def test_a_model_that_breaks_is_said_in_the_log_once_a_minute_at_most() -> None:
    run = Run(noise(STEPS + 90, 2), ["g"] * 2, Broken(3)).all()
    assert 1 <= len(run.notes("model.failed")) <= 3
    assert "the model broke" in run.notes("model.failed")[0]["problem"]


def test_streams_of_which_the_model_says_nothing_keep_the_sentinels_verdict() -> None:
    rows: list[tuple[int, int, float]] = []

    def look(verdicts: Verdicts) -> None:
        rows.extend(zip(verdicts.outcome.tolist(), verdicts.fidelity.tolist(), verdicts.score.tolist(), strict=True))

    run = Run(noise(STEPS + 20, 6), ["g"] * 6, Mute(), observe=look).all()
    conserves(run)
    assert run.windows["sentinel"] == run.windows["full"] > 50
    assert {fidelity for outcome, fidelity, _ in rows if outcome == SENTINEL} == {BY_SENTINEL}
    assert {fidelity for outcome, fidelity, _ in rows if outcome == FULL} == {BY_FULL}
    assert all(np.isfinite(score) for outcome, _, score in rows if outcome in (SENTINEL, FULL))


def test_a_model_that_says_infinite_does_not_stop_the_run() -> None:
    class Boundless(Plain):
        def score(self, look: Any) -> Verdict:
            return Verdict(np.full(look.member.shape, np.inf, np.float32))

    run = Run(noise(STEPS, 3), ["g"] * 3, Boundless()).all()
    conserves(run)
    assert run.windows["full"] == 0
    assert run.windows["sentinel"] > 50
    assert run.changes == []


# -- streams and groups


def test_a_group_of_more_than_64_is_looked_at_in_parts_and_loses_nobody() -> None:
    values = noise(STEPS, 70)
    run = Run(values, ["big"] * 70, Plain(), (0.0, 0.0)).all()
    conserves(run)
    assert run.notes("group.split") == [{"group": "big", "members": 64}]
    assert run.windows["due"] == 70 * STEPS
    assert run.windows["full"] == 70 * (STEPS - 99)


def test_streams_that_come_late_leave_early_and_come_back_are_each_counted() -> None:
    values = noise(400, 4)
    values[:120, 1] = np.nan  # comes late
    values[200:, 2] = np.nan  # falls silent for good
    values[150:310, 3] = np.nan  # longer than ttl, then comes back
    run = Run(values, ["g"] * 4, Plain(), more={"windows": {"ttl": "60s"}}).all()
    windows = run.windows
    assert windows["due"] == sum(windows[o] for o in OUTCOMES) == len(run.seen)
    by_stream = Counter(name for name, _ in run.seen)
    assert by_stream == {"g/s00": 400, "g/s01": 280, "g/s02": 200 + 60, "g/s03": 150 + 60 + 90}
    assert windows["gap"] == 120
    assert sum(note["streams"] for note in run.notes("stream.expired")) == 2 + 3, "at the end those that are left"


def test_a_stream_that_left_is_no_longer_among_the_newest_verdicts() -> None:
    values = noise(300, 3)
    values[150:, 2] = np.nan
    run = Run(values, ["g"] * 3, Plain(), more={"windows": {"ttl": "60s"}})
    while run.clock.now() < START + 290 * SECOND:
        run.turns.append(run.loop.turn())
    latest = run.monitor.latest
    assert np.flatnonzero(latest.outcome >= 0).tolist() == [0, 1]
    assert np.isnan(latest.score[2])


def test_every_third_step_is_judged_and_every_step_is_learned_from() -> None:
    values = noise(STEPS, 2)
    steps: list[int] = []
    run = Run(values, ["g"] * 2, Plain(), more={"windows": {"every": 3}})
    run.monitor.observers.append(lambda verdicts: steps.append(int(run.monitor.parts.windows.steps[0])))
    run.all()
    assert all(k % 3 == 0 for _, k in run.seen)
    assert run.windows["warmup"] == 2 * 33, "steps 0, 3, .. 96: a hundred readings are there at step 99"
    assert steps == list(range(1, STEPS + 1, 3))


def test_streams_of_one_group_with_different_steps_are_looked_at_on_the_largest() -> None:
    values = noise(260, 3)
    more = {"streams": [{"match": "*/s01", "step": "2s"}]}
    run = Run(values, ["g"] * 3, Plain(), more=more).all()
    windows = run.windows
    assert windows["due"] == sum(windows[o] for o in OUTCOMES) == len(run.seen)
    assert run.notes("group.step_changed") == [{"group": "g", "step_s": 2.0}]
    assert Counter(name for name, _ in run.seen) == {f"g/s{i:02d}": 130 for i in range(3)}
    assert windows["full"] == 3 * (130 - 99)


# -- closed


def closed(begin: str, end: str) -> dict[str, Any]:
    times = {"name": "night", "time_intervals": [{"times": [{"start_time": begin, "end_time": end}]}]}
    return {"time_intervals": [times], "streams": [{"match": "*/s00", "closed": "night"}]}


@pytest.mark.parametrize("silent", [True, False])
def test_a_closed_stream_is_not_judged_and_neither_alarms_nor_breaches_after(silent: bool) -> None:
    values = noise(480, 3)
    if silent:
        values[180:360, 0] = np.nan
    else:
        values[200:340, 0] = 5000  # whatever it does at night
    more = {**closed("00:03", "00:06"), "budget": {"latency": "900ms", "blind": "10s"}}
    run = Run(values, ["g"] * 3, Plain(), (0.0, 0.2), more).all()
    windows = run.windows
    assert windows["due"] == sum(windows[o] for o in OUTCOMES) == len(run.seen) == 3 * 480 - 180
    steps = {k - START // SECOND for name, k in run.seen if name == "g/s00"}
    assert steps == set(range(180)) | set(range(360, 480))
    assert run.changes == []
    assert run.monitor.violations == 0
    assert run.monitor.longest_unseen <= 10 * SECOND


# -- without a model, and lean


def test_without_a_model_every_window_is_the_sentinels_and_says_what_is_expected() -> None:
    expected: list[float] = []

    def look(verdicts: Verdicts) -> None:
        expected.extend(verdicts.expected[verdicts.outcome == SENTINEL].tolist())

    run = Run(noise(STEPS, 3), ["g"] * 3, None, more={"model": {"name": "none"}}, observe=look).all()
    conserves(run)
    assert run.windows["sentinel"] == 3 * (STEPS - 99)
    assert run.windows["full"] == run.windows["shed"] == 0
    assert np.isfinite(expected).all()
    assert abs(np.median(expected) - 100) < 2


def test_lean_evidence_judges_the_same_windows() -> None:
    values = noise(STEPS + 50, 4)
    values[STEPS + 20 :, 1] += 60
    runs = [
        Run(values, ["g"] * 4, None, more={"model": {"name": "none"}, "evidence": e}).all() for e in ("full", "lean")
    ]
    assert runs[0].windows == runs[1].windows
    for run in runs:
        assert {change.stream for change in run.changes if change.status == "firing"} == {"g/s01"}


def test_alert_changes_carry_the_coverage_of_their_group_at_the_time() -> None:
    values = noise(STEPS + 40, 10)
    values[STEPS + 20 :, 1] += 60
    run = Run(values, ["g"] * 10, Plain(), (0.0, 0.2), {"budget": {"latency": "900ms"}}).all()
    told = [told for turn in run.turns for told in turn.told if told.change.status == "firing"]
    assert told
    for each in told:
        assert each.coverage == pytest.approx(0.4)
        assert each.shed == 6


def test_the_summary_uses_the_ledgers_own_numbers() -> None:
    run = Run(noise(STEPS, 5), groups_of([2, 3]), Plain()).all()
    summary = run.monitor.summary()
    assert summary["windows"] == run.windows
    assert (summary["streams"], summary["groups"], summary["readings"]) == (5, 2, 5 * STEPS)
