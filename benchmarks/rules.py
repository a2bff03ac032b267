"""What rules cost: 200 varied ones over 5,000 streams, beside Google's CEL evaluated row by row."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module, metadata
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.batch import SECOND, StreamTable
from connectors.clock import Stopwatch
from stream.rules.alert import Alerts
from stream.rules.columns import Observed
from stream.rules.rule import Rule
from stream.rules.rule_file import read_rules

SIZES = ((50, 5_000), (100, 5_000), (200, 5_000), (400, 5_000), (200, 1_250), (200, 2_500), (200, 10_000))
CEL = "cel-expr-python"
_SITES = ("berlin", "leeds", "turin", "lyon")
_KINDS = ("temp", "load", "vibration", "current")
_GROUP = 16  # streams
_FORMS = (
    "score >= {n}",
    "score >= 1 and p < {p}",
    "abs(value - expected) > {n} and fidelity == 'full'",
    "value > high + {n} or value < low - {n}",
    'labels["site"] == "{site}" and score > {n}',
    'endswith(stream, "/{kind}") and value > {n}',
    'matches(stream, "machine[0-9]*[02468]/.*") and value < -{n}',
    "flat >= {n} or silent >= {n}",
    "not (-{n} <= value <= {n}) and coverage > 0.5",
    "rate < 0.00001 * {n} and imputed < 0.5 and age < 60",
    "(value - expected) / max(high - low, 0.001) > {n}",
    'value > ({n} if labels["site"] == "{site}" else 2 * {n})',
    "score > 1 if weight > {n} else score > {n}",
    'avg_over("value", "5m") > {n}',
    'abs(value - avg_over("value", "5m")) > {n} * stddev_over("value", "5m")',
    'max_over("value", "{m}m") - min_over("value", "{m}m") > 2 * {n} + 2',
    'count_over(score > 1, "10m") >= {n}',
    'abs(delta("value", "{m}m")) > 2 * {n}',
    "group_max(score) > {n} and value > expected",
    'group_share(score > 1) > 0.1 * {n} and labels["site"] == "{site}"',
)
PLAIN = 13  # of these look at nothing beyond their own row
CEL_FORMS = (
    "score >= {n}",
    "score >= 1.0 && p < {p}",
    "value - expected > {n} && fidelity == 'full'",
    "value > high + {n} || value < low - {n}",
    'labels["site"] == "{site}" && score > {n}',
    'stream.endsWith("/{kind}") && value > {n}',
    "flat >= {n} || silent >= {n}",
    'value > (labels["site"] == "{site}" ? {n} : 2.0 * {n})',
)
_NAMES = (
    "score", "p", "value", "expected", "low", "high", "weight", "age", "rate", "coverage", "imputed", "silent", "flat",
)  # fmt: skip


def measure(sizes: Sequence[Sequence[int]] = SIZES, ticks: int = 60, cel_seconds: float = 2.0) -> dict[str, Any]:
    """CPU milliseconds a tick for each (rules, streams) of ``sizes``, and what CEL would take for 200 and 5,000.

    ``sizes``: for each, milliseconds a tick and nanoseconds for each rule and stream; the last one is of rules without
    functions over time or groups. CEL has none either; ``cel`` is None where it isn't installed.
    """
    found = [_heed(rules, streams, ticks) for rules, streams in sizes]
    found.append(_heed(200, 5_000, ticks, _FORMS[:PLAIN]))
    return {"sizes": found, "cel": _cel(cel_seconds)}


def filled(forms: Sequence[str], n: int) -> list[str]:
    """``n`` expressions that differ, forms taken in turn."""
    return [
        forms[i % len(forms)].format(
            n=f"{4 + (i // len(forms)) % 11 * 0.25:.2f}",
            p=f"1e-{3 + i % 5}",
            m=(2, 5, 10)[i % 3],
            site=_SITES[i % 4],
            kind=_KINDS[i // 4 % 4],
        )
        for i in range(n)
    ]


def _heed(rules: int, streams: int, ticks: int, forms: Sequence[str] = _FORMS) -> dict[str, Any]:
    table = StreamTable()
    for n in range(streams):
        machine = f"machine{n // _GROUP:04d}"
        table.slot(f"{machine}/{_KINDS[n % 4]}{n % _GROUP}", machine, {"site": _SITES[n // _GROUP % 4]})
    alerts = Alerts(_rules(filled(forms, rules)), table)
    rng = np.random.default_rng(0)
    watch = Stopwatch()
    each, changes = [], 0
    for k in range(2 * ticks):
        observed = _observed(rng, streams, k)
        began = watch.cpu_seconds()
        changes += len(alerts.update(observed))
        each.append(watch.cpu_seconds() - began)
    ms = 1000 * float(np.mean(each[ticks:]))
    worst = 1000 * float(np.max(each[ticks:]))
    return {
        "rules": rules,
        "plain": len(forms) == PLAIN,
        "streams": streams,
        "ms": round(ms, 2),
        "worst_ms": round(worst, 2),
        "ns_each": round(1e6 * ms / rules / streams, 2),
        "changes_a_tick": round(changes / 2 / ticks, 1),
        "unknown": round(alerts.unknown / alerts.evaluations, 4),
    }


def _rules(texts: Sequence[str]) -> list[Rule]:
    lines = "\n".join(f"    - {{alert: R{i}, expr: {_quoted(text)}}}" for i, text in enumerate(texts))
    return read_rules(f"groups:\n- name: bench\n  rules:\n{lines}\n", "bench.yaml")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _observed(rng: np.random.Generator, streams: int, k: int) -> Observed:
    """A step as the monitor tells it: nine in ten of the windows got a full look, one in a hundred has no reading."""
    columns: dict[str, npt.NDArray[Any]] = {
        name: np.abs(rng.standard_normal(streams)).astype(np.float32) * 0.2 for name in _NAMES
    }
    columns["value"] = rng.standard_normal(streams)
    columns["value"][rng.random(streams) < 0.01] = np.nan
    columns["low"], columns["high"] = columns["expected"] - 1, columns["expected"] + 1
    fidelity = np.where(rng.random(streams) < 0.9, 3, 1).astype(np.int8)
    for name in ("expected", "low", "high"):
        columns[name][fidelity < 3] = np.nan
    slots = np.arange(streams, dtype=np.int32)
    return Observed(k * SECOND, (k + 1) * SECOND, slots, columns, fidelity)


def _cel(seconds: float) -> dict[str, Any] | None:
    """Nanoseconds for each rule and row, of expressions compiled once over rows that are dicts; None: not installed."""
    try:
        version, cel = metadata.version(CEL), import_module("cel_expr_python.cel")
    except ImportError:
        return None
    env = cel.NewEnv(variables=_variables(cel.Type))
    programs = [env.compile(text) for text in filled(CEL_FORMS, 200)]
    rows = _rows(50)
    watch, done = Stopwatch(), 0
    while watch.cpu_seconds() < seconds:
        for row in rows:
            activation = env.Activation(row)
            for program in programs:
                program.eval(activation).value()
        done += len(rows) * len(programs)
    each = 1e9 * watch.cpu_seconds() / done
    return {"version": version, "rows": len(rows), "ns_each": round(each), "ms": round(each * 200 * 5_000 / 1e6)}


def _variables(types: Any) -> dict[str, Any]:
    texts = {"stream": types.STRING, "fidelity": types.STRING, "labels": types.Map(types.STRING, types.STRING)}
    return texts | dict.fromkeys(_NAMES, types.DOUBLE)


def _rows(n: int) -> list[dict[str, Any]]:
    observed = _observed(np.random.default_rng(0), n, 0)
    numbers = {name: np.nan_to_num(column).tolist() for name, column in observed.numbers.items()}
    texts = [
        {"stream": f"machine0/{_KINDS[i % 4]}", "fidelity": "full", "labels": {"site": _SITES[i % 4]}} for i in range(n)
    ]
    return [{**texts[i], **{name: column[i] for name, column in numbers.items()}} for i in range(n)]
