"""Which windows get a full look when not all can: blind first, then suspects, exploration, weight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

_WEIGHED_PER_EXPLORED = 3  # in the order of work, so that a cut by the clock takes from both


class Reason(IntEnum):
    """Why a window was looked at in full, or why not; the ledger keeps it."""

    ALL = 0  # everything fitted
    FORCED = 1  # blind would have been breached, now or by what must follow
    SUSPECT = 2
    EXPLORED = 3  # among those not looked at for longest
    WEIGHT = 4
    OVER_BUDGET = 5  # from here on: shed
    SUSPECT_OVERFLOW = 6  # a suspect, but more suspects than room
    CUT_BY_CLOCK = 7  # admitted, and then the time was up


SHED = Reason.OVER_BUDGET  # this reason and those above it are shed


@dataclass(frozen=True, slots=True)
class Admission:
    """Which of n windows are looked at, in which order, and why each."""

    rows: Rows  # [a] admitted, in the order of work
    reason: U8  # [n] a Reason
    breaching: Bools  # [n] no look now is a look too late for `blind`
    explored_share: float  # the chance of a look whatever the weight: by age, forced or explored

    @property
    def forced_missing(self) -> int:
        """Windows whose stream is blind for longer than promised, because they were shed."""
        return int(np.count_nonzero(self.breaching & (self.reason >= SHED)))

    def cut(self, done: int) -> Admission:
        """The same after the clock allowed only the first ``done`` of the admitted."""
        reason = self.reason.copy()
        reason[self.rows[done:]] = Reason.CUT_BY_CLOCK
        return replace(self, rows=self.rows[:done], reason=reason)


def frames_left(age_ns: I64, blind_ns: int | I64, frame_ns: int) -> I64:
    """Frames that may still pass without a look, ``[m]``: 0 = it must be this one, negative = breached already."""
    left: I64 = (np.asarray(blind_ns, np.int64) - age_ns) // max(1, frame_ns)
    return left


def looks_per_frame(blind_frames: I64) -> int:
    """Full looks a frame that keep every stream's ``blind``, given how many frames long it is, ``[m]``."""
    return int(np.ceil(np.sum(1.0 / np.maximum(blind_frames, 1)) - 1e-9))


def explored_part(explore: float, demand: int, k: int) -> float:
    """The share of free looks that goes to exploration; two fifths of it above 8 times what fits."""
    return explore if demand <= 8 * k else 0.4 * explore


def select(
    slots: I32, looked: I64, weights: F32, k: int, left: I64, suspect: Bools, explore: float, plan: int = 0
) -> Admission:
    """Admit exactly min(k, n) of n windows.

    All columns ``[n]``: ``slots`` are unique; ``looked`` the step of the last full look; ``weights`` finite or not
    (NaN ranks last); ``left`` as of :func:`frames_left`. ``plan`` as of :func:`looks_per_frame`, 0 = not known.
    The result does not depend on the order of the windows; ties go to the one not looked at for longer, then to
    the lower slot.
    """
    k = min(max(k, 0), len(slots))
    age = _oldest_first(looked, slots)
    reason = np.full(len(slots), Reason.OVER_BUDGET, np.uint8)
    forced = _forced(left, age, k, plan)
    reason[forced] = Reason.FORCED
    suspects = np.flatnonzero(suspect & (reason >= SHED))
    reason[suspects] = Reason.SUSPECT_OVERFLOW
    suspects = suspects[first(age[suspects], age[suspects], k - len(forced))]
    reason[suspects] = Reason.SUSPECT
    explored = _explored(reason, age, k - len(suspects), len(forced), explore)
    reason[explored] = Reason.EXPLORED
    weighed = _weighed(reason, weights, age, k - len(suspects) - len(forced) - len(explored))
    reason[weighed] = Reason.WEIGHT
    share = (len(forced) + len(explored)) / max(1, len(slots) - len(suspects))
    if k == len(slots):
        reason[:], share = Reason.ALL, 1.0
    rows = np.concatenate((forced, suspects, interleave(weighed, explored)))
    return Admission(rows, reason, left <= 0, share)


def everyone(slots: I32, group: I32, left: I64) -> Admission:
    """All windows fit: no choice is to be made, and the order is that in which looking costs least.

    Whole groups, the small ones first, so that groups of about one size are packed together.
    """
    rows = np.lexsort((slots, group, np.bincount(group)[group]))
    return Admission(rows, np.full(len(slots), Reason.ALL, np.uint8), left <= 0, 1.0)


def forced_count(left: I64, plan: int) -> int:
    """How many must be looked at now, in the order of time left, so that ``plan`` looks a frame keep the rest.

    Of the streams with at most L frames left, ``plan * L`` can wait for the frames between; the others can't.
    """
    horizon = len(left) // plan + 1  # further ahead there are more looks than streams
    within = np.cumsum(np.bincount(np.clip(left, 0, horizon), minlength=horizon + 1))
    return int(max(0, np.max(within - plan * np.arange(horizon + 1))))


def _forced(left: I64, age: I64, k: int, plan: int) -> Rows:
    if k == 0:
        return np.empty(0, np.intp)
    return first(left, age, min(k, forced_count(left, min(plan, k) if plan > 0 else k)))


def _explored(reason: U8, age: I64, room: int, forced: int, explore: float) -> Rows:
    """The oldest looks, up to a share of ``room``; forced looks are by age too and count towards it."""
    free = np.flatnonzero(reason == Reason.OVER_BUDGET)
    share = int(np.ceil(explore * room - 1e-9))
    return free[first(age[free], age[free], min(share, room) - forced)]


def _weighed(reason: U8, weights: F32, age: I64, room: int) -> Rows:
    free = np.flatnonzero(reason == Reason.OVER_BUDGET)
    lightness = np.nan_to_num(-weights[free], nan=np.inf, posinf=np.inf, neginf=-np.inf)
    return free[first(lightness, age[free], room)]


def _oldest_first(looked: I64, slots: I32) -> I64:
    """A key without ties: the step of the last look, then the slot."""
    if not len(looked):
        return looked
    behind = np.minimum(looked - looked.min(), np.int64(2**31 - 1))
    key: I64 = (behind << np.int64(32)) | slots.astype(np.int64)
    return key


def first(key: npt.NDArray[np.generic], tie: I64, count: int) -> Rows:
    """The ``count`` smallest of ``key`` in order, ties by ``tie`` (which has none)."""
    if count <= 0:
        return np.empty(0, np.intp)
    chosen = _smallest(key, tie, count) if count < len(key) else np.arange(len(key))
    return chosen[np.lexsort((tie[chosen], key[chosen]))]


def _smallest(key: npt.NDArray[np.generic], tie: I64, count: int) -> Rows:
    edge = np.partition(key, count - 1)[count - 1]
    below, at = np.flatnonzero(key < edge), np.flatnonzero(key == edge)
    wanted = count - len(below)
    if wanted < len(at):
        at = at[np.argpartition(tie[at], wanted - 1)[:wanted]]
    return np.concatenate((below, at))


def interleave(weighed: Rows, explored: Rows) -> Rows:
    """One of exploration, three by weight, and so on; what is left over of either comes last."""
    i = np.arange(len(weighed))
    stride = _WEIGHED_PER_EXPLORED + 1
    place = stride * (i // _WEIGHED_PER_EXPLORED) + 1 + i % _WEIGHED_PER_EXPLORED
    order = np.argsort(np.concatenate((stride * np.arange(len(explored)), place)), kind="stable")
    return np.concatenate((explored, weighed))[order]
