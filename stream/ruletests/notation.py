"""promtool's notation for series: `value{stream="a"}` and `1+1x5 _x3 stale`, expanded to columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream.rules.columns import FIDELITIES

MOST_SAMPLES = 100_000  # of one series
_METRIC = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)?\s*(\{.*\})?\s*", re.DOTALL)
_LABEL = re.compile(
    r"\s*(?:([a-zA-Z_][a-zA-Z0-9_]*)|\"((?:[^\"\\]|\\.)*)\")\s*(?:(=~|!=|!~|=)\s*(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`))?\s*(,|$)"
)
_NUMBER = r"(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI]nf|[nN]a[nN])"
_ITEM = re.compile(rf"(_|stale|[+-]?{_NUMBER})([+-]{_NUMBER})?(?:x([0-9]{{1,9}}))?")  # 0x5 is six zeros, no hexadecimal
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t"}


class NotationError(ValueError):
    """A series or its values can't be read; ``at`` is the place in the text, from 0."""

    def __init__(self, message: str, at: int = 0) -> None:
        self.at = at
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Samples:
    """A series in columns [n]: its numbers (NaN = nothing), where it says something at all, and where it ends."""

    value: npt.NDArray[np.float64]
    given: npt.NDArray[np.bool_]  # not `_`
    stale: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.value)


def read_series(text: str) -> tuple[str, dict[str, str]]:
    """The metric's name ("" where there is none) and the labels of a series; NotationError where it isn't one."""
    found = _METRIC.fullmatch(text)
    if found is None or not (found[1] or found[2]):
        raise NotationError('this is not a series: write value{stream="press1/temp", group="press1"}')
    braces = found[2]
    labels = {} if braces is None else _labels(braces[1:-1], found.start(2) + 1)
    name = found[1] or labels.pop("__name__", "")
    return name, labels


def _labels(inside: str, offset: int) -> dict[str, str]:
    labels: dict[str, str] = {}
    at = 0
    while inside[at:].strip():
        part = _LABEL.match(inside, at)
        if part is None:
            raise NotationError('labels are written {stream="press1/temp", site="berlin"}', offset + at)
        name, quoted, sign, value = part[1] or "", part[2], part[3], part[4]
        if quoted is not None and sign is None:
            name, value = "__name__", f'"{quoted}"'
        elif sign != "=":
            raise NotationError('a series is one series: its labels are given by `="..."`', offset + at)
        if name in labels:
            raise NotationError(f"the label {name} is given twice", offset + at)
        labels[name] = _unquoted(value)
        at = part.end()
    return labels


def _unquoted(text: str) -> str:
    inside = text[1:-1]
    return inside if text[0] == "`" else _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), inside)


def written(name: str, labels: Mapping[str, str]) -> str:
    """A series as text, its labels in order: ``up{instance="a", job="b"}``."""
    pairs = ", ".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return f"{name}{{{pairs}}}" if pairs else name


def read_values(text: str, words: bool = False) -> Samples:
    """The samples that a text stands for; with ``words``, names of fidelities are numbers too.

    ``a+bxn``: a, then n more, each b higher; ``axn``: n + 1 times a; ``_``: no sample; ``_xn``: n times none;
    ``stale``: the series ends. Raises NotationError.
    """
    pieces: list[npt.NDArray[np.float64]] = []
    given: list[npt.NDArray[np.bool_]] = []
    stale: list[npt.NDArray[np.bool_]] = []
    left = MOST_SAMPLES
    for found in re.finditer(r"\S+", text):
        item = found[0]
        if item.startswith("{{"):
            raise NotationError("native histograms have no meaning here", found.start())
        numbers = _expanded(_coded(item) if words else item, found.start(), left)
        left -= len(numbers)
        pieces.append(numbers)
        given.append(np.full(len(numbers), not item.startswith("_")))
        stale.append(np.full(len(numbers), item.startswith("stale")))
    if not pieces:
        raise NotationError("there are no values: write some, like 1+1x5")
    return Samples(np.concatenate(pieces), np.concatenate(given), np.concatenate(stale))


def _coded(item: str) -> str:
    word, x, times = item.partition("x")
    return f"{FIDELITIES.index(word)}{x}{times}" if word in FIDELITIES[1:] else item


def _expanded(item: str, at: int, left: int) -> npt.NDArray[np.float64]:
    found = _ITEM.fullmatch(item)
    if found is None or (found[2] and (found[1] in ("_", "stale") or not found[3])):
        raise NotationError(f"`{item}` is no value: write a number, a+bxn, axn, _, _xn or stale", at)
    times = int(found[3] or 0)
    n = times if item.startswith("_x") else times + 1
    if n > left:
        raise NotationError(f"`{item}`: more than {MOST_SAMPLES:,} samples", at)
    if found[1] in ("_", "stale"):
        return np.full(n, np.nan)
    start, by = float(found[1]), float(found[2] or 0)
    numbers = np.full(n, start, np.float64)
    if by:
        numbers += by * np.arange(n)
    return numbers
