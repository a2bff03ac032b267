"""The attention model: few learned queries pool a window over time, heads attend across the group's streams.

Dot-product and multi-head attention: Vaswani et al., "Attention Is All You Need", 2017, section 3.2.
Pooling by learned queries: Lee et al., "Set Transformer", 2019, section 3.2 (pooling by multihead attention).

Shapes: G groups, A admitted streams, S members, T steps, P patches of a window, K token steps, C token
channels, D width, H heads, N = G A admitted rows.

A stream's score does not depend on who else was admitted: queries come from its own window and token, keys
and values from the tokens of all members, admitted or not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.baseline import PRIOR
from models.contract import QUANTILES, TOKEN_CHANNELS, TOKEN_STEPS

WINDOW = 128  # T
PATCH = 8  # steps a patch
PATCHES = WINDOW // PATCH  # P
WIDTH = 32  # D
HEADS = 4  # H, across streams
QUERIES = 4  # learned queries over time
HIDDEN = 96  # of the heads
FAR = 20.0  # values beyond it are one as far as the net is concerned, in units of the stream's spread
REACH = 0.2  # the most that the net may move the prior, up or down
CLOSED = -1e9  # added to the logit of a masked key: its weight underflows to exactly 0
HALF_WIDTH = 1.43  # softplus of it is 1.64, where a normal value's 5 % and 95 % quantiles lie


class TimePool(nn.Module):
    """Patches of one window, pooled by dot-product attention with a few learned queries."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2 * PATCH, WIDTH)
        self.place = nn.Parameter(torch.randn(PATCHES, WIDTH) * 0.1)
        self.query = nn.Linear(WIDTH, QUERIES, bias=False)
        self.out = nn.Linear(QUERIES * WIDTH, WIDTH)

    def forward(self, patches: Tensor, open_: Tensor) -> tuple[Tensor, Tensor]:
        """Patches [N, P, 2 PATCH] (values, then mask) and open_ f32 [N, P] to [N, D] and weights [N, P]."""
        token = F.relu(self.embed(patches) + self.place)  # [N, P, D]
        logit = self.query(token) * WIDTH**-0.5 + (open_[:, :, None] - 1.0) * -CLOSED  # [N, P, Q]
        weight = torch.softmax(logit.transpose(1, 2), -1) * open_[:, None, :]  # [N, Q, P]
        pooled = torch.matmul(weight, token).reshape(-1, QUERIES * WIDTH)  # [N, Q D]
        return self.out(pooled), weight.mean(1)


