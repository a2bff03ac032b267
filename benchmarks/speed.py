"""`heed bench speed`: times real time by stage, memory a stream, and named peers beside them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from rich.console import Console

from benchmarks import kafka, lag, latency, replaying, sharing, storm
from benchmarks.child import measured
from benchmarks.recordings import record

# All = what needs no broker, and what belongs to every release.
Part = Literal["all", "replay", "memory", "peer", "lag", "kafka", "workers", "latency", "rules", "decode", "storm"]
TARGETS = {"sentinel": 40.0, "model": 5.0, "full": 4096, "lean": 2253, "rules": 50.0}
# Times real time; bytes a stream; milliseconds a tick of 200 rules over 5,000 streams.
_MODEL_SHARE = 4  # runs with the model get this part of the steps
_LEAST_STEPS = 64
MEMORY_STREAMS = (2_000, 20_000)
_MEMORY_STEPS = 192


def bench(streams: int, steps: int, part: Part, output: Literal["table", "json"]) -> None:
    """Measure ``part`` with ``streams`` streams over ``steps`` steps: each figure in a process of its own, on one core.

    Prints a table, or JSON with the keys machine, streams, steps, and what was asked for: replay, memory, peers, lag,
    kafka, workers, latency, rules, decode, storm.
    """
    found: dict[str, Any] = {"machine": machine(), "streams": streams, "steps": steps}
    if part in ("all", "replay", "peer"):
        found["replay"] = replays(streams, steps)
    if part in ("all", "memory"):
        found["memory"] = memories()
    if part in ("all", "peer"):
        found["peers"] = peers(streams, found["replay"])
    if part in _APART:
        found[part] = _APART[part](streams, steps)
    if output == "json":
        print(json.dumps(found, indent=2))  # noqa: T201 - data goes to standard output
        return
    for line in lines(found):
        Console(highlight=False).print(line, markup=False, soft_wrap=True)


_APART: Mapping[str, Callable[[int, int], Any]] = {
    "decode": lambda streams, steps: measured("decode", streams=streams, seconds=2.0)["found"],
    "lag": lambda streams, steps: lag.measure(),
    "kafka": lambda streams, steps: kafka.figures(streams, max(60, steps // _MODEL_SHARE)),
    "workers": lambda streams, steps: sharing.figures(streams, max(60, steps // _MODEL_SHARE)),
    "latency": lambda streams, steps: latency.figures(),
    "rules": lambda streams, steps: measured("rules"),
    "storm": lambda streams, steps: measured("storm"),
}


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    versions = {name: metadata.version(name) for name in ("heed-monitor", "numpy", "onnxruntime", "pyarrow")}
    return {"cpu": _cpu(), "cores": os.cpu_count() or 1, "python": platform.python_version(), **versions}


def _cpu() -> str:
    told = Path("/proc/cpuinfo")
    names = [line for line in told.read_text().splitlines() if line.startswith("model name")] if told.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def replays(streams: int, steps: int) -> list[dict[str, Any]]:
    """Figures of each of replaying.MODES, from seeded recordings that are made for it."""
    found = []
    with TemporaryDirectory(prefix="heed-bench-") as folder:
        for mode in replaying.MODES:
            own = steps if mode == "sentinel" else steps // _MODEL_SHARE
            length = replaying.LEAD + max(_LEAST_STEPS, own)
            path = Path(folder) / f"{length}.parquet"
            if not path.exists():
                record(path, streams, length)
            found.append(measured("replaying", path=str(path), mode=mode, streams=streams))
    return found


def memories(streams: Sequence[int] = MEMORY_STREAMS, steps: int = _MEMORY_STEPS) -> list[dict[str, Any]]:
    """Bytes a stream for both kinds of evidence, without and with the model, as slopes of resident memory."""
    found = []
    for evidence in ("full", "lean"):
        for model in (False, True):
            few, many = (measured("memory", streams=n, steps=steps, evidence=evidence, model=model) for n in streams)
            slope = {key: round((many[key] - few[key]) / (streams[1] - streams[0])) for key in ("at_rest", "running")}
            found.append(
                {
                    "evidence": evidence,
                    "model": model,
                    "bytes_per_stream": slope["running"],
                    "at_rest": slope["at_rest"],
                }
            )
    return found


def peers(streams: int, ran: Sequence[Mapping[str, Any]], seconds: float = 2.0) -> dict[str, Any]:
    """The peers' readings a second, and how many times that is heed's of the same run."""
    found = measured("peer", streams=streams, seconds=seconds)
    for peer in found["found"]:
        rate = max(1, peer["readings_per_second"])
        peer["heed_over_it"] = {run["mode"]: float(f"{run['readings_per_second'] / rate:.3g}") for run in ran}
    return found


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures for people."""
    yield ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    for run in found.get("replay", ()):
        yield from _replayed(run)
    for each in found.get("memory", ()):
        yield _remembered(each)
    yield from _peered(found.get("peers"))
    if "kafka" in found:
        yield from kafka.lines(found["kafka"])
    if "workers" in found:
        yield from sharing.lines(found["workers"])
    if "latency" in found:
        yield from latency.lines(found["latency"])
    yield from _ruled(found.get("rules"))
    yield from _decoded(found.get("decode", ()))
    if "storm" in found:
        yield from storm.lines(found["storm"])
    for run in found.get("lag", ()):
        told = _against(1.0, run["p99_of_budget"] <= 1.0, "at most")
        yield (
            f"lag of the demo, {run['case']}: p99 {run['p99_of_budget']:.2f} of the budget{told}; "
            f"{run['looked_at']:,} windows looked at, {run['shed']:,} shed, {run['faults_found']} faults found"
        )


