"""Training: the attention model and its lite twin on labelled frames, the gate's weight on what the model found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import FAR, AttentionModel, LiteModel
from models.contract import F32, QUANTILES
from models.dataset import NO_FAULT, Examples
from models.quality import Quality, judge
from models.weight import WeightModel

FIRST_ROWS = 20  # of a fault on a stream: by then it should have been found
BATCH = 64  # frames a step; half of them show a fault, as far as there are any
SHARPNESS = 8.0  # logit = SHARPNESS (score - 1)
CLEAN = 20.0  # what false alarms weigh against faults missed: the mean of all clean rows,
WORST = 60.0  # and the mean of the worst hundredth of them
FORECAST = 0.5  # what the forecast's error weighs
RATE, DECAY = 2e-3, 0.05
WEIGHT_RATE, WEIGHT_BATCH = 3e-3, 1024

Batch = Mapping[str, Tensor]
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Report:
    """How a training went: mean loss of each epoch, and how the model and its prior judge the examples."""

    seed: int
    epochs: int
    losses: tuple[float, ...]
    quality: Mapping[str, Quality] = field(default_factory=dict)


def train(
    examples: Examples, seed: int = 0, epochs: int = 8, told: Callable[[int, float], None] | None = None
) -> tuple[AttentionModel, Report]:
    """Train the full look. ``told`` hears of each epoch and its loss. The same seed gives the same network."""
    with _seeded(seed):
        model = AttentionModel()
        losses = _fit(model, examples, _full_loss, seed, epochs, told)
    return model, Report(seed, epochs, losses, judge(examples, scores(model, examples)))


def train_lite(examples: Examples, seed: int = 0, epochs: int = 8) -> tuple[LiteModel, Report]:
    """Train the cheap look on the same frames and the same loss, less the forecast."""
    with _seeded(seed):
        model = LiteModel()
        losses = _fit(model, examples, _lite_loss, seed, epochs, None)
    return model, Report(seed, epochs, losses, judge(examples, scores(model, examples)))


def train_weight(features: F32, model_scores: F32, seed: int = 0, epochs: int = 25) -> tuple[WeightModel, Report]:
    """Train the gate's weight: features [n, 16] of streams, and the score [n] that the full look then gave them."""
    fine = np.isfinite(model_scores) & np.isfinite(features).all(1)
    x = torch.from_numpy(np.ascontiguousarray(features[fine]))
    y = torch.from_numpy(np.clip((model_scores[fine] - 0.5) / 0.5, 0, 1).astype(np.float32))
    rng, losses = np.random.default_rng(seed), []
    with _seeded(seed):
        model = WeightModel()
        optimiser = torch.optim.Adam(model.parameters(), WEIGHT_RATE)
        for _ in range(epochs):
            parts = np.array_split(rng.permutation(len(x)), -(-len(x) // WEIGHT_BATCH))
            losses.append(_weight_epoch(model, optimiser, x, y, parts))
    return model.eval(), Report(seed, epochs, tuple(losses))


def scores(model: nn.Module, examples: Examples, frames: int = 256) -> F32:
    """What a network says of every row, [F, S]; 0 for absent members."""
    model.eval()
    said = []
    with torch.no_grad():
        for start in range(0, len(examples), frames):
            batch = _batch(examples, np.arange(start, min(start + frames, len(examples))))
            said.append(_run(model, batch)[0].numpy())
    return np.concatenate(said)


def _fit(
    model: nn.Module,
    examples: Examples,
    loss_of: Callable[[nn.Module, Batch], Tensor],
    seed: int,
    epochs: int,
    told: Callable[[int, float], None] | None,
) -> tuple[float, ...]:
    """Train in place; the mean loss of each epoch."""
    draw, rng = _Draw(examples), np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, epochs * draw.steps))
    losses = []
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for frames in draw.epoch(rng):
            loss = loss_of(model, _batch(examples, frames))
            _step(model, optimiser, loss)
            schedule.step()
            total += float(loss.detach())
        losses.append(total / draw.steps)
        if told:
            told(epoch, losses[-1])
    model.eval()
    return tuple(losses)


