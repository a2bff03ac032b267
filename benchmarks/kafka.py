"""Kafka to alerts: readings per CPU second of the consumer, by client and kind of message, beside named peers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import util
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.broker import FORMS, PACKED, PACKED_ARROW, NoBroker, broker, clients, new_topic, spare
from benchmarks.child import measured
from benchmarks.progress import watched

TARGETS = {("kafka-python", "single"): 10.0, ("kafka-python", "columns"): 40.0, ("confluent", "columns"): 40.0}
PEER_READINGS = 200_000  # what peers get to read of the same topic
ROUNDS = 3  # in each of which every way is measured, right after the naive one: the machine changes meanwhile
GROWN = 410  # steps: before that, streams are young, and their calibration is refreshed four times as often
_PEER_LEAD = 0.4
_NAIVE = "naive: kafka-python, json, numpy z-score"
_WORDS = {
    "single": "one a message",
    "list": f"{PACKED} a message, objects",
    "columns": f"{PACKED} a message, columns",
    "arrow": f"{PACKED_ARROW} a message, Arrow",
}


def figures(streams: int, steps: int) -> dict[str, Any]:
    """Rates of heed and of its peers on the same topics in one run; ``skipped`` tells what could not be measured."""
    try:
        with broker() as servers:
            return _figures(servers, streams, steps)
    except NoBroker as error:
        return {"found": [], "peers": [], "skipped": [str(error)]}


def _figures(servers: str, streams: int, steps: int) -> dict[str, Any]:
    alerts, topics = new_topic(servers, "alerts"), {form: new_topic(servers, form) for form in FORMS}
    skipped: list[str] = []
    lead, steps = GROWN * streams, GROWN + steps
    for form, topic in watched(list(topics.items()), "Kafka to alerts: topics to read"):
        measured("broker", servers=servers, topic=topic, form=form, streams=streams, steps=steps + spare(streams))
    few = min(PEER_READINGS, streams * steps)
    naive = {"servers": servers, "topic": topics["single"], "way": "naive", "total": few, "alerts": alerts}
    ways = [
        {"servers": servers, "topic": topic, "way": library, "form": form, "alerts": alerts, "lead": lead}
        for library in clients(skipped)
        for form, topic in topics.items()
    ]
    pairs = [
        (measured("consuming", **naive), measured("consuming", total=streams * steps, **way))
        for way in watched(ROUNDS * ways, "Kafka to alerts")
    ]
    peers = [{"name": _NAIVE, **_middle([plain for plain, _ in pairs])}]
    peers += _quix(servers, topics["single"], alerts, few, skipped)
    found = [_compared(way, pairs[at :: len(ways)]) for at, way in enumerate(ways)]
    return {"found": found, "peers": peers, "skipped": skipped}


def _compared(way: Mapping[str, Any], pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Any]:
    """One way of reading, each time beside the naive one right before it; of all rounds the medians.

    Stages are those of the last round.
    """
    ratios = [own["readings_per_second"] / max(1, naive["readings_per_second"]) for naive, own in pairs]
    told = {"over_naive": float(f"{median(ratios):.3g}"), "rounds": [float(f"{ratio:.3g}") for ratio in ratios]}
    own = [own for _, own in pairs]
    late = max(run["late"] for run in own)
    return {"client": way["way"], "form": way["form"], **told, **own[-1], **_middle(own), "late": late}


def _middle(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: round(median(run[name] for run in runs)) for name in ("readings_per_second", "by_the_wall")}


def _quix(servers: str, topic: str, alerts: str, total: int, skipped: list[str]) -> list[dict[str, Any]]:
    """Quix Streams, from this Python or from the one that HEED_BENCH_QUIX names: it wants versions of its own."""
    python = os.environ.get("HEED_BENCH_QUIX") or (sys.executable if util.find_spec("quixstreams") else None)
    if python is None or shutil.which(python) is None:
        skipped.append("Quix Streams: HEED_BENCH_QUIX names no Python that has quixstreams")
        return []
    script = Path(__file__).with_name("quix.py")
    command = [python, str(script), servers, topic, alerts, str(total), str(round(_PEER_LEAD * total))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        skipped.append(f"Quix Streams: {done.stderr.strip()[-300:]}")
        return []
    found = json.loads(done.stdout.splitlines()[-1])
    return [{"name": f"Quix Streams {found.pop('version')}, averaged z-score in a dict", **found}]


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures for people."""
    for run in found["found"]:
        target = TARGETS.get((run["client"], run["form"]))
        told = "" if target is None else f" (aim {target:g}: {'met' if run['over_naive'] >= target else 'MISSED'})"
        yield (
            f"kafka to alerts, {run['client']}, {_WORDS[run['form']]}: {run['readings_per_second']:,} readings a CPU "
            f"second, {run['over_naive']:g} times naive{told}, round by round {run['rounds']}; "
            f"{run['by_the_wall']:,} by the wall"
        )
    for peer in found["peers"]:
        yield f"peer: {peer['name']}: {peer['readings_per_second']:,} readings a CPU second"
    for line in found["skipped"]:
        yield f"skipped: {line}"
