"""Which streams the synthetic world has: machines with sensors, road corridors with detectors, markets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from connectors.synthetic.noise import generator

Kind = Literal["machine", "road", "market"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LABEL = {"machine": "sensor", "road": "traffic", "market": "market"}
PRICE_HORIZON = 30  # steps a price walks in what is called its local sd
_PURPOSE = 1

_MACHINES = ("press", "pump", "mill", "oven", "robot", "fan")
_SENSORS = (  # name, level, local sd, share of the machine's load, memory, readings per unit (0 = not rounded)
    ("temperature", 65.0, 0.8, 0.85, 0.80, 10),
    ("vibration", 2.8, 0.12, 0.60, 0.30, 0),
    ("pressure", 6.2, 0.05, 0.75, 0.60, 100),
    ("current", 41.0, 0.9, 0.90, 0.50, 0),
    ("rpm", 1480.0, 4.0, -0.75, 0.60, 1),
    ("torque", 220.0, 4.0, 0.85, 0.50, 0),
    ("power", 31.0, 0.6, 0.90, 0.50, 10),
    ("oil_temperature", 52.0, 0.4, 0.70, 0.90, 10),
    ("flow", 118.0, 2.2, 0.70, 0.50, 0),
    ("voltage", 400.0, 1.2, -0.50, 0.30, 10),
    ("humidity", 38.0, 0.6, 0.20, 0.90, 2),
    ("noise", 78.0, 0.9, 0.60, 0.30, 10),
    ("valve", 55.0, 1.5, 0.75, 0.70, 1),
    ("strain", 310.0, 5.0, 0.80, 0.40, 0),
    ("bearing_temperature", 58.0, 0.5, 0.75, 0.85, 10),
    ("coolant_flow", 24.0, 0.4, -0.60, 0.50, 0),
)
_FREE_SPEED, _FLOW = 104.0, 1300.0  # km/h, vehicles an hour


@dataclass(frozen=True, slots=True)
class Stream:
    """How the values of one stream are made. ``sd`` is its local standard deviation, in its own units."""

    name: str
    level: float
    sd: float
    gain: float = 0.0  # share of the group's driver in the local movement, its sign the direction
    phi: float = 0.5  # memory of the stream's own noise, per step
    per_unit: float = 0.0  # values are rounded to 1 / per_unit; 0 = not rounded
    log_sd: float = 0.0  # > 0: log-normal with this sd
    floored: bool = False  # never negative, so faults go up
    delay: int = 0  # steps that the driver needs to get here
    upstream: int = 0  # streams back to the neighbour whose noise is shared; 0 = none
    instrument: int = -1  # number of the price, over all markets; -1 = not a price
    beta: float = 0.0  # share of the sector in the price's movement
    volatility: float = 0.0  # relative sd of a price's step
    second_venue: bool = False
    weight: float = 0.0  # how a fault of the whole group shows here


@dataclass(frozen=True, slots=True)
class Layout:
    """Streams in the order of their groups, and their columns."""

    streams: list[Stream]
    group_names: list[str]
    group_kinds: list[Kind]
    group_of: npt.NDArray[np.intp]  # [streams]
    market_of: npt.NDArray[np.intp]  # [groups], number among the markets
    slot_of: dict[str, int] = field(default_factory=dict)

    def column(self, attribute: str) -> npt.NDArray[np.float64]:
        """One attribute of all streams as float64 [streams]."""
        return np.array([getattr(stream, attribute) for stream in self.streams], np.float64)

    @property
    def instruments(self) -> int:
        """How many prices walk."""
        return 1 + max((s.instrument for s in self.streams), default=-1)


def layout(streams: int, seed: int, kinds: Sequence[Kind], group_size: tuple[int, int]) -> Layout:
    """Share ``streams`` out to groups of the kinds in turn; sizes are drawn from ``group_size``, both included."""
    rng = generator(seed, _PURPOSE)
    sizes = _sizes(streams, group_size, rng)
    group_kinds = [kinds[g % len(kinds)] for g in range(len(sizes))]
    seen = dict.fromkeys(KINDS, 0)
    names, made, instruments = [], [], 0
    for kind, size in zip(group_kinds, sizes, strict=True):
        seen[kind] += 1
        names.append(_group_name(kind, seen[kind]))
        made += list(_members(kind, names[-1], size, instruments, rng))
        instruments = max(instruments, 1 + max((s.instrument for s in made[-size:]), default=-1))
    markets = np.cumsum([kind == "market" for kind in group_kinds]) - 1
    slots = {stream.name: i for i, stream in enumerate(made)}
    return Layout(made, names, group_kinds, np.repeat(np.arange(len(sizes)), sizes), markets, slots)


def _sizes(streams: int, bounds: tuple[int, int], rng: np.random.Generator) -> list[int]:
    low, high = bounds
    groups = max(1, round(streams * 2 / (low + high)))
    ends = np.cumsum(rng.uniform(low, high, groups))
    edges = np.rint(ends / ends[-1] * streams).astype(int)
    return [int(size) for size in np.diff(edges, prepend=0) if size]


def _group_name(kind: Kind, number: int) -> str:
    if kind == "machine":
        return f"{_MACHINES[(number - 1) % len(_MACHINES)]}{number}"
    return f"{'road' if kind == 'road' else 'mkt'}{number}"


def _members(kind: Kind, group: str, size: int, instruments: int, rng: np.random.Generator) -> Iterator[Stream]:
    draws = rng.uniform(size=(size, 3))
    if kind == "machine":
        return _machine(group, draws)
    return _road(group, draws) if kind == "road" else _market(group, draws, instruments)


def _machine(group: str, draws: npt.NDArray[np.float64]) -> Iterator[Stream]:
    for i, (a, b, c) in enumerate(draws.tolist()):
        name, level, sd, gain, phi, per_unit = _SENSORS[i % len(_SENSORS)]
        again = f"{i // len(_SENSORS) + 1}" if i >= len(_SENSORS) else ""
        gain *= 0.85 + 0.2 * c
        yield Stream(
            f"{group}/{name}{again}", level * (0.7 + 0.6 * a), sd * (0.8 + 0.8 * b), gain, phi, per_unit, weight=gain
        )


def _road(group: str, draws: npt.NDArray[np.float64]) -> Iterator[Stream]:
    for i, (a, b, c) in enumerate(draws.tolist()):
        detector, is_flow = divmod(i, 2)
        where, back = f"{group}/km{detector + 1}", 2 if detector else 0
        delay = round(detector * 50 / max(1, len(draws) // 2))
        if is_flow:
            yield Stream(
                f"{where}.flow", _FLOW * (0.8 + 0.4 * a), 26 * (0.8 + 0.5 * b), 0.55 + 0.2 * c, 0.4, 0.2,
                floored=True, delay=delay, upstream=back, weight=-0.6,
            )  # fmt: skip
        else:
            yield Stream(
                f"{where}.speed", _FREE_SPEED * (0.9 + 0.2 * a), 1.6 * (0.8 + 0.5 * b), -0.6 - 0.2 * c, 0.5, 10,
                floored=True, delay=delay, upstream=back, weight=-1.0,
            )  # fmt: skip


def _market(group: str, draws: npt.NDArray[np.float64], instruments: int) -> Iterator[Stream]:
    """Instruments of three or, where two venues trade them, four streams each: odd ones have two venues."""
    roles = [(n, role) for n in range(len(draws)) for role in _roles(n)]
    first = draws[0]
    for row, (n, role) in zip(draws, roles, strict=False):
        name = f"{group}/{_ticker(instruments + n)}{role}"
        first = row if role == ".price" else first
        if role.endswith("price"):
            yield _price(name, instruments + n, role == "@B.price", first)
        else:
            a, b, c = row.tolist()
            level = 900 * 10**a if role == ".volume" else 0.01 + 0.05 * a
            log_sd = 0.25 + 0.15 * b
            yield Stream(
                name, level, 1.3 * level * log_sd, 0.3 + 0.4 * c, 0.3, 1 if role == ".volume" else 0, log_sd,
                floored=True, weight=0.4,
            )  # fmt: skip


def _roles(instrument: int) -> tuple[str, ...]:
    return (".price", "@B.price", ".volume", ".spread") if instrument % 2 == 0 else (".price", ".volume", ".spread")


def _ticker(number: int) -> str:
    letters = ""
    for _ in range(3):
        number, letter = divmod(number, 26)
        letters = chr(ord("A") + letter) + letters
    return letters if not number else f"{letters}{number}"


def _price(name: str, instrument: int, second_venue: bool, draw: npt.NDArray[np.float64]) -> Stream:
    """A price; two venues agree on all but a small noise of their own, so both are made of the same draw."""
    a, b, c = draw.tolist()
    level, volatility = 15 * 30**a, 1e-4 * (0.7 + b)
    step = level * volatility
    return Stream(
        name, level, step * PRICE_HORIZON**0.5, 0.0, 0.0, 10.0 ** np.ceil(-np.log10(step)),
        instrument=instrument, beta=0.6 + 0.3 * c, volatility=volatility, second_venue=second_venue, weight=-1.0,
    )  # fmt: skip
