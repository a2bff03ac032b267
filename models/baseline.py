"""The fall-back scorer: a stream's score is what its own evidence says, and no model is asked."""

from __future__ import annotations

import numpy as np

from models.contract import F32, Look, Verdict

PRIOR = 16  # the channel of a token that holds the sentinel's score, at k = 0 that of the newest step


def prior_of(look: Look) -> F32:
    """The sentinel's score of each admitted stream, f32 [G, A]; 0 in rows of padding."""
    group = np.arange(len(look.member))[:, None]
    score = look.evidence[group, np.maximum(look.member, 0), 0, PRIOR]
    return np.where(look.member >= 0, score, np.float32(0)).astype(np.float32, copy=False)


class SentinelScorer:
    """Scores by the evidence alone; what a trained model has to beat, and what serves when there is none."""

    name = "sentinel"
    digest = "sentinel"
    normalised = True
    cost = (0.0, 0.0)

    def __init__(self, window: int = 128) -> None:
        self.window = window

    def score(self, look: Look) -> Verdict:
        """Each admitted stream's own prior, [G, A]; says nothing of what was expected or attended to."""
        return Verdict(prior_of(look))
