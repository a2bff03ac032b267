"""The synthetic world: values of every stream at any step, with the faults that were injected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from connectors.batch import SECOND
from connectors.synthetic.faults import DEMO_FAULTS, Fault, shape
from connectors.synthetic.layout import KINDS, LABEL, Kind, layout
from connectors.synthetic.noise import BLOCK, Autoregressive, Walk, Wander, generator
from connectors.synthetic.plan import plan

Floats = npt.NDArray[np.float64]

START_NS = 1_767_225_600 * SECOND  # 2026-01-01
DAY_NS = 86_400 * SECOND
_OWN, _DRIVER, _SHADOW, _SLOW, _PHASE, _BURST = 2, 3, 4, 5, 7, 8  # purposes of noise
_WALKS, _SHADOW_WALKS = 10, 12
_FLUCTUATION = 0.95  # memory of what the streams of a group share, per step
_SLOW_SHARE = {"machine": 1.2, "road": 1.0, "market": 0.6}
_DAY_SHARE = {"machine": 3.0, "road": 8.0, "market": 1.0}
_NEIGHBOUR = 0.6  # share of the upstream detector's noise
_PRICE_NOISE = 0.3  # a venue's own noise, in price steps


class World:
    """Streams in groups, and their values as a function of the seed, the step and the injected faults alone.

    ``names``, ``groups`` and ``labels`` (per stream) stand in the order of the columns of ``step``; ``sd`` [streams]
    is each stream's local standard deviation in its own units. Step k is at ``start_ns + k * step_ns``, k >= 0; the
    day (``day_ns`` long) begins with step 0, at another hour in each group.
    """

    def __init__(
        self,
        streams: int = 300,
        seed: int = 0,
        step_ns: int = SECOND // 4,
        start_ns: int = START_NS,
        kinds: Sequence[Kind] = KINDS,
        group_size: tuple[int, int] = (8, 24),
        day_ns: int = DAY_NS,
    ) -> None:
        if streams < 1 or step_ns < 1 or seed < 0 or not kinds:
            raise ValueError("a world needs a stream, a kind, a positive step and a seed that is not negative")
        self.seed, self.step_ns, self.start_ns, self.day_ns = seed, step_ns, start_ns, day_ns
        self.layout = layout(streams, seed, kinds, group_size)
        self.names = [stream.name for stream in self.layout.streams]
        self.groups = [self.layout.group_names[g] for g in self.layout.group_of]
        self.labels = [{"kind": LABEL[self.layout.group_kinds[g]]} for g in self.layout.group_of]
        self.sd = self.layout.column("sd")
        self.faults: list[Fault] = []
        self._faults_of: dict[int, list[Fault]] = {}  # by block
        self._set_columns()
        self._set_noise()
        self._clean = lru_cache(maxsize=3)(self._make_clean)
        self._block = lru_cache(maxsize=2)(self._make_block)

    def __len__(self) -> int:
        return len(self.names)

    def _set_columns(self) -> None:
        column = self.layout.column
        self._gain, self._level, self._log_sd = column("gain"), column("level"), column("log_sd")
        self._own = np.sqrt(1 - self._gain**2)
        self._delay, self._per_unit = column("delay").astype(np.intp), column("per_unit")
        self._weight, self._beta, self._volatility = column("weight"), column("beta"), column("volatility")
        instrument = column("instrument").astype(np.intp)
        self._logs, self._prices = np.flatnonzero(self._log_sd), np.flatnonzero(instrument >= 0)
        self._instrument = instrument[self._prices]
        self._market = self.layout.market_of[self.layout.group_of]
        self._follows = np.flatnonzero(column("upstream"))
        self._leads = self._follows - column("upstream").astype(np.intp)[self._follows]
        self._rounded, self._floored = np.flatnonzero(self._per_unit), np.flatnonzero(column("floored"))

    def _set_noise(self) -> None:
        kinds, groups = self.layout.group_kinds, len(self.layout.group_kinds)
        shared = np.full(groups, _FLUCTUATION)
        self._noise = Autoregressive(self.seed, _OWN, self.layout.column("phi"))
        self._driver = Autoregressive(self.seed, _DRIVER, shared)
        self._shadow = Autoregressive(self.seed, _SHADOW, shared)
        self._slow = Wander(self.seed, _SLOW, groups, 2), Wander(self.seed, _SLOW + 1, groups, 8)
        self._slow_share = np.array([_SLOW_SHARE[kind] for kind in kinds])
        self._day_share = np.array([_DAY_SHARE[kind] for kind in kinds])
        self._shifts = np.array([kind == "machine" for kind in kinds])
        self._hour = generator(self.seed, _PHASE).uniform(size=groups)
        markets = int(self.layout.market_of.max(initial=-1)) + 1
        self._walks = Walk(self.seed, _WALKS, self.layout.instruments + markets)
        self._shadow_walks = Walk(self.seed, _SHADOW_WALKS, markets)

    # -- faults

    def inject(self, faults: Iterable[Fault]) -> None:
        """Let these faults happen, beside those injected before."""
        new = sorted(faults, key=lambda fault: (fault.start, fault.group))
        self.faults += new
        for fault in new:
            first, last = self._span(fault)
            for b in range(first // BLOCK, (last - 1) // BLOCK + 1):
                self._faults_of.setdefault(b, []).append(fault)
        self._block.cache_clear()

    def plan(
        self,
        first_ns: int,
        last_ns: int,
        faults: Sequence[str] | None = None,
        count: int | None = None,
        lookalikes: bool = True,
        gap_steps: int = 100,
    ) -> list[Fault]:
        """Inject faults wholly between ``first_ns`` and ``last_ns`` and tell which: in the order of their start.

        ``faults`` names the sorts to take in turn (default: those of the demo), ``count`` how many faults (default:
        one for every ten steps). Fewer come where they don't fit: in one group none is nearer than ``gap_steps`` to
        another. Look-alikes, half of ``count``, are put where there is room left, at 2/5 of that distance.
        """
        steps = [-((self.start_ns - at) // self.step_ns) for at in (first_ns, last_ns + 1 - self.step_ns)]
        planned = plan(
            self.layout, self.seed, self.step_ns, self.start_ns, max(0, steps[0]), steps[1],
            DEMO_FAULTS if faults is None else faults, count, lookalikes, gap_steps,
        )  # fmt: skip
        self.inject(planned)
        return planned

    # -- values

    def step(self, k0: int, n: int) -> Floats:
        """Values of ``n`` steps from step ``k0`` on: [n, streams], NaN where there is no reading.

        Any order of steps will do, and gives the same values; one after the other is fastest.
        """
        out = np.empty((n, len(self)))
        done = 0
        while done < n:
            b, at = divmod(k0 + done, BLOCK)
            rows = self._block(b)[at : at + n - done]
            out[done : done + len(rows)] = rows
            done += len(rows)
        return out

    def _make_block(self, b: int) -> Floats:
        """One block with its faults, rounded: [BLOCK, streams]."""
        values = self._clean(b).copy()
        now = self._faults_of.get(b, [])
        for fault in now:
            self._bend(values, fault, b)
        self._finish(values)
        for fault in now:
            self._hold(values, fault, b)
        return values

    def _finish(self, values: Floats) -> None:
        values[:, self._floored] = np.maximum(values[:, self._floored], 0)
        per_unit = self._per_unit[self._rounded]
        values[:, self._rounded] = np.rint(values[:, self._rounded] * per_unit) / per_unit

    def _make_clean(self, b: int) -> Floats:
        """One block without faults, not rounded yet: [BLOCK, streams]."""
        noise = self._noise.block(b).astype(np.float64)
        if len(self._follows):
            mixed = noise[:, self._follows] + _NEIGHBOUR * noise[:, self._leads]
            noise[:, self._follows] = mixed / np.sqrt(1 + _NEIGHBOUR**2)
        values = noise * self._own
        values += self._gain * self._arriving([self._moving(b - 1), self._moving(b)])
        logs, prices = self._logs, self._prices
        as_logs = self._level[logs] * np.exp(self._log_sd[logs] * values[:, logs])
        as_prices = self._priced(self._walks.block(b), noise[:, prices])
        values *= self.sd
        values += self._level
        values[:, logs], values[:, prices] = as_logs, as_prices
        return values

    def _arriving(self, blocks: Sequence[npt.NDArray[np.floating]]) -> Floats:
        """What of the groups' drivers, a block and the one before, arrives at each stream: [BLOCK, streams]."""
        both = np.concatenate(blocks)
        arrived: Floats = both[np.arange(BLOCK, 2 * BLOCK)[:, None] - self._delay, self.layout.group_of]
        return arrived

    def _moving(self, b: int) -> Floats:
        """The drivers of the groups in units of their fluctuation: [BLOCK, groups]."""
        slow = (self._slow[0].block(b) + self._slow[1].block(b)) * self._slow_share
        return np.asarray(self._driver.block(b) + slow + self._day(b) * self._day_share)

    def _day(self, b: int) -> Floats:
        """The daily wave, 0 to 1: shifts on machines, two rush hours elsewhere: [BLOCK, groups]."""
        steps = np.arange(b * BLOCK, (b + 1) * BLOCK)[:, None]
        turn = 2 * np.pi * (steps * (self.step_ns / self.day_ns) + self._hour)
        rush = np.exp(12 * (np.cos(turn - 2.1) - 1)) + np.exp(12 * (np.cos(turn - 4.5) - 1))
        return np.asarray(np.where(self._shifts, (1 + np.tanh(3 * np.sin(2 * turn))) / 2, rush))

    def _priced(self, walks: Floats, noise: Floats) -> Floats:
        prices, sectors = self._prices, self.layout.instruments + self._market[self._prices]
        beta, rest = self._beta[prices], np.sqrt(1 - self._beta[prices] ** 2)
        moved = beta * walks[:, sectors] + rest * walks[:, self._instrument] + _PRICE_NOISE * noise
        return np.asarray(self._level[prices] * np.exp(self._volatility[prices] * moved))

    # -- what a fault does to values

    def _span(self, fault: Fault) -> tuple[int, int]:
        return (fault.start - self.start_ns) // self.step_ns, (fault.end - self.start_ns) // self.step_ns

    def _place(self, fault: Fault, b: int) -> tuple[slice, slice, list[int]]:
        """Rows of the block, the same rows within the fault, and its columns."""
        first, last = self._span(fault)
        start, stop = max(first, b * BLOCK), min(last, (b + 1) * BLOCK)
        columns = [self.layout.slot_of[name] for name in fault.streams]
        return slice(start - b * BLOCK, stop - b * BLOCK), slice(start - first, stop - first), columns

    def _bend(self, values: Floats, fault: Fault, b: int) -> None:
        """Faults that change values before they are rounded."""
        rows, within, columns = self._place(fault, b)
        if fault.name == "correlation_break":
            values[rows, columns] = self._broken(values, fault, b)[rows]
        elif fault.name == "venue_lag":
            late = np.concatenate([self._clean(b - 1), self._clean(b)])[BLOCK - round(fault.size) :, columns]
            values[rows, columns] = late[rows]
        else:
            values[rows, columns] += self._added(fault, columns)[within]

    def _added(self, fault: Fault, columns: list[int]) -> Floats:
        """What a fault adds over its whole span, in the streams' own units: [steps, columns]."""
        first, last = self._span(fault)
        delay = self._delay[columns]
        rng = generator(self.seed, _BURST, first, columns[0])
        added = shape(fault.name, fault.size, last - first, delay / max(1, delay.max()), rng)
        return added * (self.sd * self.weight(fault))[columns]

    def weight(self, fault: Fault) -> Floats:
        """What share of a fault's size each stream gets, were it hit, with its sign: [streams]."""
        if not fault.group_wide:
            return np.ones(len(self))
        return self._gain if fault.name in ("rush_hour", "load_change") else self._weight

    def _broken(self, values: Floats, fault: Fault, b: int) -> Floats:
        """One stream that follows a driver of its own instead of its group's: [BLOCK, 1]."""
        column = self.layout.slot_of[fault.streams[0]]
        if self._volatility[column]:
            return self._broken_price(values, fault, b, column)
        drivers = [self._shadow.block(c) - self._driver.block(c) for c in (b - 1, b)]
        apart = self._arriving(drivers)[:, column] * self._gain[column] * self.sd[column]
        return np.asarray(values[:, column] + apart)[:, None]

    def _broken_price(self, values: Floats, fault: Fault, b: int, column: int) -> Floats:
        market = self._market[column]
        sector = self.layout.instruments + market
        c, at = divmod(self._span(fault)[0], BLOCK)

        def apart(block: int) -> Floats:
            return self._shadow_walks.block(block)[:, market] - self._walks.block(block)[:, sector]

        moved = self._volatility[column] * self._beta[column] * (apart(b) - apart(c)[at])
        return np.asarray(values[:, column] * np.exp(moved))[:, None]

    def _hold(self, values: Floats, fault: Fault, b: int) -> None:
        """Faults that freeze or swallow values after they are rounded."""
        rows, _, columns = self._place(fault, b)
        if fault.name in ("dropout", "missing_reading"):
            values[rows, columns] = np.nan
        elif fault.name in ("stuck", "plateau"):
            c, at = divmod(max(0, self._span(fault)[0] - 1), BLOCK)
            before = self._clean(c)[at : at + 1].copy()
            self._finish(before)
            values[rows, columns] = before[0, columns]
