"""The gate: what it knows of every stream, the weight it gives each, and whom it admits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from models import gating
from stream.selection import Admission, explored_part, select

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Index = slice | npt.NDArray[np.intp]

Policy = Literal["weight", "gate", "last", "oldest", "round_robin", "random"]
Weigher = Callable[[F32], F32]  # [n, 16] -> [n]: the additive attention's logit

Taken = dict[str, npt.NDArray[np.generic]]
NEVER = -1.0  # the last score of a stream that was never looked at


class Gate:
    """State of the gate per slot, and the choice among streams.

    ``policy`` is what streams are ranked by: ``weight`` the weigher's logit (the group-relative gate until a weigher
    is given), ``gate`` the group-relative gate, the others for comparison. ``explore`` is the share of free looks
    that goes to those not looked at for longest (two fifths of it above 8x demand).

    Steps (``now``) are any count that goes up by one a step; a stream's age is counted in them.
    """

    def __init__(self, policy: Policy = "weight", explore: float = 0.25, seed: int = 0) -> None:
        if policy not in get_args(Policy):
            raise ValueError(f"unknown policy {policy!r}: one of {', '.join(get_args(Policy))}")
        if not 0 <= explore <= 1:
            raise ValueError(f"explore is a share between 0 and 1, not {explore}")
        self.policy: Policy = policy
        self.explore, self.seed = explore, seed
        self.weigher: Weigher | None = None
        self._state, self._first = gating.begin(0)
        self._seen = np.zeros((gating.GATE, 0), np.float32)  # the gate features of the latest reading
        self._latch = np.zeros(0, np.float32)
        self._last = np.zeros(0, np.float32)
        self._looked = np.zeros(0, np.int64)
        self._turn = 0  # round robin: the slot whose turn it is

    def grow(self, n: int) -> None:
        """Make room for slots 0..n-1."""
        have = len(self._latch)
        if n <= have:
            return
        more = max(n, 2 * have) - have
        state, first = gating.begin(more)
        self._state = np.concatenate((self._state, state), axis=1)
        self._first = np.concatenate((self._first, first))
        self._seen = np.concatenate((self._seen, np.zeros((gating.GATE, more), np.float32)), axis=1)
        self._latch = np.concatenate((self._latch, np.zeros(more, np.float32)))
        self._last = np.concatenate((self._last, np.full(more, NEVER, np.float32)))
        self._looked = np.concatenate((self._looked, np.zeros(more, np.int64)))

    def start(self, slots: I32, now: int = 0) -> None:
        """Begin streams anew, in new slots or used ones; their age counts from step ``now``."""
        self.grow(int(slots.max(initial=-1)) + 1)
        self._state[:, slots] = 0
        self._first[slots] = 0
        self._seen[:, slots] = 0
        self._latch[slots] = 0
        self._last[slots] = NEVER
        self._looked[slots] = now

    def look(self, slots: I32, value: F64, group: I32, groups: int) -> None:
        """Take this tick's readings of the streams present, ``[m]`` each; never shed.

        ``slots`` are unique and started; ``group`` numbers the tick's groups 0..groups-1. What is not finite is
        passed over.
        """
        known = np.isfinite(value)
        if not known.all():
            slots, value, group = slots[known], value[known], group[known]
        if not len(slots):
            return
        at = _index(slots)
        state, first = _columns(self._state, at), self._first[at]
        seen, surprise = gating.look(state, first, value, group, groups)
        if not isinstance(at, slice):
            self._state[:, at], self._first[at] = state, first
        self._seen[:, at] = seen
        self._latch[at] = np.maximum(surprise, np.float32(0.9) * self._latch[at])

    def age(self, slots: I32, now: int) -> I64:
        """Steps since the last full look, ``[m]``."""
        age: I64 = np.maximum(now - self._looked[_index(slots)], 0)
        return age

    def features(self, slots: I32, group: I32, groups: int, now: int) -> F32:
        """What the weight is computed from, ``[m, 16]``: see :func:`models.gating.inputs`."""
        at = _index(slots)
        age = self.age(slots, now).astype(np.float32)
        return gating.inputs(_columns(self._seen, at), self._latch[at], self._last[at], age, group, groups)

    def weights(self, slots: I32, group: I32, groups: int, now: int) -> F32:
        """The attention each stream deserves by the policy, ``[m]``: only the order means something."""
        if self.policy == "weight" and self.weigher is not None:
            return self.weigher(self.features(slots, group, groups, now))
        if self.policy in ("weight", "gate"):
            return self._latch[_index(slots)].copy()
        if self.policy == "last":
            return self._last[_index(slots)].copy()
        if self.policy == "oldest":
            return self.age(slots, now).astype(np.float32)
        if self.policy == "round_robin":
            return (-((slots - self._turn) % max(1, len(self._latch)))).astype(np.float32)
        return _dice(slots, now, self.seed)

    def admit(self, slots: I32, weights: F32, k: int, left: I64, suspect: Bools, plan: int = 0) -> Admission:
        """Choose min(k, m) of the m windows due: see :func:`stream.selection.select`."""
        looked = self._looked[_index(slots)]
        part = explored_part(self.explore, len(slots), k)
        return select(slots, looked, weights, k, left, suspect, part, plan)

    def greet(self, slots: I32, now: int) -> None:
        """Streams whose first window is due at step ``now``: their age counts from here."""
        self._looked[slots] = now

    def learn(self, slots: I32, score: F32, now: int) -> None:
        """Full looks at step ``now`` found these scores (1 = the alarm boundary); one that is NaN teaches nothing."""
        if not len(slots):
            return
        known = np.isfinite(score)
        self._last[slots[known]] = np.clip(score[known], -1e6, 1e6)
        self._latch[slots] = 0
        self._looked[slots] = now
        self._turn = int(slots[-1]) + 1

    def recall(self, slot: int, last: float, looked: int) -> None:
        """What was known of a stream before a restart: its last score and the step of its last full look."""
        self._last[slot], self._latch[slot], self._looked[slot] = last, 0, looked

    def take(self, slots: I32) -> tuple[Taken, Taken]:
        """Of some streams, what depends on the readings alone, and what depends on who was looked at."""
        readings: Taken = {"state": self._state[:, slots], "first": self._first[slots]}
        return readings, {name: getattr(self, f"_{name}")[slots] for name in ("latch", "last", "looked")}

    def put(self, slots: I32, readings: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Go on with these streams where the first part of ``take`` was taken; without it they begin anew."""
        self.start(slots)
        if readings:
            self._state[:, slots] = readings["state"].astype(np.float32)
            self._first[slots] = readings["first"].astype(np.float64)

    def put_learned(self, slots: I32, learned: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """The second part."""
        if learned:
            self._latch[slots] = learned["latch"].astype(np.float32)
            self._last[slots] = learned["last"].astype(np.float32)
            self._looked[slots] = learned["looked"].astype(np.int64)

    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """What depends on the readings alone, for the checkpoint."""
        return {"state": self._state.copy(), "first": self._first.copy()}

    def learned(self) -> dict[str, npt.NDArray[np.generic]]:
        """What depends on who was looked at, for the small checkpoint."""
        return {
            "latch": self._latch.copy(),
            "last": self._last.copy(),
            "looked": self._looked.copy(),
            "turn": np.array(self._turn, np.int64),
        }

    def restore(self, columns: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Take back :meth:`columns`. Raises ValueError where they have another shape than this version's."""
        state, first = columns["state"], columns["first"]
        if state.shape != (gating.COLUMNS, len(first)):
            raise ValueError(f"gate state of shape {state.shape}, expected ({gating.COLUMNS}, {len(first)})")
        self.grow(len(first))
        self._state[:, : len(first)] = state.astype(np.float32)
        self._first[: len(first)] = first.astype(np.float64)

    def restore_learned(self, learned: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Take back :meth:`learned`: after the muted frames, which move the latches."""
        n = len(learned["looked"])
        self.grow(n)
        self._latch[:n] = learned["latch"].astype(np.float32)
        self._last[:n] = learned["last"].astype(np.float32)
        self._looked[:n] = learned["looked"].astype(np.int64)
        self._turn = int(learned["turn"].astype(np.int64))


def _index(slots: I32) -> Index:
    """A slice where the slots are one run (then columns are views, not copies), else the slots."""
    n = len(slots)
    if n and int(slots[-1]) - int(slots[0]) == n - 1 and bool((slots[1:] > slots[:-1]).all()):
        return slice(int(slots[0]), int(slots[0]) + n)
    return slots.astype(np.intp)


def _columns(state: F32, at: Index) -> F32:
    """The columns of some slots, each row in one piece of memory (fancy indexing would turn them round)."""
    return state[:, at] if isinstance(at, slice) else state.take(at, axis=1)


def _dice(slots: I32, now: int, seed: int) -> F32:
    """A number in [0, 1) for each slot and step, always the same one (splitmix64)."""
    salt = np.array([(seed * 0x9E3779B97F4A7C15 + now * 0xD1B54A32D192ED03) % 2**64], np.uint64)
    z: U64 = (slots.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + salt
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