def _replayed(run: Mapping[str, Any]) -> Iterator[str]:
    target = TARGETS.get(run["mode"])
    told = "" if target is None else _against(target, run["times_real_time"] >= target, "at least")
    yield (
        f"replay of {run['streams']:,} streams at 1 Hz, {replaying.MODES[run['mode']]}: "
        f"{run['times_real_time']:,.1f} times real time{told}, {run['times_real_time_wall']:,.1f} by the wall; "
        f"{run['readings_per_second']:,} readings a second, coverage {100 * run['coverage']:.0f} %"
    )
    yield "  " + ", ".join(f"{name} {100 * share:.0f} %" for name, share in run["stages"].items())


def _remembered(each: Mapping[str, Any]) -> str:
    size, target = each["bytes_per_stream"], TARGETS[each["evidence"]]
    what = "the shipped model" if each["model"] else "no model"
    return (
        f"memory, {each['evidence']} evidence, {what}: {size:,} bytes a stream"
        f"{_against(target, size <= target, 'at most')}; {each['at_rest']:,} once free memory is given back"
    )


def _against(target: float, met: bool, bound: str) -> str:
    return f" ({bound} {target:,.0f}: {'met' if met else 'MISSED'})"


def _decoded(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for each in found:
        rate, naive = each["readings_per_second"], found[0]["readings_per_second"]
        yield (
            f"{each['name']}, {each['readings_per_message']:,} a message of {each['bytes_per_reading']:g} bytes each: "
            f"{rate:,} readings a CPU second, {rate / naive:.2g} times the naive loop"
        )


def _peered(peers: Mapping[str, Any] | None) -> Iterator[str]:
    if peers is None:
        return
    for peer in peers["found"]:
        ratios = ", ".join(f"{mode} {ratio:g}" for mode, ratio in peer["heed_over_it"].items())
        yield f"peer: {peer['name']}: {peer['readings_per_second']:,} readings a second; heed's over it: {ratios}"
    for line in peers["skipped"]:
        yield f"peer skipped: {line}"


def _ruled(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is None:
        return
    for each in found["sizes"]:
        asked = (each["rules"], each["streams"], each["plain"]) == (200, 5_000, False)
        told = _against(TARGETS["rules"], each["ms"] <= TARGETS["rules"], "at most") if asked else ""
        kind = "plain rules" if each["plain"] else "rules"
        yield (
            f"{each['rules']} {kind} over {each['streams']:,} streams: {each['ms']:g} ms a tick{told}, "
            f"{each['ns_each']:g} ns for each rule and stream; the slowest tick {each['worst_ms']:g} ms"
        )
    cel = found["cel"]
    if cel is None:
        yield "peer skipped: cel-expr-python is not installed: pip install cel-expr-python"
    else:
        yield (
            f"peer: cel-expr-python {cel['version']}, row by row: {cel['ns_each']:,} ns for each rule and row, "
            f"{cel['ms']:,} ms for 200 rules over 5,000 streams (scaled up from {cel['rows']} rows)"
        )
