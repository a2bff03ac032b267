"""Overload as data: each story beside this file, run on a tiny simulation by the replay clock, within its bands."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from connectors.clock import ReplayClock
from stream.budget import Budget
from stream.gate import Gate
from stream.selection import SHED, Reason, looks_per_frame

STORIES = sorted(Path(__file__).parent.glob("overload_*.toml"))
MS = 1_000_000
GROUP = 12  # streams
FRAMES = 420
SETTLED = 120  # frames before the story is measured
FAULT = 12  # frames a fault lasts
SOON = 4  # frames within which it must be looked at


@dataclass
class Tally:
    """What came of a story."""

    windows: int = 0
    reasons: np.ndarray = field(default_factory=lambda: np.zeros(len(Reason), int))
    lags: list[float] = field(default_factory=list)  # shares of the latency budget
    slacks: list[float] = field(default_factory=list)
    overloaded: list[bool] = field(default_factory=list)
    breaches: int = 0
    unseen_max: int = 0
    found: int = 0
    faults: int = 0

    def figures(self) -> dict[str, float]:
        looks = self.reasons[:SHED].sum()
        return {
            "coverage": looks / self.windows,
            "forced": self.reasons[Reason.FORCED] / max(1, looks),
            "suspect_overflow": self.reasons[Reason.SUSPECT_OVERFLOW] / self.windows,
            "lag_p99": float(np.quantile(self.lags, 0.99)),
            "late": float(np.mean(np.array(self.lags) > 1)),
            "breaches": self.breaches,
            "unseen_max": self.unseen_max,
            "recall": self.found / self.faults,
            "overloaded": float(np.mean(self.overloaded)),
            "slack_max": max(self.slacks),
            "slack_end": self.slacks[-1],
        }


class Story:
    """A seeded day of readings with faults, and a model that sees each fault it looks at."""

    def __init__(self, told: dict) -> None:
        self.told, self.rng = told, np.random.default_rng(told.get("seed", 0))
        self.n = told["streams"]
        self.slots = np.arange(self.n, dtype=np.int32)
        self.group = (self.slots // GROUP).astype(np.int32)
        self.step_ns = told.get("step_ms", 1000) * MS
        self.readings, self.faulty, self.onsets = self.day()
        self.suspect = self.rng.random(self.n) < told.get("suspects", 0)
        self.price = told["price_ms"]
        self.gate = Gate(told.get("policy", "weight"))
        self.gate.start(self.slots)
        self.budget = Budget(250 * MS, self.seconds(), exact=told.get("exact", True))
        self.clock = ReplayClock()
        self.tally = Tally()

    def seconds(self) -> tuple[float, float]:
        return self.price[0] / 1e3, self.price[1] / 1e3

    def day(self) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
        readings, faulty = self.rng.normal(size=(FRAMES, self.n)), np.zeros((FRAMES, self.n), bool)
        onsets = [(at, int(self.rng.integers(self.n))) for at in range(SETTLED, FRAMES - FAULT, 3)]
        for at, stream in onsets:
            readings[at : at + FAULT, stream] += 6
            faulty[at : at + FAULT, stream] = True
        for at in range(SETTLED, FRAMES - FAULT, 40):  # harmless: a whole group surges
            readings[at : at + FAULT, : GROUP * (1 + at % 3)] += 4
        return readings, faulty, onsets

    def run(self) -> dict[str, float]:
        for t in range(FRAMES):
            self.turn(t)
        looked = self.looked
        self.tally.faults = len(self.onsets)
        self.tally.found = sum(bool(looked[at : at + SOON, stream].any()) for at, stream in self.onsets)
        return self.tally.figures()

    def turn(self, t: int) -> None:
        for change in self.told.get("change", []):
            self.price = change["price_ms"] if change["frame"] == t else self.price
        if t == 0:
            self.looked = np.zeros((FRAMES, self.n), bool)
        self.clock.wait(t * self.step_ns)
        self.gate.look(self.slots, self.readings[t], self.group, int(self.group[-1]) + 1)
        blind = self.told["blind_frames"]
        age = self.gate.age(self.slots, t)
        weights = self.gate.weights(self.slots, self.group, int(self.group[-1]) + 1, t)
        deadline = t * self.step_ns + self.budget.latency_ns
        k = self.budget.afford(deadline, self.clock.now(), self.n)
        plan = looks_per_frame(np.full(self.n, blind))
        admission = self.gate.admit(self.slots, weights, k, blind - age, self.suspect, plan)
        admission = admission.cut(self.work(t, deadline, admission.rows))
        self.budget.frame_done(self.clock.now() - t * self.step_ns)
        if t >= SETTLED:
            self.count(t, admission)

    def work(self, t: int, deadline: int, rows: np.ndarray) -> int:
        done = 0
        while chunk := self.budget.chunk(deadline, self.clock.now(), len(rows) - done):
            fixed, each = self.seconds()
            noise = float(self.rng.lognormal(0, self.told.get("noise", 0)))
            seconds = self.clock.charge((fixed + chunk * each) * noise)
            self.budget.spend(chunk, seconds)
            seen = self.slots[rows[done : done + chunk]]
            self.gate.learn(seen, np.where(self.faulty[t, seen], 1.5, 0.1).astype(np.float32), t)
            self.looked[t, seen] = True
            done += chunk
        return done

    def count(self, t: int, admission) -> None:
        self.tally.windows += self.n
        self.tally.reasons += np.bincount(admission.reason, minlength=len(Reason))
        self.tally.lags.append((self.clock.now() - t * self.step_ns) / self.budget.latency_ns)
        self.tally.slacks.append(self.budget.slack)
        self.tally.overloaded.append(self.budget.load.overloaded)
        self.tally.breaches += admission.forced_missing
        self.tally.unseen_max = max(self.tally.unseen_max, int(self.gate.age(self.slots, t).max()))


def told(path: Path) -> dict:
    return tomllib.loads(path.read_text())


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_an_overload_story_ends_within_its_bands(path: Path) -> None:
    story = told(path)
    figures = Story(story).run()
    outside = {
        name: f"{figures[name]:.4g} not in [{low}, {high}]"
        for name, (low, high) in story["expect"].items()
        if not low <= figures[name] <= high
    }
    assert not outside, f"{story['story']}\n{outside}\n{figures}"


def test_a_story_told_twice_ends_the_same() -> None:
    story = told(STORIES[0])
    assert Story(story).run() == Story(story).run()


def test_weighing_finds_more_than_taking_turns() -> None:
    weighed = Story(told(Path(__file__).parent / "overload_steady.toml")).run()
    turns = Story(told(Path(__file__).parent / "overload_round_robin.toml")).run()
    assert weighed["recall"] > turns["recall"] + 0.25
