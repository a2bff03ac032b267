"""How well scores tell faults from clean rows, the model beside its prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.baseline import PRIOR
from models.contract import F32, Bools
from models.dataset import NO_FAULT, Examples

ALLOWED = 1e-3  # share of clean rows above the threshold at which recall is told


@dataclass(frozen=True, slots=True)
class Quality:
    """``recall``: share of faults with a row at 1 or above. ``false_rows``: clean rows at 1 or above, per 1,000.
    ``recall_at_1``: recall at the threshold that lets one clean row in 1,000 pass. ``auc_pr``: average precision
    over rows."""

    recall: float
    false_rows: float
    recall_at_1: float
    auc_pr: float


def judge(examples: Examples, scores: F32) -> dict[str, Quality]:
    """The quality of scores [F, S] and of the prior, on the rows that count."""
    prior = examples.evidence[:, :, 0, PRIOR]
    return {"model": quality(examples, scores), "prior": quality(examples, prior)}


def quality(examples: Examples, scores: F32) -> Quality:
    """The quality of scores [F, S] on the rows that count; 0 where there are no faults."""
    counted, event = examples.counted(), examples.target > 0.5
    clean = scores[counted & ~event]
    bar = float(np.quantile(clean, 1 - ALLOWED)) if len(clean) else 1.0
    return Quality(
        recall=_recall(examples, scores, 1.0),
        false_rows=1000 * float(np.mean(clean >= 1)) if len(clean) else 0.0,
        recall_at_1=_recall(examples, scores, np.nextafter(np.float32(bar), np.float32(np.inf))),
        auc_pr=average_precision(scores[counted], event[counted]),
    )


def _recall(examples: Examples, scores: F32, threshold: float) -> float:
    """The share of faults, or of event rows where faults aren't numbered, that reach the threshold."""
    event = examples.counted() & (examples.target > 0.5)
    if examples.fault is None:
        return float(np.mean(scores[event] >= threshold)) if event.any() else 0.0
    event &= examples.fault != NO_FAULT
    faults = np.unique(examples.fault[event])
    found = np.unique(examples.fault[event & (scores >= threshold)])
    return len(found) / len(faults) if len(faults) else 0.0


def average_precision(scores: F32, event: Bools) -> float:
    """The area under precision over recall, in steps (no interpolation); rows of equal score count as one step."""
    if not event.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(event[order])
    last = np.append(ranked[1:] != ranked[:-1], True)  # of each run of equal scores
    found = hits[last]
    precision = found / (np.nonzero(last)[0] + 1)
    return float(np.sum(np.diff(found, prepend=0) * precision) / found[-1])
