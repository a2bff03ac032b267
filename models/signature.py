"""Which inputs and outputs a graph may have, and in clear words what is wrong with one that has others."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from models.contract import QUANTILES, TOKEN_CHANNELS, TOKEN_STEPS, ModelError

Dim = int | str | None  # a number, the name of a dynamic dimension, or not said
Shapes = Mapping[str, Sequence[Dim]]

FIXED: Mapping[str, int] = {"K": TOKEN_STEPS, "C": TOKEN_CHANNELS, "Q": len(QUANTILES)}
INPUTS: Mapping[str, str] = {"values": "GAT", "mask": "GAT", "member": "GA", "evidence": "GSKC", "present": "GS"}
OUTPUTS: Mapping[str, str] = {"score": "GA", "expected": "GAQ", "time_weight": "GAP", "stream_weight": "GAS"}
ROWS: Mapping[str, str] = {"values": "NT", "mask": "NT"}  # what a graph that knows no groups takes


@dataclass(frozen=True, slots=True)
class Signature:
    """What a graph takes and gives. ``by_rows``: it knows no groups, and takes admitted rows ``[N, T]``."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    by_rows: bool
    window: int | None  # T, where the graph fixes it


def read_signature(where: str, inputs: Shapes, outputs: Shapes) -> Signature:
    """Check a graph's inputs and outputs; raises ModelError with everything that is wrong."""
    by_rows = len(inputs.get("values", inputs.get("mask", ()))) == 2
    allowed = ROWS if by_rows else INPUTS
    problems = [f"unknown input {_named(n, INPUTS)}" for n in inputs if n not in INPUTS]
    problems += [f"input {n!r} needs values [G, A, T], not [N, T]" for n in inputs if by_rows and n in _GROUPED]
    for name, dims in inputs.items():
        problems += _shape_problems(name, dims, allowed.get(name))
    problems += _missing(inputs) + _output_problems(outputs, by_rows)
    if problems:
        raise ModelError(f"{where}: " + "; ".join(problems))
    windows = [d for n in ("values", "mask") if n in inputs and isinstance(d := inputs[n][-1], int)]
    given = tuple(n for n in OUTPUTS if n in outputs)
    return Signature(tuple(inputs), given, by_rows, windows[0] if windows else None)


_GROUPED = ("member", "evidence", "present")


def _missing(inputs: Shapes) -> list[str]:
    if "values" in inputs or {"evidence", "member"} <= set(inputs):
        return []
    return ["missing input 'values' [N, T] (or 'evidence' with 'member', for a model of the evidence alone)"]


def _output_problems(outputs: Shapes, by_rows: bool) -> list[str]:
    problems = []
    if "score" not in outputs:
        problems.append(f"missing output 'score'; it gives {_listed(outputs)}: rename the one that is the score")
    for name in outputs:
        near = [] if name in OUTPUTS else difflib.get_close_matches(name, set(OUTPUTS) - set(outputs), 1, 0.8)
        problems += [f"unknown output {name!r}, did you mean {n!r}?" for n in near]
    if by_rows and "stream_weight" in outputs:
        problems.append("output 'stream_weight' needs values [G, A, T], not [N, T]")
    return problems


def _shape_problems(name: str, dims: Sequence[Dim], wanted: str | None) -> list[str]:
    if wanted is None:
        return []
    said = f"input {name!r} has shape [{', '.join(str(d) for d in dims)}], wanted [{', '.join(wanted)}]"
    if len(dims) != len(wanted):
        return [said]
    fixed = [f"{w} = {FIXED[w]}" for d, w in zip(dims, wanted, strict=True) if w in FIXED and not _fits(d, FIXED[w])]
    stuck = [w for d, w in zip(dims, wanted, strict=True) if w in "GASN" and isinstance(d, int)]
    problems = [f"{said} with {', '.join(fixed)}"] if fixed else []
    if stuck:
        problems.append(f"{said}: {', '.join(stuck)} must be dynamic, export it so")
    return problems


def _fits(dim: Dim, wanted: int) -> bool:
    return not isinstance(dim, int) or dim == wanted


def wanted_output(name: str, sizes: Mapping[str, int], by_rows: bool) -> tuple[int | None, ...]:
    """The shape that an output must have; None = any. ``sizes``: G, A, S, N of the look."""
    letters = OUTPUTS[name].replace("GA", "N") if by_rows else OUTPUTS[name]
    return tuple({**sizes, **FIXED}.get(letter) for letter in letters)


def _named(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"{name!r}, did you mean {near[0]!r}?" if near else f"{name!r}, known are {_listed(known)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(n) for n in names) or "nothing"