def _step(model: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


def _full_loss(model: nn.Module, batch: Batch) -> Tensor:
    score, expected = _run(model, batch)
    return detection_loss(score, batch) + FORECAST * forecast_loss(expected, batch)


def _lite_loss(model: nn.Module, batch: Batch) -> Tensor:
    return detection_loss(_run(model, batch)[0], batch)


def detection_loss(score: Tensor, batch: Batch) -> Tensor:
    """Each fault's soft maximum and mean should be above 1, each clean row below, the worst of them above all."""
    logit = (score - 1.0) * SHARPNESS  # [B, S]
    event, clean = batch["counted"] & (batch["target"] > 0.5), batch["counted"] & (batch["target"] <= 0.5)
    false = F.softplus(logit) * clean
    worst = false.flatten().topk(max(1, int(clean.sum()) // 100)).values
    loss = CLEAN * _mean(false, clean) + WORST * worst.mean() + _mean(F.softplus(-logit), event)
    early = event & (batch["early"] >= 0)
    if bool(early.any()):
        loss = loss + F.softplus(-_soft_max(logit[early], batch["early"][early])).mean()
    return loss


def forecast_loss(expected: Tensor, batch: Batch) -> Tensor:
    """Pinball loss of the quantiles [B, S, Q] on clean rows whose newest value is known."""
    value = batch["values"][:, :, -1].clamp(-FAR, FAR)
    known = batch["mask"][:, :, -1] & batch["counted"] & (batch["target"] <= 0.5)
    off = value[:, :, None] - expected
    at = torch.tensor(QUANTILES)
    return _mean(torch.maximum(at * off, (at - 1.0) * off).sum(2), known)


def _soft_max(logit: Tensor, segment: Tensor) -> Tensor:
    """Per segment the mean of its logits, weighted by their softmax. Both [n] to [segments]."""
    _, segment = torch.unique(segment, return_inverse=True)
    n = int(segment.max()) + 1
    top = torch.full((n,), -torch.inf).scatter_reduce(0, segment, logit.detach(), "amax")
    share = torch.exp(logit - top[segment])
    total = torch.zeros(n).index_add(0, segment, share)
    return torch.zeros(n).index_add(0, segment, share * logit) / total


def _mean(x: Tensor, where: Tensor) -> Tensor:
    """The mean of x where ``where``; 0 where that is nowhere."""
    counted = where.to(x.dtype)
    return (x * counted).sum() / counted.sum().clamp(min=1.0)


def _run(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Score and expected of a batch; the lite model expects nothing."""
    if isinstance(model, LiteModel):
        return model(batch["evidence"], batch["present"], batch["member"]), torch.empty(0)
    said = model(*(batch[n] for n in ("values", "mask", "member", "evidence", "present")))
    return said[0], said[1]


def _batch(examples: Examples, frames: npt.NDArray[np.intp]) -> dict[str, Tensor]:
    part = examples.take(frames)
    look = part.look()
    arrays = {"values": look.values, "mask": look.mask, "member": look.member, "evidence": look.evidence}
    arrays |= {"present": look.present, "target": part.target, "counted": part.counted(), "early": early_rows(part)}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def early_rows(examples: Examples, rows: int = FIRST_ROWS) -> npt.NDArray[np.int64]:
    """The fault's number [F, S] in the first ``rows`` counted frames of each fault, ``NO_FAULT`` elsewhere."""
    if examples.fault is None:
        return np.full(examples.target.shape, NO_FAULT, np.int64)
    inside = examples.counted() & (examples.target > 0.5) & (examples.fault != NO_FAULT)
    number = np.where(inside, examples.fault, NO_FAULT).astype(np.int64)
    frame, _ = np.nonzero(inside)
    pairs = np.unique(np.stack([number[inside], frame], 1), axis=0)  # fault and frame, in the order of time
    starts = np.searchsorted(pairs[:, 0], pairs[:, 0])
    late = pairs[np.arange(len(pairs)) - starts >= rows]
    over = np.isin(number * len(examples) + np.arange(len(examples))[:, None], late[:, 0] * len(examples) + late[:, 1])
    return np.where(over & inside, np.int64(NO_FAULT), number)


class _Draw:
    """Which frames go into each step: whole faults, so that their soft maximum can be taken, and clean frames."""

    def __init__(self, examples: Examples) -> None:
        event = (examples.counted() & (examples.target > 0.5)).any(1)
        early = early_rows(examples)
        self._clean = np.nonzero(~event & examples.counted().any(1))[0]
        self._faults = [np.nonzero((early == n).any(1))[0] for n in np.unique(early[early >= 0])]
        if not self._faults:
            self._faults = [np.array([frame]) for frame in np.nonzero(event)[0]]
        shown = sum(len(frames) for frames in self._faults)
        self.steps = max(1, -(-(shown + len(self._clean)) // BATCH))

    def epoch(self, rng: Rng) -> Iterator[npt.NDArray[np.intp]]:
        """Frames of each step; where faults or clean frames run out, they come again in another order."""
        faults, clean = _forever(len(self._faults), rng), _forever(len(self._clean), rng)
        for _ in range(self.steps):
            frames: list[int] = []
            while self._faults and len(frames) < BATCH // 2:
                frames.extend(self._faults[next(faults)].tolist())
            while len(self._clean) and len(frames) < BATCH:
                frames.append(int(self._clean[next(clean)]))
            # In the order of time: that is what "the first rows of a fault" means.
            yield np.unique(np.array(frames, np.intp))


def _forever(n: int, rng: Rng) -> Iterator[int]:
    while n:
        yield from rng.permutation(n).tolist()


def _weight_epoch(
    model: WeightModel,
    optimiser: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    parts: list[npt.NDArray[np.int64]],
) -> float:
    total = 0.0
    for part in parts:
        rows = torch.from_numpy(part)
        loss = F.binary_cross_entropy_with_logits(model(x[rows]), y[rows])
        _step(model, optimiser, loss)
        total += float(loss.detach())
    return total / max(1, len(parts))


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch draws from the seed and adds in a fixed order, on one thread; afterwards it is as it was."""
    before, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            torch.set_num_threads(threads)