class StreamAttention(nn.Module):
    """Multi-head attention of queries over the tokens of a group's members and one null token."""

    def __init__(self) -> None:
        super().__init__()
        self.null = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)

    def keys(self, token: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [G, S, D] to keys [G, H, D/H, S+1] and values [G, H, S+1, D/H], the null token first."""
        token = torch.cat([self.null.expand(token.shape[0], 1, WIDTH), token], 1)
        key, value = _heads(self.key(token)), _heads(self.value(token))
        return key.permute(0, 2, 3, 1), value.transpose(1, 2)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [G, A, D], bias [G, 1, 1 or A, S+1] to context [G, A, D] and weights [G, A, S]."""
        head = _heads(self.query(query) * (WIDTH // HEADS) ** -0.5).transpose(1, 2)  # [G, H, A, D/H]
        weight = torch.softmax(torch.matmul(head, key) + bias, -1)  # [G, H, A, S+1]
        context = torch.matmul(weight, value).transpose(1, 2)  # [G, A, H, D/H]
        context = context.reshape(query.shape[0], query.shape[1], WIDTH)
        return self.out(context), weight.mean(1)[:, :, 1:]


class EvidenceToken(nn.Module):
    """A member's evidence to a token; its newest step comes in apart, so that it can be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.now = nn.Linear(TOKEN_CHANNELS, WIDTH, bias=False)
        self.past = nn.Linear((TOKEN_STEPS - 1) * TOKEN_CHANNELS, WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, part: Tensor) -> Tensor:
        """What ``past`` made of the evidence, plus what ``now`` did or not, to a token; all [.., D]."""
        token: Tensor = self.norm(self.mix(F.gelu(part)))
        return token


class AttentionModel(nn.Module):
    """The full look: prior from the evidence, plus what attention over time and streams adds to it."""

    def __init__(self) -> None:
        super().__init__()
        self.time, self.token, self.across = TimePool(), EvidenceToken(), StreamAttention()
        self.newest = nn.Linear(2, WIDTH, bias=False)
        self.foresee = _head(3 * WIDTH + 2 * PATCH, HIDDEN, (0.0, HALF_WIDTH, HALF_WIDTH))
        self.recent = nn.Linear(2 * PATCH, len(QUANTILES), bias=False)
        self.head = _head(3 * WIDTH + 3, HIDDEN, (0.0,))
        nn.init.zeros_(self.recent.weight)
        self.silence = nn.Dropout(0.1)

    def forward(
        self, values: Tensor, mask: Tensor, member: Tensor, evidence: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A look's arrays (models/contract.py) to score, expected, time_weight and stream_weight."""
        row = _rows(member, evidence.shape[1])  # [N]
        evidence = torch.where(present[:, :, None, None], evidence, torch.zeros_like(evidence))
        prior = evidence[:, :, 0, PRIOR].reshape(-1).index_select(0, row)  # [N]
        tokens, own, own_past = self._tokens(self._drop(evidence), row)
        key, value = self.across.keys(tokens)
        bias = F.pad((present.to(values.dtype) - 1.0) * -CLOSED, (1, 0))[:, None, None, :]  # [G, 1, 1, S+1]

        newest, patches, open_, mean = _split(values, mask)
        past, time_weight = self.time(patches, open_)  # [N, D], [N, P]
        others, _ = self._attend(own_past + past, member, key, value, bias + _itself(member, present))
        level = (time_weight * mean).sum(1, keepdim=True)  # [N, 1]
        expected = self._foresee(level, own_past, past, others, patches[:, -1])
        context, stream_weight = self._attend(own + past + self.newest(newest), member, key, value, bias)
        score = prior + self._judge(own, past, context, newest, expected)

        kept = (member >= 0).to(values.dtype)[:, :, None]  # [G, A, 1]
        return (
            score.reshape_as(member) * kept[:, :, 0],
            expected.reshape(*member.shape, len(QUANTILES)) * kept,
            time_weight.reshape(*member.shape, PATCHES) * kept,
            stream_weight * kept,
        )

    def _tokens(self, evidence: Tensor, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens of all members [G, S, D], those of the admitted [N, D], and these without their newest step."""
        past = self.token.past(evidence[:, :, 1:].flatten(2)).flatten(0, 1)  # [G S, D]
        tokens = self.token(past + self.token.now(evidence[:, :, 0]).flatten(0, 1))  # [G S, D]
        grouped = tokens.reshape(evidence.shape[0], evidence.shape[1], WIDTH)
        return grouped, tokens.index_select(0, row), self.token(past.index_select(0, row))

    def _attend(
        self, asking: Tensor, member: Tensor, key: Tensor, value: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the group says to queries [N, D]: context [N, D] and weights [G, A, S]."""
        context, weight = self.across(asking.reshape(*member.shape, WIDTH), key, value, bias)
        return context.flatten(0, 1), weight

    def _foresee(self, level: Tensor, own: Tensor, past: Tensor, others: Tensor, latest: Tensor) -> Tensor:
        """Low, expected and high [N, Q] of the newest value; nothing of its own newest step goes in."""
        move = self.foresee(torch.cat([own, past, others, latest], 1)) + self.recent(latest)  # [N, 3]
        middle, wide = level + move[:, :1], F.softplus(move[:, 1:]) + 1e-3
        return torch.cat([middle - wide[:, :1], middle, middle + wide[:, 1:]], 1)

    def _judge(self, own: Tensor, past: Tensor, context: Tensor, newest: Tensor, expected: Tensor) -> Tensor:
        """How far the whole look moves the prior [N]; one of its inputs is how far off the newest value is."""
        width = expected[:, 2:] - expected[:, :1]
        off = ((newest[:, :1] - expected[:, 1:2]) / width).clamp(-FAR, FAR) * newest[:, 1:]
        summary = torch.cat([own, past, context, newest, off.detach()], 1)  # [N, 3 D + 3]
        opinion: Tensor = self.head(summary)
        return correction(opinion.reshape(-1))

    def _drop(self, evidence: Tensor) -> Tensor:
        """In training, now and then a channel of a member is silent in all its steps; the prior never is."""
        if not self.training:
            return evidence
        silenced: Tensor = evidence * self.silence(torch.ones_like(evidence[:, :, :1]))
        return silenced


class LiteModel(nn.Module):
    """The cheap look: a small net on the stream's own token and the mean of its group's newest evidence."""

    def __init__(self) -> None:
        super().__init__()
        wide = (TOKEN_STEPS + 1) * TOKEN_CHANNELS
        self.head = _head(wide, WIDTH, (0.0,))

    def forward(self, evidence: Tensor, present: Tensor, member: Tensor) -> Tensor:
        """evidence [G, S, K, C], present [G, S], member [G, A] to score [G, A]."""
        evidence = torch.where(present[:, :, None, None], evidence, torch.zeros_like(evidence))
        count = present.to(evidence.dtype).sum(1).clamp(min=1.0)[:, None]
        group = evidence[:, :, 0].sum(1) / count  # [G, C]
        wide = TOKEN_STEPS * TOKEN_CHANNELS
        own = evidence.reshape(-1, wide).index_select(0, _rows(member, evidence.shape[1]))
        own = own.reshape(*member.shape, wide)  # [G, A, K C]
        around = group[:, None].expand(*member.shape, TOKEN_CHANNELS)
        score = own[:, :, PRIOR] + correction(self.head(torch.cat([own, around], 2))[:, :, 0])
        return score * (member >= 0).to(score.dtype)


def correction(u: Tensor) -> Tensor:
    """How far a net's opinion moves the prior: bounded; 0 at 0."""
    return torch.tanh(u) * REACH


def _rows(member: Tensor, members: int) -> Tensor:
    """Positions [G, A] in each group to rows [N] of all groups' members; padding points at the first."""
    first = torch.arange(member.shape[0], device=member.device)[:, None] * members
    return (member.clamp(min=0) + first).reshape(-1)


def _itself(member: Tensor, present: Tensor) -> Tensor:
    """What closes each query's own key: [G, 1, A, S+1], 0 elsewhere."""
    same = member[:, :, None] == torch.arange(present.shape[1], device=member.device)  # [G, A, S]
    return F.pad(same.to(torch.float32) * CLOSED, (1, 0))[:, None]


def _split(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The newest value and mask [N, 2], the steps before it in patches [N, P, 2 PATCH] (values, then mask),
    which patches hold anything [N, P], and the means of their values [N, P]."""
    known = mask.to(values.dtype).reshape(-1, WINDOW)
    seen = values.reshape(-1, WINDOW).clamp(-FAR, FAR) * known
    newest = torch.cat([seen[:, -1:], known[:, -1:]], 1)
    seen, known = (F.pad(x[:, :-1], (0, 1)).reshape(-1, PATCHES, PATCH) for x in (seen, known))
    count = known.sum(2)
    return newest, torch.cat([seen, known], 2), count.clamp(max=1.0), seen.sum(2) / count.clamp(min=1.0)


def _heads(x: Tensor) -> Tensor:
    """[G, S, D] to [G, S, H, D/H]."""
    return x.reshape(x.shape[0], x.shape[1], HEADS, WIDTH // HEADS)


def _head(wide: int, hidden: int, start: tuple[float, ...]) -> nn.Sequential:
    """A small net that says ``start``, whatever goes in, until it is trained."""
    last = nn.Linear(hidden, len(start))
    nn.init.zeros_(last.weight)
    last.bias = nn.Parameter(torch.tensor(start))
    return nn.Sequential(nn.Linear(wide, hidden), nn.GELU(), last)
