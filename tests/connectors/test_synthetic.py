"""The synthetic world: the same however it is read, faults where and as large as promised, and nothing else moved."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import SECOND
from connectors.synthetic import DEMO_FAULTS, FAULTS, GROUP_FAULTS, LOOKALIKES, Fault, World
from connectors.synthetic.faults import SORTS
from connectors.synthetic.noise import BLOCK, Autoregressive, Walk

STEPS = 640
SMALL = 60


def span(world: World, fault: Fault) -> slice:
    return slice((fault.start - world.start_ns) // world.step_ns, (fault.end - world.start_ns) // world.step_ns)


def planned(seed: int, names: tuple[str, ...], streams: int = SMALL, count: int | None = None) -> World:
    world = World(streams, seed)
    world.plan(
        world.start_ns + 100 * world.step_ns, world.start_ns + STEPS * world.step_ns, names, count, lookalikes=False
    )
    return world


def apart(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Values with faults, and of the same world without."""
    return world.step(0, STEPS), World(len(world), world.seed).step(0, STEPS)


# -- streams


def test_every_stream_asked_for_is_there_once_in_groups_of_the_size_asked_for() -> None:
    world = World(300, 3)
    assert len(world) == len(set(world.names)) == 300
    assert world.step(0, 1).shape == (1, 300)
    sizes = Counter(world.groups)
    assert all(7 <= n <= 25 for n in sizes.values())
    assert {label["kind"] for label in world.labels} == {"sensor", "traffic", "market"}
    assert all(name.startswith(f"{group}/") for name, group in zip(world.names, world.groups, strict=True))


@given(st.integers(1, 90), st.integers(0, 2**31), st.sampled_from([("road",), ("market", "machine"), ("machine",)]))
@settings(max_examples=25, deadline=None)
def test_a_world_of_any_size_and_kind_has_finite_values(streams: int, seed: int, kinds: tuple) -> None:
    world = World(streams, seed, kinds=kinds)
    assert len(set(world.names)) == streams
    assert np.isfinite(world.step(1000, 3)).all()
    assert (world.sd > 0).all()


@pytest.mark.parametrize("wrong", [{"streams": 0}, {"step_ns": 0}, {"seed": -1}, {"kinds": ()}])
def test_a_world_that_can_not_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="a world needs"):
        World(**wrong)


def test_the_local_sd_is_what_the_values_show() -> None:
    world = World(200, 5)
    values = world.step(0, 4000)
    walks = world.layout.column("instrument") >= 0
    local = np.std(values[:, ~walks].reshape(100, 40, -1), axis=1).mean(axis=0)
    ratio = local / world.sd[~walks]
    assert 0.5 < np.median(ratio) < 1.2
    assert ratio.max() < 2.0
    moved = np.std(values[30:, walks] - values[:-30, walks], axis=0) / world.sd[walks]
    assert moved.min() > 0.6
    assert moved.max() < 1.6


def test_streams_of_one_machine_share_its_load_and_those_of_two_do_not() -> None:
    world = World(64, 1, kinds=("machine",))
    currents = [i for i, name in enumerate(world.names) if name.endswith(("/current", "/power"))]
    values = np.diff(world.step(0, 3000)[:, currents].reshape(300, 10, -1).mean(axis=1), axis=0)
    correlation = np.corrcoef(values.T)
    for a, i in enumerate(currents):
        for b, j in enumerate(currents[:a]):
            same = world.groups[i] == world.groups[j]
            assert correlation[a, b] > 0.5 if same else abs(correlation[a, b]) < 0.25


def test_a_wave_on_a_road_reaches_the_next_detector_later() -> None:
    world = World(24, 2, kinds=("road",), group_size=(24, 24))
    first, last = world.layout.slot_of["road1/km1.speed"], world.layout.slot_of["road1/km12.speed"]
    late = round(world.layout.streams[last].delay)
    values = world.step(0, 6000)[:, [first, last]]
    smooth = np.stack([np.convolve(v, np.ones(8) / 8, "valid") for v in values.T])
    fits = [
        np.corrcoef(np.diff(smooth[0, 60 : 5000 + 60]), np.diff(smooth[1, 60 + d : 5060 + d]))[0, 1]
        for d in range(-60, 100)
    ]
    assert abs(int(np.argmax(fits)) - 60 - late) <= 3
    assert late > 20


def test_two_venues_quote_nearly_the_same_price() -> None:
    world = World(40, 0, kinds=("market",))
    values = world.step(0, 500)
    pairs = [name for name in world.names if name.endswith("@B.price")]
    assert pairs
    for name in pairs:
        a, b = world.layout.slot_of[name.replace("@B", "")], world.layout.slot_of[name]
        assert np.abs(values[:, a] - values[:, b]).max() < world.sd[a]
        assert (values[:, a] != values[:, b]).any()


