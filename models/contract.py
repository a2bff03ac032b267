"""The arrays that go into a model and come out of it, and how many of each there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]

MEMBERS = 64  # most streams of a group that look at each other
TOKEN_STEPS = 4  # K: now, and what is left of the past with half-lives of 4, 16 and 64 steps
TOKEN_CHANNELS = 20  # C: see models/evidence.py, TOKENS
QUANTILES = (0.05, 0.5, 0.95)  # Q: low, expected, high


@dataclass(frozen=True, slots=True)
class Look:
    """Full looks at A admitted streams in each of G groups of up to S members; T steps a window.

    ``member`` is the position in the group, -1 = padding. Values are 0 where masked out (``mask`` False), in units of
    the stream's own recent spread. Evidence tokens are those of ALL members, admitted or not.
    """

    values: F32  # [G, A, T]
    mask: Bools  # [G, A, T]
    member: I64  # [G, A]
    evidence: F32  # [G, S, K, C]
    present: Bools  # [G, S]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model says; None where it does not say it. Rows of padding hold 0."""

    score: F32  # [G, A], 1 = the alarm boundary
    expected: F32 | None = None  # [G, A, Q], the value now, same units as Look.values
    time_weight: F32 | None = None  # [G, A, P], shares of P pooled patches
    stream_weight: F32 | None = None  # [G, A, S], who explains whom


class Scorer(Protocol):
    """Scores looks. A stream's score must not depend on who else was admitted (tests/contract)."""

    name: str
    digest: str
    window: int  # T the model wants

    @property
    def cost(self) -> tuple[float, float]:
        """Seconds a call costs, and seconds each admitted stream adds, by the card."""
        ...

    def score(self, look: Look) -> Verdict:
        """The verdict; raises ModelError where the model fails."""
        ...


class ModelError(Exception):
    """A model can't be loaded or run; the message names the file and what is wrong with it."""
