"""The sentinel once more, for one stream: plain Python in float64, without columns and without bit tricks."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field

MINUTE = 60 * 10**9
FULL_SPANS = (3, 5, 10, 15, 30, 50, 100, 150, 300, 750)
LEAN_SPANS = (3, 15, 100, 150, 750)
LEAN_CHANNELS = ("residual_3", "shift_15", "shift_150", "day", "range", "mean_day", "change", "week")
PAIRS = {"shift_5": (5, 30), "shift_15": (15, 100), "shift_50": (50, 300), "shift_150": (150, 750)}
WIDTH = math.log10(2) / 2


@dataclass
class Season:
    bins: int
    seconds: int
    cap: int
    mean: dict[int, float] = field(default_factory=dict)
    count: dict[int, int] = field(default_factory=dict)

    def bin(self, ts: int) -> int:
        return ts // 10**9 // self.seconds % self.bins

    def predict(self, ts: int) -> float | None:
        b = self.bin(ts)
        parts = [(0.5, b - 1), (1.0, b), (0.5, b + 1)]
        weights = [(w * self.count.get(i % self.bins, 0), self.mean.get(i % self.bins, 0.0)) for w, i in parts]
        total = sum(w for w, _ in weights)
        return sum(w * t for w, t in weights) / total if total >= 1 else None

    def learn(self, ts: int, x: float) -> None:
        b = self.bin(ts)
        self.count[b] = min(self.count.get(b, 0) + 1, self.cap)
        self.mean[b] = self.mean.get(b, 0.0) + (x - self.mean.get(b, 0.0)) / self.count[b]


class Histogram:
    """One channel: evidence in, surprise out. ``base`` counts half octaves as the bits of a float32 do."""

    def __init__(self, bins: int, cap: float = 8.0) -> None:
        self.bins, self.cap = bins, cap
        self.base: float | None = None
        self.h = [0] * bins
        self.s = [0.0] * (bins + 1)
        self.width, self.prior = WIDTH, 20 * 0.08

    @staticmethod
    def position(evidence: float) -> float:
        """Half octaves as the bits count them: linear within half an octave, not logarithmic."""
        mantissa, exponent = math.frexp(max(evidence, 1e-9))  # mantissa in [.5, 1)
        return 2 * (exponent + 2 * mantissa - 1)

    def place(self, evidence: float) -> tuple[int, float]:
        if self.base is None and evidence > 1.5e-9:
            self.base = self.position(evidence) - self.bins // 2
        if self.base is None:
            return 0, 0.0
        y = self.position(evidence) - self.base
        b = min(max(math.floor(y), 0), self.bins - 1)
        return b, max(y - b, 0.0)

    def read(self, b: int, f: float) -> float:
        return min(self.s[b] + f * (self.s[b + 1] - self.s[b]), self.cap)

    def count(self, b: int) -> None:
        self.h[b] += 1

    def _shares(self) -> tuple[list[int], float, int]:
        share = [sum(self.h[e:]) for e in range(self.bins + 1)]
        total = max(share[0], 1)
        return share, total, next(e for e in range(1, self.bins + 1) if share[e] <= 0.02 * total)

    def _follow(self) -> None:
        _, total, j = self._shares()
        b, half = self.bins, self.bins // 2
        if (self.h[-1] >= 2 and self.h[-1] > 0.005 * total) or j > 0.8 * b:
            k = min(max(b // 4, j - half), half)
        elif j < 0.3 * b and self.h[0] < 0.3 * total:
            k = j - half
        else:
            k = 0
        moved = [0] * b
        for i, n in enumerate(self.h):
            moved[min(max(i - k, 0), b - 1)] += n
        self.h = moved
        assert self.base is not None
        self.base += k

    def refresh(self, full: int = 60_000) -> None:
        _, total, _ = self._shares()
        if self.base is not None:
            self._follow()
        if total >= full:
            self.h = [n // 2 for n in self.h]
        share, total, j = self._shares()
        if 1 < j < self.bins and share[j] * share[j - 1] < (0.02 * total) ** 2:
            j -= 1
        above = sum(share[e] for e in range(j + 1, self.bins + 1))
        g = max((self.width * (above + 0.5 * share[j]) + self.prior) / (share[j] + 20), 1e-3)
        for e in range(self.bins + 1):
            s = -math.log10(max(share[min(e, j)], 0.5) / total) + max(e - j, 0) * 0.4342945 * self.width / g
            self.s[e] = 0.0 if not share[0] else int(min(s, 8) * 255 / 8 + 0.5) * 8 / 255


class Surprises(Histogram):
    """The histogram of the largest surprise, which p is read from."""

    def __init__(self, bins: int) -> None:
        super().__init__(bins)
        self.width, self.prior = 4.5 / bins, 20 * 0.4342945

    def place(self, evidence: float) -> tuple[int, float]:
        b = min(int(evidence / self.width), self.bins - 1)
        return b, evidence / self.width - b


@dataclass
class Said:
    surprises: dict[str, float]
    surprise: float
    p: float
    expected: float
    accepted: bool


class ReferenceSentinel:
    """One stream, full or lean."""

    def __init__(self, name: str, step_ns: int, lean: bool = False) -> None:
        self.name, self.step, self.lean = name, step_ns, lean
        self.moved = False
        self.phase = zlib.crc32(name.encode()) % 32
        self.n = 0
        self.m = dict.fromkeys(LEAN_SPANS if lean else FULL_SPANS, 0.0)
        self.day, self.week = Season(48, 1800, 14), Season(168, 3600, 4)
        self.short: dict[str, float] = {}
        self.low = self.high = self.first = self.last = 0.0
        self.unit: float | None = None
        self.bins = 11 if lean else 15
        self.histograms: dict[str, Histogram] = {}
        self.of_surprise = Surprises(self.bins)
        self.five: list[float] = []
        self.five_ts = 0
        self.usual = [0.0, 0.0, 0.0]
        self.drift, self.hits = 0.0, 0
        self.hold = max(300, 120 * MINUTE // step_ns)

    def look(self, value: float, ts: int) -> Said:
        if self.n == 0:
            self.first = self.last = value
        width = self.high - self.low
        if self.n >= 100 and width > 0:
            unit = self.unit or 1.0
            low, high = self.low - 64 * width, self.high + 64 * width
            value = self.first + unit * min(max((value - self.first) / unit, low), high)
        if self.unit is None and value != self.first:
            self.unit = 2.0 ** math.frexp(value - self.first)[1]
        unit = self.unit or 1.0
        x, change = (value - self.first) / unit, (value - self.last) / unit
        self.last = value
        self._end_of_five_minutes(ts)
        young = 1 / (self.n + 1)
        day_said, week_said = self.day.predict(ts), self.week.predict(ts)
        day = x - (self.m[150] if day_said is None else day_said)
        week = x - (self.m[150] if week_said is None else week_said)
        level = x - self.m[15]
        expected = self.first + unit * (x - (day if self.usual[0] < self.usual[1] else level))
        evidence = self._evidence(x, day, week, change, young)
        surprises = self._surprises(evidence)
        surprise = max(surprises.values())
        p = self._p(surprise)
        self._learn_usual((day, level, change), young)
        self._visit(ts, x)
        accepted = self._accept()
        self.n += 1
        self._refresh()
        self._begin_anew()
        return Said(surprises, surprise, p, expected, accepted)

    def _evidence(self, x: float, day: float, week: float, change: float, young: float) -> dict[str, float]:
        residual = {w: x - m for w, m in self.m.items()}
        for w, d in residual.items():
            self.m[w] += max(2 / (w + 1), young) * d
        rates = {"change": (change, 16), "mean_day": (day, 8), "mean_week": (week, 8)}
        rates |= {f"mean_{w}": (residual[w], 8) for w in (10, 30) if w in residual}
        for name, (r, memory) in rates.items():
            before = self.short.get(name, 0.0)
            self.short[name] = before + max(1 / memory, young) * (abs(r) - before)
        before = self.short.get("drift_day", 0.0)
        self.short["drift_day"] = before + max(1 / 8, young) * (day - before)
        outside = max(x - self.high, self.low - x, 0.0) / max(self.high - self.low, 1e-9)
        self.low, self.high = min(self.low, x), max(self.high, x)
        found = {f"residual_{w}": abs(residual[w]) for w in (3, 100, 300) if w in residual}
        found |= {k: abs(self.m[a] - self.m[b]) for k, (a, b) in PAIRS.items() if a in self.m and b in self.m}
        found |= {k: abs(v) for k, v in self.short.items()}
        found |= {"day": abs(day), "week": abs(week), "range": outside}
        if self.step < MINUTE:
            del found["week"], found["mean_week"]
        return {k: v for k, v in found.items() if not self.lean or k in LEAN_CHANNELS}

    def _surprises(self, evidence: dict[str, float]) -> dict[str, float]:
        said = {}
        for name, e in evidence.items():
            h = self.histograms.setdefault(name, Histogram(self.bins, 7.0 if name == "range" else 8.0))
            b, f = h.place(e)
            said[name] = h.read(b, f) if self.n >= {"shift_50": 150, "shift_150": 400}.get(name, 100) else 0.0
            h.count(b)
        return said

    def _p(self, surprise: float) -> float:
        b, f = self.of_surprise.place(surprise)
        p = 10 ** -self.of_surprise.read(b, f)
        if self.n >= 100:
            self.of_surprise.count(b)
        return p

    def _learn_usual(self, deviation: tuple[float, float, float], young: float) -> None:
        a = max(1 / (4 * self.hold), young)
        for i, d in enumerate(deviation):
            self.usual[i] += a * (min(abs(d), 2 * self.usual[i] + self.short["change"]) - self.usual[i])
        self.drift += (deviation[0] - self.drift) / 32

    def _end_of_five_minutes(self, ts: int) -> None:
        if self.five and ts // (5 * MINUTE) != self.five_ts // (5 * MINUTE):
            mean = sum(self.five) / len(self.five)
            self.day.learn(self.five_ts, mean)
            self.week.learn(self.five_ts, mean)
            self.five = []

    def _visit(self, ts: int, x: float) -> None:
        if self.step >= 5 * MINUTE:
            self.day.learn(ts, x)
            self.week.learn(ts, x)
        else:
            self.five.append(x)
            self.five_ts = ts

    def _accept(self) -> bool:
        strong = abs(self.drift) > 3 * self.usual[0] + self.short["change"] and self.n >= 300
        side = int(math.copysign(1, self.drift)) if strong else 0
        if side == 0:
            self.hits = int(math.copysign(max(abs(self.hits) - 4, 0), self.hits))
        else:
            self.hits = side if side * self.hits < 0 else self.hits + side
        if abs(self.hits) < self.hold:
            return False
        for table in (self.day, self.week):
            table.mean = {b: t + self.drift for b, t in table.mean.items()}
        for w in self.m:
            self.m[w] += self.drift * (1 - 2 / (w + 1)) ** self.hold
        self.drift, self.hits = 0.0, 0
        return True

    def _refresh(self) -> None:
        turn = self.n + self.phase
        if turn % 32 == 0 or (self.n <= 400 and turn % 8 == 0):
            for h in self.histograms.values():
                h.refresh()
            self.of_surprise.refresh(min(max(self.n // 2, 64), 60_000))

    def _begin_anew(self) -> None:
        """Once, where the first reading lies thousands of steps away from the others."""
        turn = (self.n + self.phase) % 8 == 0 and 100 <= self.n <= 400 and not self.moved
        if turn and abs(self.m[15]) > 2048 * self.short["change"]:
            self.__init__(self.name, self.step, self.lean)  # type: ignore[misc]
            self.moved = True