def test_rounded_streams_keep_to_their_raster_and_floored_ones_stay_above_nothing() -> None:
    world = planned(4, FAULTS, 200)
    values = world.step(0, STEPS)
    per_unit, floored = world.layout.column("per_unit"), world.layout.column("floored") > 0
    scaled = values[:, per_unit > 0] * per_unit[per_unit > 0]
    present = np.isfinite(scaled)
    np.testing.assert_allclose(scaled[present], np.rint(scaled[present]), atol=1e-6)
    assert np.nanmin(values[:, floored]) >= 0


# -- the same however it is read


@given(st.lists(st.sampled_from([1, 2, 7, 100, 127, 128, 129]), min_size=1, max_size=8), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_values_do_not_depend_on_how_many_steps_are_asked_for_at_once(chunks: list[int], seed: int) -> None:
    world, other = planned(seed, FAULTS), planned(seed, FAULTS)
    k, parts = 90, []
    for n in chunks:
        parts.append(world.step(k, n))
        k += n
    np.testing.assert_array_equal(np.concatenate(parts), other.step(90, k - 90))


def test_reading_in_chunks_of_1_7_and_100_gives_the_same_values() -> None:
    whole = planned(1, FAULTS).step(0, 700)
    for size in (1, 7, 100):
        world = planned(1, FAULTS)
        np.testing.assert_array_equal(np.concatenate([world.step(k, size) for k in range(0, 700, size)]), whole)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
@settings(max_examples=20, deadline=None)
def test_a_step_is_the_same_after_any_other_was_read(first: int, then: int) -> None:
    world = World(SMALL, 7)
    world.step(first, 3)
    np.testing.assert_array_equal(world.step(then, 3), World(SMALL, 7).step(then, 3))


def test_another_seed_gives_another_world() -> None:
    assert not np.allclose(World(SMALL, 0).step(0, 5), World(SMALL, 1).step(0, 5))


def test_the_start_moves_the_times_and_not_the_values() -> None:
    np.testing.assert_array_equal(World(SMALL, 0, start_ns=0).step(0, 99), World(SMALL, 0).step(0, 99))


def test_noise_and_walks_show_no_seam_between_blocks() -> None:
    noise = Autoregressive(0, 1, np.full(4000, 0.95))
    seam = np.corrcoef(noise.block(4)[-1], noise.block(5)[0])[0, 1]
    assert seam == pytest.approx(0.95, abs=0.02)
    assert noise.block(5).std() == pytest.approx(1, abs=0.02)
    walk = Walk(0, 1, 4000)
    path = np.concatenate([walk.block(b) for b in (6, 7, 8)])
    np.testing.assert_allclose(np.diff(path, axis=0).std(axis=1), 1, atol=0.06)
    far = (path[2 * BLOCK] - path[0]).std()
    assert far == pytest.approx((2 * BLOCK) ** 0.5, rel=0.06)


# -- faults


@given(st.integers(0, 500), st.sampled_from(FAULTS))
@settings(max_examples=100, deadline=None)
def test_a_fault_moves_its_own_streams_in_its_own_time_and_nothing_else(seed: int, name: str) -> None:
    world = planned(seed, (name,), 90, count=3)
    changed, clean = apart(world)
    differs = ~((changed == clean) | (np.isnan(changed) & np.isnan(clean)))
    for fault in world.faults:
        columns = [world.layout.slot_of[stream] for stream in fault.streams]
        inside = differs[span(world, fault)][:, columns]
        assert inside.any(axis=0).all()
        differs[span(world, fault), columns] = False
    assert not differs.any()


def moved(world: World, fault: Fault, changed: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """What the fault added, in the local sd of each of its streams: [steps, streams]."""
    columns = [world.layout.slot_of[stream] for stream in fault.streams]
    return (changed - clean)[span(world, fault)][:, columns] / world.sd[columns]


@pytest.mark.parametrize("seed", range(6))
def test_faults_are_as_large_as_they_say(seed: int) -> None:
    world = planned(seed, ("spike", "level_shift", "drift", "noise_burst"), 300)
    changed, clean = apart(world)
    assert len(world.faults) > 15
    for fault in world.faults:
        added = moved(world, fault, changed, clean)[:, 0] * np.sign(fault.size or 1)
        if fault.name in ("spike", "level_shift"):
            assert added.min() >= SORTS[fault.name].size[0] - 1.1  # rounding takes at most the rest
        elif fault.name == "drift":
            assert added[-1] >= 11.9
            assert np.abs(np.diff(added)).max() < 1.5
        else:
            assert added.std() >= 3.5  # at least; floored streams lose one half
            assert np.abs(added).max() >= 10


def test_a_stuck_stream_repeats_its_last_value_and_a_dropped_one_says_nothing() -> None:
    world = planned(3, ("stuck", "dropout"), 200)
    changed, clean = apart(world)
    assert Counter(fault.name for fault in world.faults).keys() == {"stuck", "dropout"}
    for fault in world.faults:
        rows, column = span(world, fault), world.layout.slot_of[fault.streams[0]]
        inside = changed[rows, column]
        assert fault.end - fault.start >= 15 * SECOND
        if fault.name == "dropout":
            assert np.isnan(inside).all()
        else:
            assert set(inside) == {changed[rows.start - 1, column]}
            assert len(set(clean[rows, column])) > 8


def test_a_stuck_stream_may_be_so_from_the_first_step() -> None:
    world = World(SMALL, 0)
    name = world.names[1]
    world.inject([Fault("stuck", "fault", world.groups[1], (name,), world.start_ns, world.start_ns + 60 * world.step_ns, False, 0.0)])  # fmt: skip  # noqa: E501
    assert len(set(world.step(0, 60)[:, 1])) == 1


def test_a_lagging_venue_repeats_what_it_said_some_steps_ago() -> None:
    world = planned(2, ("venue_lag",), 200, count=6)
    changed, clean = apart(world)
    assert world.faults
    for fault in world.faults:
        rows, column = span(world, fault), world.layout.slot_of[fault.streams[0]]
        late = round(fault.size)
        assert late >= 12
        np.testing.assert_array_equal(changed[rows, column], clean[rows.start - late : rows.stop - late, column])


def test_a_broken_stream_is_as_lively_as_before_and_leaves_its_group() -> None:
    before, after = [], []
    for seed in range(8):
        world = planned(seed, ("correlation_break",), 120)
        changed, clean = apart(world)
        for fault in world.faults:
            rows, column = span(world, fault), world.layout.slot_of[fault.streams[0]]
            if world.layout.streams[column].volatility:
                continue
            peers = [c for c, g in enumerate(world.groups) if g == fault.group and c != column]
            gains = world.layout.column("gain")
            delays = world.layout.column("delay")
            peers = [c for c in peers if abs(gains[c]) > 0.6 and delays[c] == delays[column]]
            if peers:
                load = (clean[rows][:, peers] / world.sd[peers] * np.sign(gains[peers])).mean(axis=1)
                before.append(np.corrcoef(load, clean[rows, column])[0, 1] * np.sign(gains[column]))
                after.append(np.corrcoef(load, changed[rows, column])[0, 1] * np.sign(gains[column]))
            assert np.std(changed[rows, column]) < 4 * world.sd[column]
    assert len(before) > 20
    assert np.mean(before) > 0.5
    assert np.mean(after) < np.mean(before) - 0.3


def test_a_flash_crash_takes_every_price_of_the_market_down_and_back() -> None:
    world = planned(0, ("flash_crash",), 90, count=3)
    changed, clean = apart(world)
    assert world.faults
    for fault in world.faults:
        added = moved(world, fault, changed, clean)
        prices = [i for i, name in enumerate(fault.streams) if name.endswith("price")]
        assert set(fault.streams) == {n for n, g in zip(world.names, world.groups, strict=True) if g == fault.group}
        assert (added[:, prices].min(axis=0) < -19).all()
        assert (added[-1, prices] > -4).all()


def test_a_congestion_wave_slows_one_detector_after_the_other() -> None:
    world = planned(0, ("congestion_wave",), 90, count=3)
    changed, clean = apart(world)
    assert world.faults
    for fault in world.faults:
        added = moved(world, fault, changed, clean)
        speeds = [i for i, name in enumerate(fault.streams) if name.endswith("speed")]
        slow = np.argmax(added[:, speeds] < -6, axis=0)
        assert (added[:, speeds].min(axis=0) < -11).all()
        assert (np.diff(slow) >= 0).all()
        assert slow[-1] - slow[0] > 15


def largest_moves(values: np.ndarray) -> list[np.ndarray]:
    """For each step how far short means lie from the means before them, and how rough the last steps are."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values - values[0], axis=0)])
    moves = []
    for short, before in ((1, 8), (5, 25), (15, 85)):
        at = np.arange(short + before, len(values) + 1)
        recent = (sums[at] - sums[at - short]) / short
        past = (sums[at - short] - sums[at - short - before]) / before
        move = np.zeros_like(values)
        move[at - 1] = np.abs(recent - past)
        moves.append(move)
    return moves


def how_unlike_before(world: World, faults: list[Fault]) -> np.ndarray:
    """For each fault the largest move, against the largest of the thousand steps before all of them."""
    alone = World(len(world), world.seed)
    alone.inject(faults)
    moves, found = largest_moves(alone.step(0, 1240)), []
    for fault in faults:
        columns, rows = [world.layout.slot_of[s] for s in fault.streams], span(world, fault)
        ratios = [m[rows][:, columns].max(axis=0) / m[100:1000, columns].max(axis=0) for m in moves]
        found.append(float(np.median(np.max(ratios, axis=0))))
    return np.array(found)


@pytest.mark.parametrize("seed", range(6))
def test_a_careful_look_at_one_stream_finds_what_should_be_found_and_leaves_the_look_alikes(seed: int) -> None:
    world = World(300, seed)
    start = world.start_ns + 1000 * world.step_ns
    names = ("spike", "level_shift", "drift", "noise_burst", "flash_crash", "congestion_wave")
    world.plan(start, start + 60 * SECOND, names)
    both = [fault for fault in world.faults if fault.name != "missing_reading"]
    found = {kind: how_unlike_before(world, [f for f in both if f.kind == kind]) for kind in ("fault", "lookalike")}
    assert len(found["fault"]) >= 18
    assert np.mean(found["fault"] > 1.5) >= 0.95
    assert len(found["lookalike"]) >= 4
    assert found["lookalike"].max() < 1.4


@given(st.integers(0, 200))
@settings(max_examples=15, deadline=None)
def test_look_alikes_are_small(seed: int) -> None:
    planned_for = World(120, seed)
    last = planned_for.start_ns + STEPS * planned_for.step_ns
    faults = planned_for.plan(planned_for.start_ns + 100 * planned_for.step_ns, last, FAULTS)
    world = World(120, seed)
    world.inject(fault for fault in faults if fault.kind == "lookalike")
    changed, clean = apart(world)
    for fault in world.faults:
        added = np.abs(moved(world, fault, changed, clean))
        if fault.name == "missing_reading":
            assert np.isnan(added).all()
            assert added.shape == (1, 1)
        elif fault.name == "plateau":
            assert added.shape[0] <= 3
        else:
            assert added.max() < 1.2 + 1.1  # and what rounding adds


# -- the plan


@given(st.integers(0, 10_000), st.integers(20, 300), st.integers(8, 120))
@settings(max_examples=30, deadline=None)
def test_no_two_faults_of_a_group_come_near_each_other_and_all_have_their_whole_time(
    seed: int, streams: int, seconds: int
) -> None:
    world = World(streams, seed)
    first, last = world.start_ns + 17, world.start_ns + 17 + seconds * SECOND
    faults = world.plan(first, last, FAULTS, count=40)
    assert faults == sorted(faults, key=lambda fault: fault.start)
    for i, fault in enumerate(faults):
        assert first <= fault.start < fault.end <= last
        assert set(fault.streams) <= {n for n, g in zip(world.names, world.groups, strict=True) if g == fault.group}
        for other in faults[:i]:
            if other.group == fault.group:
                both = fault.kind == other.kind == "fault"
                assert fault.start - other.end >= (25 if both else 10) * SECOND


@pytest.mark.parametrize("seed", range(8))
def test_a_minute_of_the_demo_has_at_least_twenty_faults_of_every_sort(seed: int) -> None:
    world = World(300, seed)
    faults = [f for f in world.plan(world.start_ns, world.start_ns + 60 * SECOND) if f.kind == "fault"]
    assert len(faults) >= 20
    assert {fault.name for fault in faults} == set(DEMO_FAULTS)
    assert all((fault.end - fault.start) <= 20 * SECOND for fault in faults)
    assert all(fault.group_wide == (fault.name in GROUP_FAULTS) for fault in faults)
    single = [fault.streams[0] for fault in faults if not fault.group_wide]
    assert len(set(single)) == len(single)


def test_the_same_seed_plans_the_same_and_look_alikes_can_be_left_out() -> None:
    first, last = World().start_ns, World().start_ns + 60 * SECOND
    assert World().plan(first, last) == World().plan(first, last)
    assert {fault.name for fault in World().plan(first, last)} & set(LOOKALIKES)
    assert all(fault.kind == "fault" for fault in World().plan(first, last, lookalikes=False))


def test_an_unknown_fault_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"unknown fault 'spikes'; known: spike, level_shift"):
        World(SMALL).plan(0, SECOND, ["spikes"])


def test_no_time_means_no_faults() -> None:
    world = World(SMALL)
    assert world.plan(world.start_ns, world.start_ns) == []
    assert world.plan(world.start_ns, world.start_ns + 60 * SECOND, [], lookalikes=False) == []
